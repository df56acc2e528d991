"""One `serve` per database file: a lock of the operating system, released with the process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class AlreadyLocked(Exception):
    """Another process serves this database file; stop it first, or use another file."""


class FileLock:
    """Held from `acquire` to `release`, or to the end of the process.

    The lock is on a file beside the database (`kvit.db.lock`), which stays: without it two could get in.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            AlreadyLocked: another process holds it.
            OSError: the file cannot be made.
        """
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(file)
        except (BlockingIOError, PermissionError) as error:
            os.close(file)
            raise AlreadyLocked(f"another process serves this database (lock file: {self.path})") from error
        self._file = file

    def release(self) -> None:
        """Release the lock; does nothing if it is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def _lock(file: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
