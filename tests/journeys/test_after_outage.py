"""A vendor is back after hours, and many payments wait: no storm, the ends arrive, what was overtaken does not."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import eventually, idle, pass_time, rows, webhooks
from tests.support.people import advance_until, set_down
from tests.support.people import calls as telegrams
from tests.support.refund_steps import texts
from tests.support.world import World, opened

MANY = 10
INTENT = re.compile(r"pi_\w+")
HOURS = 3
STEP = 1350


async def asked(world: World) -> None:
    """So many requests, each with its card."""
    for number in range(MANY):
        world.say(f"/pay {100 + number} DKK Order {number}")
    await world.until(lambda: len(world.sent("Waiting for payment")) == MANY)
    await idle(world)


async def hours_go_by(world: World) -> None:
    """Everybody tries what is due again and again, in vain."""
    for _ in range(HOURS * 3600 // STEP):
        await pass_time(world, STEP)


@pytest.mark.long
async def test_when_stripe_is_back_each_request_is_asked_about_in_its_own_time_and_comes_to_its_end(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with opened(clock, tmp_path, request_hours="2") as world:
        await asked(world)
        await webhooks(world, "lose")
        for number in range(MANY // 2):
            await world.decide("approve", number)
        world.stripe.options.missing_permissions = ("events.read",)  # nothing but looking at each is left
        await world.control("stripe", "down", {"down": True})
        await hours_go_by(world)
        assert len(world.sent()) == MANY
        await world.control("stripe", "down", {"down": False})
        before, bursts = len(world.stripe.store.requests), Counter[int]()
        for second in range(0, 600, 10):
            await pass_time(world, 10)
            requests = world.stripe.store.requests
            asked_about = {found[0] for one in requests[before:] if (found := INTENT.search(one.path))}
            bursts[second], before = len(asked_about), len(requests)
        said = Counter(one[0] for one in texts(world)[MANY:] if one[0] != "⚠")  # the owner hears that no webhook comes
        assert said == {"✅": MANY // 2, "🏁": MANY // 2}
        assert max(bursts.values()) <= MANY * 0.6, bursts
        assert not rows(world, "SELECT 1 FROM payments WHERE status NOT IN ('succeeded', 'canceled')")


async def test_when_telegram_is_back_the_ends_are_told_and_what_was_overtaken_is_not(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with opened(clock, tmp_path) as world:
        await asked(world)
        await set_down(world, down=True)
        for number in range(MANY):
            await world.decide("decline", number)
        await eventually(lambda: len(rows(world, "SELECT 1 FROM attempts WHERE status = 'failed'")) == MANY)
        await hours_go_by(world)
        edits = len(telegrams(world, "editMessageText"))
        await set_down(world, down=False)
        await advance_until(world, lambda: len(texts(world)) == 2 * MANY)
        await idle(world)
        assert Counter(one[0] for one in texts(world)) == {"❌": 2 * MANY}
        assert len(telegrams(world, "editMessageText")) - edits == MANY


async def test_payment_messages_that_telegram_held_back_for_hours_never_say_that_they_wait(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with opened(clock, tmp_path, request_hours="2") as world:
        waits = {"method": "sendMessage", "how": "429", "retry_after": HOURS * 3600 + STEP}
        await world.control("telegram", "faults", waits)
        for number in range(MANY):
            world.say(f"/pay {100 + number} DKK Order {number}")
        await eventually(lambda: len(world.stripe.store.intents) == MANY)
        for number in range(MANY // 2):
            await world.decide("approve", number)
        await hours_go_by(world)
        assert texts(world) == []
        await pass_time(world, STEP)
        await advance_until(world, lambda: len(texts(world)) >= 2 * MANY)
        await idle(world)
        assert Counter(one[0] for one in texts(world)) == {"✅": MANY, "🏁": MANY}
        assert telegrams(world, "editMessageText") == []
