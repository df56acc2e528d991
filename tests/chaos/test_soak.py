"""What Kvit holds does not grow with what was sold: after a day it holds what it held the day before."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from pathlib import Path
from types import BuiltinFunctionType, CoroutineType, FunctionType, ModuleType
from typing import Any

from bot.sandbox.shared.fake_clock import FakeClock
from tests.chaos.soak import Market
from tests.chaos.storm_shops import PEOPLE, blank
from tests.support.world import World, free_port, opened

PAYMENTS = 12
"""Of a day; as many as there are endings."""

WARM_UP = 2
"""Days after which everything was met once."""

CACHES = frozenset({"Statement", "_lru_list_elem", "ReferenceType"})
"""What SQLite's driver keeps of statements and cursors: bounded, and never quite the same."""

CODE = (type, ModuleType, FunctionType, BuiltinFunctionType)
ELSEWHERE = (asyncio.AbstractEventLoop, asyncio.Future, asyncio.BaseTransport, asyncio.BaseProtocol, CoroutineType)
"""What leads out of the service to whatever else runs in this loop."""


async def test_nothing_grows_with_what_was_sold(clock: FakeClock, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "kvit.db").write_bytes(blank())
    async with opened(clock, tmp_path, port=port, public_url=f"http://127.0.0.1:{port}", request_hours=20) as world:
        for person in (person for people in PEOPLE.values() for person, _, _ in people):
            world.telegram.users.private_chat(person)
        market = Market(world, streams=False)
        for _ in range(WARM_UP):
            await market.day(PAYMENTS)
        before = held(world)
        await market.day(PAYMENTS)
        grown = held(world) - before
        # One connection more, for looks that overlapped, is some objects of many kinds.
        assert {kind: number for kind, number in grown.items() if number >= PAYMENTS} == {}


def held(world: World) -> Counter[str]:
    """How many objects of which kind the service leads to, besides code, numbers and words, and the pretend world."""
    gc.collect()
    found: Counter[str] = Counter()
    seen = {id(one) for one in (world, world.clock, world.stripe, world.telegram, world.http, world.__dict__)}
    left: list[Any] = [world.service]
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, CODE + ELSEWHERE):
            continue
        seen.add(id(one))
        found[type(one).__qualname__] += gc.is_tracked(one)
        left += gc.get_referents(one)
    return Counter({kind: number for kind, number in found.items() if kind not in CACHES})
