"""The real service, connected over HTTP to both fakes, with a temporary database."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.app import Service
from bot.sandbox import fake_services, seed_users
from bot.sandbox.fake_services import FakeServices, SandboxStartError
from bot.settings import Settings, make_settings
from bot.telegram.http_client import AiohttpRequest
from bot.telegram.menus import set_bot_menus
from handlers.i18n import DEFAULT_TIME_ZONE, wallet_name
from handlers.telegram.rate_limit import TelegramRateLimiter

UNLIMITED = 1_000_000
"""Each limit of the rate limiter when the limits are switched off."""

APPROVAL_ABOVE = 50_000
"""Refunds above 500.00 (any currency) need a second admin, so that the demo shows both flows. Minor units."""

FEES = {"fee_rate": 140, "fee_tax_rate": 2500}
"""Stripe's fees in the demo: 1.4 percent, a fifth of which is VAT."""


@dataclass(frozen=True)
class DemoStack:
    """The fake services, and the real service that uses them."""

    services: FakeServices
    service: Service


@asynccontextmanager
async def start_stack(*, framed_by: str = "'none'", unthrottled: bool = False) -> AsyncIterator[DemoStack]:
    """Run the stack while the context is open; `unthrottled` switches off the service's and the fake's rate limits.

    Raises:
        SandboxStartError: a live key is in the environment.
        StartupError: the service cannot start.
    """
    reject_live_key(os.environ)
    with TemporaryDirectory(prefix="kvit-", ignore_cleanup_errors=True) as folder:
        async with fake_services.start_services(flood_control=not unthrottled) as services:
            seed_users.add_users(services.telegram)
            services.stripe.options.update(FEES)
            limiter = TelegramRateLimiter(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED) if unthrottled else None
            settings = _settings(services, Path(folder))
            service = Service(settings, services.clock, framed_by=framed_by, rate_limiter=limiter)
            try:
                await service.start()
                await fake_services.create_webhook_endpoint(services.stripe, service.base)
                await service.seed(seed_users.OWNER.name, seed_users.memberships(), [seed_users.GROUP])
                await _set_bot_menus(services)
                yield DemoStack(services, service)
            finally:
                await service.stop()


async def _set_bot_menus(services: FakeServices) -> None:
    """Set the command menus, as `setup-webhooks` does."""
    request = AiohttpRequest(services.telegram.token, base=services.telegram.base)
    try:
        await set_bot_menus(request, wallet=wallet_name("auto", services.clock.now(), DEFAULT_TIME_ZONE))
    finally:
        await request.shutdown()


def reject_live_key(environment: Mapping[str, str]) -> None:
    """Refuse to start where a live Stripe key is set.

    Raises:
        SandboxStartError: `STRIPE_API_KEY` is a live key.
    """
    for name, value in environment.items():
        if name.upper() == "STRIPE_API_KEY" and value.strip().startswith(("sk_live_", "rk_live_")):
            raise SandboxStartError(
                "STRIPE_API_KEY is a live key, and the demo does not start where real money could move; "
                "start it without that variable, for example: env -u STRIPE_API_KEY make demo"
            )


def _settings(services: FakeServices, folder: Path) -> Settings:
    port = _free_port()
    return make_settings(
        telegram_bot_token=services.telegram.token,
        stripe_api_key=services.stripe.key,
        stripe_webhook_secrets=services.stripe.webhook_secret,
        owner_ids=str(services.telegram.owner_id),
        public_url=f"http://127.0.0.1:{port}",
        database_url=f"sqlite:///{folder / 'kvit.db'}",
        refund_approval_above=APPROVAL_ABOVE,
        port=port,
        telegram_mode="polling",
        telegram_api_base=services.telegram.base,
        stripe_api_base=services.stripe.base,
    )


def _free_port() -> int:
    """A port that is free now. The public URL is a setting, so the port must be known before the service starts."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
