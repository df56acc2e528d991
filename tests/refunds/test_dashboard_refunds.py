"""Somebody refunds in Stripe's Dashboard what Kvit is asked to refund as well, and Kvit has not heard of it: once."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import eventually, idle, rows, webhooks
from tests.support.people import ADMIN, GROUP, MERCHANT, advance_until, open_shop, reply
from tests.support.refund_steps import (
    back_up,
    dashboard_refund,
    drafted,
    paid,
    ref_of,
    refund_states,
    refunded,
    restore,
    texts,
    wait_for_text,
)
from tests.support.world import Json, World, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def approved_while_stripe_is_away(world: World, ref: str, amount: int) -> None:
    """Nobody could look when it was drafted; then Stripe is back."""
    await world.control("stripe", "down", {"down": True})
    draft: Json = await drafted(world, f"/refund {ref} {amount}")
    world.tap(draft, "Refund")
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE last_error IS NOT NULL"))
    world.advance(120)
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: not rows(world, "SELECT 1 FROM refunds WHERE status = 'approved'"))
    await idle(world)


async def test_a_request_is_not_paid_on_top_of_what_went_back_before_the_yes(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    world.say(f"/refund {ref} 50 sour milk", by=MERCHANT, chat=GROUP)
    asks = await world.message("asks to refund", chat=GROUP)
    await idle(world)
    await webhooks(world, "lose")
    world.advance(60)
    await dashboard_refund(world, 5000)
    world.advance(60)
    await world.answer(world.tap(asks, "Refund", by=ADMIN))
    assert "something was refunded at Stripe" in await wait_for_text(
        world, f"#{ref}: DKK 50.00 was not refunded", GROUP
    )
    await idle(world)
    assert refund_states(world) == [(5000, "succeeded")]


async def test_nor_where_no_webhook_ever_tells(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path, webhooks=False) as world:
        await open_shop(world)
        card = await reply(world, world.say("/pay 125 Tea"), "Waiting for payment")
        await world.decide("approve")
        await advance_until(world, lambda: any("✅ Paid:" in one for one in texts(world)), step=10)
        draft = await drafted(world, f"/refund {ref_of(card)} 50")
        await idle(world)
        world.advance(30)
        await dashboard_refund(world, 5000)
        world.advance(300)
        await idle(world)
        await world.answer(world.tap(draft, "Refund"))
        await idle(world)
        assert refund_states(world) == [(5000, "succeeded")]


async def test_nor_where_the_draft_was_made_without_seeing_stripe(world: World) -> None:
    ref = ref_of(await paid(world))
    await webhooks(world, "lose")
    await dashboard_refund(world, 5000)
    world.advance(5)
    await approved_while_stripe_is_away(world, ref, 50)
    assert refund_states(world) == [(5000, "succeeded")]


async def refunded_after_the_backup(world: World) -> str:
    """The reference of a payment of which the kept copy knows no refund."""
    ref = ref_of(await paid(world))
    await idle(world)
    await back_up(world)
    await refunded(world, f"/refund {ref} 40")
    await wait_for_text(world, "↩️ Refunded:")
    return ref


async def test_nor_what_went_back_after_the_backup_that_was_restored(world: World) -> None:
    ref = await refunded_after_the_backup(world)
    await idle(world)
    await world.control("stripe", "down", {"down": True})  # else it is found at once, and the draft shows it
    await restore(world)
    await approved_while_stripe_is_away(world, ref, 40)
    assert refund_states(world) == [(4000, "succeeded")]


async def test_what_is_found_after_the_restore_is_shown_before_more_goes_back(world: World) -> None:
    ref = await refunded_after_the_backup(world)
    await restore(world)
    await wait_for_text(world, "Kvit had asked for it, but its database no longer knows about it")
    await idle(world)
    draft = await drafted(world, f"/refund {ref} 40")
    assert "keep DKK\u00a045.00 of DKK\u00a0125.00" in draft["text"]
    world.tap(draft, "Refund")
    await eventually(lambda: refund_states(world) == [(4000, "succeeded")] * 2)


async def two_approved_while_stripe_is_away(world: World) -> None:
    """A refund of 50, and then one of 25."""
    ref = ref_of(await paid(world))
    await idle(world)
    await world.control("stripe", "down", {"down": True})
    for amount in (50, 25):
        world.tap(await drafted(world, f"/refund {ref} {amount}"), "Refund")
        await advance_until(world, lambda: not rows(world, "SELECT 1 FROM refunds WHERE status = 'draft'"))


async def test_what_an_older_version_had_found_before_the_yes_is_no_news_because_it_succeeded_after(
    world: World,
) -> None:
    ref = ref_of(await paid(world))
    await dashboard_refund(world, 2000)
    await wait_for_text(world, "20.00")
    draft = await drafted(world, f"/refund {ref} 50")
    await idle(world)
    world.advance(5)
    await world.control("stripe", "down", {"down": True})
    world.tap(draft, "Refund")
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE last_error IS NOT NULL"))
    with closing(sqlite3.connect(world.database)) as older, older:
        later = "(SELECT next_check_at FROM refunds WHERE status = 'approved')"
        changed = older.execute(
            f"UPDATE refunds SET reserved_at = NULL, settled_at = {later} WHERE requested_by IS NULL"
        )
    assert changed.rowcount == 1
    world.advance(600)
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: not rows(world, "SELECT 1 FROM refunds WHERE status = 'approved'"))
    await idle(world)
    assert refund_states(world) == [(2000, "succeeded"), (5000, "succeeded")]


async def test_what_was_approved_here_meanwhile_is_no_reason_to_drop_what_was_approved_before(world: World) -> None:
    await two_approved_while_stripe_is_away(world)
    world.advance(120)
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: len(refund_states(world)) == 2)
    assert sorted(refund_states(world)) == [(2500, "succeeded"), (5000, "succeeded")]


async def test_nor_is_it_hidden_by_another_refund_that_is_dropped_for_it(world: World) -> None:
    await two_approved_while_stripe_is_away(world)
    await webhooks(world, "lose")
    await dashboard_refund(world, 2500)
    world.advance(120)
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: not rows(world, "SELECT 1 FROM refunds WHERE status = 'approved'"))
    await idle(world)
    assert refund_states(world) == [(2500, "succeeded")]
