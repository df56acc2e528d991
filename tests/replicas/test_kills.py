"""Replicas as processes: one is killed or stopped, or PostgreSQL is, at any moment, and nothing is lost or twice."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.postgres import Server
from tests.support.process_world import Outside, outside
from tests.support.world import OWNER, PATIENCE, free_port

pytestmark = pytest.mark.long

OWNERS = [OWNER + number for number in range(4)]


@asynccontextmanager
async def replicas(folder: Path, postgres: Server, number: int = 3) -> AsyncIterator[tuple[Outside, list[Process]]]:
    """So many processes on one database; Stripe's webhooks go to the last of them, which does not lead."""
    settings = {"DATABASE_URL": await postgres.create(), "OWNER_IDS": ",".join(map(str, OWNERS))}
    async with outside(folder, **settings) as world:
        started = []
        for _ in range(number):
            world.port = free_port()
            started.append(await world.ready(PORT=str(world.port)))
        await world.subscribe()
        yield world, started


async def all_paid(world: Outside) -> None:
    """Everybody's request gets its message, is approved, and is told as paid; each once."""
    cards = [await world.message("Waiting for payment", chat=owner) for owner in OWNERS]
    await asyncio.gather(*(world.approve(card) for card in cards))
    for owner in OWNERS:
        await world.message("✅ Paid:", chat=owner)
    assert [charge["status"] for charge in world.stripe.store.charges.values()] == ["succeeded"] * len(OWNERS)
    assert len(world.created) >= len(OWNERS)
    assert len(world.stripe.store.intents) == len(OWNERS)
    assert len(world.sent("✅ Paid:")) == len(OWNERS)


async def test_killed_leader_is_replaced_and_every_payment_ends_once(tmp_path: Path, postgres: Server) -> None:
    async with replicas(tmp_path, postgres) as (world, [leader, *_]):
        for owner in OWNERS[:2]:
            world.telegram.send(owner, owner, "/pay 149,50 Coffee")
        await world.until(lambda: len(world.stripe.store.intents) >= 1)
        leader.kill()
        for owner in OWNERS[2:]:
            world.telegram.send(owner, owner, "/pay 149,50 Coffee")
        await all_paid(world)


async def test_stopped_leader_that_goes_on_does_nothing_twice(tmp_path: Path, postgres: Server) -> None:
    async with replicas(tmp_path, postgres, 2) as (world, [leader, _]):
        for owner in OWNERS[:2]:
            world.telegram.send(owner, owner, "/pay 149,50 Coffee")
        await world.until(lambda: len(world.stripe.store.intents) >= 1)
        leader.send_signal(signal.SIGSTOP)
        for owner in OWNERS[2:]:
            world.telegram.send(owner, owner, "/pay 149,50 Coffee")
        await world.message("Waiting for payment", chat=OWNERS[3])  # the other leads by now
        leader.send_signal(signal.SIGCONT)
        await all_paid(world)
        await world.stopped(leader)


@pytest.mark.parametrize("how", ["connections", "server"])
async def test_every_payment_ends_once_though_the_database_breaks_off(
    tmp_path: Path, postgres: Server, how: str
) -> None:
    async with replicas(tmp_path, postgres, 2) as (world, _):
        for owner in OWNERS:
            world.telegram.send(owner, owner, "/pay 149,50 Coffee")
        await world.until(lambda: len(world.stripe.store.intents) >= 1)
        if how == "server":
            postgres.stop()
            postgres.start()
        else:
            await postgres.run("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'kvit'")
        await all_paid(world)


async def test_replica_with_a_wrong_clock_takes_the_databases_time(tmp_path: Path, postgres: Server) -> None:
    async with replicas(tmp_path, postgres, 1) as (world, [right]):
        world.port = free_port()
        command = ("tests.replicas.serve_with_wrong_clock", "3600")
        wrong = await world.begin(*command, PORT=str(world.port))
        await world.is_ready(wrong)
        await world.subscribe()
        await world.stopped(right)
        for owner in OWNERS:
            world.telegram.send(owner, owner, "/pay 149,50 Coffee")
        cards = [await world.message("Waiting for payment", chat=owner) for owner in OWNERS]
        assert "3600.0 s from the database's" in world.log
        await asyncio.gather(*(world.approve(card) for card in cards))
        async with asyncio.timeout(PATIENCE):
            for owner in OWNERS:
                await world.message("✅ Paid:", chat=owner)
