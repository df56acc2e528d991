"""One `serve` per database file, however the former one ended."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from storage.database.file_lock import AlreadyLocked, FileLock

OTHER_NAMES = ["symbolic link", "symbolic link to the folder", "hard link", "removed lock file", "all of them"]
pytestmark = pytest.mark.sqlite
HOLDER = """
import sys
from pathlib import Path
from storage.database.file_lock import FileLock

FileLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_second_lock_of_a_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with FileLock(tmp_path / "kvit.db"), pytest.raises(AlreadyLocked, match=r"another process serves.*kvit\.db\.lock"):
        FileLock(tmp_path / "kvit.db").acquire()


def test_locks_of_different_files_are_independent(tmp_path: Path) -> None:
    with FileLock(tmp_path / "one.db"), FileLock(tmp_path / "two.db"):
        pass


def test_released_lock_can_be_acquired_again(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "kvit.db")
    for _ in range(2):
        lock.acquire()
        lock.release()
    lock.release()


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_lock_holds_by_every_name_of_the_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    database = tmp_path / "folder" / "kvit.db"
    with FileLock(database) as lock:
        lock.release()
        lock.acquire(create=True)
        with pytest.raises(AlreadyLocked):
            FileLock(other_name(database, name)).acquire()
        assert lock.renew()
        with pytest.raises(AlreadyLocked):
            FileLock(database).acquire()
    FileLock(database).acquire()


def other_name(database: Path, name: str) -> Path:
    """Another path of the file, or the same after its lock file was removed."""
    other = database.parent.parent / "other.db"
    if name in {"removed lock file", "all of them"}:
        database.with_name("kvit.db.lock").unlink()
    if name in {"hard link", "all of them"}:
        other.hardlink_to(database)
    if name == "symbolic link":
        other.symlink_to(database)
    if name == "symbolic link to the folder":
        (other := database.parent.parent / "linked").symlink_to(database.parent)
        return other / "kvit.db"
    if name == "all of them":
        (other := database.parent.parent / "linked.db").symlink_to(database.parent.parent / "other.db")
    return other if other.exists() else database


def test_lock_makes_its_file_again_and_notices_a_database_that_is_gone(tmp_path: Path) -> None:
    database = tmp_path / "kvit.db"
    lock = FileLock(database)
    lock.acquire(create=True)
    lock.path.unlink()
    assert lock.renew()
    assert lock.path.exists()
    database.rename(tmp_path / "moved.db")
    assert not lock.renew()
    database.touch()
    assert not lock.renew(), "another file has its name"
    (tmp_path / "moved.db").rename(database)
    assert lock.renew()
    lock.release()


def test_lock_without_a_database_makes_none(tmp_path: Path) -> None:
    with FileLock(tmp_path / "kvit.db") as lock:
        assert lock.renew()
        assert not (tmp_path / "kvit.db").exists()


def test_sqlite_works_beside_the_lock_in_this_and_another_process(tmp_path: Path) -> None:
    database = tmp_path / "kvit.db"
    with FileLock(database) as lock:
        lock.release()
        lock.acquire(create=True)
        with closing(sqlite3.connect(database, isolation_level=None, timeout=0)) as one:
            one.execute("PRAGMA journal_mode = wal")
            one.execute("CREATE TABLE notes (text)")
            one.execute("BEGIN IMMEDIATE")
            write = (
                "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('INSERT INTO notes VALUES (1)')"
            )
            command = [sys.executable, "-c", write, str(database)]
            assert b"database is locked" in subprocess.run(command, capture_output=True, check=False).stderr
            one.execute("ROLLBACK")
            assert subprocess.run(command, check=False).returncode == 0
        with pytest.raises(AlreadyLocked):
            FileLock(database).acquire()


def test_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "kvit.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyLocked):
            FileLock(tmp_path / "kvit.db").acquire()
        holder.kill()
        holder.wait()
    with FileLock(tmp_path / "kvit.db"):
        pass
