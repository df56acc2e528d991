"""Makes the hashed requirements files from pyproject.toml, and checks offline that they still match it.

python3 scripts/requirements.py lock     needs uv; keeps the current pins, except with --upgrade
python3 scripts/requirements.py check    needs nothing; exit code 1 and a line for each problem
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILES = {name: ROOT / "requirements" / f"{name}.txt" for name in ("run", "dev")}

# The files must not contain an index, link or path of this machine; one file serves every platform.
COMPILE = ["pip", "compile", "pyproject.toml", "--quiet", "--no-config", "--universal", "--generate-hashes"]
COMPILE += ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header"]

PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9a-z.+!]+)(?P<marker> ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def main(arguments: list[str]) -> None:
    match arguments:
        case ["lock", *options]:
            lock(options)
        case ["check"]:
            found = problems()
            sys.exit("\n".join([*found, "Remedy: make lock"]) if found else 0)
        case _:
            sys.exit("usage: python3 scripts/requirements.py lock [--upgrade | --upgrade-package NAME] | check")


def lock(options: list[str]) -> None:
    """Writes both files, or none. The set `dev` is resolved first, so that `run` uses versions that fit the tools."""
    uv = shutil.which("uv")
    if uv is None:
        sys.exit("Making the requirements takes uv, which is not on the PATH: pip install uv")
    with tempfile.TemporaryDirectory() as folder:
        drafts = {name: Path(folder, path.name) for name, path in FILES.items()}
        resolve(uv, "dev", drafts["dev"], ["--group", "dev", *options])
        resolve(uv, "run", drafts["run"], ["--constraint", str(drafts["dev"]), *options])
        for name, path in FILES.items():
            path.write_text(header(name) + drafts[name].read_text())


def resolve(uv: str, name: str, draft: Path, options: list[str]) -> None:
    """Resolves a set into the draft, which starts as a copy of the current file: uv keeps the pins that it finds."""
    if FILES[name].exists():
        shutil.copy(FILES[name], draft)
    oldest_python = project()["requires-python"].removeprefix(">=")
    command = [uv, *COMPILE, "--python-version", oldest_python, *options, "--output-file", str(draft)]
    if subprocess.run(command, cwd=ROOT, env={"UV_SYSTEM_CERTS": "1", **os.environ}).returncode:
        sys.exit(f"uv found no set of packages for {name}; the requirements are as they were.")


def problems() -> list[str]:
    """The problems of the files, one sentence each; empty if they match pyproject.toml."""
    found = [line for name in FILES for line in problems_of(name)]
    if not found and (missing := pins("run").items() - pins("dev").items()):
        found.append(f"requirements/dev.txt lacks what requirements/run.txt has: {', '.join(sorted(dict(missing)))}.")
    return found


def problems_of(name: str) -> list[str]:
    if not FILES[name].exists():
        return [f"requirements/{name}.txt is missing."]
    text = FILES[name].read_text()
    if not text.startswith(header(name)):
        return [f"requirements/{name}.txt was not made from today's pyproject.toml."]
    body, found, hashed = text.removeprefix(header(name)).splitlines(), [], True
    for number, line in enumerate(body, header(name).count("\n") + 1):
        if not any(shape.fullmatch(line) for shape in ([HASH, PIN] if hashed else [HASH])):
            found.append(f"requirements/{name}.txt:{number}: neither a pin nor its hash: {line.strip()}")
        hashed = HASH.fullmatch(line) is not None
    return found if hashed else [*found, f"requirements/{name}.txt ends with a pin that has no hash."]


def pins(name: str) -> dict[str, str]:
    """Version and marker by package."""
    pins_found = filter(None, map(PIN.fullmatch, FILES[name].read_text().splitlines()))
    return {pin["name"]: pin["version"] + (pin["marker"] or "") for pin in pins_found}


def header(name: str) -> str:
    """The first lines of a file, with a digest of its input, so that a difference is found without a resolver."""
    inputs = [project()["requires-python"], *sorted(dependencies(name))]
    digest = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
    return f"# Made from pyproject.toml by `make lock`: change that file, never this one.\n# From: sha256:{digest}\n"


def dependencies(name: str) -> list[str]:
    """The direct dependencies as in pyproject.toml."""
    direct: list[str] = project()["dependencies"]
    return direct + pyproject()["dependency-groups"]["dev"] if name == "dev" else direct


def project() -> dict[str, Any]:
    table: dict[str, Any] = pyproject()["project"]
    return table


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


if __name__ == "__main__":
    main(sys.argv[1:])
