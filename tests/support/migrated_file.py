"""A migrated SQLite file. The migrations run once for each worker; tests get copies."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from storage.database.database import Database

_migrated: list[bytes] = []


async def lay_out(path: Path) -> None:
    """Creates an empty database with the newest schema at `path`, unless the file exists."""
    if path.exists():
        return
    if not _migrated:
        with TemporaryDirectory() as folder:
            made = Path(folder) / "kvit.db"
            database = Database(f"sqlite:///{made}")
            await database.migrate()
            await database.close()
            _migrated.append(made.read_bytes())
    path.touch(0o600)
    path.write_bytes(_migrated[0])
