"""The control routes: the hand that approves, declines, turns the clock and breaks things."""

from __future__ import annotations

from aiohttp import web

from bot.sandbox.fake_stripe import attempts, captures, delivery
from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.control_route import found, gets, no, posts, word
from bot.sandbox.fake_stripe.faults import Faults
from bot.sandbox.fake_stripe.ledger import Attempt
from bot.sandbox.fake_stripe.state import Cause, World


class Control:
    """What customers, time, the network and Stripe's own outages do; money out has its own hands beside this one."""

    def __init__(self, world: World, webhooks: delivery.Webhooks, faults: Faults) -> None:
        self.world = world
        self.webhooks = webhooks
        self.faults = faults

    def routes(self) -> list[web.RouteDef]:
        acts = {
            "/_control/intents/{id}/approve": self.approve,
            "/_control/intents/{id}/decline": self.decline,
            "/_control/intents/{id}/lapse": self.lapse,
            "/_control/intents/{id}/expire_hold": self.expire_hold,
            "/_control/events/{id}/deliver": self.deliver,
            "/_control/webhooks": self.set_webhooks,
            "/_control/webhooks/release": self.release,
            "/_control/clock": self.turn_clock,
            "/_control/faults": self.order_fault,
            "/_control/switches": self.turn_switches,
            "/_control/down": self.set_down,
        }
        shown = {"/_control/ledger": self.show_ledger, "/_control/intents": self.show_intents}
        return posts(self.world, acts) + gets(shown)

    async def approve(self, request: web.Request, _: Json) -> Json:
        attempt = self._open(request)
        attempts.approve(self.world, Cause(self.world.now()), attempt)
        return self._intent(request)

    async def decline(self, request: web.Request, body: Json) -> Json:
        """`code` and `decline_code` as they shall be; `final` false: one card fails, the attempt goes on."""
        attempt = self._open(request)
        attempts.decline(
            self.world,
            Cause(self.world.now()),
            attempt,
            code=word(body, "code"),
            decline_code=word(body, "decline_code"),
            final=body.get("final", True) is True,
        )
        return self._intent(request)

    async def lapse(self, request: web.Request, _: Json) -> Json:
        attempts.lapse(self.world, Cause(self.world.now()), self._open(request))
        return self._intent(request)

    async def expire_hold(self, request: web.Request, _: Json) -> Json:
        """Let the seven days of a hold be over now."""
        self.world.alarms.ring()
        intent = self._intent(request)
        if intent["status"] != "requires_capture":
            raise no(web.HTTPConflict, f"nothing is held: the intent is {intent['status']}")
        captures.expire(self.world, Cause(self.world.now()), intent)
        return intent

    async def deliver(self, request: web.Request, _: Json) -> Json:
        event = found(self.world.ledger.events, request, "event")
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

    async def turn_clock(self, _: web.Request, body: Json) -> Json:
        seconds = body.get("advance")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool):
            raise ValueError("advance is a number of seconds")
        self.world.clock.advance(seconds)
        self.world.alarms.ring()
        return {"now": self.world.now().isoformat()}

    async def order_fault(self, _: web.Request, body: Json) -> Json:
        self.faults.order(body)
        return {"ordered": True}

    async def turn_switches(self, _: web.Request, body: Json) -> Json:
        self.world.switches.turn(body)
        return vars(self.world.switches)

    async def set_down(self, _: web.Request, body: Json) -> Json:
        self.world.down = body.get("down", True) is True
        return {"down": self.world.down}

    async def show_ledger(self, _: web.Request, __: Json) -> Json:
        self.world.alarms.ring()
        return self.world.ledger.as_json()

    async def show_intents(self, _: web.Request, __: Json) -> list[Json]:
        self.world.alarms.ring()
        return list(self.world.ledger.intents.values())

    def _intent(self, request: web.Request) -> Json:
        return found(self.world.ledger.intents, request, "intent")

    def _open(self, request: web.Request) -> Attempt:
        self.world.alarms.ring()
        intent = self._intent(request)
        attempt = self.world.ledger.open_attempt(intent["id"])
        if attempt is None:
            raise no(web.HTTPConflict, f"nothing to decide: the intent is {intent['status']}")
        return attempt
