"""A second payable link is never made silently: by the same command sent twice, or by `/again` on an open request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import idle, pass_time
from tests.support.people import (
    ADMIN,
    COLLEAGUE,
    GROUP,
    MERCHANT,
    advance_until,
    alert_text,
    open_shop,
    reply,
    reply_text,
    shown,
)
from tests.support.refund_steps import paid, ref_of, texts, wait_for_text
from tests.support.world import OWNER, Json, World, labels, opened, pay_url

SAME = "You asked for the same a moment ago"


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


def intents(world: World) -> list[tuple[int, str]]:
    """Amount and status of every intent at Stripe, oldest first."""
    return [(intent["amount"], intent["status"]) for intent in world.stripe.store.intents.values()]


async def requested(world: World, text: str = "/pay 125 Tea", *, by: int = OWNER, chat: int = OWNER) -> Json:
    """The payment message of a command."""
    return await reply(world, world.say(text, by=by, chat=chat), "Waiting for payment", chat=chat)


# The same command twice


@pytest.mark.parametrize("seconds", [0, 1, 5])
@pytest.mark.parametrize("text", ["/pay 125 Tea", "/hold 125 Bicycle"])
async def test_same_command_within_five_seconds_is_asked_about(world: World, text: str, seconds: int) -> None:
    first = await requested(world, text)
    world.advance(seconds)
    asked = await reply(world, world.say(text), SAME)
    assert f"#{ref_of(first)}" in asked["text"]
    assert labels(asked) == ["Ask for another", "One is enough"]
    await idle(world)
    assert len(intents(world)) == 1


async def test_same_command_six_seconds_later_is_a_second_request(world: World) -> None:
    await requested(world)
    world.advance(6)
    await requested(world)
    assert intents(world) == [(12500, "requires_action"), (12500, "requires_action")]


async def test_other_amount_text_person_or_chat_is_not_asked_about(world: World) -> None:
    await requested(world)
    await requested(world, "/pay 126 Tea")
    await requested(world, "/pay 125 Teas")
    await requested(world, "/hold 125 Tea")
    await requested(world, chat=GROUP)
    await requested(world, by=ADMIN, chat=GROUP)
    await requested(world, by=ADMIN, chat=ADMIN)
    assert len(intents(world)) == 7


async def test_commands_sent_a_minute_apart_and_handled_together_after_an_outage_are_two_requests(world: World) -> None:
    """What counts is when the person sent them."""
    await world.stop()
    first = world.say("/pay 125 Tea")
    world.advance(60)
    second, third = world.say("/pay 125 Tea"), world.say("/pay 125 Tea")
    await world.begin()
    await reply(world, first, "Waiting for payment")
    await reply(world, second, "Waiting for payment")
    await reply(world, third, SAME)
    await idle(world)
    assert len(intents(world)) == 2


async def test_another_one_is_requested_by_its_button_once(world: World) -> None:
    await requested(world)
    asked = await reply(world, world.say("/pay 125 Tea"), SAME)
    for tap in [world.tap(asked, "Ask for another") for _ in range(3)]:
        await world.answer(tap)
    await wait_for_text(world, "Payment requested: DKK 125.00")
    await idle(world)
    assert intents(world) == [(12500, "requires_action"), (12500, "requires_action")]


async def test_one_is_enough_makes_no_second_request_even_if_the_other_button_is_pressed_later(world: World) -> None:
    await requested(world)
    asked = await reply(world, world.say("/pay 125 Tea"), SAME)
    for tap in [world.tap(asked, label) for label in ("One is enough", "Ask for another")]:
        await world.answer(tap)
    await wait_for_text(world, "No second request was made")
    await idle(world)
    assert len(intents(world)) == 1


async def test_nobody_else_answers_the_question(world: World) -> None:
    await requested(world, by=MERCHANT, chat=GROUP)
    asked = await reply(world, world.say("/pay 125 Tea", by=MERCHANT, chat=GROUP), SAME, chat=GROUP)
    assert "for someone else" in await alert_text(world, world.tap(asked, "Ask for another", by=COLLEAGUE))
    await idle(world)
    assert len(intents(world)) == 1


async def test_first_request_that_was_canceled_needs_no_question(world: World) -> None:
    first = await requested(world)
    await reply(world, world.say(f"/cancel {ref_of(first)}"))
    await idle(world)
    await requested(world)


async def test_same_ambiguous_command_twice_is_asked_about_once_both_amounts_are_chosen(world: World) -> None:
    questions = [await reply(world, world.say("/pay 1.234"), "Which amount") for _ in range(2)]
    for question in questions:
        await world.answer(world.tap(question, "1,234.00"))
    await wait_for_text(world, SAME)
    await idle(world)
    assert intents(world) == [(123400, "requires_action")]
    [asked] = [one for one in shown(world) if SAME in one["text"]]
    await world.answer(world.tap(asked, "Ask for another"))
    await idle(world)
    assert len(intents(world)) == 2


async def test_late_commands_sent_twice_are_asked_about_when_both_are_wanted(world: World) -> None:
    await world.stop()
    sent = [world.say("/pay 125 Tea") for _ in range(2)]
    world.advance(660)
    await world.begin()
    for message in sent:
        await world.answer(world.tap(await reply(world, message, "arrived late"), "Do it now"))
    await wait_for_text(world, SAME)
    await idle(world)
    assert len(intents(world)) == 1


# `/again`


async def test_again_on_an_open_request_gives_its_link_and_asks(world: World) -> None:
    first = await requested(world)
    asked = await reply(world, world.say(f"/again {ref_of(first)}"), "is still open")
    assert pay_url(first) in asked["text"]
    assert labels(asked) == ["Replace it", "Ask for another"]
    await idle(world)
    assert len(intents(world)) == 1


async def test_again_without_a_usable_link_says_so(world: World) -> None:
    first = await requested(world)
    await pass_time(world, 400)
    asked = await reply_text(world, f"/again {ref_of(first)}")
    assert "no usable link right now" in asked
    assert "http" not in asked


async def test_replace_cancels_the_first_before_the_second_is_made(world: World) -> None:
    first = await requested(world)
    asked = await reply(world, world.say(f"/again {ref_of(first)}"), "is still open")
    for tap in [world.tap(asked, "Replace it") for _ in range(2)]:
        await world.answer(tap)
    await wait_for_text(world, "Payment requested: DKK 125.00")
    await idle(world)
    assert intents(world) == [(12500, "canceled"), (12500, "requires_action")]
    order = [r.path.rpartition("/")[2] for r in world.stripe.store.requests if r.method == "POST"]
    assert order.index("cancel") < len(order) - 1 - order[::-1].index("payment_intents")


async def test_replace_makes_no_second_request_while_stripe_has_not_canceled_the_first(world: World) -> None:
    first = await requested(world)
    asked = await reply(world, world.say(f"/again {ref_of(first)}"), "is still open")
    await world.control("stripe", "down", {"down": True})
    world.tap(asked, "Replace it")
    said = await advance_until(world, lambda: [one for one in texts(world) if "has not confirmed it yet" in one])
    assert f"send /again {ref_of(first)}" in said[0]
    await world.control("stripe", "down", {"down": False})
    await advance_until(world, lambda: intents(world) == [(12500, "canceled")])
    await idle(world)
    await requested(world, f"/again {ref_of(first)}")
    assert intents(world) == [(12500, "canceled"), (12500, "requires_action")]


async def test_replace_of_what_was_paid_meanwhile_requests_nothing(world: World) -> None:
    first = await requested(world)
    asked = await reply(world, world.say(f"/again {ref_of(first)}"), "is still open")
    await world.decide("approve")
    await wait_for_text(world, "✅ Paid:")
    assert "already paid" in await alert_text(world, world.tap(asked, "Replace it"))
    await idle(world)
    assert intents(world) == [(12500, "succeeded")]


async def test_ask_for_another_leaves_the_first_open(world: World) -> None:
    first = await requested(world)
    asked = await reply(world, world.say(f"/again {ref_of(first)}"), "is still open")
    await world.answer(world.tap(asked, "Ask for another"))
    await idle(world)
    assert intents(world) == [(12500, "requires_action"), (12500, "requires_action")]


async def test_merchant_cannot_replace_the_request_of_another(world: World) -> None:
    first = await requested(world, by=OWNER, chat=GROUP)
    asked = await reply(world, world.say(f"/again {ref_of(first)}", by=MERCHANT, chat=GROUP), "still open", chat=GROUP)
    assert "access" in await alert_text(world, world.tap(asked, "Replace it", by=MERCHANT))
    await world.answer(world.tap(asked, "Ask for another", by=MERCHANT))
    await idle(world)
    assert intents(world) == [(12500, "requires_action"), (12500, "requires_action")]


async def test_again_on_a_paid_request_asks_for_the_same_once_more_without_a_question(world: World) -> None:
    first = await paid(world)
    await reply(world, world.say(f"/again {ref_of(first)}"), "Waiting for payment")
    await reply(world, world.say(f"/again {ref_of(first)}"), SAME)
    await idle(world)
    assert len(intents(world)) == 2
    assert not [one for one in texts(world) if "is still open" in one]
