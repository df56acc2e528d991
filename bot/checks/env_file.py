"""Checks the file `.env`: names that Kvit does not know, and who may read it."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

from bot.findings import Finding, warning
from bot.settings import ENV_FILE, similar_setting, unknown_names

NAME = "settings file"


def check_env_file(path: Path = ENV_FILE) -> list[Finding]:
    """Only what should be changed; nothing if there is no such file."""
    if not path.is_file():
        return []
    findings = [_unknown(path, name) for name in unknown_names(path)]
    if sys.platform != "win32" and path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        detail = f"Every user of this machine can read {path.absolute()}, which holds the keys."
        findings.append(warning(NAME, detail, f"Run `chmod 600 {path.absolute()}`."))
    return findings


def _unknown(path: Path, name: str) -> Finding:
    detail = f"{path.absolute()} has {name}, which is no setting of Kvit."
    if similar := similar_setting(name):
        return warning(NAME, detail, f"If {similar} is meant, write that.")
    return warning(NAME, detail, "Remove it, unless another program reads it.")
