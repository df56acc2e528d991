"""The way in on a fresh machine: looks at Python first, in words that an old one can read, then makes .venv.

python3 scripts/bootstrap.py run    what Kvit needs to run
python3 scripts/bootstrap.py dev    that, and the tools that test it
"""
# ruff: noqa: UP031, UP036 - an old Python must get through this file to its last sentence.

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "Kvit needs Python 3.11 or newer, and this is Python %s (%s). Set PY=/path/to/python3.11 before the command."
        % (sys.version.split()[0], sys.executable)
    )

from environment import main

if __name__ == "__main__":
    main(sys.argv[1:])
