"""This machine's clock is wrong: no request is ended by it, no link is born stale, and the owners are told why."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import alerts, calls, eventually, idle, payment, rows
from tests.support.world import World, button, opened

DAY_AND_HOUR = timedelta(hours=25)


class WrongClock(FakeClock):
    """Kvit's clock: the vendors' clock, and `ahead` of it."""

    def __init__(self, vendors: FakeClock) -> None:
        super().__init__(vendors.now(), frozen=True)
        self._vendors = vendors
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return self._vendors.now() + self.ahead

    def advance(self, seconds: float) -> None:
        self._vendors.advance(seconds)

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        return self._vendors.sleep(seconds)


async def with_wrong_clock(world: World, ahead: timedelta = timedelta(0)) -> WrongClock:
    """Restarts Kvit with a clock of its own."""
    await world.stop()
    wrong = WrongClock(world.clock)
    wrong.ahead = ahead
    world.clock = wrong
    await world.begin()
    return wrong


async def time_passes(world: World, seconds: float, times: int) -> None:
    for _ in range(times):
        world.advance(seconds)
        await idle(world)


async def test_clock_a_day_ahead_for_a_minute_ends_no_request(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path) as world:
        for text in ("Coffee", "Tea"):
            world.say(f"/pay 149,50 {text}")
            await world.message(text)
        await idle(world)
        wrong = await with_wrong_clock(world)
        wrong.ahead = DAY_AND_HOUR
        await time_passes(world, 61, 2)
        await eventually(lambda: [line for line in alerts(world) if "clock and Stripe's differ" in line])
        wrong.ahead = timedelta(0)
        await time_passes(world, 61, 3)
        assert not calls(world, "cancel")
        assert {row["status"] for row in rows(world, "SELECT status FROM payments")} == {"open"}
        assert not rows(world, "SELECT 1 FROM payments WHERE cancel_requested IS NOT NULL")
        await eventually(lambda: [line for line in alerts(world) if "agrees with Stripe's again" in line])
        assert len(alerts(world)) == 2


async def test_request_checked_under_a_clock_that_was_ahead_is_checked_in_time_again(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with opened(clock, tmp_path) as world:
        world.say("/pay 149,50 Coffee")
        await world.message("Coffee")
        await idle(world)
        wrong = await with_wrong_clock(world)
        await world.control("stripe", "webhooks", {"mode": "lose"})
        world.stripe.options.missing_permissions = ("events.read",)
        wrong.ahead = DAY_AND_HOUR
        await time_passes(world, 61, 2)
        wrong.ahead = timedelta(0)
        await world.decide("approve")
        await time_passes(world, 61, 3)
        assert payment(world)["status"] == "succeeded"


async def test_request_ends_at_its_time_when_the_clocks_agree(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path) as world:
        world.say("/pay 149,50 Coffee")
        await world.message("Coffee")
        await idle(world)
        await time_passes(world, 6 * 3600 + 60, 4)
        assert world.intent()["status"] == "canceled"
        assert not [line for line in alerts(world) if "clock" in line]


async def test_request_whose_time_is_over_ends_once_the_clock_is_right(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path) as world:
        world.say("/pay 149,50 Coffee")
        await world.message("Coffee")
        await idle(world)
        wrong = await with_wrong_clock(world, timedelta(minutes=3))
        await time_passes(world, 6 * 3600 + 60, 4)
        assert world.intent()["status"] == "requires_payment_method"
        wrong.ahead = timedelta(seconds=30)
        await time_passes(world, 301, 2)
        assert world.intent()["status"] == "canceled"


@pytest.mark.parametrize("ahead", [240, -240, 500, 20])
async def test_link_is_usable_for_four_minutes_whatever_the_clock_says(
    clock: FakeClock, tmp_path: Path, ahead: int
) -> None:
    async with opened(clock, tmp_path) as world:
        await with_wrong_clock(world, timedelta(seconds=ahead))
        world.say("/pay 149,50 Coffee")
        card = await world.message("Coffee")
        await idle(world)
        assert "Waiting for payment" in card["text"]
        assert button(card, "Pay")["url"].startswith(world.stripe.base)
        started, expires = rows(world, "SELECT started_at, expires_at FROM attempts")[0].values()
        assert expires - started == 300_000_000
        await time_passes(world, 61, 3)
        assert "Waiting for payment" in (await world.message("Coffee"))["text"]
        await eventually(lambda: bool([a for a in alerts(world) if "clock" in a]) == (abs(ahead) > 120))
