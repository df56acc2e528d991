"""What no webhook told is found in Stripe's own list, by the sweep or by `sweep` on demand, and is told once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.app import Service
from bot.sandbox.shared.fake_clock import FakeClock
from handlers.operations.reconciler import ReconcileResult
from handlers.stripe.gateway import GatewayError
from handlers.stripe_events.backfill import CURSOR, NOTHING_YET
from storage import installation
from tests.support.evidence import eventually, idle, pass_time, rows, webhooks
from tests.support.people import advance_until, dead_letters, open_database
from tests.support.refund_steps import DAY, paid, texts, wait_for_text
from tests.support.world import OWNER, World, opened

SEVERAL_SWEEPS = 660


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        yield running


async def swept(world: World, *, retry_dead: bool = False) -> ReconcileResult:
    """What another process finds and does beside the service, or without it."""
    return await Service(world.settings, world.clock).reconcile(retry_dead=retry_dead)


async def test_a_dashboard_refund_whose_events_are_lost_is_told_all_the_same(world: World) -> None:
    await paid(world)
    await webhooks(world, "lose")
    await world.control("stripe", f"intents/{world.intent()['id']}/refund", {"amount": 3000})
    await pass_time(world, SEVERAL_SWEEPS)
    await wait_for_text(world, "↩️ Refunded:")
    await pass_time(world, SEVERAL_SWEEPS)
    assert len([one for one in texts(world) if one.startswith("↩️ Refunded:")]) == 1


async def test_without_any_webhook_everything_is_told_only_slower(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path, webhooks=False) as world:
        world.say("/pay 125 Tea")
        await world.message("Waiting for payment")
        await world.decide("approve")
        await advance_until(world, lambda: [one for one in texts(world) if one.startswith("✅ Paid:")])
        intent = world.intent()["id"]
        await world.control("stripe", f"intents/{intent}/refund", {"amount": 3000})
        await world.control("stripe", f"intents/{intent}/dispute", {"amount": 9500})
        await pass_time(world, SEVERAL_SWEEPS)
        await wait_for_text(world, "↩️ Refunded:")
        await wait_for_text(world, "the customer has disputed")


async def test_what_happened_while_nobody_ran_is_told_after_the_start(world: World) -> None:
    await paid(world)
    await world.stop()
    await webhooks(world, "lose")
    await world.control("stripe", f"intents/{world.intent()['id']}/refund", {})
    world.advance(4 * 86_400)
    await world.begin()
    await wait_for_text(world, "↩️ Refunded:")


async def test_a_sweep_on_demand_says_what_it_found_and_a_second_finds_nothing(world: World) -> None:
    await paid(world)
    await webhooks(world, "lose")
    await world.stop()
    await world.control("stripe", f"intents/{world.intent()['id']}/refund", {})
    world.advance(3600)
    first = await swept(world)
    assert first.backfilled >= 2
    assert rows(world, "SELECT amount_refunded FROM payments")[0]["amount_refunded"] == 12500
    assert await swept(world) == ReconcileResult(backfilled=0, checked=0, changed=0, retried=0, dead=0)
    await world.begin()
    await wait_for_text(world, "↩️ Refunded:")


@pytest.mark.long
async def test_a_sweep_beside_the_running_service_tells_nothing_twice(world: World) -> None:
    await paid(world)
    await webhooks(world, "lose")
    await world.control("stripe", f"intents/{world.intent()['id']}/refund", {})
    world.clock.advance(60)
    assert (await swept(world)).backfilled >= 2
    await advance_until(world, lambda: [one for one in texts(world) if one.startswith("↩️ Refunded:")])
    await pass_time(world, SEVERAL_SWEEPS)
    assert len([one for one in texts(world) if one.startswith("↩️ Refunded:")]) == 1


async def test_an_event_that_is_still_on_its_way_is_left_to_its_webhook(world: World) -> None:
    await webhooks(world, "hold")
    world.say("/pay 125 Tea")
    await world.message("Waiting for payment")
    assert (await swept(world)).backfilled == 0


@pytest.mark.long
async def test_what_was_set_aside_is_tried_again_when_asked(world: World) -> None:
    world.telegram.state.add_update("message", {"text": "/start"}, OWNER)
    await world.until(lambda: rows(world, "SELECT 1 FROM jobs WHERE state = 'dead'"))
    assert len(await dead_letters(world, "updates")) == 1
    first = await swept(world)
    assert (first.dead, [one.reason.partition(":")[0] for one in first.newest]) == (1, ["unreadable"])
    again = await swept(world, retry_dead=True)
    assert (again.retried, again.dead) == (1, 1)
    await pass_time(world, 60)
    assert len(words_to_owner(world)) == 1
    world.advance(86_400)
    assert (await swept(world, retry_dead=True)).dead == 1
    await advance_until(world, lambda: len(words_to_owner(world)) == 2)


def words_to_owner(world: World) -> list[str]:
    """What the owner was told that could not be finished."""
    return [one for one in texts(world) if "could not finish" in one]


async def test_a_sweep_that_stripe_does_not_answer_says_so_and_changes_nothing(world: World) -> None:
    await paid(world)
    await idle(world)
    await world.control("stripe", "down", {"down": True})
    with pytest.raises(GatewayError, match="connection"):
        await swept(world)


@pytest.mark.long
async def test_a_long_list_is_read_on_from_where_stripe_broke_off(world: World) -> None:
    await paid(world)
    await webhooks(world, "lose")
    await pass_time(world, 60)
    assert (await swept(world)).backfilled == 0
    for _ in range(60):
        await world.control("stripe", f"intents/{world.intent()['id']}/refund", {"amount": 100})
    world.clock.advance(60)
    await world.control("stripe", "faults", {"method": "GET /v1/events", "nth": 2, "how": "500", "times": 3})
    with pytest.raises(GatewayError):
        await swept(world)
    before = rows(world, "SELECT count(*) AS events FROM jobs WHERE queue = 'events' AND kind = 'refund.created'")
    asked = len(lists(world))
    await swept(world)
    after = rows(world, "SELECT count(*) AS events FROM jobs WHERE queue = 'events' AND kind = 'refund.created'")
    assert 0 < before[0]["events"] < after[0]["events"] == 60
    assert len(lists(world)) - asked == 1


def lists(world: World) -> list[str]:
    """The pages of Stripe's list of events that were read."""
    return [request.path for request in world.stripe.store.requests if request.path == "/v1/events"]


async def test_an_event_that_is_listed_again_within_30_days_is_known_and_then_forgotten(world: World) -> None:
    began = world.clock.now()
    await paid(world)
    await idle(world)
    events = "SELECT key, payload FROM jobs WHERE queue = 'events' AND key LIKE 'evt%'"
    kept = rows(world, events)
    assert kept
    assert {bytes(row["payload"]) for row in kept} == {b""}
    for days in (9, 20):
        await pass_time(world, days * DAY)
        async with open_database(world) as db:
            await db.write(installation.set_setting, CURSOR, f"{NOTHING_YET} {began.isoformat()}")
        assert (await swept(world)).backfilled == 0
    assert rows(world, events) == kept
    await pass_time(world, 3 * DAY)
    await eventually(lambda: not rows(world, events))
