"""The empty database of a test: an SQLite file, or with `KVIT_TEST_DATABASE=postgresql` one on the tests' server."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.migrated_file import lay_out
from tests.support.postgres import shared_server

ON_POSTGRES = os.environ.get("KVIT_TEST_DATABASE", "") == "postgresql"
"""Whether tests that name no database run on PostgreSQL; those marked `sqlite` cannot."""

_urls: dict[Path, str] = {}


async def empty_database(folder: Path) -> str:
    """The URL of the database of a test whose files are in `folder`: empty and migrated when first asked for."""
    if not ON_POSTGRES:
        await lay_out(folder / "kvit.db")
        return f"sqlite:///{folder}/kvit.db"
    if folder not in _urls:
        _urls[folder] = await shared_server().create()
    return _urls[folder]
