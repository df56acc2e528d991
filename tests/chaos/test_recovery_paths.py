"""Each recovery path alone: with the others switched off the payment is still found, and announced once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.runtime.worker import LEASE_SECONDS
from handlers.stripe import event_parsing
from storage.job_queue import JobQueue
from tests.support.evidence import calls, event, idle, money, pass_time, payment, rows, webhooks
from tests.support.page_world import PHONE, page_of, state
from tests.support.people import advance_until, cancel_by_button, open_database
from tests.support.refund_steps import texts
from tests.support.world import OWNER, World, free_port, opened

NEVER = "86400"
"""Seconds between two reconciliations, the most that can be set: none runs during a test."""

HALF_AN_HOUR = 1800
PAID = "✅ Paid:"


@asynccontextmanager
async def open_request(
    clock: FakeClock, folder: Path, *, webhooks_work: bool = False, list_works: bool = False, **settings: Any
) -> AsyncIterator[World]:
    """A request with an open link and without reconciliation; webhooks and the list work only if set."""
    async with opened(clock, folder, **({"reconcile_seconds": NEVER} | settings)) as world:
        if not webhooks_work:
            await webhooks(world, "lose")
        if not list_works:
            world.stripe.options.missing_permissions = ("events.read",)
        world.say("/pay 149,50 Coffee")
        await world.message("Waiting for payment")
        await idle(world)
        yield world


async def wait_until_announced_once(world: World) -> None:
    """The payment is announced, and still only once hours later."""
    await advance_until(world, lambda: any(PAID in line for line in texts(world)))
    for _ in range(4):
        await pass_time(world, HALF_AN_HOUR)
    assert len([line for line in texts(world) if PAID in line]) == 1
    assert (payment(world)["status"], money(world)) == ("succeeded", (1, 1))


async def count_retrieves(world: World) -> int:
    """How often the intent was retrieved."""
    return len(calls(world, "retrieve"))


async def test_webhook_alone_finds_payment(clock: FakeClock, tmp_path: Path) -> None:
    async with open_request(clock, tmp_path, webhooks_work=True) as world:
        await world.decide("approve")
        await world.message(PAID)
        assert any(one.status == 200 for one in world.stripe.store.deliveries)
        await wait_until_announced_once(world)


async def test_without_any_recovery_path_nothing_is_announced(clock: FakeClock, tmp_path: Path) -> None:
    async with open_request(clock, tmp_path) as world:
        await world.decide("approve")
        await pass_time(world, 60)
        assert payment(world)["status"] == "open"
        assert not any(PAID in line for line in texts(world))


async def test_list_of_events_alone_finds_payment_after_start(clock: FakeClock, tmp_path: Path) -> None:
    async with open_request(clock, tmp_path) as world:
        await world.decide("approve")
        await idle(world)
        await world.stop()
        world.advance(60)
        retrieves = await count_retrieves(world)
        world.stripe.options.missing_permissions = ()
        await world.begin()
        await world.message(PAID)
        assert await count_retrieves(world) > retrieves
        assert rows(world, "SELECT count(*) AS n FROM jobs WHERE queue = 'events'")[0]["n"] > 0
        await wait_until_announced_once(world)


@pytest.mark.parametrize("list_fault", ["no permission", "broken"])
async def test_reconciler_alone_finds_payment(clock: FakeClock, tmp_path: Path, list_fault: str) -> None:
    async with open_request(clock, tmp_path, reconcile_seconds="60") as world:
        if list_fault == "broken":
            world.stripe.options.missing_permissions = ()
            fault = {"method": "GET /v1/events", "how": "500", "times": 1000}
            await world.control("stripe", "faults", fault)
        await world.decide("approve")
        await pass_time(world, 61)
        await wait_until_announced_once(world)
        assert rows(world, "SELECT count(*) AS n FROM jobs WHERE queue = 'events'")[0]["n"] == 0


@pytest.mark.parametrize("when", ["before", "after"])
async def test_worker_alone_sends_link_after_failed_first_call(clock: FakeClock, tmp_path: Path, when: str) -> None:
    async with opened(clock, tmp_path, reconcile_seconds=NEVER) as world:
        await webhooks(world, "lose")
        world.stripe.options.missing_permissions = ("events.read",)
        fault = {"method": "sendMessage", "how": "drop", "when": when}
        await world.control("telegram", "faults", fault)
        world.say("/pay 149,50 Coffee")
        await advance_until(world, lambda: rows(world, "SELECT 1 FROM payment_messages WHERE message_id IS NOT NULL"))
        await idle(world)
        assert any(entry.fault == f"drop {when}" for entry in world.telegram.transcript)
        assert len([line for line in texts(world) if "Waiting for payment" in line]) == (2 if when == "after" else 1)
        assert rows(world, "SELECT count(*) AS n FROM jobs WHERE state = 'pending'")[0]["n"] == 0


async def test_expired_lease_alone_recovers_claimed_job(clock: FakeClock, tmp_path: Path) -> None:
    async with open_request(clock, tmp_path) as world:
        await world.decide("approve")
        raw = json.dumps(event(world, "payment_intent.succeeded")).encode()
        async with open_database(world) as db:
            queue = JobQueue(db, "events")
            assert (
                await queue.enqueue(event_parsing.event_job(event_parsing.parse_event(raw)), now=world.clock.now()) == 1
            )
            assert len(await queue.claim(now=world.clock.now(), limit=1, lease_seconds=LEASE_SECONDS)) == 1
        world.advance(LEASE_SECONDS - 10)
        await world.until(lambda: world.telegram.state.changes.count)
        assert not any(PAID in line for line in texts(world))
        world.advance(11)
        await world.message(PAID)
        await wait_until_announced_once(world)


async def test_button_press_alone_finds_payment(clock: FakeClock, tmp_path: Path) -> None:
    async with open_request(clock, tmp_path) as world:
        message = await world.message("Waiting for payment")
        await world.decide("approve")
        await cancel_by_button(world, message)
        await world.message(PAID)
        assert [request.status for request in calls(world, "cancel")] == [400]
        await wait_until_announced_once(world)


async def test_pay_page_alone_finds_payment(clock: FakeClock, tmp_path: Path) -> None:
    port = free_port()
    async with open_request(clock, tmp_path, port=port, public_url=f"http://127.0.0.1:{port}") as world:
        await world.decide("approve")
        assert await state(world) != "paid"
        async with world.http.post(page_of(world), headers=PHONE, allow_redirects=False) as response:
            assert response.status == 303
        await world.message(PAID, chat=OWNER)
        await wait_until_announced_once(world)
        assert await state(world) == "paid"
