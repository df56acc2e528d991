"""Stripe on this machine: the pinned API version, its test page and its webhooks, on one HTTP port."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.authorize_page import AuthorizePage
from bot.sandbox.fake_stripe.control import Control
from bot.sandbox.fake_stripe.control_refunds import MoneyOut
from bot.sandbox.fake_stripe.delivery import Webhooks
from bot.sandbox.fake_stripe.http_api import Counter, cut
from bot.sandbox.fake_stripe.ledger import Ledger
from bot.sandbox.fake_stripe.options import Switches
from bot.sandbox.fake_stripe.state import World
from bot.sandbox.shared.fake_clock import TurnedClock

KEY = "sk_test_51SandboxKvit0001PretendStripeKeyOnThisMachineOnly"
WEBHOOK_SECRET = "whsec_SandboxKvitPretendStripeSigningSecret"  # noqa: S105 - opens nothing but this pretend Stripe


class FakeStripe:
    """One pretend account. With `automatic_delivery` false webhooks wait for the control route `release`."""

    def __init__(
        self,
        clock: TurnedClock,
        *,
        key: str = KEY,
        webhook_secret: str = WEBHOOK_SECRET,
        automatic_delivery: bool = True,
    ) -> None:
        self.key = key
        self.webhook_secret = webhook_secret
        self.base = ""
        self.world = World(clock, key, webhook_secret, self._post)
        self.webhooks = Webhooks(self.world)
        self.webhooks.mode = "deliver" if automatic_delivery else "hold"
        self._counter = Counter(self.world)
        self._control = Control(self.world, self.webhooks, self._counter.faults)
        self._runner: web.AppRunner | None = None

    @property
    def ledger(self) -> Ledger:
        return self.world.ledger

    @property
    def switches(self) -> Switches:
        return self.world.switches

    def _post(self, event: Json) -> None:
        self.webhooks.take(event)

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Serve on `port` (0: any free one); returns the base address, without a trailing slash."""
        self._counter.stopping.clear()
        app = web.Application(middlewares=[self._up])
        control = [*self._control.routes(), *MoneyOut(self.world).routes()]
        app.add_routes([*control, *AuthorizePage(self.world).routes(), *self._counter.routes()])
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound = self._runner.addresses[0][1]
        self.base = self.world.base = f"http://{host}:{bound}"
        return self.base

    async def stop(self) -> None:
        """End everything; raises the first failure of a background task."""
        if self._runner is None:
            return
        self._counter.stopping.set()
        await self._runner.cleanup()
        self._runner = None
        try:
            await self.world.errands.end()
        finally:
            await self.webhooks.close()

    @web.middleware
    async def _up(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.world.down and not request.path.startswith("/_control/"):
            return cut(request)
        return await handler(request)
