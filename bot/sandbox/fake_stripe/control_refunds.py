"""The control routes for money going out: refunds that wait or fail, the balance, disputes, fraud warnings."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from bot.sandbox.fake_stripe import dispute_actions, fraud_warnings, refund_actions
from bot.sandbox.fake_stripe.api_error import Json, Refusal
from bot.sandbox.fake_stripe.balance import PENDING_REASONS, Fate
from bot.sandbox.fake_stripe.control_route import Act, found, known, no, posts, whole, word
from bot.sandbox.fake_stripe.state import Cause, World

FATES = ("succeeded", "pending", "requires_action", "failed", "refused")
REASONS = ("duplicate", "fraudulent", "requested_by_customer")
DAYS_TO_ANSWER = 9


class MoneyOut:
    """What the Dashboard, the customer's bank and the balance do to money that was received."""

    def __init__(self, world: World) -> None:
        self.world = world

    def routes(self) -> list[web.RouteDef]:
        acts: dict[str, Act] = {
            "/_control/refunds/next": self.order_refund,
            "/_control/refunds/{id}/succeed": self._refund("succeed", refund_actions.succeed),
            "/_control/refunds/{id}/cancel": self._refund("cancel", refund_actions.cancel),
            "/_control/refunds/{id}/require_action": self._refund("require_action", refund_actions.require_action),
            "/_control/refunds/{id}/fail": self.fail,
            "/_control/balance": self.set_balance,
            "/_control/intents/{id}/refund": self.refund_by_hand,
            "/_control/intents/{id}/dispute": self.dispute,
            "/_control/intents/{id}/fraud_warning": self.warn,
            "/_control/disputes/{id}/update": self.update_dispute,
            "/_control/disputes/{id}/close": self.close_dispute,
        }
        return posts(self.world, acts)

    async def order_refund(self, _: web.Request, body: Json) -> Json:
        """How the next refund comes out, or the next `times` ones; without a status: as usual again, all of them."""
        known(body, "status", "pending_reason", "failure_reason", "code", "times")
        status = word(body, "status", FATES)
        if status is None:
            self.world.fates.coming.clear()
            return {"ordered": 0}
        pending = word(body, "pending_reason", PENDING_REASONS) or Fate.pending_reason
        failure, code = word(body, "failure_reason") or Fate.failure_reason, word(body, "code") or Fate.code
        self.world.fates.coming += [Fate(status, pending, failure, code)] * (whole(body, "times", 1) or 1)
        return {"ordered": len(self.world.fates.coming)}

    def _refund(self, verb: str, move: Callable[[World, Cause, Json], None]) -> Act:
        async def act(request: web.Request, _: Json) -> Json:
            refund = self._movable(request, verb)
            move(self.world, Cause(self.world.now()), refund)
            return refund

        return act

    async def fail(self, request: web.Request, body: Json) -> Json:
        known(body, "failure_reason")
        reason = word(body, "failure_reason") or Fate.failure_reason
        refund = self._movable(request, "fail")
        refund_actions.fail(self.world, Cause(self.world.now()), refund, reason)
        return refund

    async def set_balance(self, _: web.Request, body: Json) -> Json:
        """`available` null: always enough. What waited for money is paid as far as it goes."""
        known(body, "available", "refuse")
        purse = self.world.purse
        purse.available, purse.refuses = whole(body, "available"), body.get("refuse", False) is True
        refund_actions.pay_waiting(self.world, Cause(self.world.now()))
        return {"available": purse.available, "refuse": purse.refuses}

    async def refund_by_hand(self, request: web.Request, body: Json) -> Json:
        """A refund made in the Dashboard: without anybody's metadata."""
        known(body, "amount", "reason")
        params = {"amount": whole(body, "amount", 1), "reason": word(body, "reason", REASONS)}
        given = {name: value for name, value in params.items() if value is not None}
        try:
            return refund_actions.make(self.world, Cause(self.world.now()), self._charge(request), given)
        except Refusal as refusal:
            raise no(web.HTTPConflict, str(refusal)) from refusal

    async def dispute(self, request: web.Request, body: Json) -> Json:
        """`due_in` in seconds, 0: no answer is possible; a `status` that begins with warning: a mere inquiry."""
        known(body, "reason", "amount", "due_in", "refundable", "status")
        charge, now = self._charge(request), self.world.now()
        status = word(body, "status", dispute_actions.STATUSES) or "needs_response"
        due = whole(body, "due_in")
        due = DAYS_TO_ANSWER * 86400 if due is None else due
        refundable = body.get("refundable", status.startswith("warning")) is True
        amount = whole(body, "amount", 1) or charge["amount_captured"] - charge["amount_refunded"]
        self._disputable(charge, amount)
        claim = {"amount": amount, "reason": word(body, "reason") or "fraudulent", "status": status}
        claim |= {"due_by": int(now.timestamp()) + due if due else 0, "refundable": refundable}
        return dispute_actions.begin(self.world, Cause(now), charge, claim)

    def _disputable(self, charge: Json, amount: int) -> None:
        """At most what the customer still misses, and one dispute at a time."""
        if charge["refunded"]:
            raise no(web.HTTPConflict, "a wholly refunded charge cannot be disputed")
        if amount > charge["amount_captured"]:
            raise ValueError("amount is more than the charge")
        for dispute in self.world.ledger.disputes.values():
            if dispute["charge"] == charge["id"] and dispute["status"] != "warning_closed":
                raise no(web.HTTPConflict, f"the charge has a dispute already: it is {dispute['status']}")

    async def update_dispute(self, request: web.Request, body: Json) -> Json:
        known(body, "status")
        dispute = self._open_dispute(request)
        status = word(body, "status", dispute_actions.STATUSES) or "under_review"
        dispute_actions.update(self.world, Cause(self.world.now()), dispute, status)
        return dispute

    async def close_dispute(self, request: web.Request, body: Json) -> Json:
        known(body, "status")
        status = word(body, "status", dispute_actions.ENDS)
        if status is None:
            raise ValueError(f"status is one of {', '.join(dispute_actions.ENDS)}")
        dispute = self._open_dispute(request)
        dispute_actions.close(self.world, Cause(self.world.now()), dispute, status)
        return dispute

    async def warn(self, request: web.Request, body: Json) -> Json:
        known(body, "fraud_type")
        kind = word(body, "fraud_type", fraud_warnings.KINDS) or "unauthorized_use_of_card"
        return fraud_warnings.warn(self.world, Cause(self.world.now()), self._charge(request), kind)

    def _movable(self, request: web.Request, verb: str) -> Json:
        self.world.alarms.ring()
        refund = found(self.world.ledger.refunds, request, "refund")
        if refund["status"] not in refund_actions.MAY[verb]:
            raise no(web.HTTPConflict, f"too late: the refund is {refund['status']}")
        return refund

    def _open_dispute(self, request: web.Request) -> Json:
        dispute = found(self.world.ledger.disputes, request, "dispute")
        if dispute["status"] in dispute_actions.ENDS:
            raise no(web.HTTPConflict, f"too late: the dispute is {dispute['status']}")
        return dispute

    def _charge(self, request: web.Request) -> Json:
        """The charge of a paid intent."""
        self.world.alarms.ring()
        intent = found(self.world.ledger.intents, request, "intent")
        try:
            return refund_actions.captured(self.world, intent)
        except Refusal as refusal:
            raise no(web.HTTPConflict, f"nothing was paid: the intent is {intent['status']}") from refusal
