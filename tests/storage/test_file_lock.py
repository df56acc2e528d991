"""One `serve` per database file, however the former one ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from storage.database.file_lock import AlreadyLocked, FileLock

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
