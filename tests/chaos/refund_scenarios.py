"""Scenarios of refunds, holds and disputes, played after the customer has paid."""

from __future__ import annotations

from tests.chaos.scenarios import Scenario, ScenarioRunner
from tests.support.people import ADMIN, GROUP, MERCHANT
from tests.support.world import OWNER, Json

DASHBOARD_PAUSE = 70
"""Seconds between two actions in Stripe's Dashboard, longer than the interval of reconciliations."""


async def draft_refund(runner: ScenarioRunner, words: str = "", *, by: int | None = None) -> Json:
    """Requests a refund; returns the message with the button that approves it."""
    command = runner.send(f"/refund {runner.reference} {words}".strip(), by=by)
    return await runner.wait_for_message("efund ", since=command)


async def refund_in_full(runner: ScenarioRunner) -> None:
    runner.press(await draft_refund(runner), "Refund")
    await runner.wait_for_headline("Refunded", "DKK 149.50: refunded")


async def refund_two_equal_parts(runner: ScenarioRunner) -> None:
    runner.press(await draft_refund(runner, "40 one cup"), "Refund")
    await runner.wait_for_headline("Partly refunded", "DKK 40.00: refunded")
    runner.press(await draft_refund(runner, "40 another cup"), "Refund")
    await runner.wait_for_headline("Partly refunded", "DKK 40.00: refunded · 24 Nov 2026\n↩️ DKK 40.00: refunded")


async def approve_twice(runner: ScenarioRunner) -> None:
    draft = await draft_refund(runner, "40")
    runner.press(draft, "Refund")
    runner.press(draft, "Refund")
    await runner.wait_for_headline("Partly refunded", "DKK 40.00: refunded")


async def approve_as_admin(runner: ScenarioRunner) -> None:
    runner.press(await draft_refund(runner, "40", by=MERCHANT), "Refund", by=ADMIN)
    await runner.wait_for_headline("Partly refunded", "DKK 40.00: refunded")


async def approve_by_two(runner: ScenarioRunner) -> None:
    draft = await draft_refund(runner, "60", by=ADMIN)
    runner.press(draft, "Refund", by=ADMIN)
    second_draft = await runner.wait_for_message("asks to refund", since=draft["message_id"])
    runner.press(second_draft, "Refund", by=OWNER)
    await runner.wait_for_headline("Partly refunded", "DKK 60.00: refunded")


async def decline(runner: ScenarioRunner) -> None:
    runner.press(await draft_refund(runner, "40", by=MERCHANT), "Don't refund", by=ADMIN)
    await runner.world.pass_time(DASHBOARD_PAUSE)
    await runner.wait_for_headline("Paid")


async def refund_pending_then_succeeded(runner: ScenarioRunner) -> None:
    await _refund_pending(runner)
    await _change_refund(runner, "succeed")
    await runner.wait_for_headline("Partly refunded", "DKK 40.00: refunded")


async def refund_pending_then_failed(runner: ScenarioRunner) -> None:
    await _refund_pending(runner)
    await _change_refund(runner, "fail")
    await runner.wait_for_headline("Paid", "DKK 40.00: refund failed")


async def refund_succeeded_then_failed(runner: ScenarioRunner) -> None:
    """A succeeded refund fails later, and another one is requested."""
    runner.press(await draft_refund(runner, "40"), "Refund")
    await runner.wait_for_headline("Partly refunded", "DKK 40.00: refunded")
    await runner.world.pass_time(DASHBOARD_PAUSE)
    await _change_refund(runner, "fail")
    await runner.wait_for_headline("Paid", "DKK 40.00: refund failed")
    runner.press(await draft_refund(runner, "149,50"), "Refund")
    await runner.wait_for_headline("Refunded", "DKK 149.50: refunded")


async def refund_beside_dashboard(runner: ScenarioRunner) -> None:
    """A part is refunded in the Dashboard at the same time; if that stops ours, it is requested again."""
    draft = await draft_refund(runner, "40")
    runner.press(draft, "Refund")
    await _refund_in_dashboard(runner, 3000)
    await runner.wait_for_headline("Partly refunded", "DKK 30.00: refunded")
    await runner.world.pass_time(DASHBOARD_PAUSE)
    has_buttons = any(m["message_id"] == draft["message_id"] and m.get("reply_markup") for m in runner.messages)
    if has_buttons or "DKK 40.00: not refunded" in runner.text:
        runner.press(await draft_refund(runner, "40"), "Refund")
    await runner.wait_for_headline("Partly refunded", "DKK 40.00: refunded")


async def refund_after_dashboard(runner: ScenarioRunner) -> None:
    """All is refunded in the Dashboard while ours is sent; Stripe rejects ours, if it gets so far."""
    runner.press(await draft_refund(runner, "40"), "Refund")
    await _refund_in_dashboard(runner, None)
    await runner.wait_for_headline("efunded")
    await runner.world.pass_time(DASHBOARD_PAUSE)


async def refund_without_balance(runner: ScenarioRunner) -> None:
    await runner.world.control("stripe", "balance", {"available": 0, "refuse": True})
    runner.press(await draft_refund(runner, "40"), "Refund")
    notification = await runner.wait_for_message("Stripe did not refund")
    await runner.world.control("stripe", "balance", {"available": None})
    runner.press(notification, "Try again")
    await runner.wait_for_headline("Partly refunded", "DKK 40.00: refunded")


async def capture(runner: ScenarioRunner) -> None:
    command = runner.send(f"/capture {runner.reference}")
    runner.press(await runner.wait_for_message("Charge DKK", since=command), "Charge")
    await runner.wait_for_headline("Paid")


async def release(runner: ScenarioRunner) -> None:
    command = runner.send(f"/release {runner.reference}")
    runner.press(await runner.wait_for_message("Release DKK", since=command), "Release")
    await runner.wait_for_headline("Cancelled")


async def expire_hold(runner: ScenarioRunner) -> None:
    await runner.world.control("stripe", f"intents/{runner.world.intent()['id']}/expire_hold", {})
    await runner.wait_for_headline("Cancelled")


async def dispute(runner: ScenarioRunner) -> None:
    """The customer disputes the payment, and the merchant wins."""
    await runner.world.control("stripe", f"intents/{runner.world.intent()['id']}/dispute", {})
    await runner.wait_for_headline("Disputed", "disputed this payment")
    await runner.world.pass_time(DASHBOARD_PAUSE)
    [dispute_id] = runner.world.stripe.store.disputes
    await runner.world.control("stripe", f"disputes/{dispute_id}/close", {"status": "won"})
    await runner.wait_for_headline("Paid", "The shop won the dispute")


async def _refund_pending(runner: ScenarioRunner) -> None:
    await runner.world.control("stripe", "refunds/next", {"status": "pending"})
    runner.press(await draft_refund(runner, "40"), "Refund")
    await runner.wait_for_headline("Paid", "DKK 40.00: refund not finished yet")
    await runner.world.pass_time(DASHBOARD_PAUSE)


async def _change_refund(runner: ScenarioRunner, verb: str) -> None:
    """The newest refund at Stripe succeeds or fails."""
    refund_id = list(runner.world.stripe.store.refunds)[-1]
    await runner.world.control("stripe", f"refunds/{refund_id}/{verb}", {})


async def _refund_in_dashboard(runner: ScenarioRunner, amount: int | None) -> None:
    """Refunds the amount in minor units, or all that is left, in Stripe's Dashboard."""
    await runner.world.control("stripe", f"intents/{runner.world.intent()['id']}/refund", {"amount": amount})


HOLD = "/hold 149,50 Bicycle"
TWO_APPROVALS = {"refund_approval_above": "5000"}
REFUNDED = Scenario("refunded in full", ("approve",), after=refund_in_full)
REFUNDED_IN_PARTS = Scenario("refunded in two equal parts", ("approve",), after=refund_two_equal_parts)
APPROVED_TWICE = Scenario("approved twice", ("approve",), after=approve_twice)
APPROVED_BY_ADMIN = Scenario("approved by an admin", ("approve",), chat=GROUP, by=MERCHANT, after=approve_as_admin)
APPROVED_BY_TWO = Scenario(
    "approved by two", ("approve",), chat=GROUP, by=ADMIN, settings=TWO_APPROVALS, after=approve_by_two
)
PENDING = Scenario("pending, then refunded", ("approve",), after=refund_pending_then_succeeded)
FAILED_LATE = Scenario("refunded, then failed", ("approve",), after=refund_succeeded_then_failed)
CAPTURED = Scenario("captured", ("approve",), final_headline="Reserved", command=HOLD, after=capture)
RELEASED = Scenario("released", ("approve",), final_headline="Reserved", command=HOLD, after=release)
DISPUTED = Scenario("disputed and won", ("approve",), after=dispute)
REFUND_SCENARIOS = (
    REFUNDED,
    REFUNDED_IN_PARTS,
    APPROVED_TWICE,
    APPROVED_BY_ADMIN,
    APPROVED_BY_TWO,
    Scenario("declined by an admin", ("approve",), chat=GROUP, by=MERCHANT, after=decline),
    PENDING,
    Scenario("pending, then failed", ("approve",), after=refund_pending_then_failed),
    FAILED_LATE,
    Scenario("beside the Dashboard", ("approve",), after=refund_beside_dashboard),
    Scenario("after the Dashboard", ("approve",), after=refund_after_dashboard),
    Scenario("without balance, then retried", ("approve",), after=refund_without_balance),
    CAPTURED,
    RELEASED,
    Scenario("hold expired", ("approve",), final_headline="Reserved", command=HOLD, after=expire_hold),
    DISPUTED,
)
