"""One `serve` per database file: locks of the operating system, released with the process."""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOCKED_BYTE = 2**62
"""No SQLite file is that long, so this byte is none of those that SQLite locks (around 2**30)."""

_TAKEN = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}


class AlreadyLocked(Exception):
    """Another process serves this database file; stop it first, or use another file."""


class SeveralNames(Exception):
    """The database file has hard links, and this system cannot tell whether another process serves it by one."""


class FileLock:
    """Held from `acquire` to `release`, or to the end of the process.

    There are two locks. One is on a file beside the database, `kvit.db.lock`, at the end of all symlinks. On Linux the
    other is on a byte of the database file itself: it holds by every name of the file, and without `kvit.db.lock`.
    """

    def __init__(self, database: Path) -> None:
        self.database = Path(os.path.realpath(database))
        self.path = self.database.with_name(self.database.name + ".lock")
        self._files: dict[Path, int] = {}

    def acquire(self, *, create: bool = False) -> None:
        """Take the locks; `create` makes an empty database file if there is none.

        Raises:
            AlreadyLocked: another process holds one.
            SeveralNames: the database has hard links, and only its name can be locked.
            OSError: a file cannot be opened.
        """
        try:
            self._lock(self.path, os.O_CREAT, _lock_file)
            if create or self.database.exists():
                self._lock(self.database, os.O_CREAT if create else 0, _lock_database)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Release the locks; does nothing if they are not held. Closing the database file also ends SQLite's locks."""
        while self._files:
            os.close(self._files.popitem()[1])

    def renew(self) -> bool:
        """Make and lock the file beside the database anew if it was removed or replaced.

        Returns False if the database file itself is no longer at its path: what is written to it will be lost.

        Raises:
            AlreadyLocked: another process has locked the new file.
            OSError: it cannot be made.
        """
        if self.path in self._files and not _is_at(self.path, self._files[self.path]):
            os.close(self._files.pop(self.path))
            self._lock(self.path, os.O_CREAT, _lock_file)
        return self.database not in self._files or _is_at(self.database, self._files[self.database])

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def _lock(self, path: Path, flags: int, lock: Callable[[int], None]) -> None:
        """Lock the file that is at `path` once it is locked: another process may have removed the one just opened."""
        while path not in self._files:
            file = os.open(path, os.O_RDWR | flags | getattr(os, "O_CLOEXEC", 0), 0o600)
            try:
                lock(file)
            except BaseException as error:
                os.close(file)
                if isinstance(error, OSError) and is_taken(error):
                    raise AlreadyLocked(f"another process serves this database (lock file: {self.path})") from error
                raise
            if _is_at(path, file):
                self._files[path] = file
            else:
                os.close(file)


def _lock_file(file: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_database(file: int) -> None:
    """Lock a byte of the database file; where the system cannot, the file must have only one name.

    `flock` and ordinary record locks would not do: on some systems they conflict with SQLite's, or end with them.
    """
    if not lock_beside_sqlite(file) and os.fstat(file).st_nlink > 1:
        raise SeveralNames("the database file has another name (a hard link); remove it")


def lock_beside_sqlite(file: int) -> bool:
    """Lock an open database file until it is closed, without touching SQLite's locks; False if this system cannot.

    Raises:
        OSError: another open file holds the lock; `is_taken` tells this from other errors.
    """
    if sys.platform == "linux":
        request = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, _LOCKED_BYTE, 1, 0)  # struct flock
        try:
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, request)
            return True
        except OSError as error:
            if is_taken(error):
                raise
    return False


def is_taken(error: OSError) -> bool:
    """Whether a lock was refused because another holds it."""
    return error.errno in _TAKEN


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except OSError:
        return False
