"""Sets up .venv on a fresh machine. It checks the version of Python first, in syntax that an old Python can read.

python3 scripts/bootstrap.py run    what Kvit needs to run
python3 scripts/bootstrap.py dev    that, and the tools for tests
"""
# ruff: noqa: UP031, UP036 - an old Python must be able to parse this file.

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "Kvit needs Python 3.11 or newer, and this is Python %s (%s). Set PY=/path/to/python3.11 before the command."
        % (sys.version.split()[0], sys.executable)
    )

from environment import main

if __name__ == "__main__":
    main(sys.argv[1:])
