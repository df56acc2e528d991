"""Control routes for payouts, and for fees of Stripe's that belong to no payment."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from bot.sandbox.fake_stripe import payouts
from bot.sandbox.fake_stripe.api_error import Json
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

MONTHLY_FEE = 3500
"""MobilePay's monthly fee at Stripe for Danish businesses, in øre."""


class PayoutControl:
    """What Stripe's schedule and the bank do."""

    def __init__(self, state: FakeStripeState) -> None:
        self.state = state

    def routes(self) -> list[web.RouteDef]:
        handlers: dict[str, ControlHandler] = {
            "/_control/payouts": self.create,
            "/_control/payouts/{id}/pay": self._handler(payouts.pay, ("in_transit",)),
            "/_control/payouts/{id}/fail": self._handler(payouts.fail, ("in_transit", "paid")),
            "/_control/fees": self.charge_fee,
        }
        return post_routes(self.state, handlers)

    async def create(self, _: web.Request, body: Json) -> Json:
        """Pay out what is due in `currency` (default dkk); with an `amount` it is a manual payout."""
        check_fields(body, "currency", "amount")
        self.state.timers.run_due()
        cause = RequestCause(self.state.now())
        return payouts.create(
            self.state, cause, string_field(body, "currency") or "dkk", integer_field(body, "amount", 1)
        )

    async def charge_fee(self, _: web.Request, body: Json) -> Json:
        """Charge a fee without a payment: `amount` (default 3500), `currency` (default dkk), `description`."""
        check_fields(body, "currency", "amount", "description")
        amount, currency = integer_field(body, "amount", 1) or MONTHLY_FEE, string_field(body, "currency") or "dkk"
        text = string_field(body, "description") or "MobilePay monthly fee"
        number = payouts.charge_fee(self.state, RequestCause(self.state.now()), currency, amount, text)
        return self.state.store.balance_transactions[number]

    def _handler(
        self, action: Callable[[FakeStripeState, RequestCause, Json], None], allowed: tuple[str, ...]
    ) -> ControlHandler:
        async def handler(request: web.Request, _: Json) -> Json:
            payout = find(self.state.store.payouts, request, "payout")
            if payout["status"] not in allowed:
                raise http_error(web.HTTPConflict, f"too late: the payout is {payout['status']}")
            action(self.state, RequestCause(self.state.now()), payout)
            return payout

        return handler
