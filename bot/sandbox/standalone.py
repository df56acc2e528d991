"""`python -m bot sandbox`: both fake services without Kvit, for another Kvit or any other program."""

from __future__ import annotations

import json

import click

from bot.sandbox.fake_services import FakeServices, start_services
from bot.signals import shutdown_event


async def serve_sandbox(stripe_port: int, telegram_port: int) -> None:
    """Serve both until SIGINT or SIGTERM; the first line on stdout is `connection_info` as JSON.

    Raises:
        SandboxStartError: a port cannot be used.
    """
    with shutdown_event() as shutdown:
        async with start_services(stripe_port=stripe_port, telegram_port=telegram_port) as services:
            click.echo(json.dumps(connection_info(services)))
            await shutdown.wait()


def connection_info(services: FakeServices) -> dict[str, str | int]:
    """The addresses and credentials of the services."""
    stripe, telegram = services.stripe, services.telegram
    return {
        "stripe": stripe.base,
        "telegram": telegram.base,
        "stripe_key": stripe.key,
        "webhook_secret": stripe.webhook_secret,
        "bot_token": telegram.token,
        "owner_id": telegram.owner_id,
        "chat_id": telegram.chat_id,
    }
