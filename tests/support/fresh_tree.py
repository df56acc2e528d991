"""A copy of the setup of Kvit, in a folder with spaces and with small packages to install, without a network."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent.parent
BASE = str(getattr(sys, "_base_executable", sys.executable))


@dataclass(frozen=True)
class FreshTree:
    """`root` is the copy; its commands see only the given Python, system tools, and the packages in `shelf`."""

    root: Path
    shelf: Path
    extra: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the tree with these variables; the variables of the tree come first."""
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.root), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.shelf)}
        env |= {"PIP_CONFIG_FILE": os.devnull, "NO_UV": "1", **self.extra, **extra}
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=False, timeout=100)

    def bootstrap(self, name: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return self.run(BASE, "scripts/bootstrap.py", name, **extra)

    @property
    def python(self) -> Path:
        return self.root / ".venv" / "bin" / "python"

    def require(self, *names: str, to: str) -> None:
        """Makes the packages, and a requirements file with their hashes."""
        lines = [f"{name}==1.0 \\\n    --hash=sha256:{put_wheel(self.shelf, name)}\n" for name in names]
        (self.root / "requirements" / f"{to}.txt").write_text("# Packages of a test.\n" + "".join(lines))


def fresh_tree(folder: Path) -> FreshTree:
    """The copy: it needs the package `tiny` to run, and `tool` for tests."""
    tree = FreshTree(folder / "a market in Nørre Åby", folder / "shelf")
    (tree.root / "requirements").mkdir(parents=True)
    tree.shelf.mkdir()
    (tree.root / "scripts").mkdir()
    for script in ("bootstrap.py", "environment.py"):
        shutil.copy(ROOT / "scripts" / script, tree.root / "scripts")
    shutil.copy(ROOT / "Makefile", tree.root)
    tree.require("tiny", to="run")
    tree.require("tiny", "tool", to="dev")
    return tree


def put_wheel(shelf: Path, name: str) -> str:
    """Adds a minimal wheel to the shelf; returns its sha256."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},sha256={seal(text)},{len(text)}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,\n"])
    wheel = shelf / f"{name}-1.0-py3-none-any.whl"
    if not wheel.exists():
        with ZipFile(wheel, "w") as archive:
            for path, text in files.items():
                archive.writestr(path, text)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def seal(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def put_program(folder: Path, name: str, text: str) -> Path:
    """Writes an executable shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return program
