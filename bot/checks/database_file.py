"""Whether the database file can be opened at all: by this SQLite, at this path, by this user."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from bot.findings import Finding, failure

DATABASE = "database"
MIN_SQLITE = (3, 37)
"""Tables are STRICT, which SQLite knows since 3.37 (sqlite.org/stricttables.html)."""

OTHER_FILE = "or set DATABASE_URL to another file."


def database_file_problem(path: Path) -> Finding | None:
    """What is wrong, before anything is opened; None if nothing is. Nothing is created or changed."""
    if sqlite3.sqlite_version_info < MIN_SQLITE:
        detail = f"SQLite {sqlite3.sqlite_version} is too old: Kvit needs 3.37 or newer."
        return failure(
            DATABASE, detail, "Set up Kvit with a Python that has a newer one: PY=/path/to/python3 make demo."
        )
    try:
        real = Path(os.path.realpath(path))
        return _path_problem(path, real)
    except OSError as error:
        hint = f"Write another name into DATABASE_URL, like sqlite:///kvit.db ({type(error).__name__})."
        return failure(DATABASE, f"{path} cannot be opened: {error.strerror}.", hint)


def _path_problem(path: Path, real: Path) -> Finding | None:
    folder = real.parent
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        detail = f"{path} cannot be created: the folder {folder} {what}."
        return failure(DATABASE, detail, f"Create that folder for this user, {OTHER_FILE}")
    if real.is_dir():
        return failure(
            DATABASE,
            f"{path} is a folder, not a file.",
            f"Set DATABASE_URL to a file in it, like sqlite:///{path}/kvit.db.",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        detail = f"This user may not write in {folder}, where SQLite keeps files of its own beside {path.name}."
        return failure(DATABASE, detail, f"Give that folder to this user, {OTHER_FILE}")
    if real.exists() and not os.access(real, os.R_OK | os.W_OK):
        return failure(
            DATABASE, f"This user may not read and write {path}.", f"Give the file to this user, {OTHER_FILE}"
        )
    return None
