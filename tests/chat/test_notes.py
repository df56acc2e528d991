"""`/note` and `/settle`: the shop's own text about a payment, and requests that were paid in another way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import calls, idle, rows, webhooks
from tests.support.people import (
    ADMIN,
    COLLEAGUE,
    GROUP,
    MERCHANT,
    OTHER_GROUP,
    STRANGER,
    open_second_shop,
    open_shop,
    reply,
    reply_text,
)
from tests.support.refund_steps import held, paid, ref_of, texts, wait_for_text
from tests.support.world import World, labels, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def asked(world: World, text: str = "/pay 125 Tea") -> str:
    """The reference of a request of the merchant in the group."""
    return ref_of(await reply(world, world.say(text, by=MERCHANT, chat=GROUP), "Waiting for payment", chat=GROUP))


async def test_note_is_written_replaced_removed_and_found(world: World) -> None:
    ref = await asked(world)
    said = await reply_text(world, f"/note {ref} Table 4, <b>Åse</b>", by=MERCHANT, chat=GROUP)
    assert said == f"Note on #{ref}: Table 4, <b>Åse</b>"
    assert "Note: Table 4, <b>Åse</b>" in await reply_text(world, f"/status {ref}", by=MERCHANT, chat=GROUP)
    assert f"#{ref}" in await reply_text(world, "/find åse", by=COLLEAGUE, chat=GROUP)
    await reply_text(world, f"/note {ref} Window", by=COLLEAGUE, chat=GROUP)
    assert "Window" in await reply_text(world, f"/note {ref}", by=MERCHANT, chat=GROUP)
    assert "No payment" in await reply_text(world, "/find åse", by=MERCHANT, chat=GROUP)
    assert f"#{ref}" in await reply_text(world, "/find window tea", by=MERCHANT, chat=GROUP)
    assert "removed" in await reply_text(world, f"/note {ref} -", by=MERCHANT, chat=GROUP)
    assert "No payment" in await reply_text(world, "/find window", by=MERCHANT, chat=GROUP)
    assert "has no note" in await reply_text(world, f"/note {ref}", by=MERCHANT, chat=GROUP)
    assert rows(world, "SELECT note FROM payments")[0]["note"] == ""


async def test_note_shows_nothing_to_the_customer_and_leaves_no_text_in_the_log(world: World) -> None:
    message = await paid(world, by=MERCHANT, chat=GROUP)
    reply_to = world.say("/note hush word", by=MERCHANT, chat=GROUP, reply_to=message["message_id"])
    await reply(world, reply_to, "Note on", chat=GROUP)
    await idle(world)
    assert "hush" not in message["text"]
    assert "hush" not in str(rows(world, "SELECT detail FROM audit_log"))
    assert "hush" not in str(world.stripe.store.intents)
    log = await reply_text(world, f"/log {ref_of(message)}", by=ADMIN, chat=GROUP)
    assert "changed the note" in log


async def test_note_on_a_payment_of_another_shop_is_refused(world: World) -> None:
    await open_second_shop(world, STRANGER)
    ref = await asked(world)
    assert "no payment" in await reply_text(world, f"/note {ref} mine", by=STRANGER, chat=OTHER_GROUP)
    assert rows(world, "SELECT note FROM payments")[0]["note"] == ""
    too_long = await reply_text(world, f"/note {ref} {'x' * 201}", by=MERCHANT, chat=GROUP)
    assert "200" in too_long


async def test_settled_request_is_canceled_at_stripe_first_and_is_no_stripe_money(world: World) -> None:
    ref = await asked(world)
    said = await reply_text(world, f"/settle {ref} cash", by=MERCHANT, chat=GROUP)
    assert "paid in another way (cash)" in said
    assert (world.intent()["status"], len(calls(world, "cancel"))) == ("canceled", 1)
    message = await world.message("💵 Paid in another way", chat=GROUP)
    assert "The shop was paid in another way: cash" in message["text"]
    assert labels(message) == []
    assert rows(world, "SELECT status, amount_received, cancellation_reason FROM payments") == [
        {"status": "canceled", "amount_received": 0, "cancellation_reason": "settled"}
    ]
    assert rows(world, "SELECT * FROM movements") == []
    day = (await reply_text(world, "/today", by=MERCHANT, chat=GROUP)).replace("\u00a0", " ")
    assert "Received: DKK 0.00 (0)" in day
    assert "Paid in another way: DKK 125.00 (1)" in day
    assert f"#{ref}" in await reply_text(world, "/find kontant", by=MERCHANT, chat=GROUP)


async def test_request_is_not_settled_before_stripe_says_so(world: World) -> None:
    ref = await asked(world)
    await world.control("stripe", "down", {"down": True})
    said = await reply_text(world, f"/settle {ref} cash", by=MERCHANT, chat=GROUP)
    assert "Stripe has not confirmed yet" in said
    assert not any("💵" in text for text in texts(world, GROUP))


async def test_request_that_the_customer_paid_first_is_paid(world: World) -> None:
    ref = await asked(world)
    await webhooks(world, "hold")
    await world.decide("approve")
    said = await reply_text(world, f"/settle {ref} cash", by=MERCHANT, chat=GROUP)
    assert "already paid" in said.lower()
    await wait_for_text(world, "✅ Paid:", GROUP)
    assert rows(world, "SELECT status, amount_received FROM payments") == [
        {"status": "succeeded", "amount_received": 12500}
    ]
    assert not any("💵" in text for text in texts(world, GROUP))


async def test_settle_is_refused_for_paid_held_closed_and_foreign_requests(world: World) -> None:
    paid_ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    assert "already paid" in (await reply_text(world, f"/settle {paid_ref} cash", by=MERCHANT, chat=GROUP)).lower()
    held_ref = ref_of(await held(world, by=MERCHANT, chat=GROUP))
    await reply_text(world, f"/settle {held_ref} cash", by=MERCHANT, chat=GROUP)
    assert world.intent()["status"] == "requires_capture"
    ref = await asked(world, "/pay 80 Cake")
    assert "How was" in await reply_text(world, f"/settle {ref}", by=MERCHANT, chat=GROUP)
    await reply_text(world, f"/settle {ref} cash", by=COLLEAGUE, chat=GROUP)
    assert world.intent()["status"] == "requires_action"
    await reply_text(world, f"/cancel {ref}", by=MERCHANT, chat=GROUP)
    await reply_text(world, f"/settle {ref} cash", by=MERCHANT, chat=GROUP)
    assert rows(world, "SELECT count(*) AS n FROM payments WHERE cancellation_reason = 'settled'")[0]["n"] == 0


async def test_admin_settles_a_request_of_a_merchant(world: World) -> None:
    ref = await asked(world)
    assert "(bank transfer)" in await reply_text(world, f"/settle {ref} bank transfer", by=ADMIN, chat=GROUP)
