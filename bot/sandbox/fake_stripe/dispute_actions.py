"""What happens to a disputed payment: money withdrawn, given back when the dispute is won, gone when it is lost."""

from __future__ import annotations

from bot.sandbox.fake_stripe import dispute_object, fraud_warnings, refund_actions
from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.state import Cause, World

ENDS = ("won", "lost", "warning_closed", "prevented")
STATUSES = (
    "needs_response",
    "under_review",
    "warning_needs_response",
    "warning_under_review",
    "appeal_needs_response",
    "appeal_under_review",
)


def begin(world: World, cause: Cause, charge: Json, claim: Json) -> Json:
    """The customer disputes; a mere inquiry (a warning) takes no money yet."""
    dispute = dispute_object.dispute(world.identity("du_", cause.at), charge, claim)
    world.ledger.disputes[dispute["id"]] = dispute
    charge["disputed"] = True
    world.emit(cause, "charge.dispute.created", dispute)
    _take(world, cause, dispute)
    fraud_warnings.settle(world, cause, charge)
    return dispute


def _take(world: World, cause: Cause, dispute: Json) -> None:
    """Withdraw the disputed amount, once; a refund that is still under way fails with it."""
    if dispute["status"].startswith("warning") or dispute["balance_transactions"]:
        return
    _move(world, cause, dispute, -dispute["amount"])
    world.emit(cause, "charge.dispute.funds_withdrawn", dispute)
    if dispute["is_charge_refundable"]:
        return
    for refund in list(world.ledger.refunds.values()):
        if refund["charge"] == dispute["charge"] and refund["status"] in refund_actions.UNDER_WAY:
            refund_actions.fail(world, cause, refund, "charge_for_pending_refund_disputed")


def _move(world: World, cause: Cause, dispute: Json, amount: int) -> None:
    world.purse.move(amount)
    moved = dispute_object.movement(world.identity("txn_", cause.at), dispute, amount)
    dispute["balance_transactions"].append(moved)


def update(world: World, cause: Cause, dispute: Json, status: str) -> None:
    """The dispute goes on; an inquiry that becomes a dispute takes the money."""
    before = {"status": dispute["status"]}
    escalates = before["status"].startswith("warning") and not status.startswith("warning")
    dispute |= {"status": status} | ({"is_charge_refundable": False} if escalates else {})
    world.emit(cause, "charge.dispute.updated", dispute, before)
    _take(world, cause, dispute)


def close(world: World, cause: Cause, dispute: Json, status: str) -> None:
    """The bank has decided; won money comes back."""
    before = {"status": dispute["status"], "is_charge_refundable": dispute["is_charge_refundable"]}
    dispute |= {"status": status, "is_charge_refundable": status != "lost"}
    world.emit(cause, "charge.dispute.closed", dispute, before)
    if status == "won" and dispute["balance_transactions"]:
        _move(world, cause, dispute, dispute["amount"])
        world.emit(cause, "charge.dispute.funds_reinstated", dispute)
