"""A button press that is handled late, by hand or after an outage, moves no money before it is confirmed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.app import Service
from bot.sandbox.shared.fake_clock import FakeClock
from bot.telegram.update_jobs import update_job
from storage.job_queue import JobQueue
from storage.models.job import DeadLetter
from tests.chat.test_inline import choose, offers
from tests.support.evidence import calls, idle, pass_time
from tests.support.people import MERCHANT, open_database, open_shop, remove_roles, reply
from tests.support.refund_steps import DAY, drafted, held, paid, ref_of, refund_states, texts, wait_for_text
from tests.support.world import OWNER, Json, World, button, labels, opened

ASKED = "You pressed a button"


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path, request_hours=24 * 30) as running:
        await open_shop(running)
        yield running


async def set_aside(world: World, kind: str, content: Json) -> None:
    """Stores an update as a dead letter, as if its handling had failed until it was given up."""
    number = len(calls(world, "create")) + 1
    job = update_job({"update_id": number, kind: content}, bot_id=world.settings.bot_id)
    assert job is not None
    await world.stop()
    async with open_database(world) as db:
        queue, now = JobQueue(db, "updates"), world.clock.now()
        await queue.enqueue(job, now=now)
        [claimed] = await queue.claim(now=now, limit=1, lease_seconds=60)
        assert await queue.finish(claimed, DeadLetter("broken"), now=now)
    await world.begin()


async def press_and_set_aside(world: World, message: Json, label: str, *, by: int = OWNER) -> None:
    """A press whose handling failed until it was given up."""
    data = button(message, label)["callback_data"]
    sender = {"id": by, "is_bot": False, "first_name": "A"}
    shown = {key: value for key, value in message.items() if key != "reply_markup"}
    query: dict[str, Any] = {"id": f"q{data}", "from": sender, "message": shown, "chat_instance": "1", "data": data}
    await set_aside(world, "callback_query", query)


async def retry_by_hand(world: World, seconds: float) -> None:
    """The operator retries what is dead, that much later."""
    await pass_time(world, seconds)
    await world.stop()
    await Service(world.settings, world.clock).reconcile(retry_dead=True)
    await world.begin()
    await idle(world)


async def test_cancel_retried_five_days_later_is_asked_about_and_cancels_nothing(world: World) -> None:
    message = await reply(world, world.say("/pay 125 Tea"), "Waiting for payment")
    await press_and_set_aside(world, message, "Cancel")
    await retry_by_hand(world, 5 * DAY)
    asked = await world.message(ASKED)
    assert "24 Nov 2026, 13:00" in asked["text"]
    assert f"(#{ref_of(message)})" in asked["text"]
    assert labels(asked) == ["Do it now", "Skip it"]
    assert calls(world, "cancel") == []


@pytest.mark.parametrize(("minutes", "is_asked"), [(9, False), (11, True)])
async def test_ten_minutes_are_the_limit_for_presses_as_for_commands(
    world: World, minutes: int, is_asked: bool
) -> None:
    message = await reply(world, world.say("/pay 125 Tea"), "Waiting for payment")
    await pass_time(world, 400)
    message = await world.message("Tea", but="Waiting for payment")
    await press_and_set_aside(world, message, "New link")
    await retry_by_hand(world, minutes * 60)
    assert bool([one for one in texts(world) if ASKED in one]) is is_asked
    assert len(calls(world, "confirm")) == (0 if is_asked else 1)


async def test_confirmed_late_press_is_carried_out_once(world: World) -> None:
    ref = ref_of(await held(world))
    question = await reply(world, world.say(f"/capture {ref}"), "Charge DKK")
    await press_and_set_aside(world, question, "Charge")
    await retry_by_hand(world, 3600)
    asked = await world.message(ASKED)
    assert calls(world, "capture") == []
    for tap in [world.tap(asked, "Do it now") for _ in range(2)]:
        await world.answer(tap)
    await wait_for_text(world, "✅ Paid:")
    await idle(world)
    assert world.intent()["status"] == "succeeded"
    assert len({request.idempotency_key for request in calls(world, "capture")}) == 1


async def test_skipped_late_press_does_nothing(world: World) -> None:
    ref = ref_of(await held(world))
    question = await reply(world, world.say(f"/release {ref}"), "Release DKK")
    await press_and_set_aside(world, question, "Release")
    await retry_by_hand(world, 3600)
    await world.answer(world.tap(await world.message(ASKED), "Skip it"))
    await wait_for_text(world, "Not done.")
    await idle(world)
    assert calls(world, "cancel") == []


async def test_late_approval_of_a_refund_refunds_nothing_even_when_it_is_confirmed(world: World) -> None:
    """A draft works for ten minutes."""
    draft = await drafted(world, f"/refund {ref_of(await paid(world))} 50")
    await press_and_set_aside(world, draft, "Refund")
    await retry_by_hand(world, 3600)
    asked = await world.message(ASKED)
    assert "has run out" in await world.answer(world.tap(asked, "Do it now"))
    await idle(world)
    assert refund_states(world) == []


async def test_role_counts_when_a_late_press_is_confirmed(world: World) -> None:
    message = await reply(world, world.say("/pay 125 Tea", by=MERCHANT), "Waiting for payment", chat=MERCHANT)
    await press_and_set_aside(world, message, "Cancel", by=MERCHANT)
    await retry_by_hand(world, 3600)
    asked = await world.message(ASKED, chat=MERCHANT)
    await remove_roles(world, MERCHANT)
    assert "access" in await world.answer(world.tap(asked, "Do it now", by=MERCHANT))
    assert calls(world, "cancel") == []


async def test_inline_result_chosen_days_ago_requests_nothing_when_it_is_retried(world: World) -> None:
    query, [offer] = await offers(world, "125 Tea", by=OWNER)
    await world.stop()
    inline_id = await choose(world, query, offer)
    world.telegram.state.updates.clear()
    await world.begin()
    chosen = {"result_id": offer["id"], "from": {"id": OWNER, "is_bot": False, "first_name": "A"}, "query": "125 Tea"}
    await set_aside(world, "chosen_inline_result", chosen | {"inline_message_id": inline_id})
    await retry_by_hand(world, DAY / 2)
    assert calls(world, "create") == []
