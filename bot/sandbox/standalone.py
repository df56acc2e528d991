"""The two pretend services without Kvit, for whoever brings a Kvit of his own, by hand or by program."""

from __future__ import annotations

import json

import click

from bot.sandbox.fake_services import FakeServices, start_services
from bot.signals import shutdown_event


async def serve_sandbox(stripe_port: int, telegram_port: int) -> None:
    """Serve both until SIGINT or SIGTERM; the first line on stdout is JSON with all that one has to know.

    Raises:
        SandboxRefused: a port cannot be had.
    """
    with shutdown_event() as told:
        async with start_services(stripe_port=stripe_port, telegram_port=telegram_port) as vendors:
            click.echo(json.dumps(connection_info(vendors)))
            await told.wait()


def connection_info(vendors: FakeServices) -> dict[str, str | int]:
    """Where the services are, and what opens them."""
    stripe, telegram = vendors.stripe, vendors.telegram
    return {
        "stripe": stripe.base,
        "telegram": telegram.base,
        "stripe_key": stripe.key,
        "webhook_secret": stripe.webhook_secret,
        "bot_token": telegram.token,
        "owner_id": telegram.owner_id,
        "chat_id": telegram.chat_id,
    }
