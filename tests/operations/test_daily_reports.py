"""The day's summary goes to the shop's admins at the time that the shop has set, once a day."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.app import Service
from bot.sandbox.shared.fake_clock import FakeClock
from storage.models.shop import Shop
from tests.support.evidence import idle, pass_time, rows
from tests.support.people import ADMIN, GROUP, MERCHANT, open_second_shop, open_shop, reply_text
from tests.support.refund_steps import paid, promote, texts, wait_for_text
from tests.support.world import OWNER, World, opened

HOUR = 3600
OTHER_ADMIN = 70_010_044


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    """A shop at 13:00 of its own time; its people have written to the bot."""
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        for person in (ADMIN, MERCHANT):
            running.say("/start", by=person, chat=person)
        yield running


def summaries(world: World, chat: int) -> list[str]:
    """The summaries in a chat, oldest first."""
    return [text for text in texts(world, chat) if "Net before" in text]


async def test_summary_is_off_until_it_is_set_and_goes_to_admins_only(world: World) -> None:
    await paid(world, by=MERCHANT, chat=GROUP)
    await pass_time(world, 9 * HOUR)
    assert summaries(world, OWNER) == []
    assert "(reports): off" in await reply_text(world, "/settings", by=ADMIN)
    assert "(reports): 23:30" in await reply_text(world, "/settings reports daily 23:30", by=ADMIN)
    await pass_time(world, 1.4 * HOUR)
    assert summaries(world, OWNER) == []
    await pass_time(world, 0.2 * HOUR)
    for person in (OWNER, ADMIN):
        assert [text.splitlines()[0] for text in summaries(world, person)] == ["Today · 24 Nov 2026 · Kvit · TEST"]
        assert "Received: DKK 125.00 (1)" in summaries(world, person)[0]
    assert summaries(world, MERCHANT) + summaries(world, GROUP) == []


async def test_summary_comes_once_a_day_also_beside_a_reconcile(world: World) -> None:
    await reply_text(world, "/settings reports daily 21:00", by=ADMIN)
    await pass_time(world, 8 * HOUR + 1)
    await Service(world.settings, world.clock).reconcile(retry_dead=False)
    await idle(world)
    assert len(summaries(world, ADMIN)) == 1
    await pass_time(world, 23 * HOUR)
    assert len(summaries(world, ADMIN)) == 1
    await pass_time(world, HOUR)
    days = [text.splitlines()[0] for text in summaries(world, ADMIN)]
    assert days == ["Today · 24 Nov 2026 · Kvit · TEST", "Today · 25 Nov 2026 · Kvit · TEST"]


async def test_summary_that_an_outage_delayed_is_of_its_own_day(world: World) -> None:
    await reply_text(world, "/settings reports daily 21:00", by=ADMIN)
    await paid(world, by=MERCHANT, chat=GROUP)
    await world.stop()
    world.advance(50 * HOUR)
    await world.begin()
    await wait_for_text(world, "Net before", ADMIN)
    await idle(world)
    assert len(summaries(world, ADMIN)) == 1
    assert summaries(world, ADMIN)[0].splitlines()[0] == "24 Nov 2026 · Kvit · TEST"
    assert "Received: DKK 125.00 (1)" in summaries(world, ADMIN)[0]


async def test_summary_follows_its_settings(world: World) -> None:
    await reply_text(world, "/settings reports daily 21:00", by=ADMIN)
    await reply_text(world, "/settings reports dagligt kl. 22.30", by=ADMIN)
    await pass_time(world, 8 * HOUR + 1)
    assert summaries(world, ADMIN) == []
    await reply_text(world, "/settings zone Europe/Helsinki", by=ADMIN)
    await pass_time(world, HOUR)
    assert len(summaries(world, ADMIN)) == 1
    assert "(reports): off" in await reply_text(world, "/settings reports off", by=ADMIN)
    await pass_time(world, 24 * HOUR)
    assert len(summaries(world, ADMIN)) == 1


@pytest.mark.parametrize(
    "typed", ["", "daily", "daily 24:00", "daily 21:60", "daily 9", "monthly", "21:00 daily", "yes"]
)
async def test_what_is_no_time_of_day_is_refused(world: World, typed: str) -> None:
    assert "Nothing was changed" in await reply_text(world, f"/settings reports {typed}", by=ADMIN)
    assert rows(world, "SELECT report_minute, next_report_at FROM shops") == [
        {"report_minute": None, "next_report_at": None}
    ]


async def test_admin_of_another_shop_gets_nothing(world: World) -> None:
    await open_second_shop(world, OTHER_ADMIN)
    world.say("/start", by=OTHER_ADMIN, chat=OTHER_ADMIN)
    await reply_text(world, "/settings reports daily 21:00", by=ADMIN)
    await pass_time(world, 9 * HOUR)
    assert len(summaries(world, ADMIN)) == 1
    assert summaries(world, OTHER_ADMIN) == []


async def test_admin_who_came_later_gets_the_next_summary(world: World) -> None:
    await reply_text(world, "/settings reports daily 21:00", by=ADMIN)
    await promote(world, MERCHANT)
    await pass_time(world, 9 * HOUR)
    assert len(summaries(world, MERCHANT)) == 1


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-28T01:29", "2026-03-28T01:30"),
        ("2026-03-28T01:30", "2026-03-29T01:30"),
        ("2026-03-29T01:30", "2026-03-30T00:30"),
        ("2026-10-25T00:29", "2026-10-25T00:30"),
        ("2026-10-25T00:30", "2026-10-26T01:30"),
    ],
)
def test_summary_comes_once_on_days_of_clock_changes(now: str, expected: str) -> None:
    shop = Shop(1, "S", "DKK", "da", "Europe/Copenhagen", report_minute=2 * 60 + 30)
    assert shop.next_report_at(datetime.fromisoformat(now).replace(tzinfo=UTC)) == datetime.fromisoformat(
        expected
    ).replace(tzinfo=UTC)
