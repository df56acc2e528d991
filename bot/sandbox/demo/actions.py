"""What can still happen at Stripe to a paid or authorized payment, as buttons of the demo page."""

from __future__ import annotations

from typing import Any

from bot.sandbox.fake_stripe import FakeStripe, dispute_actions, refund_actions

Json = dict[str, Any]
Action = tuple[str, str, Json]
"""The label of a button, the control route it calls, and the body it sends."""

LATE_FAILURE = {"failure_reason": "expired_or_canceled_card"}


def payments(stripe: FakeStripe) -> dict[str, Json]:
    """Every intent that has a charge, by its id, with the actions that are possible now."""
    return {
        intent["id"]: {
            "intent": intent["id"],
            "amount": intent["amount"],
            "currency": intent["currency"].upper(),
            "description": intent["description"],
            "actions": [{"label": label, "path": path, "body": body} for label, path, body in _actions(stripe, intent)],
        }
        for intent in stripe.store.intents.values()
        if intent["latest_charge"] is not None
    }


def _actions(stripe: FakeStripe, intent: Json) -> list[Action]:
    path = f"intents/{intent['id']}"
    if intent["status"] == "requires_capture":
        return [("Hold expires", f"{path}/expire_hold", {})]
    if intent["status"] != "succeeded":
        return []
    charge = stripe.store.charges[intent["latest_charge"]]
    disputes = [dispute for dispute in stripe.store.disputes.values() if dispute["charge"] == charge["id"]]
    if disputes and disputes[-1]["status"] != "won":
        return _dispute_actions(disputes[-1])
    new: list[Action] = [("Refund in Dashboard", f"{path}/refund", {})]
    if not disputes:
        new.append(("Customer disputes", f"{path}/dispute", {"reason": "product_not_received"}))
    refunds = [refund for refund in stripe.store.refunds.values() if refund["charge"] == charge["id"]]
    return (new if not charge["refunded"] else []) + (_refund_actions(refunds[-1]) if refunds else [])


def _refund_actions(refund: Json) -> list[Action]:
    path, status = f"refunds/{refund['id']}", refund["status"]
    found: list[Action] = []
    if status in refund_actions.ALLOWED_FROM["succeed"]:
        found.append(("Refund succeeds", f"{path}/succeed", {}))
    if status in refund_actions.ALLOWED_FROM["fail"]:
        found.append(("Refund fails", f"{path}/fail", LATE_FAILURE))
    return found


def _dispute_actions(dispute: Json) -> list[Action]:
    path = f"disputes/{dispute['id']}/close"
    if dispute["status"] in dispute_actions.CLOSED_STATUSES:
        return []
    return [("Dispute won", path, {"status": "won"}), ("Dispute lost", path, {"status": "lost"})]
