"""Runs all checks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace

from bot.checks import machine, stripe, telegram
from bot.checks.env_file import check_env_file
from bot.checks.port import check_port
from bot.findings import Finding, failure, ok
from bot.redaction import redactor
from bot.settings import ENV_FILE, InvalidSettings, Settings
from handlers.clock import Clock

SETTINGS = "settings"


async def run_checks(settings: Settings, clock: Clock) -> list[Finding]:
    """All findings, in the order of setup, without secrets. Nothing is changed."""
    parts = await asyncio.gather(
        machine.check_machine(settings),
        check_port(settings),
        stripe.check_stripe(settings, clock),
        telegram.check_telegram(settings),
    )
    found = check_env_file()
    findings = [ok(SETTINGS, _source()), *found, *(finding for part in parts for finding in part)]
    redact = redactor(settings.secrets())
    return [replace(it, detail=redact(it.detail), hint=redact(it.hint)) for it in findings]


def settings_errors(error: InvalidSettings) -> list[Finding]:
    """One finding for each invalid setting, and those of the file; nothing else can be checked."""
    return [*(failure(SETTINGS, it.detail, it.hint) for it in error.errors), *check_env_file()]


def _source() -> str:
    path = ENV_FILE.absolute()
    return (
        f"They are valid, from the environment and {path}."
        if path.is_file()
        else f"They are valid; there is no {path}."
    )


def as_lines(findings: Iterable[Finding]) -> str:
    """One line for each finding."""
    return "\n".join(finding.line for finding in findings)


def as_json(findings: Iterable[Finding], *, ascii_only: bool = False) -> str:
    """A JSON list of objects with name, ok, detail and remedy (the hint). `ascii_only` escapes all other characters."""
    objects = [{"name": it.name, "ok": it.ok, "detail": it.detail, "remedy": it.hint} for it in findings]
    return json.dumps(objects, indent=2, ensure_ascii=ascii_only)
