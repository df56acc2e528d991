"""Makes .venv hold what a requirements file lists, with the standard library alone, so that nothing has to be prepared.

A stamp in .venv says what it holds, so a second run costs a glance. Whatever was cut short is finished by the next run.
uv does the work when it is there, pip when it is not or fails; NO_UV=1 leaves uv out. Everything is checked by hash.
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

# What a set brings along: after `dev`, `run` has nothing left to do.
COVERS = {"run": ["run"], "dev": ["dev", "run"]}

# uv trusts the machine's certificates only when asked, and leaves byte-code to every start. A pip told to install for
# the user refuses to work in a virtual environment.
SETTINGS = {"UV_SYSTEM_CERTS": "1", "UV_COMPILE_BYTECODE": "1", **os.environ, "PIP_USER": "0", "UV_NO_PROGRESS": "1"}
PIP_INSTALL = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
PIP_INSTALL += ["--require-hashes", "--only-binary", ":all:", "--compile", "--requirement"]


def main(arguments: list[str]) -> None:
    """Bring .venv up to the named set, or end the process with one plain sentence and exit code 1."""
    if len(arguments) != 1 or arguments[0] not in COVERS:
        sys.exit("usage: python3 scripts/bootstrap.py run|dev")
    name = arguments[0]
    if is_installed(name):
        return
    try:
        refuse_what_is_not_ours()
        with one_at_a_time():
            if not is_installed(name):
                install(name)
    except KeyboardInterrupt:
        sys.exit("\nStopped half-way. Run the same command again; it goes on from here.")


def is_installed(name: str) -> bool:
    # A link to an interpreter that is gone does not exist either, so a removed Python shows here too.
    return PYTHON.exists() and STAMP.exists() and mark(name) in STAMP.read_text().split()


def mark(name: str) -> str:
    """Another Python or another list of packages has another mark."""
    return hashlib.sha256(sys.version.encode() + requirements(name).read_bytes()).hexdigest()


def requirements(name: str) -> Path:
    return ROOT / "requirements" / f"{name}.txt"


def refuse_what_is_not_ours() -> None:
    """Say whose .venv it is before a package manager fails in the middle of it."""
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
    except KeyError:  # a number that has no name here, as in a container
        return f"user {folder.stat().st_uid}"


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait while another command, such as a `make test` beside a `make demo`, sets up the same .venv."""
    if sys.platform == "win32":
        yield
        return
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems lock no folders: then we are as good as alone
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def install(name: str) -> None:
    uv = None if os.environ.get("NO_UV") else shutil.which("uv")
    count = len(re.findall(r"^[^#\s]+==", requirements(name).read_text(), re.MULTILINE))
    version = sys.version.split()[0]
    tell(f"Setting up .venv (once): Python {version}, {count} packages, by {'uv' if uv else 'pip'}.")
    if not is_usable():
        make_venv(uv)
    STAMP.unlink(missing_ok=True)
    if not (uv and installed_by_uv(uv, name)):
        install_by_pip(name)
    STAMP.write_text("\n".join(mark(covered) for covered in COVERS[name]))


def is_usable() -> bool:
    """Whether .venv was made to its end, and by this very Python."""
    if UNFINISHED.exists() or not PYTHON.exists():
        return False
    question = [str(PYTHON), "-c", "import sys; sys.exit(sys.version != sys.argv[1])", sys.version]
    try:
        return subprocess.run(question, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:  # made on a machine of another kind
        return False


def make_venv(uv: str | None) -> None:
    """Make it anew; what cannot be made to its end is taken away again.

    `base` is the Python below: ours may be the one in the .venv that goes.
    """
    base = getattr(sys, "_base_executable", sys.executable)
    ways = [[base, "-m", "venv", str(VENV)]]
    if uv:
        ways.insert(
            0, [uv, "venv", "--quiet", "--allow-existing", "--no-python-downloads", "--python", base, str(VENV)]
        )
    for way in ways:
        remove(VENV)
        VENV.mkdir()
        UNFINISHED.touch()
        made = subprocess.run(
            way, env=SETTINGS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if made.returncode == 0:
            UNFINISHED.unlink()
            return
    remove(VENV)
    sys.exit(why_no_venv(base, made.stdout))


def why_no_venv(base: str, words: str) -> str:
    if "ensurepip" in words or "No module named venv" in words:
        series = f"python3.{sys.version_info.minor}-venv"
        return (
            f"{base} cannot make virtual environments, as its venv module is missing; on Debian and Ubuntu: "
            f"sudo apt install python3-venv (or {series}, if this Python is not the system's own)."
        )
    return f"{words}\n{base} could not make {VENV}; the reason stands above."


def remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def installed_by_uv(uv: str, name: str) -> bool:
    sync = [uv, "pip", "sync", "--quiet", "--require-hashes", "--only-binary", ":all:", "--python", str(PYTHON)]
    if subprocess.run([*sync, str(requirements(name))], env=SETTINGS, check=False).returncode == 0:
        return True
    tell("uv could not install the packages; trying pip.")
    return False


def install_by_pip(name: str) -> None:
    has_pip = [str(PYTHON), "-m", "pip", "--version"]
    if subprocess.run(has_pip, env=SETTINGS, capture_output=True, check=False).returncode:
        make_venv(None)  # uv's has none
    if subprocess.run([str(PYTHON), *PIP_INSTALL, str(requirements(name))], env=SETTINGS, check=False).returncode:
        sys.exit(
            "The packages could not be installed; the reason stands above (is the package index reachable?). "
            "Run the same command again; it goes on where it stopped."
        )


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
