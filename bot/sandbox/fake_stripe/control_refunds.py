"""Control routes for refunds, the balance, disputes and fraud warnings."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from bot.sandbox.fake_stripe import dispute_actions, fraud_warnings, refund_actions
from bot.sandbox.fake_stripe.api_error import ApiError, Json
from bot.sandbox.fake_stripe.balance import PENDING_REASONS, ForcedOutcome
from bot.sandbox.fake_stripe.control_route import (
    ControlHandler,
    check_fields,
    find,
    http_error,
    integer_field,
    post_routes,
    string_field,
)
from bot.sandbox.fake_stripe.state import FakeStripeState, RequestCause

OUTCOMES = ("succeeded", "pending", "requires_action", "failed", "refused")
REASONS = ("duplicate", "fraudulent", "requested_by_customer")
DISPUTE_RESPONSE_DAYS = 9


class RefundControl:
    """Everything that the Dashboard, the customer's bank and the balance do to a paid payment."""

    def __init__(self, state: FakeStripeState) -> None:
        self.state = state

    def routes(self) -> list[web.RouteDef]:
        handlers: dict[str, ControlHandler] = {
            "/_control/refunds/next": self.force_next_refunds,
            "/_control/refunds/{id}/succeed": self._refund_handler("succeed", refund_actions.succeed),
            "/_control/refunds/{id}/cancel": self._refund_handler("cancel", refund_actions.cancel),
            "/_control/refunds/{id}/require_action": self._refund_handler(
                "require_action", refund_actions.require_action
            ),
            "/_control/refunds/{id}/fail": self.fail,
            "/_control/balance": self.set_balance,
            "/_control/intents/{id}/refund": self.refund_in_dashboard,
            "/_control/intents/{id}/dispute": self.dispute,
            "/_control/intents/{id}/fraud_warning": self.create_fraud_warning,
            "/_control/disputes/{id}/update": self.update_dispute,
            "/_control/disputes/{id}/close": self.close_dispute,
        }
        return post_routes(self.state, handlers)

    async def force_next_refunds(self, _: web.Request, body: Json) -> Json:
        """Force the outcome of the next `times` refunds (default 1); without `status`, forget all forced outcomes."""
        check_fields(body, "status", "pending_reason", "failure_reason", "code", "times")
        status = string_field(body, "status", OUTCOMES)
        if status is None:
            self.state.refund_outcomes.pending.clear()
            return {"forced": 0}
        pending = string_field(body, "pending_reason", PENDING_REASONS) or ForcedOutcome.pending_reason
        failure, code = (
            string_field(body, "failure_reason") or ForcedOutcome.failure_reason,
            string_field(body, "code") or ForcedOutcome.code,
        )
        self.state.refund_outcomes.pending += [ForcedOutcome(status, pending, failure, code)] * (
            integer_field(body, "times", 1) or 1
        )
        return {"forced": len(self.state.refund_outcomes.pending)}

    def _refund_handler(
        self, verb: str, action: Callable[[FakeStripeState, RequestCause, Json], None]
    ) -> ControlHandler:
        async def handler(request: web.Request, _: Json) -> Json:
            refund = self._changeable_refund(request, verb)
            action(self.state, RequestCause(self.state.now()), refund)
            return refund

        return handler

    async def fail(self, request: web.Request, body: Json) -> Json:
        check_fields(body, "failure_reason")
        reason = string_field(body, "failure_reason") or ForcedOutcome.failure_reason
        refund = self._changeable_refund(request, "fail")
        refund_actions.fail(self.state, RequestCause(self.state.now()), refund, reason)
        return refund

    async def set_balance(self, _: web.Request, body: Json) -> Json:
        """Set the balance; `available` null is unlimited. Pending refunds are paid as far as it suffices."""
        check_fields(body, "available", "refuse")
        balance = self.state.balance
        balance.available, balance.rejects_refunds = integer_field(body, "available"), body.get("refuse", False) is True
        refund_actions.pay_pending(self.state, RequestCause(self.state.now()))
        return {"available": balance.available, "refuse": balance.rejects_refunds}

    async def refund_in_dashboard(self, request: web.Request, body: Json) -> Json:
        """Create a refund as the Dashboard does: without metadata and idempotency key."""
        check_fields(body, "amount", "reason")
        params = {"amount": integer_field(body, "amount", 1), "reason": string_field(body, "reason", REASONS)}
        given = {name: value for name, value in params.items() if value is not None}
        try:
            return refund_actions.create(self.state, RequestCause(self.state.now()), self._charge(request), given)
        except ApiError as error:
            raise http_error(web.HTTPConflict, str(error)) from error

    async def dispute(self, request: web.Request, body: Json) -> Json:
        """Open a dispute. `due_in` is in seconds (0: no response possible); a `warning_…` status is an inquiry."""
        check_fields(body, "reason", "amount", "due_in", "refundable", "status")
        charge, now = self._charge(request), self.state.now()
        status = string_field(body, "status", dispute_actions.OPEN_STATUSES) or "needs_response"
        due = integer_field(body, "due_in")
        due = DISPUTE_RESPONSE_DAYS * 86400 if due is None else due
        refundable = body.get("refundable", status.startswith("warning")) is True
        amount = integer_field(body, "amount", 1) or charge["amount_captured"] - charge["amount_refunded"]
        self._check_disputable(charge, amount)
        claim = {"amount": amount, "reason": string_field(body, "reason") or "fraudulent", "status": status}
        claim |= {"due_by": int(now.timestamp()) + due if due else 0, "refundable": refundable}
        return dispute_actions.create(self.state, RequestCause(now), charge, claim)

    def _check_disputable(self, charge: Json, amount: int) -> None:
        """Raise 400 or 409 unless the charge can be disputed for `amount`; one dispute at a time."""
        if charge["refunded"]:
            raise http_error(web.HTTPConflict, "a fully refunded charge cannot be disputed")
        if amount > charge["amount_captured"]:
            raise ValueError("amount is larger than the charge")
        for dispute in self.state.store.disputes.values():
            if dispute["charge"] == charge["id"] and dispute["status"] != "warning_closed":
                raise http_error(web.HTTPConflict, f"the charge already has a dispute: it is {dispute['status']}")

    async def update_dispute(self, request: web.Request, body: Json) -> Json:
        check_fields(body, "status")
        dispute = self._open_dispute(request)
        status = string_field(body, "status", dispute_actions.OPEN_STATUSES) or "under_review"
        dispute_actions.update(self.state, RequestCause(self.state.now()), dispute, status)
        return dispute

    async def close_dispute(self, request: web.Request, body: Json) -> Json:
        check_fields(body, "status")
        status = string_field(body, "status", dispute_actions.CLOSED_STATUSES)
        if status is None:
            raise ValueError(f"status is one of {', '.join(dispute_actions.CLOSED_STATUSES)}")
        dispute = self._open_dispute(request)
        dispute_actions.close(self.state, RequestCause(self.state.now()), dispute, status)
        return dispute

    async def create_fraud_warning(self, request: web.Request, body: Json) -> Json:
        check_fields(body, "fraud_type")
        kind = string_field(body, "fraud_type", fraud_warnings.FRAUD_TYPES) or "unauthorized_use_of_card"
        return fraud_warnings.create(self.state, RequestCause(self.state.now()), self._charge(request), kind)

    def _changeable_refund(self, request: web.Request, verb: str) -> Json:
        self.state.timers.run_due()
        refund = find(self.state.store.refunds, request, "refund")
        if refund["status"] not in refund_actions.ALLOWED_FROM[verb]:
            raise http_error(web.HTTPConflict, f"too late: the refund is {refund['status']}")
        return refund

    def _open_dispute(self, request: web.Request) -> Json:
        dispute = find(self.state.store.disputes, request, "dispute")
        if dispute["status"] in dispute_actions.CLOSED_STATUSES:
            raise http_error(web.HTTPConflict, f"too late: the dispute is {dispute['status']}")
        return dispute

    def _charge(self, request: web.Request) -> Json:
        """The charge of the intent in the path; 409 if it is not paid."""
        self.state.timers.run_due()
        intent = find(self.state.store.intents, request, "intent")
        try:
            return refund_actions.captured_charge(self.state, intent)
        except ApiError as error:
            raise http_error(web.HTTPConflict, f"the intent is not paid: it is {intent['status']}") from error
