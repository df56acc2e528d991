"""The demo: both sides of a sale on one page, with the real service between a pretend Stripe and a pretend Telegram."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from bot import logging_setup
from bot.sandbox.demo import site, stack
from bot.sandbox.demo.stack import DemoStack
from bot.sandbox.fake_services import SandboxStartError, port_error
from bot.signals import shutdown_event

HOST = "127.0.0.1"
MAX_PORT_ATTEMPTS = 100
MAX_PORT = 65535


async def serve_demo(port: int = 8080) -> None:
    """Serve the page until SIGINT or SIGTERM, on `port` or the next free one (0: any free one).

    Raises:
        SandboxRefused, CannotStart: it cannot be played here, and why.
    """
    stack.reject_live_key(os.environ)
    logging_setup.configure(level="warning")
    with shutdown_event() as told:
        async with start_demo(port) as (origin, _):
            click.echo(f"Kvit's demo is open: {origin}/  (Ctrl-C closes it; no account, no money, nothing is kept)")
            await told.wait()


@asynccontextmanager
async def start_demo(port: int, *, unthrottled: bool = False) -> AsyncIterator[tuple[str, DemoStack]]:
    """The page's origin and all that is behind it, for as long as the context lasts."""
    with _bind_socket(port) as door:
        origin = f"http://{HOST}:{door.getsockname()[1]}"
        async with (
            stack.start_stack(framed_by=origin, unthrottled=unthrottled) as behind,
            site.serve_site(behind, door, origin),
        ):
            yield origin, behind


def _bind_socket(port: int) -> socket.socket:
    """A socket bound to the first free port from `port` on, or to any if many in a row are taken."""
    for number in range(port, min(port + MAX_PORT_ATTEMPTS, MAX_PORT + 1) if port else 0):
        try:
            return socket.create_server((HOST, number))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise SandboxStartError(port_error(number, "--port", error)) from error
    return socket.create_server((HOST, 0))
