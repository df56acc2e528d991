"""`python -m bot demo`: the demo page for merchant and customer, over the real service and the fake services."""

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
    """Serve the page until SIGINT or SIGTERM, on `port` or the next free one (0: any free port).

    Raises:
        SandboxStartError: a live key is in the environment, or the port cannot be used.
        StartupError: the service cannot start.
    """
    stack.reject_live_key(os.environ)
    logging_setup.configure(level="warning")
    with shutdown_event() as shutdown:
        async with start_demo(port) as (origin, _):
            click.echo(f"The Kvit demo runs at {origin}/  (Ctrl-C stops it; no account, no real money, no data kept)")
            await shutdown.wait()


@asynccontextmanager
async def start_demo(port: int, *, unthrottled: bool = False) -> AsyncIterator[tuple[str, DemoStack]]:
    """Run the page and its stack while the context is open; yields the page's origin and the stack."""
    with _bind_socket(port) as listener:
        origin = f"http://{HOST}:{listener.getsockname()[1]}"
        async with (
            stack.start_stack(framed_by=origin, unthrottled=unthrottled) as running,
            site.serve_site(running, listener, origin),
        ):
            yield origin, running


def _bind_socket(port: int) -> socket.socket:
    """Bind the first free port from `port` on; after `MAX_PORT_ATTEMPTS` taken ones, any free port."""
    for number in range(port, min(port + MAX_PORT_ATTEMPTS, MAX_PORT + 1) if port else 0):
        try:
            return socket.create_server((HOST, number))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise SandboxStartError(port_error(number, "--port", error)) from error
    return socket.create_server((HOST, 0))
