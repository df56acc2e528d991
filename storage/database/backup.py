"""A checked copy of the database while it is in use: complete, or not there."""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from storage.database.file_lock import lock_beside_sqlite

BUSY_SECONDS = 30.0
BACKUP_MARK = "is_backup"
"""The setting that a copy has and a database in use has not."""

_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part", re.DOTALL)


class BackupFailed(Exception):
    """No copy was made; files that existed are untouched."""


class TargetExists(BackupFailed):
    """A file of that name exists; nothing is overwritten."""


def backup_database(database: Path, to: Path) -> int:
    """Copy the database file to `to`, readable by its owner alone, and return its size in bytes.

    Writers are not held up: the copy is one snapshot.

    Raises:
        TargetExists: `to` exists.
        BackupFailed: it could not be read or written, or the copy is not sound.
    """
    _remove_left_over_parts(to.parent)
    if not database.is_file():
        raise BackupFailed(f"there is no database {database.name} to be copied")
    if to.exists():
        raise TargetExists(f"{to.name} exists and is not overwritten")
    part = to.with_name(f".{to.name}.{secrets.token_hex(4)}.part")
    held = None
    try:
        held = _make_locked(part)
        _copy(database, part)
        _sync(part)
        _give_name(part, to)
        _sync(to.parent)
    except sqlite3.Error as error:
        raise BackupFailed(f"the database could not be copied: {error}") from error
    except OSError as error:
        raise BackupFailed(f"{to.name} could not be written: {error.strerror}") from error
    finally:
        if held is not None:
            os.close(held)
        _remove(part)
    return to.stat().st_size


def _remove_left_over_parts(folder: Path) -> None:
    """Remove the unfinished copies of backups that were killed: nothing locks them. On Linux only."""
    for part in folder.glob(".*.part"):
        if _PART.fullmatch(part.name):
            with suppress(OSError):  # locked: its backup goes on
                file = os.open(part, os.O_RDWR)
                try:
                    if lock_beside_sqlite(file):
                        _remove(part)
                finally:
                    os.close(file)


def _make_locked(part: Path) -> int:
    """Make an empty file, locked from the moment it has this name, so that no other backup takes it for a left-over."""
    new = part.with_suffix(".new")
    file = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        lock_beside_sqlite(file)
        new.rename(part)
    except BaseException:
        os.close(file)
        raise
    return file


def _remove(part: Path) -> None:
    for left in (part, *(part.with_name(part.name + end) for end in ("-journal", "-wal", "-shm"))):
        with suppress(OSError):
            left.unlink()


def _copy(database: Path, part: Path) -> None:
    with (
        closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as source,
        closing(sqlite3.connect(part, timeout=BUSY_SECONDS)) as copy,
    ):
        source.execute("PRAGMA query_only = 1")
        source.backup(copy)
        _mark(copy)
        copy.execute("PRAGMA journal_mode = delete")  # so that the one file is all there is
        found = [row[0] for row in copy.execute("PRAGMA integrity_check(1)")]
        if found != ["ok"] or copy.execute("PRAGMA foreign_key_check").fetchone():
            raise BackupFailed("the copy is not sound, and so the database may not be: see docs/operations.md")


def _mark(copy: sqlite3.Connection) -> None:
    """Let a service that starts on the copy know that it is one, and so what may have changed since."""
    if copy.execute("SELECT 1 FROM sqlite_master WHERE name = 'installation_settings'").fetchone():
        copy.execute("INSERT OR REPLACE INTO installation_settings (name, value) VALUES (?, '1')", (BACKUP_MARK,))
        copy.commit()


def _give_name(part: Path, to: Path) -> None:
    """Rename the finished file, unless its name was taken since."""
    try:
        os.link(part, to)
    except FileExistsError:
        raise TargetExists(f"{to.name} exists and is not overwritten") from None
    except OSError:  # a file system without links: for a moment another file could be replaced
        if to.exists():
            raise TargetExists(f"{to.name} exists and is not overwritten") from None
        part.rename(to)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows has no such thing for folders
    file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)
