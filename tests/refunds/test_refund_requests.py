"""A merchant's requests for refunds are bounded, so that nobody can flood the admins with questions."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.refunds.state_machine import MAX_REQUESTS_PER_PERSON
from tests.support.evidence import idle, rows
from tests.support.people import ADMIN, COLLEAGUE, GROUP, MERCHANT, caught_up, open_shop, reply, reply_text
from tests.support.refund_steps import DAY, drafted, paid, ref_of
from tests.support.world import World, opened

TOO_OFTEN = "too often today"


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        await caught_up(running, ADMIN, by=ADMIN)
        yield running


async def ask_and_take_back(world: World, ref: str, *, by: int = MERCHANT) -> None:
    own = await drafted(world, f"/refund {ref} 10", by=by, chat=by, says="have been asked")
    await world.answer(world.tap(own, "Don't refund", by=by))
    await idle(world)


def copy_request(world: World, times: int) -> None:
    """Stores the only refund so many times more, as declined requests of other payments would be."""
    with closing(sqlite3.connect(world.database)) as db, db:
        cursor = db.execute("SELECT * FROM refunds")
        names = [column[0] for column in cursor.description]
        row = dict(zip(names, cursor.fetchone(), strict=True)) | {"status": "declined", "next_check_at": None}
        for number in range(times):
            copy = row | {"id": f"copy{number}", "request_key": f"copy{number}"}
            db.execute(f"INSERT INTO refunds VALUES ({', '.join('?' * len(names))})", list(copy.values()))


def questions(world: World) -> int:
    """How many questions one admin was sent."""
    return len([e for e in world.sent("asks to refund") if e.params["chat_id"] == ADMIN])


async def test_asking_and_taking_back_over_and_over_asks_the_admins_five_times(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=MERCHANT))
    for _ in range(5):
        await ask_and_take_back(world, ref)
    for _ in range(3):
        assert TOO_OFTEN in await reply_text(world, f"/refund {ref} 10", by=MERCHANT)
    await idle(world)
    assert questions(world) == 5
    world.say(f"/refund {ref} 10", by=COLLEAGUE, chat=GROUP)
    await world.message("asks to refund", chat=GROUP)
    world.advance(DAY + 60)
    await drafted(world, f"/refund {ref} 10", by=MERCHANT, chat=MERCHANT, says="have been asked")


async def test_requests_of_one_person_are_bounded_over_all_payments(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=MERCHANT))
    row = rows(world, "SELECT * FROM refunds")
    assert row == []
    await drafted(world, f"/refund {ref} 10", by=MERCHANT, chat=MERCHANT, says="have been asked")
    await world.stop()
    copy_request(world, MAX_REQUESTS_PER_PERSON - 2)
    await world.begin()
    second = ref_of(await paid(world, "/pay 50 Bun", by=MERCHANT, chat=MERCHANT))
    await ask_and_take_back(world, second)
    third = ref_of(await paid(world, "/pay 60 Cake", by=MERCHANT, chat=MERCHANT))
    assert TOO_OFTEN in await reply_text(world, f"/refund {third} 10", by=MERCHANT)


async def test_two_requests_at_once_from_private_chat_and_group_are_one_question(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    await world.stop()
    sent = [world.say(f"/refund {ref} 10", by=MERCHANT, chat=chat) for chat in (MERCHANT, GROUP)]
    await world.begin()
    await reply(world, sent[0], chat=MERCHANT)
    await idle(world)
    assert rows(world, "SELECT count(*) AS number FROM refunds WHERE status = 'awaiting_approval'") == [{"number": 1}]
    assert len(world.sent("asks to refund")) <= 2  # one in the group, or one to each admin in private
