"""Control routes for payment attempts, webhooks, the clock, faults and options."""

from __future__ import annotations

from aiohttp import web

from bot.sandbox.fake_stripe import attempts, captures, delivery
from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.control_route import find, get_routes, http_error, post_routes, string_field
from bot.sandbox.fake_stripe.faults import Faults
from bot.sandbox.fake_stripe.state import FakeStripeState, RequestCause
from bot.sandbox.fake_stripe.store import Attempt


class Control:
    """Acts as the customer, delivers webhooks, advances the clock, and causes faults and outages.

    Refunds and disputes are in `control_refunds`.
    """

    def __init__(self, state: FakeStripeState, webhooks: delivery.WebhookDelivery, faults: Faults) -> None:
        self.state = state
        self.webhooks = webhooks
        self.faults = faults

    def routes(self) -> list[web.RouteDef]:
        handlers = {
            "/_control/intents/{id}/approve": self.approve,
            "/_control/intents/{id}/decline": self.decline,
            "/_control/intents/{id}/lapse": self.expire,
            "/_control/intents/{id}/expire_hold": self.expire_hold,
            "/_control/events/{id}/deliver": self.deliver,
            "/_control/webhooks": self.set_webhooks,
            "/_control/webhooks/release": self.release,
            "/_control/clock": self.advance_clock,
            "/_control/faults": self.add_fault,
            "/_control/options": self.set_options,
            "/_control/down": self.set_down,
        }
        readers = {"/_control/store": self.show_store, "/_control/intents": self.show_intents}
        return post_routes(self.state, handlers) + get_routes(readers)

    async def approve(self, request: web.Request, _: Json) -> Json:
        attempt = self._open_attempt(request)
        attempts.approve(self.state, RequestCause(self.state.now()), attempt)
        return self._intent(request)

    async def decline(self, request: web.Request, body: Json) -> Json:
        """Optional `code` and `decline_code`; with `final` false one card is declined and the attempt stays open."""
        attempt = self._open_attempt(request)
        attempts.decline(
            self.state,
            RequestCause(self.state.now()),
            attempt,
            code=string_field(body, "code"),
            decline_code=string_field(body, "decline_code"),
            final=body.get("final", True) is True,
        )
        return self._intent(request)

    async def expire(self, request: web.Request, _: Json) -> Json:
        attempts.expire(self.state, RequestCause(self.state.now()), self._open_attempt(request))
        return self._intent(request)

    async def expire_hold(self, request: web.Request, _: Json) -> Json:
        """Expire a hold before its seven days are over."""
        self.state.timers.run_due()
        intent = self._intent(request)
        if intent["status"] != "requires_capture":
            raise http_error(web.HTTPConflict, f"there is no hold: the intent is {intent['status']}")
        captures.expire_hold(self.state, RequestCause(self.state.now()), intent)
        return intent

    async def deliver(self, request: web.Request, _: Json) -> Json:
        event = find(self.state.store.events, request, "event")
        self.webhooks.deliver(event)
        return {"delivering": len(self.webhooks.subscribers(event))}

    async def set_webhooks(self, _: web.Request, body: Json) -> Json:
        if body.get("mode", self.webhooks.mode) not in delivery.MODES:
            raise ValueError("mode is deliver, lose or hold")
        self.webhooks.mode = body.get("mode", self.webhooks.mode)
        self.webhooks.double = body.get("double", self.webhooks.double) is True
        self.webhooks.shuffle = body.get("shuffle", self.webhooks.shuffle) is True
        return {"mode": self.webhooks.mode, "double": self.webhooks.double, "shuffle": self.webhooks.shuffle}

    async def release(self, _: web.Request, __: Json) -> Json:
        return {"released": self.webhooks.release()}

    async def advance_clock(self, _: web.Request, body: Json) -> Json:
        seconds = body.get("advance")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool):
            raise ValueError("advance is a number of seconds")
        self.state.clock.advance(seconds)
        self.state.timers.run_due()
        return {"now": self.state.now().isoformat()}

    async def add_fault(self, _: web.Request, body: Json) -> Json:
        self.faults.add(body)
        return {"added": True}

    async def set_options(self, _: web.Request, body: Json) -> Json:
        self.state.options.update(body)
        return vars(self.state.options)

    async def set_down(self, _: web.Request, body: Json) -> Json:
        self.state.down = body.get("down", True) is True
        return {"down": self.state.down}

    async def show_store(self, _: web.Request, __: Json) -> Json:
        self.state.timers.run_due()
        return self.state.store.as_json()

    async def show_intents(self, _: web.Request, __: Json) -> list[Json]:
        self.state.timers.run_due()
        return list(self.state.store.intents.values())

    def _intent(self, request: web.Request) -> Json:
        return find(self.state.store.intents, request, "intent")

    def _open_attempt(self, request: web.Request) -> Attempt:
        self.state.timers.run_due()
        intent = self._intent(request)
        attempt = self.state.store.open_attempt(intent["id"])
        if attempt is None:
            raise http_error(web.HTTPConflict, f"there is no open attempt: the intent is {intent['status']}")
        return attempt
