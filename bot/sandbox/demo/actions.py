"""What fate may still do to money that was received or held, as the buttons beside the phones."""

from __future__ import annotations

from typing import Any

from bot.sandbox.fake_stripe import FakeStripe, dispute_actions, refund_actions

Json = dict[str, Any]
LATE_FAILURE = {"failure_reason": "expired_or_canceled_card"}


def payments(stripe: FakeStripe) -> dict[str, Json]:
    """Every intent that ever had money on it, with its buttons: words, control route, what is sent there."""
    return {
        intent["id"]: {
            "intent": intent["id"],
            "amount": intent["amount"],
            "currency": intent["currency"].upper(),
            "text": intent["description"],
            "fates": [{"words": words, "what": what, "body": body} for words, what, body in _actions(stripe, intent)],
        }
        for intent in stripe.store.intents.values()
        if intent["latest_charge"] is not None
    }


def _actions(stripe: FakeStripe, intent: Json) -> list[tuple[str, str, Json]]:
    path = f"intents/{intent['id']}"
    if intent["status"] == "requires_capture":
        return [("Hold lapses", f"{path}/expire_hold", {})]
    if intent["status"] != "succeeded":
        return []
    charge = stripe.store.charges[intent["latest_charge"]]
    disputes = [each for each in stripe.store.disputes.values() if each["charge"] == charge["id"]]
    if disputes and disputes[-1]["status"] != "won":
        return _dispute_actions(disputes[-1])
    anew: list[tuple[str, str, Json]] = [("Refund in Dashboard", f"{path}/refund", {})]
    if not disputes:
        anew.append(("Customer disputes", f"{path}/dispute", {"reason": "product_not_received"}))
    refunds = [each for each in stripe.store.refunds.values() if each["charge"] == charge["id"]]
    return (anew if not charge["refunded"] else []) + (_refund_actions(refunds[-1]) if refunds else [])


def _refund_actions(refund: Json) -> list[tuple[str, str, Json]]:
    """What may become of the newest refund."""
    path, status = f"refunds/{refund['id']}", refund["status"]
    turns: list[tuple[str, str, Json]] = []
    if status in refund_actions.ALLOWED_FROM["succeed"]:
        turns.append(("Refund succeeds", f"{path}/succeed", {}))
    if status in refund_actions.ALLOWED_FROM["fail"]:
        turns.append(("Refund fails", f"{path}/fail", LATE_FAILURE))
    return turns


def _dispute_actions(dispute: Json) -> list[tuple[str, str, Json]]:
    path = f"disputes/{dispute['id']}/close"
    if dispute["status"] in dispute_actions.CLOSED_STATUSES:
        return []
    return [("Dispute won", path, {"status": "won"}), ("Dispute lost", path, {"status": "lost"})]
