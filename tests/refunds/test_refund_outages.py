"""Refunds when something was cut short: the second admin is asked all the same, and Stripe is believed after a loss."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.refunds.state_machine import mark_insufficient_balance, next_look, retry, rotate_key
from storage.models.money import Money
from storage.models.refund import Refund, RefundStatus
from storage.refunds import RefundLimits
from tests.support.evidence import event, idle, lose_events, pass_time, post_event, rows
from tests.support.people import ADMIN, GROUP, MERCHANT, advance_until, alert_text, as_shown, open_shop, remove_roles
from tests.support.refund_steps import (
    DAY,
    back_up,
    drafted,
    paid,
    ref_of,
    refund_calls,
    refund_states,
    refunded,
    restore,
    set_next_refund,
    texts,
    wait_for_text,
)
from tests.support.world import World, opened

TWO: dict[str, Any] = {"refund_approval_above": "5000"}


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def test_the_second_admin_has_a_day_though_the_draft_had_minutes(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path, **TWO) as world:
        await open_shop(world)
        ref = ref_of(await paid(world, chat=GROUP))
        draft = await drafted(world, f"/refund {ref} 60", chat=GROUP)
        world.advance(500)
        await world.answer(world.tap(draft, "Refund"))
        asks = await world.message("within 24 hours", chat=GROUP)
        await pass_time(world, 23 * 3600)
        await world.answer(world.tap(asks, "Refund", by=ADMIN))
        await wait_for_text(world, "↩️ Refunded:", GROUP)
        assert refund_states(world) == [(6000, "succeeded")]


async def test_after_a_day_the_second_yes_comes_too_late(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path, **TWO) as world:
        await open_shop(world)
        ref = ref_of(await paid(world, chat=GROUP))
        await world.answer(world.tap(await drafted(world, f"/refund {ref} 60", chat=GROUP), "Refund"))
        asks = as_shown(await world.message("asks to refund", chat=GROUP))
        await pass_time(world, DAY + 60)
        assert "nobody approved the refund" in await wait_for_text(world, "⌛", GROUP)
        assert "has run out" in await alert_text(world, world.tap(asks, "Refund", by=ADMIN))
        await idle(world)
        assert refund_calls(world) == []


@pytest.mark.parametrize("why", ["down", "no right"])
async def test_a_request_that_nobody_approved_is_over_after_a_day_though_stripe_cannot_be_asked(
    world: World, why: str
) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    world.say(f"/refund {ref} 50", by=MERCHANT, chat=GROUP)
    await world.message("asks to refund", chat=GROUP)
    await idle(world)
    if why == "down":
        await world.control("stripe", "down", {"down": True})
    else:
        world.stripe.options.missing_permissions = ("refunds.read", "refunds.write", "charges.read", "events.read")
    world.advance(DAY + 1)
    world.say(f"/refund {ref} 40", by=MERCHANT, chat=GROUP)
    await advance_until(
        world, lambda: not rows(world, "SELECT 1 FROM refunds WHERE status = 'awaiting_approval' AND amount = 5000")
    )
    said = await wait_for_text(world, "⌛", GROUP)
    assert "nobody approved the refund of DKK 50.00" in said
    assert "Stripe can't be asked" in said
    await wait_for_text(world, "asks to refund DKK 40.00", GROUP)
    assert rows(world, "SELECT 1 FROM audit_log WHERE action = 'stripe_unreachable'") == []
    await idle(world)
    assert not [one for one in texts(world, GROUP) if "no admin has decided yet" in one]
    assert rows(world, "SELECT status FROM refunds ORDER BY requested_at") == [
        {"status": "expired"},
        {"status": "awaiting_approval"},
    ]


async def test_a_refund_that_the_restored_book_knows_as_a_draft_is_believed(world: World, tmp_path: Path) -> None:
    ref = ref_of(await paid(world))
    draft = await drafted(world, f"/refund {ref} 40")
    await idle(world)
    await world.stop()
    shutil.copy(tmp_path / "kvit.db", tmp_path / "yesterday.db")
    await world.begin()
    await world.answer(world.tap(draft, "Refund"))
    await wait_for_text(world, "↩️ Refunded:")
    await idle(world)
    await world.stop()
    for name in ("kvit.db-wal", "kvit.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "yesterday.db", tmp_path / "kvit.db")
    await world.begin()
    await pass_time(world, 700)
    assert await post_event(world, event(world, "refund.created")) == 200
    await idle(world)
    assert rows(world, "SELECT status FROM refunds") == [{"status": "succeeded"}]
    assert rows(world, "SELECT amount_refunded FROM payments") == [{"amount_refunded": 4000}]
    assert len(refund_states(world)) == 1


async def test_a_restored_book_does_not_call_given_up_what_was_made_by_another_try(world: World) -> None:
    await set_next_refund(world, "refused", code="balance_insufficient")
    await refunded(world, f"/refund {ref_of(await paid(world))} 40")
    short = await world.message("top up the balance")
    await idle(world)
    await back_up(world)
    await world.answer(world.tap(short, "Try again"))
    await wait_for_text(world, "↩️ Refunded:")
    await idle(world)
    await world.control("stripe", "down", {"down": True})
    await restore(world)
    await pass_time(world, 60)
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: not rows(world, "SELECT 1 FROM refunds WHERE status = 'approved'"))
    await idle(world)
    assert not [one for one in texts(world) if "was not refunded" in one]


async def wished_before_the_backup_and_refunded_after(world: World) -> None:
    world.say(f"/refund {ref_of(await paid(world, by=MERCHANT, chat=GROUP))} 50", by=MERCHANT, chat=GROUP)
    asks = await world.message("asks to refund", chat=GROUP)
    await idle(world)
    await back_up(world)
    await world.answer(world.tap(asks, "Refund", by=ADMIN))
    await wait_for_text(world, "↩️ Refunded:", GROUP)


async def test_nor_unapproved_what_somebody_approved(world: World) -> None:
    await wished_before_the_backup_and_refunded_after(world)
    await pass_time(world, DAY)
    await lose_events(world)
    await restore(world)
    await advance_until(world, lambda: not rows(world, "SELECT 1 FROM refunds WHERE status = 'awaiting_approval'"))
    await idle(world)
    assert rows(world, "SELECT status FROM refunds") == [{"status": "succeeded"}]
    assert not [one for one in texts(world, GROUP) if "nobody approved" in one]


async def test_nor_that_nothing_went_back_while_stripe_cannot_be_asked(world: World) -> None:
    await wished_before_the_backup_and_refunded_after(world)
    await idle(world)
    await lose_events(world)
    await world.control("stripe", "down", {"down": True})
    await restore(world)
    world.advance(DAY + 1)
    await advance_until(world, lambda: any("⌛" in one for one in texts(world, GROUP)))
    assert "No money went back" not in await wait_for_text(world, "⌛", GROUP)
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE status = 'succeeded'"), step=600)
    await idle(world)
    assert rows(world, "SELECT amount_refunded FROM payments") == [{"amount_refunded": 5000}]
    assert refund_states(world) == [(5000, "succeeded")]


async def test_nor_dropped_what_was_made_before_its_approver_lost_the_role(world: World) -> None:
    draft = await drafted(world, f"/refund {ref_of(await paid(world, chat=GROUP))} 40", by=ADMIN, chat=GROUP)
    await idle(world)
    await world.control("stripe", "down", {"down": True})
    world.tap(draft, "Refund", by=ADMIN)
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE last_error IS NOT NULL"))
    await back_up(world)
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: refund_states(world))
    await idle(world)
    await lose_events(world)
    await world.control("stripe", "down", {"down": True})
    await restore(world)
    await remove_roles(world, ADMIN)
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: not rows(world, "SELECT 1 FROM refunds WHERE status = 'approved'"))
    await idle(world)
    assert rows(world, "SELECT status FROM refunds") == [{"status": "succeeded"}]
    assert not [one for one in texts(world, GROUP) if "was not refunded" in one]


def test_a_balance_that_is_short_of_a_later_key_leaves_ten_minutes_as_well() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    sent = Refund("R", "P", 1, "s", Money(4000, "DKK"), RefundStatus.APPROVED, requested_at=now - timedelta(days=1))
    sent = replace(sent, expires_at=now - timedelta(hours=23), first_sent_at=now - timedelta(hours=21))
    limits = cast("RefundLimits", None)
    rotated = rotate_key(sent, limits, number=1)
    short = mark_insufficient_balance(rotated, limits, number=2, code="balance_insufficient", now=now)
    assert short.retry_until == now + timedelta(minutes=10)
    again = retry(replace(short), limits, now=now + timedelta(minutes=4))
    once_more = mark_insufficient_balance(
        again, limits, number=3, code="balance_insufficient", now=now + timedelta(minutes=5)
    )
    assert once_more.retry_until == now + timedelta(minutes=10), "ten minutes in all, however often"


def test_a_refund_that_could_not_be_looked_at_is_looked_at_soon_again() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    done = Refund("R", "P", 1, "s", Money(4000, "DKK"), RefundStatus.SUCCEEDED, requested_at=now, settled_at=now)
    day = now + timedelta(days=1, minutes=1)
    assert next_look(done, day) == now + timedelta(days=3)
    missed = next_look(replace(done, last_error="connection", error_count=1), day)
    assert missed is not None
    assert missed - day <= timedelta(minutes=5)
