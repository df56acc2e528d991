"""The day's summary and last month's report go to the shop's admins when the shop has set them, each once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.app import Service
from bot.sandbox.shared.fake_clock import FakeClock
from handlers.shops.settings import parse_change
from storage.models.shop import Shop
from tests.support.evidence import eventually, idle, pass_time, rows
from tests.support.people import ADMIN, GROUP, MERCHANT, break_telegram, open_second_shop, open_shop, reply_text, shown
from tests.support.refund_steps import paid, promote, texts, wait_for_text
from tests.support.world import OWNER, World, opened

HOUR = 3600
DAY = 24 * HOUR
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
    "typed", ["", "daily", "daily 24:00", "daily 21:60", "daily 9", "monthly 9:00", "21:00 daily", "yes"]
)
async def test_what_is_no_time_of_day_is_refused(world: World, typed: str) -> None:
    assert "Nothing was changed" in await reply_text(world, f"/settings reports {typed}", by=ADMIN)
    assert rows(world, "SELECT report_minute, next_report_at FROM shops") == [
        {"report_minute": None, "next_report_at": None}
    ]


def months(world: World, chat: int) -> list[tuple[str, str]]:
    """Kind and heading of each picture and file in a chat, oldest first."""
    found = [(kind, message) for message in shown(world, chat) for kind in ("photo", "document") if kind in message]
    return [(kind, message["caption"].splitlines()[0]) for kind, message in found]


def texts_and_captions(world: World, chat: int) -> list[str]:
    """What the messages in a chat say, oldest first."""
    return [message.get("text") or message.get("caption", "") for message in shown(world, chat)]


NOVEMBER = [(kind, "Kvit · 2026-11-01..2026-11-30") for kind in ("photo", "document")]


async def test_last_months_report_and_file_come_on_the_first_to_each_admin_once(world: World) -> None:
    await paid(world, by=MERCHANT, chat=GROUP)
    assert "(reports monthly): on" in await reply_text(world, "/settings reports monthly", by=ADMIN)
    assert "(reports): off" in await reply_text(world, "/settings", by=ADMIN)
    await pass_time(world, 6 * DAY + 18 * HOUR)
    assert months(world, ADMIN) == []
    await pass_time(world, 2 * HOUR)
    assert (months(world, ADMIN), months(world, OWNER)) == (NOVEMBER, NOVEMBER)
    assert months(world, MERCHANT) + months(world, GROUP) == []
    [picture] = [message for message in shown(world, ADMIN) if "photo" in message]
    assert "Received: DKK 125.00 (1)" in picture["caption"].replace("\u00a0", " ")
    logged = rows(world, "SELECT actor, detail FROM audit_log WHERE action = 'exported'")
    assert [(row["actor"], json.loads(row["detail"])["period"]) for row in logged] == [
        ("system", "2026-11-01..2026-11-30")
    ]
    await pass_time(world, 3 * DAY)
    assert months(world, ADMIN) == NOVEMBER


async def test_last_months_report_is_claimed_by_one_of_several_processes(world: World) -> None:
    await reply_text(world, "/settings reports monthly", by=ADMIN)
    await paid(world, by=MERCHANT, chat=GROUP)
    await world.stop()
    world.advance(8 * DAY)
    services = [Service(world.settings, world.clock) for _ in range(2)]
    await asyncio.gather(*(service.reconcile(retry_dead=False) for service in services))
    await world.begin()
    await world.until(lambda: len(months(world, ADMIN)) >= len(NOVEMBER))
    await idle(world)
    assert (months(world, ADMIN), months(world, OWNER)) == (NOVEMBER, NOVEMBER)


async def test_last_months_report_interrupted_before_its_file_is_sent_goes_on_after_a_restart(world: World) -> None:
    await reply_text(world, "/settings reports monthly", by=ADMIN)
    await paid(world, by=MERCHANT, chat=GROUP)
    await break_telegram(world, "sendDocument", "500")
    world.advance(7 * DAY)
    tried = "SELECT id FROM jobs WHERE kind = 'export' AND attempts > 0"
    await eventually(lambda: rows(world, tried))
    await world.stop()
    world.advance(600)
    await world.begin()
    await world.until(lambda: [months(world, one) for one in (ADMIN, OWNER)] == [NOVEMBER, NOVEMBER])
    await idle(world)
    assert (months(world, ADMIN), months(world, OWNER)) == (NOVEMBER, NOVEMBER)


async def test_reports_of_the_months_of_an_outage_are_sent_each(world: World) -> None:
    await reply_text(world, "/settings reports monthly", by=ADMIN)
    await world.stop()
    world.advance(40 * DAY)
    await world.begin()
    await world.until(lambda: len([text for text in texts_and_captions(world, ADMIN) if "No money moved" in text]) == 2)
    await idle(world)
    periods = [text.splitlines()[0] for text in texts_and_captions(world, ADMIN) if "No money moved" in text]
    assert periods == ["Kvit · 2026-11-01..2026-11-30", "Kvit · 2026-12-01..2026-12-31"]


@pytest.mark.parametrize(
    ("typed", "minute", "monthly"),
    [
        ("off", None, 0),
        ("monthly off", 1260, 0),
        ("daily off", None, 1),
        ("månedligt fra", 1260, 0),
        ("kuukausittain", 1260, 1),
        ("Monthly.", 1260, 1),
    ],
)
def test_reports_are_turned_off_together_or_one_by_one(typed: str, minute: int | None, monthly: int) -> None:
    shop = Shop(1, "S", "DKK", "da", "Europe/Copenhagen", report_minute=1260, monthly_reports=True)
    changed = parse_change("reports", typed)(shop)
    assert (changed.report_minute, changed.monthly_reports) == (minute, bool(monthly))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-12-01T06:59", "2026-12-01T07:00"),
        ("2026-12-01T07:00", "2027-01-01T07:00"),
        ("2026-12-31T23:30", "2027-01-01T07:00"),
        ("2027-01-31T22:59", "2027-02-01T07:00"),
        ("2027-03-31T21:59", "2027-04-01T06:00"),
    ],
)
def test_last_months_report_comes_on_the_first_at_eight_of_the_shop(now: str, expected: str) -> None:
    shop = Shop(1, "S", "DKK", "da", "Europe/Copenhagen", monthly_reports=True)
    found = shop.next_monthly_report_at(datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


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
