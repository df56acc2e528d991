"""Each movement of money is one row with Stripe's time, written once and never changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.sandbox.shared.fake_clock import FakeClock
from storage import movements
from storage.models.money import Money
from storage.models.movement import Totals
from storage.movements import Period
from tests.support.empty_database import ON_POSTGRES
from tests.support.evidence import idle, rows, webhooks
from tests.support.people import open_database, open_shop, reply
from tests.support.refund_steps import (
    dashboard_refund,
    held,
    move,
    paid,
    ref_of,
    refunded,
    set_next_refund,
    wait_for_text,
)
from tests.support.world import World, opened

START = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def moved(world: World) -> list[tuple[str, int, float]]:
    """Kind, amount and time of each movement, in order of recording; the time in seconds after the start."""
    await idle(world)
    found = rows(world, "SELECT kind, amount, at FROM movements ORDER BY id")
    return [(row["kind"], row["amount"], row["at"] / 1e6 - START.timestamp()) for row in found]


async def dispute(world: World, **more: object) -> str:
    """The id of a new dispute of the newest payment."""
    await world.control("stripe", f"intents/{world.intent()['id']}/dispute", dict(more))
    return next(reversed(world.stripe.store.disputes))


async def test_payment_refund_and_failed_refund_are_a_row_each(world: World) -> None:
    ref = ref_of(await paid(world))
    world.advance(60)
    await refunded(world, f"/refund {ref} 50")
    await wait_for_text(world, "↩️ Refunded:")
    world.advance(3600)
    await move(world, "fail")
    await wait_for_text(world, "the refund of DKK 50.00 failed")
    assert await moved(world) == [("payment", 12500, 0), ("refund", -5000, 60), ("refund_failed", 5000, 3660)]


async def test_hold_moves_money_when_it_is_captured(world: World) -> None:
    ref = ref_of(await held(world))
    assert await moved(world) == []
    world.advance(60)
    world.tap(await reply(world, world.say(f"/capture {ref}"), "Charge DKK"), "Charge")
    await wait_for_text(world, "✅ Paid:")
    assert [each[:2] for each in await moved(world)] == [("capture", 12500)]


async def test_pending_refund_moves_nothing_until_it_succeeds(world: World) -> None:
    ref = ref_of(await paid(world))
    await set_next_refund(world, "pending")
    await refunded(world, f"/refund {ref} 50")
    await wait_for_text(world, "has started but is not finished")
    assert [each[0] for each in await moved(world)] == ["payment"]
    world.advance(86_400)
    await move(world, "succeed")
    await wait_for_text(world, "↩️ Refunded:")
    assert (await moved(world))[1:] == [("refund", -5000, 0)]


async def test_refund_that_fails_without_having_succeeded_moves_nothing(world: World) -> None:
    ref = ref_of(await paid(world))
    await set_next_refund(world, "pending")
    await refunded(world, f"/refund {ref} 50")
    await wait_for_text(world, "has started but is not finished")
    await move(world, "fail")
    await wait_for_text(world, "the refund of DKK 50.00 failed")
    assert [each[0] for each in await moved(world)] == ["payment"]


async def test_movement_has_the_time_of_stripe_however_late_it_is_learned(world: World) -> None:
    await paid(world)
    await webhooks(world, "hold")
    world.advance(3600)
    await dashboard_refund(world, 2500)
    world.advance(7200)
    await world.control("stripe", "webhooks/release", {})
    await wait_for_text(world, "↩️ Refunded:")
    await move(world, "fail")
    world.advance(86_400)
    await world.control("stripe", "webhooks/release", {})
    await wait_for_text(world, "the refund of DKK 25.00 failed")
    assert (await moved(world))[1:] == [("refund", -2500, 3600), ("refund_failed", 2500, 10_800)]


async def test_dispute_takes_the_money_and_gives_it_back_when_it_is_won(world: World) -> None:
    await paid(world)
    world.advance(60)
    lawsuit = await dispute(world)
    world.advance(600)
    await world.control("stripe", f"disputes/{lawsuit}/close", {"status": "won"})
    await wait_for_text(world, "⚖️ The shop won the dispute")
    assert (await moved(world))[1:] == [("dispute", -12500, 60), ("dispute_won", 12500, 660)]


async def test_inquiry_moves_nothing_until_it_becomes_a_dispute(world: World) -> None:
    await paid(world)
    inquiry = await dispute(world, status="warning_needs_response")
    await wait_for_text(world, "the customer's bank is asking about")
    assert [each[0] for each in await moved(world)] == ["payment"]
    world.advance(600)
    await world.control("stripe", f"disputes/{inquiry}/update", {"status": "needs_response"})
    await wait_for_text(world, "⚖️ The customer has disputed this payment")
    await world.control("stripe", f"disputes/{inquiry}/close", {"status": "lost"})
    await wait_for_text(world, "⚖️ The shop lost the dispute")
    assert (await moved(world))[1:] == [("dispute", -12500, 600)]


async def test_events_that_come_twice_and_shuffled_move_money_once(world: World) -> None:
    await world.control("stripe", "webhooks", {"mode": "hold", "double": True, "shuffle": True})
    world.say("/pay 125 Tea")
    await world.message("Waiting for payment")
    await world.decide("approve")
    await dashboard_refund(world, 2500)
    lawsuit = await dispute(world, amount=5000)
    await world.control("stripe", f"disputes/{lawsuit}/close", {"status": "won"})
    await world.control("stripe", "webhooks/release", {})
    await webhooks(world, "deliver")
    await wait_for_text(world, "the shop won the dispute")
    kinds = sorted(each[:2] for each in await moved(world))
    assert kinds == [("dispute", -5000), ("dispute_won", 5000), ("payment", 12500), ("refund", -2500)]


async def test_movements_are_only_ever_added_to(world: World) -> None:
    await paid(world)
    before = await moved(world)
    columns = "key, shop_id, payment_id, kind, stripe_id, 1, currency, livemode, at, recorded_at"
    names = columns.replace("1,", "amount,")
    replacements = (
        f"REPLACE INTO movements (id, {names}) SELECT id, {columns} FROM movements",
        f"REPLACE INTO movements ({names}) SELECT {columns} FROM movements",
    )
    statements = ("UPDATE movements SET amount = 1", "DELETE FROM movements")
    for statement in statements if ON_POSTGRES else (*statements, *replacements):
        async with open_database(world) as db:
            with pytest.raises(sa.exc.IntegrityError, match="append-only"):
                await db.write(sa.Connection.exec_driver_sql, statement)
    assert await moved(world) == before != []


async def test_totals_of_a_period_begin_with_its_first_moment_and_end_before_its_last(world: World) -> None:
    ref = ref_of(await paid(world))
    world.advance(60)
    await refunded(world, f"/refund {ref} 50")
    await wait_for_text(world, "↩️ Refunded:")
    await paid(world, "/pay 20 EUR Bun")
    dkk = Totals(Money(12500, "DKK"), 1, Money(5000, "DKK"), 1, Money(0, "DKK"))
    eur = Totals(Money(2000, "EUR"), 1, Money(0, "EUR"), 0, Money(0, "EUR"))
    at = START + timedelta(seconds=60)
    async with open_database(world) as db:

        async def between(since: datetime, until: datetime) -> list[Totals]:
            return list(await db.read(movements.totals, 1, Period(since, until), livemode=False))

        assert await between(START, at + timedelta(seconds=1)) == [dkk, eur]
        assert [each.net for each in await between(START, at)] == [Money(12500, "DKK")]
        assert [each.net for each in await between(at, START + timedelta(days=9))] == [Money(-5000, "DKK"), eur.net]
        assert await db.read(movements.totals, 1, Period(START, at), livemode=True) == []
        assert await db.read(movements.totals, 2, Period(START, at), livemode=False) == []
