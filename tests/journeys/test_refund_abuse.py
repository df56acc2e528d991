"""Money that goes out under attack: slices, second hands, late words, chats that change shops, and odd answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.sandbox.shared.fake_clock import FakeClock
from storage import shops
from storage.models.shop import Role
from tests.support.evidence import eventually, fault, idle, pass_time, rows, webhooks
from tests.support.people import (
    ADMIN,
    COLLEAGUE,
    GROUP,
    MERCHANT,
    OTHER_GROUP,
    STRANGER,
    advance_until,
    alert_text,
    as_shown,
    break_telegram,
    dead_letters,
    open_database,
    open_second_shop,
    open_shop,
    press,
    remove_roles,
    reply,
    reply_text,
    set_down,
)
from tests.support.refund_steps import (
    DAY,
    dashboard_refund,
    drafted,
    held,
    move,
    paid,
    promote,
    ref_of,
    refund_calls,
    refund_states,
    refunded,
    refunds,
    set_next_refund,
    texts,
    wait_for_text,
)
from tests.support.world import OWNER, World, button, labels, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


@pytest.fixture
async def careful(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    """A shop in which more than DKK 50 needs two people."""
    async with opened(clock, tmp_path, refund_approval_above=5000) as running:
        await open_shop(running)
        yield running


# The second person


async def test_partial_refunds_do_not_avoid_the_second_approval(careful: World) -> None:
    ref = ref_of(await paid(careful))
    await refunded(careful, f"/refund {ref} 50")
    await idle(careful)
    assert refund_states(careful) == [(5000, "succeeded")]
    draft = await drafted(careful, f"/refund {ref} 50")
    assert "approved by another admin" in draft["text"]
    await careful.answer(careful.tap(draft, "Refund"))
    await idle(careful)
    assert len(refund_calls(careful)) == 1


async def test_approver_who_taps_after_a_day_is_told_that_the_draft_expired(careful: World) -> None:
    ref = ref_of(await paid(careful, by=OWNER, chat=GROUP))
    draft = await drafted(careful, f"/refund {ref} 60", chat=GROUP)
    await careful.answer(careful.tap(draft, "Refund"))
    asks = as_shown(await careful.message("asks to refund", chat=GROUP))
    await pass_time(careful, DAY + 60)
    await wait_for_text(careful, "nobody approved the refund", GROUP)
    assert "has run out" in await alert_text(careful, careful.tap(asks, "Refund"))
    assert await dead_letters(careful, "updates") == []
    assert refund_calls(careful) == []


# Stripe's Dashboard in the middle


async def test_dashboard_refund_during_an_outage_is_not_refunded_again(world: World) -> None:
    ref = ref_of(await paid(world))
    draft = await drafted(world, f"/refund {ref} 50")
    await world.control("stripe", "down", {"down": True})
    world.tap(draft, "Refund")
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE last_error IS NOT NULL"))
    world.advance(3600)
    await webhooks(world, "lose")
    await dashboard_refund(world, 5000)
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: [one for one in texts(world) if "was not refunded" in one])
    assert refund_states(world) == [(5000, "succeeded")]


async def test_a_draft_shows_what_is_left_at_stripe_though_no_webhook_told_of_it(world: World) -> None:
    ref = ref_of(await paid(world))
    await webhooks(world, "lose")
    await dashboard_refund(world, 5000)
    draft = await drafted(world, f"/refund {ref} 50")
    assert "You keep DKK 25.00 of DKK 125.00" in draft["text"].replace("\u00a0", " ")


# What is told


async def test_refund_success_is_not_announced_after_its_failure(world: World) -> None:
    ref = ref_of(await paid(world))
    await set_next_refund(world, "pending")
    await refunded(world, f"/refund {ref} 50")
    await wait_for_text(world, "has started but is not finished")
    await idle(world)
    await set_down(world, True)
    await move(world, "succeed")
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE status = 'succeeded'"))
    await move(world, "fail")
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE status = 'failed'"))
    await set_down(world, False)
    await advance_until(
        world, lambda: [one for one in texts(world) if "The customer has not received the money" in one]
    )
    assert not [one for one in texts(world) if one.startswith("↩️ Refunded:")]


async def test_chat_that_changed_shops_hears_nothing_of_its_former_shop(world: World) -> None:
    ref = ref_of(await paid(world, chat=GROUP))
    await open_second_shop(world)
    which = await reply(world, world.say("/setup", chat=GROUP), chat=GROUP)
    await world.answer(world.tap(which, "Second"))
    await idle(world)
    before = texts(world, GROUP)
    await dashboard_refund(world, 3000)
    await pass_time(world, 60)
    assert rows(world, "SELECT amount_refunded FROM payments")[0]["amount_refunded"] == 3000
    assert texts(world, GROUP) == before
    await wait_for_text(world, ref, OWNER)


async def test_retries_of_a_refund_do_not_edit_the_message_each_time(world: World) -> None:
    ref = ref_of(await paid(world))
    draft = await drafted(world, f"/refund {ref} 50")
    await world.control("stripe", "down", {"down": True})
    world.tap(draft, "Refund")
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE error_count > 1"))
    await idle(world)
    edits = len([e for e in world.telegram.transcript if e.method == "editMessageText"])
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE error_count > 6"), step=30)
    await idle(world)
    assert len([e for e in world.telegram.transcript if e.method == "editMessageText"]) == edits


# Holds


async def test_cancel_does_not_release_a_hold_without_a_webhook(world: World) -> None:
    card = await reply(world, world.say("/hold 125 Bicycle"), "Waiting for payment")
    await webhooks(world, "lose")
    await world.decide("approve")
    said = await reply_text(world, f"/cancel {ref_of(card)}")
    assert "The money for" in said
    assert world.intent()["status"] == "requires_capture"


async def test_end_of_request_does_not_release_a_hold_without_a_webhook(world: World) -> None:
    await reply(world, world.say("/hold 125 Bicycle"), "Waiting for payment")
    await idle(world)
    await webhooks(world, "lose")
    await world.decide("approve")
    world.clock.advance(DAY + 1)
    world.stripe.state.timers.run_due()
    await wait_for_text(world, "🔒 Reserved:")
    assert world.intent()["status"] == "requires_capture"


# Odd answers


@pytest.mark.parametrize("odd", [{"amount": 0}, {"currency": "usd"}])
async def test_one_odd_refund_at_stripe_hides_no_other(world: World, odd: dict[str, object]) -> None:
    ref = ref_of(await paid(world))
    await webhooks(world, "lose")
    await dashboard_refund(world, 1000)
    refunds(world)[0].update(odd)
    await refunded(world, f"/refund {ref} 40")
    await webhooks(world, "deliver")
    await dashboard_refund(world, 500)
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM payments WHERE amount_refunded = 4500"))


async def test_two_refunds_that_claim_to_be_the_same_one_are_two(world: World) -> None:
    ref = ref_of(await paid(world))
    await webhooks(world, "lose")
    draft = await drafted(world, f"/refund {ref} 40")
    for _ in range(2):
        await dashboard_refund(world, 1000)
        refunds(world)[-1]["metadata"]["kvit_refund"] = rows(world, "SELECT id FROM refunds")[0]["id"]
    await webhooks(world, "deliver")
    await dashboard_refund(world, 500)
    assert draft
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM payments WHERE amount_refunded = 2500"))


@pytest.mark.parametrize("data", ["y:\ud800", "x:" + "9" * 60, "t:", "y:%s", "k:\x00"])
async def test_forged_refund_buttons_do_not_block_others(world: World, data: str) -> None:
    card = await paid(world, chat=GROUP)
    for person in (OWNER, COLLEAGUE, 4242):
        assert await world.answer(press(world, card, data, by=person))
    assert await dead_letters(world, "updates") == []


# Keys, modes and outages


async def test_insufficient_balance_is_told_to_the_admin_as_waiting_for_a_tap(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=MERCHANT))
    world.say("/start", by=ADMIN, chat=ADMIN)
    world.say(f"/refund {ref} 25", by=MERCHANT, chat=MERCHANT)
    asks = await world.message("asks to refund", chat=ADMIN)
    await world.control("stripe", "balance", {"available": 0, "refuse": True})
    await world.answer(world.tap(asks, "Refund", by=ADMIN))
    short = await world.message("Top up the balance", chat=ADMIN)
    await world.control("stripe", "balance", {"available": None})
    await world.answer(world.tap(short, "Try again", by=ADMIN))
    await wait_for_text(world, "done", ADMIN)
    await wait_for_text(world, "↩️ Refunded:", MERCHANT)
    assert refund_states(world) == [(2500, "succeeded")]


async def test_key_without_refund_permission_alerts_the_owner_once(world: World) -> None:
    ref = ref_of(await paid(world))
    draft = await drafted(world, f"/refund {ref} 50")
    await world.control("stripe", "options", {"missing_permissions": ["refunds.write"]})
    world.tap(draft, "Refund")
    await advance_until(world, lambda: world.sent("Stripe does not accept Kvit's key"), step=30)
    for _ in range(8):
        await pass_time(world, 3600)
    [alarm] = world.sent("Stripe does not accept Kvit's key")
    assert f"of #{ref} is waiting" in alarm.params["text"]
    assert world.sent("accepts Kvit") == []
    assert refunds(world) == []
    await world.control("stripe", "options", {"missing_permissions": []})
    await advance_until(world, lambda: [one for one in texts(world) if one.startswith("↩️ Refunded:")], step=30)
    assert refund_states(world) == [(5000, "succeeded")]


async def test_lost_response_before_a_day_of_outage_is_one_refund(world: World) -> None:
    ref = ref_of(await paid(world))
    draft = await drafted(world, f"/refund {ref} 50")
    await webhooks(world, "lose")
    await fault(world, "refund", "drop", "after", times=3)
    world.tap(draft, "Refund")
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE last_error IS NOT NULL"))
    await world.control("stripe", "down", {"down": True})
    world.advance(25 * 3600)
    await idle(world)
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: [one for one in texts(world) if one.startswith("↩️ Refunded:")], step=30)
    await idle(world)
    assert refund_states(world) == [(5000, "succeeded")]


async def test_payment_of_the_other_mode_is_not_offered_for_refund(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path) as world:
        await open_shop(world)
        ref = ref_of(await paid(world))
        draft = await drafted(world, f"/refund {ref} 50")
        await world.stop()
        key = world.settings.stripe_api_key.get_secret_value().replace("_test_", "_live_")
        world.settings = world.settings.model_copy(update={"stripe_api_key": SecretStr(key)})
        await world.begin()
        assert "belongs to Stripe's other mode" in await alert_text(world, world.tap(draft, "Refund"))
        assert "belongs to Stripe's other mode" in await reply_text(world, f"/refund {ref}")
        assert rows(world, "SELECT amount_refund_pending FROM payments")[0]["amount_refund_pending"] == 0
        assert refund_calls(world) == []


# Two at once


async def test_approval_and_decline_at_once_have_one_winner(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    world.say(f"/refund {ref} 25", by=MERCHANT, chat=GROUP)
    asks = await world.message("asks to refund", chat=GROUP)
    taps = [world.tap(asks, "Don't refund"), *(world.tap(asks, "Refund", by=by) for by in (ADMIN, OWNER, ADMIN))]
    for tap in taps:
        await world.answer(tap)
    await idle(world)
    row = rows(world, "SELECT status FROM refunds")[0]
    assert (row["status"], len(refund_calls(world))) in {("declined", 0), ("succeeded", 1)}


async def test_refund_request_can_be_answered_after_its_group_became_a_supergroup(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    world.say(f"/refund {ref} 25", by=MERCHANT, chat=GROUP)
    await world.message("asks to refund", chat=GROUP)
    moved: int = (await world.control("telegram", "migrate", {"chat_id": GROUP}))["chat_id"]
    await idle(world)
    world.say(f"/refund {ref} 25", by=ADMIN, chat=moved)
    draft = await world.message("Refund", chat=moved)
    await world.answer(world.tap(draft, "Refund", by=ADMIN))
    await wait_for_text(world, "↩️ Refunded:", moved)
    await pass_time(world, DAY + 60)
    await wait_for_text(world, "nobody approved the refund", moved)
    assert refund_states(world) == [(2500, "succeeded")]


async def test_refund_that_changes_status_repeatedly_is_counted_once(world: World) -> None:
    ref = ref_of(await paid(world))
    await set_next_refund(world, "pending")
    await refunded(world, f"/refund {ref} 50")
    await wait_for_text(world, "has started but is not finished")
    await move(world, "require_action")
    await wait_for_text(world, "must follow the instructions in an e-mail")
    await move(world, "succeed")
    await wait_for_text(world, "↩️ Refunded:")
    await move(world, "fail")
    await wait_for_text(world, "The customer has not received the money")
    await idle(world)
    assert rows(world, "SELECT amount_refunded, amount_refund_pending FROM payments")[0] == {
        "amount_refunded": 0,
        "amount_refund_pending": 0,
    }
    for words in (
        "has started",
        "follow the instructions in an e-mail",
        "↩️ Refunded:",
        "The customer has not received the money",
    ):
        assert len(world.sent(words)) == 1, words


async def test_refund_without_a_status_counts_as_pending(world: World) -> None:
    ref = ref_of(await paid(world))
    await set_next_refund(world, "pending")
    await refunded(world, f"/refund {ref} 50")
    await wait_for_text(world, "has started but is not finished")
    await webhooks(world, "lose")
    refunds(world)[0]["status"] = None
    await pass_time(world, 3700)
    assert rows(world, "SELECT status FROM refunds")[0]["status"] == "pending"
    refunds(world)[0]["status"] = "pending"
    await move(world, "succeed")
    await advance_until(world, lambda: [one for one in texts(world) if one.startswith("↩️ Refunded:")], step=300)


@pytest.mark.long
async def test_refunds_beyond_a_page_of_stripes_list_are_all_counted(world: World) -> None:
    ref = ref_of(await paid(world, "/pay 2000,00 Sofa"))
    await webhooks(world, "lose")
    for _ in range(120):
        await dashboard_refund(world, 500)
    draft = await drafted(world, f"/refund {ref}")
    assert "keep DKK 0.00 of DKK 2,000.00" in draft["text"].replace("\u00a0", " ")
    await world.answer(world.tap(draft, "Refund"))
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM payments WHERE amount_refunded = 200000"))
    assert len(refunds(world)) == 121


@pytest.mark.parametrize("reason", ["<b>x</b>", "\u202egnp.exe", "=cmd()", "🎉" * 300, "a\x00b"])
async def test_a_reason_is_shown_harmlessly(world: World, reason: str) -> None:
    ref = ref_of(await paid(world))
    await reply(world, world.say(f"/refund {ref} 5 {reason}"))
    assert await dead_letters(world, "updates") == []
    assert await dead_letters(world) == []


async def test_admin_of_two_shops_approves_within_each_shop_only(world: World) -> None:
    await open_second_shop(world)
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    await promote(world, ADMIN)
    async with open_database(world) as db:
        second = (await db.read(shops.list_shops))[-1]
        await db.write(shops.set_member, second.id, ADMIN, Role.MERCHANT, name="", now=world.clock.now())
    world.say("/start", by=ADMIN, chat=ADMIN)
    which = await reply(world, world.say("/setup", by=ADMIN, chat=ADMIN), chat=ADMIN)
    await world.answer(world.tap(which, "Second", by=ADMIN))
    world.say(f"/refund {ref} 25", by=MERCHANT, chat=GROUP)
    asks = await world.message("asks to refund", chat=GROUP)
    assert "no payment with that reference" in await reply_text(world, f"/refund {ref}", by=ADMIN, chat=ADMIN)
    forged = press(world, which, f"y:{rows(world, 'SELECT id FROM refunds')[0]['id']}", by=ADMIN)
    assert asks
    await world.answer(forged)
    await idle(world)
    assert refund_states(world) == [(2500, "succeeded")]
    asked_there = await reply(world, world.say("/settings", chat=OTHER_GROUP), chat=OTHER_GROUP)
    assert ref not in "".join(texts(world, OTHER_GROUP)) + asked_there["text"]


async def test_an_admin_of_another_shop_learns_nothing_by_forged_buttons(world: World) -> None:
    await open_second_shop(world, STRANGER)
    async with open_database(world) as db:
        second = (await db.read(shops.list_shops))[-1]
        await db.write(shops.set_member, second.id, STRANGER, Role.ADMIN, name="", now=world.clock.now())
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    world.say(f"/refund {ref} 25", by=MERCHANT, chat=GROUP)
    await world.message("asks to refund", chat=GROUP)
    refund = rows(world, "SELECT id, payment_id FROM refunds")[0]
    mine = await reply(world, world.say("/help", by=STRANGER, chat=STRANGER), chat=STRANGER)
    group = await reply(world, world.say("/help", by=STRANGER, chat=OTHER_GROUP), chat=OTHER_GROUP)
    for message in (mine, group):
        for data in ("y", "x", "t"):
            assert "access" in await alert_text(world, press(world, message, f"{data}:{refund['id']}", by=STRANGER))
        for data in ("k", "r", "c", "n", "qr"):
            assert await alert_text(world, press(world, message, f"{data}:{refund['payment_id']}", by=STRANGER))
    await idle(world)
    assert refund_calls(world) == []
    for chat in (STRANGER, OTHER_GROUP):
        assert ref not in "".join(texts(world, chat))


async def test_chat_is_told_when_a_request_ends_with_its_requesters_role(world: World) -> None:
    card = await held(world, by=OWNER, chat=GROUP)
    question = await reply(world, world.say(f"/capture {ref_of(card)}", by=ADMIN, chat=GROUP), "Charge", chat=GROUP)
    await world.control("stripe", "down", {"down": True})
    world.tap(question, "Charge", by=ADMIN)
    await eventually(lambda: rows(world, "SELECT 1 FROM payments WHERE last_error IS NOT NULL"))
    await idle(world)
    await remove_roles(world, ADMIN)
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM payments WHERE capture_requested_by IS NULL"))
    await wait_for_text(world, "is no longer allowed to", GROUP)
    assert world.intent()["status"] == "requires_capture"
    await world.message("🔒 Reserved", chat=GROUP)


async def test_dispute_of_a_chat_that_changed_shops_is_told_only_to_admins(world: World) -> None:
    ref = ref_of(await paid(world, chat=GROUP))
    await open_second_shop(world)
    which = await reply(world, world.say("/setup", chat=GROUP), chat=GROUP)
    await world.answer(world.tap(which, "Second"))
    await idle(world)
    before = texts(world, GROUP)
    await world.control("stripe", f"intents/{world.intent()['id']}/dispute", {})
    await wait_for_text(world, ref, OWNER)
    await idle(world)
    assert texts(world, GROUP) == before


async def test_repeated_and_reordered_events_notify_once(world: World) -> None:
    ref = ref_of(await paid(world))
    await world.control("stripe", "webhooks", {"mode": "hold", "double": True, "shuffle": True})
    await set_next_refund(world, "pending")
    await refunded(world, f"/refund {ref} 50")
    await dashboard_refund(world, 2500)
    await move(world, "succeed", 0)
    await move(world, "fail", 1)
    await world.control("stripe", "webhooks/release", {})
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE status = 'failed'"))
    await idle(world)
    assert rows(world, "SELECT amount_refunded, amount_refund_pending FROM payments")[0] == {
        "amount_refunded": 5000,
        "amount_refund_pending": 0,
    }
    for words in ("↩️ Refunded:", "The customer has not received the money"):
        assert len(world.sent(words)) == 1, words


async def test_approval_before_a_pause_is_sent_once_unless_refunded_elsewhere(
    world: World,
) -> None:
    first, second = [ref_of(await paid(world, f"/pay 125 Tea {number}")) for number in range(2)]
    drafts = [await drafted(world, f"/refund {ref} 50") for ref in (first, second)]
    await world.control("stripe", "down", {"down": True})
    for draft in drafts:
        world.tap(draft, "Refund")
    await eventually(lambda: len(rows(world, "SELECT 1 FROM refunds WHERE last_error IS NOT NULL")) == 2)
    await world.stop()
    world.advance(4 * DAY)
    await webhooks(world, "lose")
    await dashboard_refund(world, 5000, 1)
    await world.control("stripe", "down", {"down": False})
    await world.begin()
    await advance_until(world, lambda: not rows(world, "SELECT 1 FROM refunds WHERE status = 'approved'"), step=30)
    await idle(world)
    assert sorted(refund_states(world)) == [(5000, "succeeded"), (5000, "succeeded")]
    assert {refund["payment_intent"] for refund in refunds(world)} == {world.intent(n)["id"] for n in (0, 1)}
    assert f"#{second}" in await wait_for_text(world, "was not refunded")


async def test_partial_refunds_requested_by_merchants_need_the_second_approval(careful: World) -> None:
    ref = ref_of(await paid(careful, by=MERCHANT, chat=GROUP))
    for number in range(2):
        careful.say(f"/refund {ref} 40 part {number}", by=MERCHANT, chat=GROUP)
        asks = await careful.message(f"part {number}", chat=GROUP)
        await careful.answer(careful.tap(asks, "Refund", by=ADMIN))
        await idle(careful)
    assert refund_states(careful) == [(4000, "succeeded")]
    asks = await careful.message("asks to refund", chat=GROUP)
    await careful.answer(careful.tap(asks, "Refund", by=OWNER))
    await idle(careful)
    assert refund_states(careful) == [(4000, "succeeded"), (4000, "succeeded")]


async def test_failed_partial_refund_no_longer_counts(careful: World) -> None:
    ref = ref_of(await paid(careful))
    await refunded(careful, f"/refund {ref} 50")
    await wait_for_text(careful, "↩️ Refunded:")
    await move(careful, "fail")
    await wait_for_text(careful, "The customer has not received the money")
    await refunded(careful, f"/refund {ref} 50")
    await idle(careful)
    assert refund_states(careful) == [(5000, "failed"), (5000, "succeeded")]


async def test_a_refund_that_was_never_made_frees_its_money_for_another(world: World) -> None:
    ref = ref_of(await paid(world))
    await set_next_refund(world, "refused", code="charge_not_refundable")
    await refunded(world, f"/refund {ref}")
    assert "DKK 125.00 can still be refunded" in await wait_for_text(world, "was not refunded")
    await refunded(world, f"/refund {ref}")
    await wait_for_text(world, "↩️ Refunded:")
    assert refund_states(world) == [(12500, "succeeded")]


async def test_first_approval_of_a_removed_admin_does_not_count(careful: World) -> None:
    ref = ref_of(await paid(careful, by=ADMIN, chat=GROUP))
    draft = await drafted(careful, f"/refund {ref} 60", by=ADMIN, chat=GROUP)
    await careful.answer(careful.tap(draft, "Refund", by=ADMIN))
    asks = await careful.message("asks to refund", chat=GROUP)
    await remove_roles(careful, ADMIN)
    await careful.answer(careful.tap(asks, "Refund", by=OWNER))
    assert "no longer allowed to" in await wait_for_text(careful, "was not refunded", GROUP)
    await idle(careful)
    assert refund_calls(careful) == []
    assert rows(careful, "SELECT amount_refund_pending FROM payments")[0]["amount_refund_pending"] == 0


async def test_old_capture_buttons_do_nothing_after_the_capture(world: World) -> None:
    card = await held(world)
    ref = ref_of(card)
    take = await reply(world, world.say(f"/capture {ref}"), "Charge")
    release = await reply(world, world.say(f"/release {ref}"), "Release")
    taking, letting = button(take, "Charge")["callback_data"], button(release, "Release")["callback_data"]
    await world.answer(press(world, take, taking))
    await wait_for_text(world, "✅ Paid:")
    assert await alert_text(world, press(world, release, letting))
    await world.answer(press(world, take, taking))  # he is told again what he did, as after a death in between
    await idle(world)
    assert "✅ Charged" in world.telegram.state.chats[OWNER].messages[take["message_id"]]["text"]
    assert [request.path.rpartition("/")[2] for request in world.stripe.store.requests].count("capture") == 1


async def test_second_release_is_answered_with_the_first(world: World) -> None:
    ref = ref_of(await held(world))
    release = await reply(world, world.say(f"/release {ref}"), "Release")
    again = await reply(world, world.say(f"/release {ref}"), "Release")
    letting = button(again, "Release")["callback_data"]
    await world.answer(world.tap(release, "Release"))
    await idle(world)
    await world.answer(press(world, again, letting))
    await idle(world)
    for question in (release, again):
        text = world.telegram.state.chats[OWNER].messages[question["message_id"]]["text"]
        assert text.startswith(("🚫 Released:", "Stripe has been asked to release")), text
    assert world.intent()["status"] == "canceled"


async def test_lost_dispute_reduces_what_can_be_refunded(world: World) -> None:
    ref = ref_of(await paid(world))
    await refunded(world, f"/refund {ref} 25")
    await wait_for_text(world, "↩️ Refunded:")
    await world.control("stripe", f"intents/{world.intent()['id']}/dispute", {"amount": 5000, "refundable": True})
    await wait_for_text(world, "has disputed")
    dispute = next(iter(world.stripe.store.disputes))
    await world.control("stripe", f"disputes/{dispute}/close", {"status": "lost"})
    await wait_for_text(world, "lost the dispute")
    await move(world, "fail")
    assert "DKK 75.00 can be refunded" in await wait_for_text(world, "The customer has not received the money")
    assert "At most DKK 75.00" in (await reply_text(world, f"/refund {ref} 100")).replace("\u00a0", " ")


@pytest.mark.parametrize("verb", ["fail", pytest.param("cancel", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("by_hand_too", "says"),
    [(12_500, "there is nothing left to do"), (10_000, "at most DKK 25.00 can be refunded")],
)
async def test_failed_refund_is_not_to_be_paid_otherwise_if_refunded_meanwhile(
    world: World, verb: str, by_hand_too: int, says: str
) -> None:
    await asked_for_a_hundred(world, verb)
    await move(world, verb)
    status = {"fail": "failed", "cancel": "canceled"}[verb]
    await eventually(lambda: rows(world, f"SELECT 1 FROM refunds WHERE status = '{status}'"))
    await dashboard_refund(world, by_hand_too)
    await eventually(lambda: rows(world, f"SELECT 1 FROM payments WHERE amount_refunded = {by_hand_too}"))
    await world.control("telegram", "down", {"down": False})
    said = await news_of_failure(world)
    assert says in said
    assert "has not received the money" not in said
    assert "Agree on another way" not in said


@pytest.mark.parametrize("verb", ["fail", pytest.param("cancel", marks=pytest.mark.long)])
async def test_failed_refund_is_not_to_be_paid_otherwise_if_disputed_meanwhile(world: World, verb: str) -> None:
    await asked_for_a_hundred(world, verb)
    await world.control("stripe", f"intents/{world.intent()['id']}/dispute", {"amount": 10_000, "refundable": True})
    dispute = next(iter(world.stripe.store.disputes))
    await world.control("stripe", f"disputes/{dispute}/close", {"status": "lost"})
    await eventually(lambda: rows(world, "SELECT 1 FROM payments WHERE dispute_status = 'lost'"))
    await move(world, verb)
    await eventually(lambda: rows(world, "SELECT 1 FROM refunds WHERE status IN ('failed', 'canceled')"))
    await world.control("telegram", "down", {"down": False})
    said = await news_of_failure(world)
    assert "the bank decides what goes back" in said
    assert "Agree on another way" not in said


async def asked_for_a_hundred(world: World, verb: str) -> None:
    """A refund of DKK 100.00 of 125.00 that can fail, or be canceled while it is pending; then Telegram is away."""
    ref = ref_of(await paid(world))
    if verb == "cancel":
        await set_next_refund(world, "pending")
    await refunded(world, f"/refund {ref} 100")
    await wait_for_text(world, "↩️ Refunded:" if verb == "fail" else "has started")
    await world.control("telegram", "down", {"down": True})


async def news_of_failure(world: World) -> str:
    """What is said of the refund of DKK 100.00 that the customer did not get."""

    def found() -> list[str]:
        heads = ("the refund of DKK 100.00 failed", "the refund of DKK 100.00 was cancelled")
        return [one for one in texts(world) if any(head in one for head in heads)]

    await advance_until(world, found)
    [said] = found()
    return said


async def test_requester_without_a_role_hears_no_more_and_admins_do(world: World) -> None:
    card = await reply(world, world.say("/pay 125 Tea", by=MERCHANT), "Waiting for payment", chat=MERCHANT)
    ref = ref_of(card)
    await remove_roles(world, MERCHANT)
    await world.decide("approve")
    assert "DKK 125.00" in await wait_for_text(world, f"#{ref}", OWNER)
    await advance_until(
        world, lambda: [one for one in texts(world, MERCHANT) if "you no longer have a role in Kvit" in one]
    )
    await dashboard_refund(world, 3000)
    await wait_for_text(world, "↩️ Refunded: DKK 30.00", OWNER)
    await idle(world)
    [left] = [one for one in texts(world, MERCHANT) if ref in one]
    assert "told what happens to this request" in left
    assert "125" not in left


async def test_amount_with_capitals_is_a_partial_refund(world: World) -> None:
    draft = await drafted(world, f"/refund {ref_of(await paid(world))} Kr 50")
    assert "DKK 50.00" in labels(draft)[0]


@pytest.mark.parametrize("command", ["/cancel #K7", "/cancel K7", "/release #K7", "/capture K7", "/refund #K7 50"])
async def test_a_mistyped_reference_in_a_reply_is_not_taken_for_none(world: World, command: str) -> None:
    card = await reply(world, world.say("/hold 125 Tea"), "Waiting for payment")
    said = await reply(world, world.say(command, reply_to=card["message_id"]))
    assert "no payment with that reference" in said["text"]
    await idle(world)
    assert world.intent()["status"] == "requires_action"


async def test_group_with_queued_messages_cannot_change_shops(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    await open_second_shop(world)
    which = await reply(world, world.say("/setup", chat=GROUP), chat=GROUP)
    await idle(world)
    before = len(texts(world, GROUP))
    await break_telegram(world, "sendMessage", "429", retry_after=300)
    world.say(f"/status {ref}", by=MERCHANT, chat=GROUP)
    await world.until(lambda: any(entry.fault == "429 before" for entry in world.telegram.transcript))
    await pass_time(world, 60)
    assert "Telegram is delaying" in await alert_text(world, world.tap(which, "Second"))
    await advance_until(world, lambda: len(texts(world, GROUP)) > before, step=30)
    assert await world.answer(world.tap(which, "Second")) == "This chat now belongs to Second."


async def test_group_with_an_undecided_refund_cannot_change_shops(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    await open_second_shop(world)
    which = await reply(world, world.say("/setup", chat=GROUP), chat=GROUP)
    world.say(f"/refund {ref} 25 sour milk", by=MERCHANT, chat=GROUP)
    asks = await world.message("asks to refund", chat=GROUP)
    await idle(world)
    assert "Nothing was changed" in await alert_text(world, world.tap(which, "Second"))
    await world.answer(world.tap(asks, "Don't refund", by=ADMIN))
    await idle(world)
    assert await world.answer(world.tap(which, "Second")) == "This chat now belongs to Second."


async def test_user_without_a_role_is_not_asked_a_queued_question(world: World) -> None:
    await reply(world, world.say("/start", by=ADMIN, chat=ADMIN), chat=ADMIN)
    ref = ref_of(await paid(world, by=MERCHANT, chat=MERCHANT))
    await idle(world)
    await break_telegram(world, "sendMessage", "429", retry_after=300)
    world.say("/id", by=ADMIN, chat=ADMIN)
    await world.until(lambda: any(entry.fault == "429 before" for entry in world.telegram.transcript))
    world.say(f"/refund {ref} 25 sour milk", by=MERCHANT, chat=MERCHANT)
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE status = 'awaiting_approval'"), step=1)
    await idle(world)
    await remove_roles(world, ADMIN)
    await advance_until(world, lambda: any("Your Telegram ID" in one for one in texts(world, ADMIN)), step=30)
    await idle(world)
    assert not [one for one in texts(world, ADMIN) if ref in one]
    assert [one for one in texts(world, OWNER) if "asks to refund" in one]
