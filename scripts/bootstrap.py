"""Sets up .venv on a fresh machine. It checks the version of Python first, in syntax that an old Python can read.

python3 scripts/bootstrap.py run    what Kvit needs to run
python3 scripts/bootstrap.py dev    that, and the tools for tests
"""
# ruff: noqa: UP031, UP036 - an old Python must be able to parse this file.

import os
import sys

for number in (0, 1, 2):  # a closed stream would leave its number to the next file that is opened
    try:
        os.fstat(number)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_RDWR), number)
        os.set_inheritable(number, True)
sys.stderr = sys.stderr or sys.stdout

if sys.version_info < (3, 11):
    sys.exit(
        "Kvit needs Python 3.11 or newer, and this is Python %s (%s). Set PY=/path/to/python3.11 before the command."
        % (sys.version.split()[0], sys.executable)
    )

try:
    import sqlite3

    sqlite_version = sqlite3.sqlite_version if sqlite3.sqlite_version_info < (3, 37) else ""
except ImportError:
    sqlite_version = "none"

if sqlite_version:
    sys.exit(
        "Kvit needs SQLite 3.37 or newer, and this Python (%s) has %s. "
        "Set PY=/path/to/another/python3 before the command." % (sys.executable, sqlite_version)
    )

from environment import main  # noqa: E402 - after the checks

if __name__ == "__main__":
    main(sys.argv[1:])
