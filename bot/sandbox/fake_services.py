"""Both fake services on one clock; the sandbox command, the demo and the tour start them here."""

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
    """The sandbox cannot start. The text is one sentence for the operator; the command exits with 2."""


@dataclass(frozen=True)
class FakeServices:
    """The running fakes. They share `clock` and `changes`."""

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
    """Run both services on 127.0.0.1 while the context is open; port 0 means any free port.

    Raises:
        SandboxStartError: a port cannot be used.
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
    """The environment variables with which Kvit uses the two running fakes."""
    return {
        "STRIPE_API_BASE": stripe.base,
        "TELEGRAM_API_BASE": telegram.base,
        "TELEGRAM_BOT_TOKEN": telegram.token,
        "STRIPE_API_KEY": stripe.key,
        "STRIPE_WEBHOOK_SECRETS": stripe.webhook_secret,
    }


async def create_webhook_endpoint(stripe: FakeStripe, base: str, *events: str) -> None:
    """Create a webhook endpoint for the Kvit at `base`, for all events or for `events`."""
    form = [("url", f"{base}/stripe/webhook"), *(("enabled_events[]", event) for event in events or ("*",))]
    headers = {"Authorization": f"Bearer {stripe.key}"}
    async with (
        aiohttp.ClientSession(raise_for_status=True) as http,
        http.post(f"{stripe.base}/v1/webhook_endpoints", data=form, headers=headers) as response,
    ):
        await response.read()


async def _start_on_port(start: Callable[[int], Awaitable[str]], port: int, option: str) -> None:
    try:
        await start(port)
    except (OSError, OverflowError) as error:
        raise SandboxStartError(port_error(port, option, error)) from error


def port_error(port: int, option: str, error: Exception) -> str:
    """One sentence: why the port cannot be used, and which option changes it."""
    hint = f"choose another port with {option}, or 0 for any free port."
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return f"Port {port} is in use; {hint}"
        case errno.EACCES:
            return f"Port {port} needs more permissions than this program has; {hint}"
        case _:
            return f"Port {port} cannot be used; {hint}"
