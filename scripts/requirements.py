"""Makes the hashed requirements files from pyproject.toml, and says without a network when they stopped matching it.

python3 scripts/requirements.py lock     needs uv; keeps the pins there are, unless told --upgrade
python3 scripts/requirements.py check    needs nothing; exit 1 and a line for each thing that is wrong
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

# No index, link or path of the machine that made them may enter the files; one file serves every platform.
COMPILE = ["pip", "compile", "pyproject.toml", "--quiet", "--no-config", "--universal", "--generate-hashes"]
COMPILE += ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header"]

PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9a-z.+!]+)(?P<marker> ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def main(arguments: list[str]) -> None:
    match arguments:
        case ["lock", *options]:
            lock(options)
        case ["check"]:
            wrong = complaints()
            sys.exit("\n".join([*wrong, "Remedy: make lock"]) if wrong else 0)
        case _:
            sys.exit("usage: python3 scripts/requirements.py lock [--upgrade | --upgrade-package NAME] | check")


def lock(options: list[str]) -> None:
    """Write both files, or none. The tools are resolved first: what they cannot live with must not be served either."""
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
    """Let uv write the draft; it starts from today's file, because uv keeps the pins that it finds in its output."""
    if FILES[name].exists():
        shutil.copy(FILES[name], draft)
    floor = project()["requires-python"].removeprefix(">=")
    command = [uv, *COMPILE, "--python-version", floor, *options, "--output-file", str(draft)]
    if subprocess.run(command, cwd=ROOT, env={"UV_SYSTEM_CERTS": "1", **os.environ}).returncode:
        sys.exit(f"uv found no set of packages for {name}; the requirements are as they were.")


def complaints() -> list[str]:
    """What is wrong with the files, one sentence each; empty when they match pyproject.toml."""
    wrong = [line for name in FILES for line in complaints_about(name)]
    if not wrong and (missing := pins("run").items() - pins("dev").items()):
        wrong.append(f"requirements/dev.txt lacks what requirements/run.txt has: {', '.join(sorted(dict(missing)))}.")
    return wrong


def complaints_about(name: str) -> list[str]:
    if not FILES[name].exists():
        return [f"requirements/{name}.txt is missing."]
    text = FILES[name].read_text()
    if not text.startswith(header(name)):
        return [f"requirements/{name}.txt was not made from today's pyproject.toml."]
    body, wrong, hashed = text.removeprefix(header(name)).splitlines(), [], True
    for number, line in enumerate(body, header(name).count("\n") + 1):
        if not any(shape.fullmatch(line) for shape in ([HASH, PIN] if hashed else [HASH])):
            wrong.append(f"requirements/{name}.txt:{number}: neither a pin nor its hash: {line.strip()}")
        hashed = HASH.fullmatch(line) is not None
    return wrong if hashed else [*wrong, f"requirements/{name}.txt ends with a pin that has no hash."]


def pins(name: str) -> dict[str, str]:
    """Version and marker by package."""
    found = filter(None, map(PIN.fullmatch, FILES[name].read_text().splitlines()))
    return {pin["name"]: pin["version"] + (pin["marker"] or "") for pin in found}


def header(name: str) -> str:
    """The first lines of a file, with the digest of what it was made from: so drift shows without a resolver."""
    asked = [project()["requires-python"], *sorted(dependencies(name))]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    return f"# Made from pyproject.toml by `make lock`: change that file, never this one.\n# From: sha256:{digest}\n"


def dependencies(name: str) -> list[str]:
    """The direct dependencies, as pyproject.toml writes them."""
    wanted: list[str] = project()["dependencies"]
    return wanted + pyproject()["dependency-groups"]["dev"] if name == "dev" else wanted


def project() -> dict[str, Any]:
    table: dict[str, Any] = pyproject()["project"]
    return table


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


if __name__ == "__main__":
    main(sys.argv[1:])
