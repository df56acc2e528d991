"""The two shops of storm and soak tests, and their members."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from storage import shops
from storage.database.database import Database
from storage.models.shop import Role, Shop
from tests.support.people import ADMIN, COLLEAGUE, GROUP, MERCHANT, OTHER_GROUP

CREATED_AT = datetime(2026, 1, 1, tzinfo=UTC)
SECOND_ADMIN, SECOND_MERCHANT = 70_010_021, 70_010_022
SHOP_MEMBERS = {
    1: [(ADMIN, "Ada", Role.ADMIN), (MERCHANT, "Mads", Role.MERCHANT), (COLLEAGUE, "Carla", Role.MERCHANT)],
    2: [(SECOND_ADMIN, "Sven", Role.ADMIN), (SECOND_MERCHANT, "Mira", Role.MERCHANT)],
}


@cache
def seeded_database() -> bytes:
    """A database with two shops, their members and a group each, as bytes; created once, in a loop of its own."""
    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
        path = Path(folder) / "kvit.db"
        thread.submit(asyncio.run, _seed(path)).result()
        return path.read_bytes()


async def _seed(path: Path) -> None:
    db = Database(f"sqlite:///{path}")
    await db.migrate()
    for number, (name, currency, group) in enumerate((("Kvit", "DKK", GROUP), ("Second", "NOK", OTHER_GROUP)), 1):
        shop = await db.write(shops.create_shop, Shop(0, name, currency, "en", "Europe/Copenhagen"), now=CREATED_AT)
        for user_id, first_name, role in SHOP_MEMBERS[number]:
            await db.write(shops.set_member, shop.id, user_id, role, name=first_name, now=CREATED_AT)
        await db.write(shops.link_chat, group, shop.id, now=CREATED_AT)
    await db.close()
