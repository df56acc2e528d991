"""A file with all tables, made once by the migrations and then copied: most tests begin where those have ended."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from storage.database.database import Database

_MADE: list[bytes] = []


async def lay_out(path: Path) -> None:
    """Put an empty database of the newest version there, unless there is a file."""
    if path.exists():
        return
    if not _MADE:
        with TemporaryDirectory() as folder:
            made = Path(folder) / "kvit.db"
            database = Database(f"sqlite:///{made}")
            await database.migrate()
            await database.close()
            _MADE.append(made.read_bytes())
    path.touch(0o600)
    path.write_bytes(_MADE[0])
