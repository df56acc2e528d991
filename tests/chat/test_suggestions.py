"""What is mistyped or left out is offered by buttons: a request, a command, or the payment that a command is about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.chat.test_pay_command import amounts
from tests.chat.test_shop_selection import asked, ref_of
from tests.support.evidence import idle
from tests.support.people import (
    ADMIN,
    COLLEAGUE,
    GROUP,
    MERCHANT,
    OTHER_GROUP,
    STRANGER,
    alert_text,
    cancel_by_button,
    caught_up,
    open_second_shop,
    open_shop,
    posts,
    press,
    reply,
    reply_text,
    shown,
)
from tests.support.refund_steps import paid, refund_states, wait_for_text
from tests.support.world import OWNER, World, button, labels, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


REQUESTS = [
    *["pay 20 coffee", "/paye 20 coffee", "/pya 20 coffee", "/pay20 coffee", "/ pay 20 coffee", "pay: 20 coffee"],
    *["/pay:20 coffee", "Betal 20 coffee", "coffee 20", "/pay coffee 20 kr", "coffee: 20,-", "20 coffee"],
]


async def test_mistyped_request_is_offered_by_one_button(world: World) -> None:
    for number, typed in enumerate(REQUESTS):
        offer = await reply(world, world.say(typed), "Request this amount?")
        assert labels(offer) == ["DKK 20.00 – coffee"], typed
        assert len(amounts(world)) == number
        await world.answer(world.tap(offer, "20.00"))
        await world.until(lambda count=number + 1: len(amounts(world)) == count)  # type: ignore[misc]
        assert amounts(world)[-1] == (2000, "dkk", "coffee"), typed


async def test_amount_that_cannot_be_requested_is_refused_with_its_reason(world: World) -> None:
    assert "zł is not supported" in await reply_text(world, "20 zł coffee")
    assert "can't read" in await reply_text(world, "/pay 2 x 20")
    assert "write the amount first" in await reply_text(world, "open tomorrow?")
    assert posts(world) == []


async def test_mistyped_command_is_offered_and_runs_once_pressed(world: World) -> None:
    ref = ref_of(await asked(world))
    for typed in (f"/statsu {ref}", f"status {ref}", f"/status{ref}"):
        question = await reply(world, world.say(typed, by=ADMIN), "Did you mean this?", chat=ADMIN)
        assert labels(question)[0].casefold() == f"/status {ref}".casefold(), typed
        await world.answer(world.tap(question, "/status", by=ADMIN))
        await world.message(f"#{ref}", chat=ADMIN, but="Did you mean")
    assert "no command /frobnicate" in await reply_text(world, "/frobnicate", by=ADMIN)
    assert "no command /statsu" in await reply_text(world, "/statsu", by=STRANGER)


async def test_mistyped_command_in_a_group_is_offered_to_members_only(world: World) -> None:
    offer = await reply(world, world.say("/paye 20 coffee", by=MERCHANT, chat=GROUP), chat=GROUP)
    assert labels(offer) == ["DKK 20.00 – coffee"]
    assert "for someone else" in await alert_text(world, world.tap(offer, "20.00", by=OWNER))
    before = len(shown(world, GROUP))
    world.say("/paye 20 coffee", by=STRANGER, chat=GROUP)
    world.say("/frobnicate", by=MERCHANT, chat=GROUP)
    await caught_up(world, GROUP)
    assert len(shown(world, GROUP)) == before + 1
    assert posts(world) == []


async def test_refund_alone_offers_the_last_payments_that_can_be_refunded(world: World) -> None:
    assert "Which payment? Write its reference" in await reply_text(world, "/refund")
    refs = []
    for number in range(6):
        world.advance(1)
        refs.append(ref_of(await paid(world, f"/pay 2{number} Tea {number}")))
    await asked(world, by=OWNER, chat=OWNER, text="/pay 30 Open")
    question = await reply(world, world.say("/refund"), "Choose the one to refund")
    assert labels(question) == [
        f"#{ref} · DKK 2{number}.00 · Tea {number}" for number, ref in reversed([*enumerate(refs)][1:])
    ]
    await world.answer(world.tap(question, refs[3]))
    draft = await world.message(f"of #{refs[3]}?")
    assert draft["text"].startswith("Refund DKK\u00a023.00")
    await world.answer(press(world, question, button(question, refs[3])["callback_data"]))
    await world.answer(world.tap(draft, "Refund"))
    await wait_for_text(world, "↩️ Refunded:")
    await idle(world)
    assert refund_states(world) == [(2300, "succeeded")]
    assert refs[3] not in str(labels(await reply(world, world.say("/refund"), "Choose the one to refund")))


async def test_cancel_alone_offers_the_open_requests_that_this_person_may_cancel(world: World) -> None:
    own = ref_of(await asked(world))
    world.advance(1)
    other = ref_of(await asked(world, by=ADMIN))
    question = await reply(world, world.say("/cancel", by=MERCHANT, chat=GROUP), "Choose the request", chat=GROUP)
    assert labels(question) == [f"#{own} · DKK 125.00 · Tea"]
    every = await reply(world, world.say("/cancel", by=ADMIN, chat=GROUP), "Choose the request", chat=GROUP)
    assert labels(every) == [f"#{ref} · DKK 125.00 · Tea" for ref in (other, own)]
    await world.answer(world.tap(question, own, by=MERCHANT))
    await world.message(f"#{own} is cancelled", chat=GROUP)
    assert [intent["status"] for intent in world.stripe.store.intents.values()] == ["canceled", "requires_action"]


async def test_choices_are_of_the_shop_of_the_chat_only(world: World) -> None:
    await open_second_shop(world)
    await paid(world, by=MERCHANT, chat=GROUP)
    await asked(world)
    for command in ("/refund", "/cancel"):
        assert "Which payment? Write its reference" in await reply_text(world, command, chat=OTHER_GROUP)


async def test_cancel_button_asks_once_and_can_be_left(world: World) -> None:
    card = await asked(world)
    await world.answer(world.tap(card, "Cancel", by=MERCHANT))
    question = await world.message("Cancel the request for DKK\u00a0125.00", chat=GROUP)
    assert labels(question) == ["Cancel the request", "Keep it open"]
    assert "for someone else" in await alert_text(world, world.tap(question, "Cancel the request", by=ADMIN))
    await world.answer(world.tap(question, "Keep it open", by=MERCHANT))
    assert labels(await world.message("stays open", chat=GROUP)) == []
    assert world.intent()["status"] == "requires_action"
    assert "is cancelled. No money was taken." in await cancel_by_button(world, card, by=MERCHANT)
    assert "is closed" in await alert_text(world, world.tap(card, "Cancel", by=MERCHANT))


async def test_ended_request_can_be_asked_again_once_by_its_button(world: World) -> None:
    card = await asked(world)
    await reply_text(world, f"/cancel {ref_of(card)}", by=MERCHANT, chat=GROUP)
    ended = await world.message("It was cancelled by the shop", chat=GROUP)
    assert labels(ended) == ["Ask again"]
    assert "access" in await alert_text(world, world.tap(ended, "Ask again", by=STRANGER))
    answers = [await world.answer(world.tap(ended, "Ask again", by=by)) for by in (MERCHANT, MERCHANT, ADMIN)]
    again = await world.message("Waiting for payment", chat=GROUP)
    assert set(answers) == {f"Requested again: #{ref_of(again)}."}
    assert amounts(world) == [(12500, "dkk", "Tea")] * 2


async def test_private_chat_shows_share_first_and_a_group_pay(world: World) -> None:
    own = await reply(world, world.say("/pay 125 Tea"), "Waiting for payment")
    assert labels(own) == ["Share", "Copy link", "Pay DKK 125.00", "Cancel"]
    assert labels(await asked(world)) == ["Pay DKK 125.00", "Copy link", "Share", "Cancel"]


async def test_amount_in_a_reply_to_the_bot_in_a_group_is_offered(world: World) -> None:
    card = await asked(world)
    before = len(shown(world, GROUP))
    for text, by in (("20 coffee", STRANGER), ("thanks!", MERCHANT), ("see you at 8", MERCHANT)):
        world.say(text, by=by, chat=GROUP, reply_to=card["message_id"])
    own = world.say("hello", by=COLLEAGUE, chat=GROUP)
    world.say("20 coffee", by=MERCHANT, chat=GROUP, reply_to=own)
    await caught_up(world, GROUP)
    assert len(shown(world, GROUP)) == before + 1
    for text in ("20 coffee", "pay 20 coffee"):
        said = world.say(text, by=MERCHANT, chat=GROUP, reply_to=card["message_id"])
        offer = await reply(world, said, "Request this amount?", chat=GROUP)
        assert labels(offer) == ["DKK 20.00 – coffee"]
    assert len(amounts(world)) == 1
    await world.answer(world.tap(offer, "20.00", by=MERCHANT))
    await world.until(lambda: len(amounts(world)) == 2)
    assert amounts(world)[-1] == (2000, "dkk", "coffee")


async def test_reply_to_any_message_about_a_payment_names_it(world: World) -> None:
    card = await paid(world, "/pay 125 Tea #A1B2", by=MERCHANT, chat=GROUP)
    ref = ref_of(card)
    notification = await world.message("✅ Paid:", chat=GROUP)
    assert notification["message_id"] != card["message_id"]
    said = world.say("/status", by=MERCHANT, chat=GROUP, reply_to=notification["message_id"])
    status = await reply(world, said, f"#{ref}", chat=GROUP)
    said = world.say("/refund 50 cold", by=OWNER, chat=GROUP, reply_to=status["message_id"])
    draft = await reply(world, said, f"of #{ref}?", chat=GROUP)
    assert labels(draft)[0] == "Refund DKK 50.00"
    other = ref_of(await asked(world))
    said = world.say(f"/status {other}", by=MERCHANT, chat=GROUP, reply_to=notification["message_id"])
    assert f"#{ref}" in (await reply(world, said, chat=GROUP))["text"]
    assert f"#{other}" in (await reply(world, said, chat=GROUP))["text"]


async def test_reply_to_a_message_that_names_no_or_several_payments_names_none(world: World) -> None:
    first, second = ref_of(await asked(world)), ref_of(await asked(world))
    listed = await reply(world, world.say("/open", by=MERCHANT, chat=GROUP), chat=GROUP)
    assert first in listed["text"]
    assert second in listed["text"]
    copied = world.say(f"✅ Paid: DKK 125.00\n#{first}", by=COLLEAGUE, chat=GROUP)
    hello = await reply(world, world.say("/id", by=MERCHANT, chat=GROUP), chat=GROUP)
    for message_id in (listed["message_id"], copied, hello["message_id"]):
        said = world.say("/cancel", by=MERCHANT, chat=GROUP, reply_to=message_id)
        assert "Which payment?" in (await reply(world, said, chat=GROUP))["text"]
    assert {intent["status"] for intent in world.stripe.store.intents.values()} == {"requires_action"}


async def test_late_command_that_replies_to_a_notification_keeps_its_payment(world: World) -> None:
    ref = ref_of(await paid(world))
    notification = await world.message("✅ Paid:")
    await world.stop()
    said = world.say("/refund 50", reply_to=notification["message_id"])
    world.advance(601)
    await world.begin()
    question = await reply(world, said, "arrived late")
    await world.answer(world.tap(question, "Do it now"))
    draft = await world.message(f"of #{ref}?")
    assert labels(draft)[0] == "Refund DKK 50.00"
