"""Killed before and after each of Stripe's calls by which money goes back or is taken: once each, and told once."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.process_killer import Lives, lives
from tests.chaos.test_kills import Story, each_of
from tests.support.world import OWNER

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL"),
    pytest.mark.timeout(300),
]

NEWS = ("payment_intent.succeeded", "payment_intent.amount_capturable_updated", "refund.created")
"""So that each event is news, and a clean run always makes the same calls."""


async def asked(living: Lives, command: str, shown: str) -> str:
    """The owner asks, the customer does his part; the reference on the card."""
    world = living.world
    world.telegram.send(OWNER, OWNER, command)
    await world.approve(await world.message("Waiting for payment"))
    card = await world.message(f"{shown} · TEST")
    await world.message(f"{shown}:")
    return str(re.findall(r"(?m)^#(\w+)$", card["text"])[0])


async def refunded(living: Lives) -> None:
    """A part of what came is given back."""
    world, ref = living.world, await asked(living, "/pay 149,50 Coffee", "Paid")
    world.telegram.send(OWNER, OWNER, f"/refund {ref} 40")
    world.tap(await world.message("Refund DKK"), "Refund")
    await world.message("Partly refunded · TEST")
    await world.message("↩️ Refunded:")


async def captured(living: Lives) -> None:
    """What the customer reserved is taken."""
    world, ref = living.world, await asked(living, "/hold 149,50 Bicycle", "Reserved")
    world.telegram.send(OWNER, OWNER, f"/capture {ref}")
    world.tap(await world.message("Charge DKK"), "Charge")
    await world.message("Paid · TEST")
    await world.message("✅ Paid:")


async def killed(folder: Path, story: Story, kill: str) -> Lives:
    """The story with a death at that call."""
    async with lives(folder, kill=kill, events=NEWS) as living:
        await story(living)
        await living.died()
    return living


def notices(living: Lives, words: str) -> int:
    """How often it was told."""
    return len([entry for entry in living.world.sent(words) if entry.params["text"].startswith(words)])


async def recorded(folder: Path, story: Story) -> list[str]:
    """The calls of a clean run."""
    async with lives(folder, events=NEWS) as living:
        await story(living)
    return living.calls


async def test_a_kill_at_any_call_to_stripe_of_a_refund_refunds_once(tmp_path: Path) -> None:
    calls = await recorded(tmp_path / "clean", refunded)
    mine = [call for call in calls if call.startswith("gateway.refund:")]
    assert mine == ["gateway.refund:1"]

    async def one(folder: Path, kill: str) -> None:
        living = await killed(folder, refunded, kill)
        ledger = living.world.stripe.store
        [refund] = ledger.refunds.values()
        assert (refund["amount"], refund["status"]) == (4000, "succeeded")
        requests = [r for r in ledger.requests if r.method == "POST" and r.path == "/v1/refunds"]
        assert len({request.idempotency_key for request in requests}) == 1
        assert living.world.rows("SELECT status, stripe_id FROM refunds") == [("succeeded", refund["id"])]
        assert living.world.rows("SELECT amount_received, amount_refunded, amount_refund_pending FROM payments") == [
            (14950, 4000, 0)
        ]
        assert notices(living, "↩️ Refunded:") == 1

    await each_of(tmp_path, mine, one)


async def test_a_kill_at_any_call_to_stripe_of_a_capture_takes_it_once(tmp_path: Path) -> None:
    calls = await recorded(tmp_path / "clean", captured)
    mine = [call for call in calls if call.startswith("gateway.capture:")]
    assert mine == ["gateway.capture:1"]

    async def one(folder: Path, kill: str) -> None:
        living = await killed(folder, captured, kill)
        ledger = living.world.stripe.store
        [intent] = ledger.intents.values()
        assert (intent["status"], intent["amount_received"]) == ("succeeded", 14950)
        made = [r for r in ledger.requests if r.path.endswith("/capture") and r.status == 200 and not r.replayed]
        assert len(made) == 1
        assert living.world.rows("SELECT status, amount_received FROM payments") == [("succeeded", 14950)]
        assert Counter({"✅": notices(living, "✅ Paid:"), "🔒": notices(living, "🔒 Reserved:")}) == {"✅": 1, "🔒": 1}

    await each_of(tmp_path, mine, one)
