"""The fake Stripe: API, test page, webhooks and control routes, on one HTTP port."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.authorize_page import AuthorizePage
from bot.sandbox.fake_stripe.control import Control
from bot.sandbox.fake_stripe.control_payouts import PayoutControl
from bot.sandbox.fake_stripe.control_refunds import RefundControl
from bot.sandbox.fake_stripe.delivery import WebhookDelivery
from bot.sandbox.fake_stripe.http_api import HttpApi, abort_connection
from bot.sandbox.fake_stripe.options import Options
from bot.sandbox.fake_stripe.state import FakeStripeState
from bot.sandbox.fake_stripe.store import ObjectStore
from bot.sandbox.shared.fake_clock import FakeClock

KEY = "sk_test_51SandboxKvit0001FakeStripeKeyOnThisMachineOnly"
WEBHOOK_SECRET = "whsec_SandboxKvitFakeStripeSigningSecret"  # noqa: S105 - only this fake accepts it


class FakeStripe:
    """One Stripe account. With `automatic_delivery` false, webhooks wait for the control route `webhooks/release`."""

    def __init__(
        self,
        clock: FakeClock,
        *,
        key: str = KEY,
        webhook_secret: str = WEBHOOK_SECRET,
        automatic_delivery: bool = True,
    ) -> None:
        self.key = key
        self.webhook_secret = webhook_secret
        self.base = ""
        self.state = FakeStripeState(clock, key, webhook_secret, self._on_event)
        self.webhooks = WebhookDelivery(self.state)
        self.webhooks.mode = "deliver" if automatic_delivery else "hold"
        self._http_api = HttpApi(self.state)
        self._control = Control(self.state, self.webhooks, self._http_api.faults)
        self._runner: web.AppRunner | None = None

    @property
    def store(self) -> ObjectStore:
        return self.state.store

    @property
    def options(self) -> Options:
        return self.state.options

    def _on_event(self, event: Json) -> None:
        self.webhooks.on_event(event)

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Serve on `port` (0: any free port); returns the base URL, without a trailing slash."""
        self._http_api.stopping.clear()
        app = web.Application(middlewares=[self._abort_while_down])
        control = [*self._control.routes(), *RefundControl(self.state).routes(), *PayoutControl(self.state).routes()]
        app.add_routes([*control, *AuthorizePage(self.state).routes(), *self._http_api.routes()])
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound = self._runner.addresses[0][1]
        self.base = self.state.base = f"http://{host}:{bound}"
        return self.base

    async def stop(self) -> None:
        """Stop the server and all tasks; raises the first error of a background task."""
        if self._runner is None:
            return
        self._http_api.stopping.set()
        await self._runner.cleanup()
        self._runner = None
        try:
            await self.state.background_tasks.stop()
        finally:
            await self.webhooks.close()

    @web.middleware
    async def _abort_while_down(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.state.down and not request.path.startswith("/_control/"):
            if request.path.startswith(("/v1/", "/v2/")):
                self._http_api.record_refused(request)
            return abort_connection(request)
        return await handler(request)
