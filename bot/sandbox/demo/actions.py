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
            "fates": [{"words": words, "what": what, "body": body} for words, what, body in _fates(stripe, intent)],
        }
        for intent in stripe.ledger.intents.values()
        if intent["latest_charge"] is not None
    }


def _fates(stripe: FakeStripe, intent: Json) -> list[tuple[str, str, Json]]:
    path = f"intents/{intent['id']}"
    if intent["status"] == "requires_capture":
        return [("Hold lapses", f"{path}/expire_hold", {})]
    if intent["status"] != "succeeded":
        return []
    charge = stripe.ledger.charges[intent["latest_charge"]]
    disputes = [each for each in stripe.ledger.disputes.values() if each["charge"] == charge["id"]]
    if disputes and disputes[-1]["status"] != "won":
        return _verdicts(disputes[-1])
    anew: list[tuple[str, str, Json]] = [("Refund in Dashboard", f"{path}/refund", {})]
    if not disputes:
        anew.append(("Customer disputes", f"{path}/dispute", {"reason": "product_not_received"}))
    refunds = [each for each in stripe.ledger.refunds.values() if each["charge"] == charge["id"]]
    return (anew if not charge["refunded"] else []) + (_turns(refunds[-1]) if refunds else [])


def _turns(refund: Json) -> list[tuple[str, str, Json]]:
    """What may become of the newest refund."""
    path, status = f"refunds/{refund['id']}", refund["status"]
    turns: list[tuple[str, str, Json]] = []
    if status in refund_actions.MAY["succeed"]:
        turns.append(("Refund succeeds", f"{path}/succeed", {}))
    if status in refund_actions.MAY["fail"]:
        turns.append(("Refund fails", f"{path}/fail", LATE_FAILURE))
    return turns


def _verdicts(dispute: Json) -> list[tuple[str, str, Json]]:
    path = f"disputes/{dispute['id']}/close"
    if dispute["status"] in dispute_actions.ENDS:
        return []
    return [("Dispute won", path, {"status": "won"}), ("Dispute lost", path, {"status": "lost"})]
