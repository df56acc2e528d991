"""A question that several people can decide is edited wherever it stands once it is decided: by whom and when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from storage import messages
from tests.support.evidence import idle, pass_time, rows
from tests.support.people import (
    ADMIN,
    COLLEAGUE,
    GROUP,
    MERCHANT,
    alert_text,
    caught_up,
    open_database,
    open_shop,
    reply,
)
from tests.support.refund_steps import (
    DAY,
    drafted,
    held,
    paid,
    promote,
    ref_of,
    refund_states,
    set_next_refund,
    wait_for_text,
)
from tests.support.world import OWNER, Json, World, labels, opened

ASKS = "asks to refund"
NO_QUESTIONS = "SELECT count(*) AS number FROM question_messages"


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


def now(message: Json) -> str:
    """The text of a message as it is now, with plain spaces."""
    return str(message["text"]).replace("\u00a0", " ")


def is_over(message: Json) -> bool:
    """Whether the message says that nobody decided in time."""
    return "nobody approved" in now(message)


async def ask(world: World, text: str = "50") -> tuple[Json, dict[int, Json]]:
    """A merchant's request for a refund in private: what they were answered, and the question to each admin."""
    for person in (ADMIN, COLLEAGUE):
        await caught_up(world, person, by=person)
    ref = ref_of(await paid(world, by=MERCHANT, chat=MERCHANT))
    own = await drafted(world, f"/refund {ref} {text}", by=MERCHANT, chat=MERCHANT, says="have been asked")
    return own, {person: await world.message(ASKS, chat=person) for person in (ADMIN, OWNER)}


async def test_approved_refund_closes_the_question_in_every_chat_with_name_and_time(world: World) -> None:
    own, asked = await ask(world)
    await world.answer(world.tap(asked[ADMIN], "Refund", by=ADMIN))
    await idle(world)
    for message in (own, *asked.values()):
        assert f"Approved by Ada ({ADMIN}), 24 Nov 2026, 13:00." in now(message)
        assert "No money has moved" not in now(message)
        assert labels(message) == []
    assert refund_states(world) == [(5000, "succeeded")]
    assert rows(world, NO_QUESTIONS) == [{"number": 0}]


async def test_declined_refund_closes_the_question_in_every_chat(world: World) -> None:
    own, asked = await ask(world)
    world.advance(300)
    await world.answer(world.tap(asked[ADMIN], "Don't refund", by=ADMIN))
    await idle(world)
    for message in (own, *asked.values()):
        assert now(message).startswith("🚫 Refund of DKK 50.00")
        assert f"Declined by Ada ({ADMIN}), 24 Nov 2026, 13:05." in now(message)
        assert labels(message) == []
    assert refund_states(world) == []


async def test_withdrawn_request_closes_the_question_of_the_admins(world: World) -> None:
    own, asked = await ask(world)
    await world.answer(world.tap(own, "Don't refund", by=MERCHANT))
    await idle(world)
    for message in (own, *asked.values()):
        assert f"Declined by Mads ({MERCHANT})" in now(message)
        assert labels(message) == []


async def test_expired_request_closes_the_question(world: World) -> None:
    own, asked = await ask(world)
    await pass_time(world, DAY + 60)
    for message in (own, *asked.values()):
        await world.until(partial(is_over, message))
        assert "nobody approved the refund of DKK 50.00 in time" in now(message)
        assert labels(message) == []


async def test_draft_that_was_never_confirmed_loses_its_buttons(world: World) -> None:
    draft = await drafted(world, f"/refund {ref_of(await paid(world))} 50")
    await pass_time(world, 700)
    await world.until(lambda: not labels(draft))
    assert "in time" in now(draft)


async def test_question_in_a_group_that_was_decided_in_private_is_closed(world: World) -> None:
    """The merchant withdraws in private what stands in the group's chat too, and the reverse."""
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    sent = world.say(f"/refund {ref} 50", by=MERCHANT, chat=GROUP)
    await idle(world)
    asked = await world.message(ASKS, chat=GROUP)
    assert sent
    await world.answer(world.tap(asked, "Refund", by=ADMIN))
    await idle(world)
    assert f"Approved by Ada ({ADMIN})" in now(asked)
    assert refund_states(world) == [(5000, "succeeded")]


async def test_first_approval_closes_the_first_question_and_the_second_one_stays_open(careful: World) -> None:
    await promote(careful, COLLEAGUE)
    _, asked = await ask(careful, "60")
    other = await careful.message(ASKS, chat=COLLEAGUE)
    await careful.answer(careful.tap(asked[OWNER], "Refund"))
    await idle(careful)
    for message in (*asked.values(), other):
        assert "approved once; another admin must approve it too" in now(message)
        assert f"Approved by {OWNER}, 24 Nov 2026, 13:00." in now(message)
        assert labels(message) == []
    second = await careful.message(ASKS, chat=ADMIN)
    assert labels(second) == ["Refund DKK 60.00", "Don't refund"]
    await careful.answer(careful.tap(second, "Refund", by=ADMIN))
    await idle(careful)
    for message in (second, await careful.message("Approved by Ada", chat=COLLEAGUE)):
        assert f"Approved by {OWNER}, " in now(message)
        assert f"Approved by Ada ({ADMIN}), " in now(message)
    assert refund_states(careful) == [(6000, "succeeded")]


async def test_question_sent_after_the_decision_is_closed_at_once(world: World) -> None:
    """Telegram is slow to one admin, and the other decides before."""
    await caught_up(world, ADMIN, by=ADMIN)
    async with open_database(world) as db:
        await db.write(messages.set_retry_after, OWNER, world.clock.now() + timedelta(seconds=60))
    ref = ref_of(await paid(world, by=MERCHANT, chat=MERCHANT))
    world.say(f"/refund {ref} 50", by=MERCHANT, chat=MERCHANT)
    asked = await world.message(ASKS, chat=ADMIN)
    await world.answer(world.tap(asked, "Refund", by=ADMIN))
    await idle(world)
    await pass_time(world, 120)
    late = await world.message(f"Approved by Ada ({ADMIN})", chat=OWNER)
    assert labels(late) == []


async def test_insufficient_balance_shows_try_again_in_every_chat(world: World) -> None:
    _, asked = await ask(world)
    await set_next_refund(world, "refused", code="balance_insufficient")
    await world.answer(world.tap(asked[ADMIN], "Refund", by=ADMIN))
    await idle(world)
    assert "not enough in your Stripe balance" in now(asked[ADMIN])
    assert labels(asked[ADMIN]) == ["Try again"]


async def test_capture_decided_by_one_closes_the_question_of_the_other(world: World) -> None:
    ref = ref_of(await held(world, chat=GROUP))
    first = await reply(world, world.say(f"/capture {ref}", by=ADMIN, chat=GROUP), "Charge DKK", chat=GROUP)
    second = await reply(world, world.say(f"/release {ref}"), "Release DKK")
    third = await reply(world, world.say(f"/capture {ref}"), "Charge DKK")
    await world.answer(world.tap(first, "Charge", by=ADMIN))
    await wait_for_text(world, "✅ Paid:", GROUP)
    await idle(world)
    for message in (first, second, third):
        assert "charge DKK 125.00" in now(message).replace("Charged:", "charge")
        assert f"Decided by Ada ({ADMIN}), 24 Nov 2026, 13:00." in now(message)
        assert labels(message) == []


async def test_release_decided_by_one_closes_the_question_of_the_other(world: World) -> None:
    ref = ref_of(await held(world, chat=GROUP))
    first = await reply(world, world.say(f"/release {ref}", by=ADMIN, chat=GROUP), "Release DKK", chat=GROUP)
    second = await reply(world, world.say(f"/capture {ref}"), "Charge DKK")
    await world.answer(world.tap(first, "Release", by=ADMIN))
    await idle(world)
    for message in (first, second):
        assert f"Decided by Ada ({ADMIN})" in now(message)
        assert labels(message) == []
    assert "release DKK 125.00" in now(second).replace("Released:", "release")


async def test_hold_that_ended_by_itself_closes_its_questions(world: World) -> None:
    question = await reply(world, world.say(f"/capture {ref_of(await held(world))}"), "Charge DKK")
    await pass_time(world, 8 * DAY)
    await world.until(lambda: not labels(question))


async def test_stale_button_of_a_closed_question_moves_no_money(world: World) -> None:
    _, asked = await ask(world)
    button = asked[OWNER]["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
    await world.answer(world.tap(asked[ADMIN], "Don't refund", by=ADMIN))
    await idle(world)
    pressed = world.telegram.press_button(asked[OWNER]["message_id"], OWNER, button, OWNER)
    assert "already" in await alert_text(world, pressed)
    await idle(world)
    assert refund_states(world) == []
