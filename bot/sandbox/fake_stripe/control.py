"""The control routes: the hand that approves, declines, turns the clock and breaks things."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from bot.sandbox.fake_stripe import attempts, delivery
from bot.sandbox.fake_stripe.faults import Faults
from bot.sandbox.fake_stripe.ledger import Attempt, plain
from bot.sandbox.fake_stripe.refusal import Json
from bot.sandbox.fake_stripe.world import Cause, World

Act = Callable[[web.Request, Json], Awaitable[Any]]


class Control:
    """JSON in, JSON out; 404 for unknown ids, 400 for what cannot be understood, 409 for what is too late."""

    def __init__(self, world: World, webhooks: delivery.Webhooks, faults: Faults) -> None:
        self.world = world
        self.webhooks = webhooks
        self.faults = faults

    def routes(self) -> list[web.RouteDef]:
        posts = {
            "/_control/intents/{id}/approve": self.approve,
            "/_control/intents/{id}/decline": self.decline,
            "/_control/intents/{id}/lapse": self.lapse,
            "/_control/events/{id}/deliver": self.deliver,
            "/_control/webhooks": self.set_webhooks,
            "/_control/webhooks/release": self.release,
            "/_control/clock": self.turn_clock,
            "/_control/faults": self.order_fault,
            "/_control/switches": self.turn_switches,
            "/_control/down": self.set_down,
        }
        gets = {"/_control/ledger": self.show_ledger, "/_control/intents": self.show_intents}
        return [web.post(path, _route(self._telling(act))) for path, act in posts.items()] + [
            web.get(path, _route(act)) for path, act in gets.items()
        ]

    def _telling(self, act: Act) -> Act:
        """The act, told to everybody who watches."""

        async def told(request: web.Request, body: Json) -> Any:
            try:
                return await act(request, body)
            finally:
                self.world.changes.tell()

        return told

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
            code=_word(body, "code"),
            decline_code=_word(body, "decline_code"),
            final=body.get("final", True) is True,
        )
        return self._intent(request)

    async def lapse(self, request: web.Request, _: Json) -> Json:
        attempts.lapse(self.world, Cause(self.world.now()), self._open(request))
        return self._intent(request)

    async def deliver(self, request: web.Request, _: Json) -> Json:
        event = self.world.ledger.events.get(request.match_info["id"])
        if event is None:
            raise _no(web.HTTPNotFound, "no such event")
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
        found = self.world.ledger.intents.get(request.match_info["id"])
        if found is None:
            raise _no(web.HTTPNotFound, "no such intent")
        return found

    def _open(self, request: web.Request) -> Attempt:
        self.world.alarms.ring()
        intent = self._intent(request)
        attempt = self.world.ledger.open_attempt(intent["id"])
        if attempt is None:
            raise _no(web.HTTPConflict, f"nothing to decide: the intent is {intent['status']}")
        return attempt


def _word(body: Json, name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is a string")
    return value


def _route(act: Act) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read() or b"{}")
            if not isinstance(body, dict):
                raise ValueError("the body is a JSON object")
            return web.json_response(plain(await act(request, body)))
        except (ValueError, OverflowError) as error:
            raise _no(web.HTTPBadRequest, str(error)) from error

    return handler


def _no(status: type[web.HTTPError], words: str) -> web.HTTPError:
    return status(text=json.dumps({"error": words}), content_type="application/json")
