"""Each safety net alone: the others are switched off, and the end still arrives, told once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.runtime.worker import LEASE_SECONDS
from handlers.stripe import events
from storage.job_queue import JobQueue
from tests.support.evidence import calls, event, money, pass_time, payment, rest, rows, webhooks
from tests.support.page_world import PHONE, page_of, state
from tests.support.people import book, in_time
from tests.support.refund_steps import texts
from tests.support.world import OWNER, World, free_port, opened

NEVER = "86400"
"""Seconds between two sweeps, the most that can be set: within a test no sweep comes by itself."""

HALF_AN_HOUR = 1800
PAID = "✅ Paid:"


@asynccontextmanager
async def left_with(
    clock: FakeClock, folder: Path, *, delivers: bool = False, lists: bool = False, **more: Any
) -> AsyncIterator[World]:
    """A request whose link can be paid, in a world that is never swept; webhooks and the list only if it is said."""
    async with opened(clock, folder, **({"reconcile_seconds": NEVER} | more)) as world:
        if not delivers:
            await webhooks(world, "lose")
        if not lists:
            world.stripe.options.missing_permissions = ("events.read",)
        world.say("/pay 149,50 Coffee")
        await world.card("Waiting for payment")
        await rest(world)
        yield world


async def told_once(world: World) -> None:
    """The payment is told as paid, and stays told once for hours."""
    await in_time(world, lambda: any(PAID in line for line in texts(world)))
    for _ in range(4):
        await pass_time(world, HALF_AN_HOUR)
    assert len([line for line in texts(world) if PAID in line]) == 1
    assert (payment(world)["status"], money(world)) == ("succeeded", (1, 1))


async def looked(world: World) -> int:
    """How often Stripe was asked for the intent."""
    return len(calls(world, "retrieve"))


async def test_webhooks_alone_tell_without_list_and_without_sweep(clock: FakeClock, tmp_path: Path) -> None:
    async with left_with(clock, tmp_path, delivers=True) as world:
        await world.decide("approve")
        await world.card(PAID)
        assert any(one.status == 200 for one in world.stripe.store.deliveries)
        await told_once(world)


async def test_without_any_net_nothing_is_told_so_that_the_others_are_really_off(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with left_with(clock, tmp_path) as world:
        await world.decide("approve")
        await pass_time(world, 60)
        assert payment(world)["status"] == "open"
        assert not any(PAID in line for line in texts(world))


async def test_the_list_of_events_alone_tells_after_a_start(clock: FakeClock, tmp_path: Path) -> None:
    async with left_with(clock, tmp_path) as world:
        await world.decide("approve")
        await rest(world)
        await world.stop()
        world.advance(60)
        before = await looked(world)
        world.stripe.options.missing_permissions = ()
        await world.begin()
        await world.card(PAID)
        assert await looked(world) > before
        assert rows(world, "SELECT count(*) AS n FROM jobs WHERE queue = 'events'")[0]["n"] > 0
        await told_once(world)


@pytest.mark.parametrize("refused", ["no right to read", "broken"])
async def test_the_sweep_alone_tells_without_webhooks_and_without_the_list(
    clock: FakeClock, tmp_path: Path, refused: str
) -> None:
    async with left_with(clock, tmp_path, reconcile_seconds="60") as world:
        if refused == "broken":
            world.stripe.options.missing_permissions = ()
            order = {"method": "GET /v1/events", "how": "500", "times": 1000}
            await world.control("stripe", "faults", order)
        await world.decide("approve")
        await pass_time(world, 61)
        await told_once(world)
        assert rows(world, "SELECT count(*) AS n FROM jobs WHERE queue = 'events'")[0]["n"] == 0


@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_belts_alone_bring_a_link_though_every_first_call_breaks(
    clock: FakeClock, tmp_path: Path, when: str
) -> None:
    async with opened(clock, tmp_path, reconcile_seconds=NEVER) as world:
        await webhooks(world, "lose")
        world.stripe.options.missing_permissions = ("events.read",)
        order = {"method": "sendMessage", "how": "drop", "when": when}
        await world.control("telegram", "faults", order)
        world.say("/pay 149,50 Coffee")
        await in_time(world, lambda: rows(world, "SELECT 1 FROM payment_messages WHERE message_id IS NOT NULL"))
        await rest(world)
        assert any(entry.fault == f"drop {when}" for entry in world.telegram.transcript)
        assert len([line for line in texts(world) if "Waiting for payment" in line]) == (2 if when == "after" else 1)
        assert rows(world, "SELECT count(*) AS n FROM jobs WHERE state = 'pending'")[0]["n"] == 0


async def test_the_lease_alone_brings_back_what_a_stopped_worker_held(clock: FakeClock, tmp_path: Path) -> None:
    async with left_with(clock, tmp_path) as world:
        await world.decide("approve")
        raw = json.dumps(event(world, "payment_intent.succeeded")).encode()
        async with book(world) as db:
            queue = JobQueue(db, "events")
            assert await queue.enqueue(events.event_job(events.parse_event(raw)), now=world.clock.now()) == 1
            assert len(await queue.claim(now=world.clock.now(), limit=1, lease_seconds=LEASE_SECONDS)) == 1
        world.advance(LEASE_SECONDS - 10)
        await world.until(lambda: world.telegram.state.changes.count)
        assert not any(PAID in line for line in texts(world))
        world.advance(11)
        await world.card(PAID)
        await told_once(world)


async def test_a_tap_alone_finds_out_that_the_customer_has_paid(clock: FakeClock, tmp_path: Path) -> None:
    async with left_with(clock, tmp_path) as world:
        card = await world.card("Waiting for payment")
        await world.decide("approve")
        world.tap(card, "Cancel")
        await world.card(PAID)
        assert [request.status for request in calls(world, "cancel")] == [400]
        await told_once(world)


async def test_a_look_at_the_page_alone_finds_out_that_the_customer_has_paid(clock: FakeClock, tmp_path: Path) -> None:
    port = free_port()
    async with left_with(clock, tmp_path, port=port, public_url=f"http://127.0.0.1:{port}") as world:
        await world.decide("approve")
        assert await state(world) != "paid"
        async with world.http.post(page_of(world), headers=PHONE, allow_redirects=False) as answer:
            assert answer.status == 303
        await world.card(PAID, chat=OWNER)
        await told_once(world)
        assert await state(world) == "paid"
