"""What Kvit holds in memory does not grow with the number of payments: the same after each day."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from pathlib import Path
from types import BuiltinFunctionType, CoroutineType, FunctionType, ModuleType
from typing import Any

import pytest
from sqlalchemy.engine import Dialect
from sqlalchemy.util import LRUCache

from bot.sandbox.shared.fake_clock import FakeClock
from tests.chaos.soak import SoakTraffic
from tests.chaos.storm_shops import SHOP_MEMBERS, seeded_database
from tests.support.world import World, free_port, opened

PAYMENTS_PER_DAY = 12
"""As many as there are courses of a payment."""

WARM_UP_DAYS = 2
"""Days after which every course was played."""

IGNORED_TYPES = frozenset({"Statement", "_lru_list_elem", "ReferenceType"})
"""Statements and cursors that the SQLite driver caches: bounded, and never quite the same number."""

CODE = (type, ModuleType, FunctionType, BuiltinFunctionType)
EVENT_LOOP_TYPES = (
    asyncio.AbstractEventLoop,
    asyncio.Future,
    asyncio.BaseTransport,
    asyncio.BaseProtocol,
    CoroutineType,
)
"""References from the service to other parts of this event loop."""

STATEMENT_CACHES = (Dialect, LRUCache)
"""What SQLAlchemy keeps of each statement: bounded, and complete only when the rarest statement was compiled."""


@pytest.mark.long
async def test_objects_do_not_grow_with_payments(clock: FakeClock, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "kvit.db").write_bytes(seeded_database())
    async with opened(
        clock, tmp_path, port=port, public_url=f"http://127.0.0.1:{port}", request_hours=20, metrics_token="scraper"
    ) as world:
        for user_id in (user_id for people in SHOP_MEMBERS.values() for user_id, _, _ in people):
            world.telegram.users.private_chat(user_id)
        traffic = SoakTraffic(world, streams=False)
        for _ in range(WARM_UP_DAYS):
            await traffic.day(PAYMENTS_PER_DAY)
        before = count_objects(world)
        await traffic.day(PAYMENTS_PER_DAY)
        grown = count_objects(world) - before
        # One more connection, for overlapping reads, is some objects of many types.
        assert {kind: number for kind, number in grown.items() if number >= PAYMENTS_PER_DAY} == {}


def count_objects(world: World) -> Counter[str]:
    """The objects reachable from the service by type, without code, and without the fake vendors."""
    gc.collect()
    found: Counter[str] = Counter()
    seen = {id(one) for one in (world, world.clock, world.stripe, world.telegram, world.http, world.__dict__)}
    pending: list[Any] = [world.service]
    while pending:
        one = pending.pop()
        if id(one) in seen or isinstance(one, (*CODE, *EVENT_LOOP_TYPES, *STATEMENT_CACHES)):
            continue
        seen.add(id(one))
        found[type(one).__qualname__] += gc.is_tracked(one)
        pending += gc.get_referents(one)
    return Counter({kind: number for kind, number in found.items() if kind not in IGNORED_TYPES})
