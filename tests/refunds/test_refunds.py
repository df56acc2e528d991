"""Refunds: what goes back is shown first, one tap lets it go, and it happens exactly once whatever breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import fault, idle, pass_time, rows, webhooks
from tests.support.people import (
    ADMIN,
    GROUP,
    MERCHANT,
    STRANGER,
    advance_until,
    alert_text,
    as_shown,
    open_shop,
    remove_roles,
    reply,
    reply_text,
)
from tests.support.refund_steps import (
    DAY,
    drafted,
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
from tests.support.world import OWNER, World, labels, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def test_draft_shows_refund_and_remainder_and_moves_nothing(world: World) -> None:
    ref = ref_of(await paid(world))
    draft = await drafted(world, f"/refund {ref} 50 broken cup")
    assert "Refund <b>DKK 50.00</b>".replace("<b>", "").replace("</b>", "") in draft["text"].replace("\u00a0", " ")
    assert "You keep DKK 75.00 of DKK 125.00" in draft["text"].replace("\u00a0", " ")
    assert "broken cup" in draft["text"]
    assert labels(draft) == ["Refund DKK 50.00", "Don't refund"]
    await idle(world)
    assert refund_calls(world) == []


async def test_one_tap_refunds_and_is_shown_and_announced(world: World) -> None:
    card = await paid(world)
    await refunded(world, f"/refund {ref_of(card)}")
    assert "DKK 125.00" in await wait_for_text(world, "↩️ Refunded:")
    assert (await wait_for_text(world, "↩️ Refunded · TEST")).startswith("↩️ Refunded · TEST\nDKK 125.00 – Tea")
    assert refund_states(world) == [(12500, "succeeded")]
    assert refunds(world)[0]["metadata"]["kvit_payment"] == world.intent()["metadata"]["kvit_payment"]


async def test_reply_to_the_payment_message_needs_no_reference(world: World) -> None:
    card = await paid(world)
    draft = await reply(world, world.say("/refund 25", reply_to=card["message_id"]), "Refund ")
    await world.answer(world.tap(draft, "Refund"))
    await wait_for_text(world, "↩️ Refunded:")
    assert (await wait_for_text(world, "Partly refunded")).count("Total after refund: DKK 100.00") == 1
    assert refund_states(world) == [(2500, "succeeded")]


async def test_two_equal_parts_on_purpose_are_two_refunds(world: World) -> None:
    ref = ref_of(await paid(world))
    await refunded(world, f"/refund {ref} 40")
    await refunded(world, f"/refund {ref} 40")
    await idle(world)
    assert refund_states(world) == [(4000, "succeeded"), (4000, "succeeded")]
    assert len([one for one in texts(world) if one.startswith("↩️ Refunded:")]) == 2
    assert "At most DKK 45.00" in (await reply_text(world, f"/refund {ref} 46")).replace("\u00a0", " ")


async def test_many_taps_on_one_draft_are_one_refund(world: World) -> None:
    draft = await drafted(world, f"/refund {ref_of(await paid(world))} 40")
    taps = [world.tap(draft, "Refund") for _ in range(5)]
    for tap in taps:
        await world.answer(tap)
    await idle(world)
    assert refund_states(world) == [(4000, "succeeded")]
    assert len({request.idempotency_key for request in refund_calls(world)}) == 1


async def test_two_drafts_that_were_shown_the_same_rest_cannot_both_be_confirmed(world: World) -> None:
    ref = ref_of(await paid(world))
    first, second = [await drafted(world, f"/refund {ref} 100") for _ in range(2)]
    await world.answer(world.tap(first, "Refund"))
    assert "DKK 25.00" in (await alert_text(world, world.tap(second, "Refund"))).replace("\u00a0", " ")
    await idle(world)
    assert refund_states(world) == [(10000, "succeeded")]


async def test_a_draft_works_for_ten_minutes(world: World) -> None:
    draft = await drafted(world, f"/refund {ref_of(await paid(world))}")
    world.advance(601)
    assert "has run out" in await alert_text(world, world.tap(draft, "Refund"))
    await idle(world)
    assert refund_calls(world) == []


async def test_only_the_requester_confirms_a_draft(world: World) -> None:
    ref = ref_of(await paid(world, by=OWNER, chat=GROUP))
    draft = await drafted(world, f"/refund {ref}", by=OWNER, chat=GROUP)
    for person, words in ((ADMIN, "Only the person who asked"), (MERCHANT, "access"), (STRANGER, "access")):
        assert words in await alert_text(world, world.tap(draft, "Refund", by=person))
    await idle(world)
    assert refund_calls(world) == []


async def test_refused_refund_names_the_reason(world: World) -> None:
    open_card = await reply(world, world.say("/pay 30 Bun"), "Waiting for payment")
    assert "Nothing has been paid" in await reply_text(world, f"/refund {ref_of(open_card)}")
    ref = ref_of(await paid(world))
    for words, said in (("0", "zero"), ("-5", "plus or minus"), ("50 EUR", "DKK"), ("126", "At most")):
        assert said in await reply_text(world, f"/refund {ref} {words}"), words
    await refunded(world, f"/refund {ref}")
    await wait_for_text(world, "↩️ Refunded:")
    assert "All of" in await reply_text(world, f"/refund {ref}")


async def test_an_amount_that_reads_two_ways_is_asked_back(world: World) -> None:
    ref = ref_of(await paid(world, "/pay 2000,00 Sofa"))
    question = await reply(world, world.say(f"/refund {ref} 1.234"))
    assert labels(question) == ["DKK 1,234.00", "DKK 1.23"]
    await world.answer(world.tap(question, "1.23"))
    draft = await world.message("DKK\u00a01.23", but="see the next")
    assert draft["text"].startswith("Refund DKK\u00a01.23")


PARTIAL = [
    "kun 50 kr",
    "only 50",
    "half",
    "halvdelen",
    "hälften",
    "puolet",
    "fifty kroner",
    "ca. 50",
    "50 %",
    "½",
    "kr",
]


async def test_a_reason_that_names_a_part_is_asked_back_and_never_offers_the_whole(world: World) -> None:
    card = await paid(world)
    for words in PARTIAL:
        for said in (
            world.say(f"/refund {ref_of(card)} {words}"),
            world.say(f"/refund {words}", reply_to=card["message_id"]),
        ):
            answer = await reply(world, said)
            assert "125.00" not in answer["text"], words
            assert not any("Refund" in label or "125" in label for label in labels(answer)), words
    question = await reply(world, world.say(f"/refund {ref_of(card)} kun 50 kr"), "Nothing has been refunded")
    assert labels(question) == ["DKK 50.00"]
    await world.answer(world.tap(question, "50.00"))
    draft = await world.message("You keep DKK\u00a075.00")
    assert "kun 50 kr" in draft["text"]
    await world.answer(world.tap(draft, "Refund"))
    await wait_for_text(world, "↩️ Refunded:")
    assert refund_states(world) == [(5000, "succeeded")]


# Merchants ask, admins decide


async def test_a_merchant_asks_and_an_admin_in_the_group_approves(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    wish = world.say(f"/refund {ref} 25 sour milk", by=MERCHANT, chat=GROUP)
    asks = await world.message("asks to refund", chat=GROUP)
    assert "sour milk" in asks["text"]
    assert wish
    assert "access" in await alert_text(world, world.tap(asks, "Refund", by=MERCHANT))
    await world.answer(world.tap(asks, "Refund", by=ADMIN))
    await wait_for_text(world, "↩️ Refunded:", GROUP)
    assert refund_states(world) == [(2500, "succeeded")]
    row = rows(world, "SELECT requested_by, approved_by FROM refunds")[0]
    assert (row["requested_by"], row["approved_by"]) == (MERCHANT, ADMIN)


async def test_a_merchant_in_private_asks_each_admin_in_private(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=MERCHANT))
    world.say("/start", by=ADMIN, chat=ADMIN)
    await reply(world, world.say(f"/refund {ref} 25", by=MERCHANT, chat=MERCHANT), "have been asked", chat=MERCHANT)
    asks = await world.message("asks to refund", chat=ADMIN)
    await world.message("asks to refund", chat=OWNER)
    await world.answer(world.tap(asks, "Refund", by=ADMIN))
    await wait_for_text(world, "↩️ Refunded:", MERCHANT)
    assert refund_states(world) == [(2500, "succeeded")]


async def test_merchant_withdraws_a_request_in_private(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=MERCHANT))
    passed_on = await drafted(world, f"/refund {ref}", by=MERCHANT, chat=MERCHANT, says="have been asked")
    asks = as_shown(await world.message("asks to refund", chat=OWNER))
    await world.answer(world.tap(passed_on, "t refund", by=MERCHANT))
    await wait_for_text(world, "declined", MERCHANT)
    assert "already been decided" in await alert_text(world, world.tap(asks, "Refund"))
    assert refund_calls(world) == []


async def test_decline_is_told_to_the_requester(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=MERCHANT))
    await reply(world, world.say(f"/refund {ref}", by=MERCHANT, chat=MERCHANT), chat=MERCHANT)
    asks = await world.message("asks to refund", chat=OWNER)
    await world.answer(world.tap(asks, "Don't refund"))
    await wait_for_text(world, "was declined", MERCHANT)
    assert "already been decided" in await alert_text(
        world, world.telegram.press_button(asks["message_id"], OWNER, "y:" + _id(world), OWNER)
    )
    assert refund_calls(world) == []


async def test_unapproved_request_expires_after_a_day_and_is_announced(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    world.say(f"/refund {ref}", by=MERCHANT, chat=GROUP)
    await world.message("asks to refund", chat=GROUP)
    await pass_time(world, DAY + 60)
    await wait_for_text(world, "nobody approved the refund", GROUP)
    assert refund_calls(world) == []


# Two people, limits


async def test_above_the_limit_a_second_admin_has_to_approve_and_never_the_same(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with opened(clock, tmp_path, refund_approval_above=5000) as world:
        await open_shop(world)
        ref = ref_of(await paid(world, by=OWNER, chat=GROUP))
        draft = await drafted(world, f"/refund {ref} 60", chat=GROUP)
        assert "approved by another admin" in draft["text"]
        await world.answer(world.tap(draft, "Refund"))
        asks = await world.message("asks to refund", chat=GROUP)
        await idle(world)
        assert refund_calls(world) == []
        assert "another admin" in await alert_text(world, world.tap(asks, "Refund", by=OWNER))
        await world.answer(world.tap(asks, "Refund", by=ADMIN))
        await wait_for_text(world, "↩️ Refunded:", GROUP)
        assert refund_states(world) == [(6000, "succeeded")]
        await refunded(world, f"/refund {ref} 50", chat=GROUP)
        await wait_for_text(world, "DKK 50.00 of #", GROUP)
        await idle(world)
        assert refund_states(world) == [(6000, "succeeded"), (5000, "succeeded")]


async def test_what_one_person_refunds_within_a_day_is_limited_also_in_slices(world: World) -> None:
    await reply_text(world, "/settings refunds 100")
    ref = ref_of(await paid(world))
    for _ in range(2):
        await refunded(world, f"/refund {ref} 40")
        await idle(world)
    draft = await drafted(world, f"/refund {ref} 40")
    assert "in 24 hours" in await alert_text(world, world.tap(draft, "Refund"))
    await idle(world)
    assert len(refunds(world)) == 2
    world.advance(DAY + 1)
    await refunded(world, f"/refund {ref} 40")
    await idle(world)
    assert len(refunds(world)) == 3


async def test_role_lost_between_tap_and_stripe_refunds_nothing(world: World) -> None:
    ref = ref_of(await paid(world, by=ADMIN, chat=GROUP))
    draft = await drafted(world, f"/refund {ref}", by=ADMIN, chat=GROUP)
    await world.control("stripe", "down", {"down": True})
    world.tap(draft, "Refund", by=ADMIN)
    await advance_until(world, lambda: rows(world, "SELECT 1 FROM refunds WHERE last_error IS NOT NULL"))
    await remove_roles(world, ADMIN)
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: [one for one in texts(world, GROUP) if "was not refunded" in one])
    assert "no longer allowed to" in await wait_for_text(world, "was not refunded", GROUP)
    assert refunds(world) == []


# What Stripe makes of it


async def test_pending_refund_is_announced_as_pending_then_as_done(world: World) -> None:
    await set_next_refund(world, "pending", pending_reason="insufficient_funds")
    ref = ref_of(await paid(world))
    await refunded(world, f"/refund {ref}")
    assert "not enough in your Stripe balance" in await wait_for_text(world, "has started but is not finished")
    await wait_for_text(world, "refund not finished yet")
    assert not [one for one in texts(world) if one.startswith("↩️ Refunded:")]
    await move(world, "succeed")
    await wait_for_text(world, "↩️ Refunded:")
    await idle(world)
    assert len([one for one in texts(world) if "has started but is not finished" in one]) == 1


async def test_a_refund_that_fails_weeks_later_is_told_and_can_be_made_again(world: World) -> None:
    ref = ref_of(await paid(world))
    await refunded(world, f"/refund {ref} 50")
    await wait_for_text(world, "↩️ Refunded:")
    world.advance(12 * DAY)
    await move(world, "fail", failure_reason="expired_or_canceled_card")
    said = await wait_for_text(world, "The customer has not received the money")
    assert "the card has expired or was cancelled" in said
    assert "DKK 125.00 can be refunded" in said
    await idle(world)
    assert rows(world, "SELECT amount_refunded, amount_refund_pending FROM payments")[0] == {
        "amount_refunded": 0,
        "amount_refund_pending": 0,
    }
    await refunded(world, f"/refund {ref}")
    await idle(world)
    assert refund_states(world) == [(5000, "failed"), (12500, "succeeded")]


async def test_failure_is_found_without_any_event(world: World) -> None:
    ref = ref_of(await paid(world))
    await refunded(world, f"/refund {ref} 50")
    await wait_for_text(world, "↩️ Refunded:")
    await webhooks(world, "lose")
    await move(world, "fail")
    await pass_time(world, DAY + 60)
    await wait_for_text(world, "The customer has not received the money")


async def test_insufficient_balance_can_be_retried_for_ten_minutes(world: World) -> None:
    ref = ref_of(await paid(world))
    await world.control("stripe", "balance", {"available": 0, "refuse": True})
    await refunded(world, f"/refund {ref}")
    short = await world.message("Stripe did not refund")
    await world.control("stripe", "balance", {"available": None})
    await idle(world)
    assert refunds(world) == []
    await world.answer(world.tap(short, "Try again"))
    await wait_for_text(world, "↩️ Refunded:")
    assert refund_states(world) == [(12500, "succeeded")]
    assert len({request.idempotency_key for request in refund_calls(world)}) == 2


async def test_insufficient_balance_ends_after_ten_minutes(world: World) -> None:
    ref = ref_of(await paid(world))
    await world.control("stripe", "balance", {"available": 0, "refuse": True})
    await refunded(world, f"/refund {ref}")
    short = as_shown(await world.message("Stripe did not refund"))
    await pass_time(world, 660)
    assert "not enough in your Stripe balance in time" in await wait_for_text(world, "was not refunded")
    assert "already been decided" in await alert_text(world, world.tap(short, "Try again"))
    await world.control("stripe", "balance", {"available": None})
    await refunded(world, f"/refund {ref}")
    await idle(world)
    assert refund_states(world) == [(12500, "succeeded")]


async def test_dashboard_refund_appears_on_the_payment_message(world: World) -> None:
    ref = ref_of(await paid(world))
    await world.control("stripe", f"intents/{world.intent()['id']}/refund", {"amount": 3000})
    assert "Dashboard" in await wait_for_text(world, "↩️ Refunded:")
    await wait_for_text(world, "Partly refunded")
    assert "At most DKK 95.00" in (await reply_text(world, f"/refund {ref} 100")).replace("\u00a0", " ")


async def test_a_race_with_the_dashboard_ends_in_what_stripe_has(world: World) -> None:
    ref = ref_of(await paid(world))
    draft = await drafted(world, f"/refund {ref}")
    await webhooks(world, "lose")
    await world.control("stripe", f"intents/{world.intent()['id']}/refund", {"amount": 12500})
    await world.answer(world.tap(draft, "Refund"))
    assert "already been refunded" in await wait_for_text(world, "was not refunded")
    await idle(world)
    assert refund_states(world) == [(12500, "succeeded")]
    assert rows(world, "SELECT amount_refunded, amount_refund_pending FROM payments")[0] == {
        "amount_refunded": 12500,
        "amount_refund_pending": 0,
    }


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["drop", "500", "429"])
async def test_any_single_fault_refunds_once(world: World, how: str, when: str) -> None:
    ref = ref_of(await paid(world))
    draft = await drafted(world, f"/refund {ref} 40")
    await fault(world, "refund", how, when, times=4)
    world.tap(draft, "Refund")
    await advance_until(world, lambda: [one for one in texts(world) if one.startswith("↩️ Refunded:")])
    await idle(world)
    assert refund_states(world) == [(4000, "succeeded")]
    assert len([one for one in texts(world) if one.startswith("↩️ Refunded:")]) == 1


async def test_status_lists_the_refund_in_its_history(world: World) -> None:
    ref = ref_of(await paid(world))
    await refunded(world, f"/refund {ref} 40")
    await wait_for_text(world, "↩️ Refunded:")
    said = (await reply_text(world, f"/status {ref}")).replace("\u00a0", " ")
    assert "Refund of DKK 40.00 prepared" in said
    assert "Refunded DKK 40.00" in said


def _id(world: World) -> str:
    return str(rows(world, "SELECT id FROM refunds")[0]["id"])


async def test_requester_promoted_to_admin_cannot_approve_own_request(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    world.say(f"/refund {ref}", by=MERCHANT, chat=GROUP)
    asks = await world.message("asks to refund", chat=GROUP)
    await promote(world, MERCHANT)
    assert "another admin" in await alert_text(world, world.tap(asks, "Refund", by=MERCHANT))
    await idle(world)
    assert refund_calls(world) == []


async def test_trying_again_does_not_make_the_ten_minutes_longer(world: World) -> None:
    ref = ref_of(await paid(world))
    await world.control("stripe", "balance", {"available": 0, "refuse": True})
    await refunded(world, f"/refund {ref}")
    short = await world.message("Stripe did not refund")
    assert "valid until 13:10" in short["text"]
    world.advance(540)
    await world.answer(world.tap(short, "Try again"))
    await world.until(lambda: len([one for one in texts(world) if "valid until 13:10" in one]) == 1)
    await pass_time(world, 70)
    await wait_for_text(world, "was not refunded")
    assert refunds(world) == []


async def test_second_request_waits_for_the_end_of_the_first(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    world.say(f"/refund {ref} 10", by=MERCHANT, chat=GROUP)
    asks = await world.message("asks to refund", chat=GROUP)
    answer = plain(await reply_text(world, f"/refund {ref} 20", by=MERCHANT, chat=GROUP))
    assert "already asked to refund DKK 10.00 of" in answer
    await world.answer(world.tap(asks, "Don't refund", by=MERCHANT))
    await wait_for_text(world, "declined", GROUP)
    world.say(f"/refund {ref} 20", by=MERCHANT, chat=GROUP)
    await world.until(lambda: [one for one in texts(world, GROUP) if "asks to refund DKK 20.00" in one])


def plain(said: str) -> str:
    return said.replace("\u00a0", " ")
