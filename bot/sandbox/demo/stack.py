"""The whole of Kvit between its two pretend halves, over real HTTP and on a database that is gone afterwards."""

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
"""Messages that may leave at once when nobody is there to read along."""

APPROVAL_ABOVE = 50_000
"""Refunds beyond 500 of whatever currency need a second admin, so that both ways can be tried."""


@dataclass(frozen=True)
class DemoStack:
    """The pretend Stripe and Telegram, and the real service between them."""

    services: FakeServices
    service: Service


@asynccontextmanager
async def start_stack(*, framed_by: str = "'none'", unthrottled: bool = False) -> AsyncIterator[DemoStack]:
    """Everything running for as long as the context lasts; `brisk` leaves out Telegram's limits.

    Raises:
        SandboxRefused: there is a live key in the environment.
        CannotStart: the service says why.
    """
    reject_live_key(os.environ)
    with TemporaryDirectory(prefix="kvit-", ignore_cleanup_errors=True) as folder:
        async with fake_services.start_services(flood_control=not unthrottled) as pair:
            seed_users.add_users(pair.telegram)
            pacing = TelegramRateLimiter(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED) if unthrottled else None
            service = Service(_settings(pair, Path(folder)), pair.clock, framed_by=framed_by, rate_limiter=pacing)
            try:
                await service.start()
                await fake_services.create_webhook_endpoint(pair.stripe, service.base)
                await service.seed(seed_users.OWNER.name, seed_users.memberships(), [seed_users.GROUP])
                await _set_bot_menus(pair)
                yield DemoStack(pair, service)
            finally:
                await service.stop()


async def _set_bot_menus(pair: FakeServices) -> None:
    """Give the bot its menus, as `setup-webhooks` would."""
    request = AiohttpRequest(pair.telegram.token, base=pair.telegram.base)
    try:
        await set_bot_menus(request, wallet=wallet_name("auto", pair.clock.now(), DEFAULT_TIME_ZONE))
    finally:
        await request.shutdown()


def reject_live_key(environment: Mapping[str, str]) -> None:
    """Stop whoever is about to try things out where real money is at hand.

    Raises:
        SandboxRefused: there is a live key.
    """
    for name, value in environment.items():
        if name.upper() == "STRIPE_API_KEY" and value.strip().startswith(("sk_live_", "rk_live_")):
            raise SandboxStartError(
                "STRIPE_API_KEY holds a live key, and the demo does not run beside real money; "
                "start it without that variable, for example: env -u STRIPE_API_KEY make demo"
            )


def _settings(pair: FakeServices, folder: Path) -> Settings:
    port = _free_port()
    return make_settings(
        telegram_bot_token=pair.telegram.token,
        stripe_api_key=pair.stripe.key,
        stripe_webhook_secrets=pair.stripe.webhook_secret,
        owner_ids=str(pair.telegram.owner_id),
        public_url=f"http://127.0.0.1:{port}",
        database_url=f"sqlite:///{folder / 'kvit.db'}",
        refund_approval_above=APPROVAL_ABOVE,
        port=port,
        telegram_mode="polling",
        telegram_api_base=pair.telegram.base,
        stripe_api_base=pair.stripe.base,
    )


def _free_port() -> int:
    """A port that is free now: the public address has to be known before the service has one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
