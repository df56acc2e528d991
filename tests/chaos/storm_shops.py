"""The two shops of the market and their people, as they stand before anything happens."""

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

OPENED = datetime(2026, 1, 1, tzinfo=UTC)
SECOND_ADMIN, SECOND_MERCHANT = 70_010_021, 70_010_022
PEOPLE = {
    1: [(ADMIN, "Ada", Role.ADMIN), (MERCHANT, "Mads", Role.MERCHANT), (COLLEAGUE, "Carla", Role.MERCHANT)],
    2: [(SECOND_ADMIN, "Sven", Role.ADMIN), (SECOND_MERCHANT, "Mira", Role.MERCHANT)],
}


@cache
def blank() -> bytes:
    """Two shops with their people and a group each: made once, in a loop of its own."""
    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as beside:
        path = Path(folder) / "kvit.db"
        beside.submit(asyncio.run, _opened(path)).result()
        return path.read_bytes()


async def _opened(path: Path) -> None:
    db = Database(f"sqlite:///{path}")
    await db.migrate()
    for number, (name, currency, group) in enumerate((("Kvit", "DKK", GROUP), ("Second", "NOK", OTHER_GROUP)), 1):
        shop = await db.write(shops.create_shop, Shop(0, name, currency, "en", "Europe/Copenhagen"), now=OPENED)
        for user_id, first_name, role in PEOPLE[number]:
            await db.write(shops.set_member, shop.id, user_id, role, name=first_name, now=OPENED)
        await db.write(shops.link_chat, group, shop.id, now=OPENED)
    await db.close()
