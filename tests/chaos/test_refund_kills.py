"""Kills before and after each call to Stripe that refunds or captures: executed once, announced once."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.chaos.process_killer import RestartedService, restarted_service
from tests.chaos.test_kills import Scenario, play_each_kill
from tests.support.world import OWNER

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL"),
    pytest.mark.timeout(300),
]

EVENTS = ("payment_intent.succeeded", "payment_intent.amount_capturable_updated", "refund.created")
"""Only events that change something, so that every undisturbed run makes the same calls."""


async def request_and_pay(service: RestartedService, command: str, headline: str) -> str:
    """The owner requests a payment, the customer pays or reserves; returns the reference."""
    world = service.world
    world.telegram.send(OWNER, OWNER, command)
    await world.approve(await world.message("Waiting for payment"))
    message = await world.message(f"{headline} · TEST")
    await world.message(f"{headline}:")
    return str(re.findall(r"(?m)^#(\w+)$", message["text"])[0])


async def refund_part(service: RestartedService) -> None:
    """The owner refunds a part."""
    world, reference = service.world, await request_and_pay(service, "/pay 149,50 Coffee", "Paid")
    world.telegram.send(OWNER, OWNER, f"/refund {reference} 40")
    world.tap(await world.message("Refund DKK"), "Refund")
    await world.message("Partly refunded · TEST")
    await world.message("↩️ Refunded:")


async def capture_hold(service: RestartedService) -> None:
    """The owner captures the reserved amount."""
    world, reference = service.world, await request_and_pay(service, "/hold 149,50 Bicycle", "Reserved")
    world.telegram.send(OWNER, OWNER, f"/capture {reference}")
    world.tap(await world.message("Charge DKK"), "Charge")
    await world.message("Paid · TEST")
    await world.message("✅ Paid:")


async def play_with_kill(folder: Path, scenario: Scenario, kill: str) -> RestartedService:
    """Plays the scenario with a kill at that call."""
    async with restarted_service(folder, kill=kill, events=EVENTS) as service:
        await scenario(service)
        await service.wait_until_restarted()
    return service


def count_notifications(service: RestartedService, prefix: str) -> int:
    """How many notifications begin so."""
    return len([entry for entry in service.world.sent(prefix) if entry.params["text"].startswith(prefix)])


async def undisturbed_calls(folder: Path, scenario: Scenario) -> list[str]:
    """The calls of a run without kills."""
    async with restarted_service(folder, events=EVENTS) as service:
        await scenario(service)
    return service.calls


async def test_kill_at_refund_call_refunds_once(tmp_path: Path) -> None:
    calls = await undisturbed_calls(tmp_path / "undisturbed", refund_part)
    kill_points = [call for call in calls if call.startswith("gateway.refund:")]
    assert kill_points == ["gateway.refund:1"]

    async def play_one(folder: Path, kill: str) -> None:
        service = await play_with_kill(folder, refund_part, kill)
        ledger = service.world.stripe.store
        [refund] = ledger.refunds.values()
        assert (refund["amount"], refund["status"]) == (4000, "succeeded")
        requests = [r for r in ledger.requests if r.method == "POST" and r.path == "/v1/refunds"]
        assert len({request.idempotency_key for request in requests}) == 1
        assert service.world.rows("SELECT status, stripe_id FROM refunds") == [("succeeded", refund["id"])]
        assert service.world.rows("SELECT amount_received, amount_refunded, amount_refund_pending FROM payments") == [
            (14950, 4000, 0)
        ]
        assert count_notifications(service, "↩️ Refunded:") == 1

    await play_each_kill(tmp_path, kill_points, play_one)


async def test_kill_at_capture_call_captures_once(tmp_path: Path) -> None:
    calls = await undisturbed_calls(tmp_path / "undisturbed", capture_hold)
    kill_points = [call for call in calls if call.startswith("gateway.capture:")]
    assert kill_points == ["gateway.capture:1"]

    async def play_one(folder: Path, kill: str) -> None:
        service = await play_with_kill(folder, capture_hold, kill)
        ledger = service.world.stripe.store
        [intent] = ledger.intents.values()
        assert (intent["status"], intent["amount_received"]) == ("succeeded", 14950)
        made = [r for r in ledger.requests if r.path.endswith("/capture") and r.status == 200 and not r.replayed]
        assert len(made) == 1
        assert service.world.rows("SELECT status, amount_received FROM payments") == [("succeeded", 14950)]
        assert count_notifications(service, "✅ Paid:") == 1
        assert count_notifications(service, "🔒 Reserved:") == 1

    await play_each_kill(tmp_path, kill_points, play_one)
