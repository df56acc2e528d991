"""Installs what a requirements file lists into .venv, with the standard library alone.

A stamp in .venv records what is installed, so a second run takes no time. The next run finishes an interrupted one. uv
is used if it is there, pip if it is not or fails; NO_UV=1 excludes uv. Every package is checked by hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
STAMP = VENV / ".installed"
UNFINISHED = VENV / ".unfinished"

# The sets that each set includes: `dev` includes `run`.
COVERS = {"run": ["run"], "dev": ["dev", "run"]}

# uv does not use the system's certificates or compile byte-code by default. pip with PIP_USER refuses to install into a
# virtual environment.
SETTINGS = {"UV_SYSTEM_CERTS": "1", "UV_COMPILE_BYTECODE": "1", **os.environ, "PIP_USER": "0", "UV_NO_PROGRESS": "1"}
PIP_INSTALL = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
PIP_INSTALL += ["--require-hashes", "--only-binary", ":all:", "--compile", "--requirement"]


def main(arguments: list[str]) -> None:
    """Brings .venv up to the named set, or exits with one sentence and code 1."""
    if len(arguments) != 1 or arguments[0] not in COVERS:
        sys.exit("usage: python3 scripts/bootstrap.py run|dev")
    name = arguments[0]
    if is_installed(name):
        return
    try:
        check_permissions()
        with setup_lock():
            if not is_installed(name):
                install(name)
    except KeyboardInterrupt:
        sys.exit("\nStopped half-way. Run the same command again; it goes on from here.")


def is_installed(name: str) -> bool:
    # A link to a removed interpreter does not exist either.
    return PYTHON.exists() and STAMP.exists() and mark(name) in STAMP.read_text().split()


def mark(name: str) -> str:
    """The stamp of a set; it depends on the Python version and the list of packages."""
    return hashlib.sha256(sys.version.encode() + requirements(name).read_bytes()).hexdigest()


def requirements(name: str) -> Path:
    return ROOT / "requirements" / f"{name}.txt"


def check_permissions() -> None:
    """Exits with the owner of .venv if this user cannot change it, before a package manager fails."""
    if not VENV.exists():
        if not os.access(ROOT, os.W_OK):
            sys.exit(f"You may not write in {ROOT}, where .venv has to be made; work in a copy of your own.")
        return
    packages = [*VENV.glob("lib/*/site-packages"), *VENV.glob("lib/*/site-packages/*/")]
    for folder in (VENV, PYTHON.parent, *packages):
        if folder.is_dir() and not os.access(folder, os.W_OK):
            sys.exit(
                f"{VENV} has to change, but you may not write in it (it belongs to {owner(folder)}). "
                f'Remove it with: sudo rm -rf "{VENV}"  Then run the same command again.'
            )


def owner(folder: Path) -> str:
    try:
        return folder.owner()
    except KeyError:  # a user id without a name, as in a container
        return f"user {folder.stat().st_uid}"


@contextlib.contextmanager
def setup_lock() -> Iterator[None]:
    """Waits while another command, such as `make test` beside `make demo`, sets up the same .venv."""
    if sys.platform == "win32":
        yield
        return
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot lock folders
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def install(name: str) -> None:
    uv = None if os.environ.get("NO_UV") else shutil.which("uv")
    count = len(re.findall(r"^[^#\s]+==", requirements(name).read_text(), re.MULTILINE))
    version = sys.version.split()[0]
    report(f"Setting up .venv (once): Python {version}, {count} packages, by {'uv' if uv else 'pip'}.")
    if not is_usable():
        make_venv(uv)
    STAMP.unlink(missing_ok=True)
    if not (uv and installed_by_uv(uv, name)):
        install_by_pip(name)
    STAMP.write_text("\n".join(mark(covered) for covered in COVERS[name]))


def is_usable() -> bool:
    """Whether .venv is complete and was made by this Python."""
    if UNFINISHED.exists() or not PYTHON.exists():
        return False
    check = [str(PYTHON), "-c", "import sys; sys.exit(sys.version != sys.argv[1])", sys.version]
    try:
        return subprocess.run(check, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:  # made on another kind of machine
        return False


def make_venv(uv: str | None) -> None:
    """Makes .venv again; an incomplete one is removed.

    `base` is the Python outside .venv, because the running one may be in the .venv that is removed.
    """
    base = getattr(sys, "_base_executable", sys.executable)
    commands = [[base, "-m", "venv", str(VENV)]]
    if uv:
        commands.insert(
            0, [uv, "venv", "--quiet", "--allow-existing", "--no-python-downloads", "--python", base, str(VENV)]
        )
    for command in commands:
        remove(VENV)
        VENV.mkdir()
        UNFINISHED.touch()
        result = subprocess.run(
            command, env=SETTINGS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if result.returncode == 0:
            UNFINISHED.unlink()
            return
    remove(VENV)
    sys.exit(venv_error(base, result.stdout))


def venv_error(base: str, output: str) -> str:
    if "ensurepip" in output or "No module named venv" in output:
        series = f"python3.{sys.version_info.minor}-venv"
        return (
            f"{base} cannot make virtual environments, as its venv module is missing; on Debian and Ubuntu: "
            f"sudo apt install python3-venv (or {series}, if this Python is not the system's own)."
        )
    return f"{output}\n{base} could not make {VENV}; the reason stands above."


def remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def installed_by_uv(uv: str, name: str) -> bool:
    sync = [uv, "pip", "sync", "--quiet", "--require-hashes", "--only-binary", ":all:", "--python", str(PYTHON)]
    if subprocess.run([*sync, str(requirements(name))], env=SETTINGS, check=False).returncode == 0:
        return True
    report("uv could not install the packages; trying pip.")
    return False


def install_by_pip(name: str) -> None:
    has_pip = [str(PYTHON), "-m", "pip", "--version"]
    if subprocess.run(has_pip, env=SETTINGS, capture_output=True, check=False).returncode:
        make_venv(None)  # one made by uv has no pip
    if subprocess.run([str(PYTHON), *PIP_INSTALL, str(requirements(name))], env=SETTINGS, check=False).returncode:
        sys.exit(
            "The packages could not be installed; the reason stands above (is the package index reachable?). "
            "Run the same command again; it goes on where it stopped."
        )


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
