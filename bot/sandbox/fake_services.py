"""Both pretend services on one clock: what the sandbox, the demo and the tour have in common."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from bot.app import StartupError
from bot.sandbox.fake_stripe import FakeStripe
from bot.sandbox.fake_telegram import FakeTelegram
from bot.sandbox.shared.change_notifier import ChangeNotifier
from bot.sandbox.shared.fake_clock import FakeClock


class SandboxStartError(StartupError):
    """The pretend state cannot be opened; the text is one plain sentence for the operator, the exit code is 2."""


@dataclass(frozen=True)
class FakeServices:
    """The two fakes, running; who turns `clock` turns both, who watches `changes` watches both."""

    clock: FakeClock
    stripe: FakeStripe
    telegram: FakeTelegram

    @property
    def changes(self) -> ChangeNotifier:
        return self.telegram.state.changes


@asynccontextmanager
async def start_services(
    *, stripe_port: int = 0, telegram_port: int = 0, flood_control: bool = True
) -> AsyncIterator[FakeServices]:
    """Both services on 127.0.0.1 for as long as the context lasts; port 0 takes any free one.

    Raises:
        SandboxRefused: a port cannot be had.
    """
    clock = FakeClock()
    stripe, telegram = FakeStripe(clock), FakeTelegram(clock, flood_control=flood_control)
    stripe.state.changes = telegram.state.changes
    try:
        await _start_on_port(stripe.start, stripe_port, "--stripe-port")
        await _start_on_port(telegram.start, telegram_port, "--telegram-port")
        yield FakeServices(clock, stripe, telegram)
    finally:
        await telegram.stop()
        await stripe.stop()


def environment(stripe: FakeStripe, telegram: FakeTelegram) -> dict[str, str]:
    """The variables by which a Kvit finds both, which run already, and may ask them."""
    return {
        "STRIPE_API_BASE": stripe.base,
        "TELEGRAM_API_BASE": telegram.base,
        "TELEGRAM_BOT_TOKEN": telegram.token,
        "STRIPE_API_KEY": stripe.key,
        "STRIPE_WEBHOOK_SECRETS": stripe.webhook_secret,
    }


async def create_webhook_endpoint(stripe: FakeStripe, base: str, *events: str) -> None:
    """Have Stripe's webhooks sent to the Kvit at `base`, as an operator has it once: all of them, or these `events`."""
    wanted = [("url", f"{base}/stripe/webhook"), *(("enabled_events[]", event) for event in events or ("*",))]
    headers = {"Authorization": f"Bearer {stripe.key}"}
    async with (
        aiohttp.ClientSession(raise_for_status=True) as http,
        http.post(f"{stripe.base}/v1/webhook_endpoints", data=wanted, headers=headers) as answer,
    ):
        await answer.read()


async def _start_on_port(start: Callable[[int], Awaitable[str]], port: int, option: str) -> None:
    try:
        await start(port)
    except (OSError, OverflowError) as error:
        raise SandboxStartError(port_error(port, option, error)) from error


def port_error(port: int, option: str, error: Exception) -> str:
    """Why a port cannot be had, and what to do."""
    remedy = f"choose another one with {option}, or 0 for any free one."
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return f"Port {port} is taken already; {remedy}"
        case errno.EACCES:
            return f"Port {port} needs more rights than this program has; {remedy}"
        case _:
            return f"Port {port} cannot be used; {remedy}"
