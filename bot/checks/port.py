"""Checks whether `serve` can listen on HOST and PORT."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys

import aiohttp

from bot.findings import Finding, failure
from bot.settings import Settings

NAME = "port"
RESPONSE_TIMEOUT = 3.0


async def check_port(settings: Settings) -> list[Finding]:
    """A failure if another program listens there, or nothing can; nothing else is reported."""
    try:
        await asyncio.to_thread(_bind, settings.host, settings.port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and await _is_kvit(settings.host, settings.port):
            return []
        detail, hint = explain(settings.host, settings.port, error)
        return [failure(NAME, f"Kvit {detail}.", hint)]
    return []


def explain(host: str, port: int, error: OSError) -> tuple[str, str]:
    """Why `serve` cannot listen there, without a full stop, and the remedy."""
    reason, hint = error.strerror or type(error).__name__, "Set HOST to an address of this machine (127.0.0.1)."
    if error.errno == errno.EADDRINUSE:
        reason = "the port is in use"
        hint = "Stop the program that uses it, or set PORT to another one (0: any free port)."
    elif error.errno == errno.EACCES:
        reason = "this user may not use that port"
        hint = "Set PORT to a number above 1023 (8080)."
    elif error.errno == errno.EADDRNOTAVAIL:
        reason = "this machine does not have that address"
    elif isinstance(error, socket.gaierror):
        reason = "no address is known for that name"
    return f"cannot listen on {host}:{port} ({reason})", hint


def _bind(host: str, port: int) -> None:
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        with socket.socket(family, kind, protocol) as probe:
            if sys.platform != "win32":  # as asyncio does
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)


async def _is_kvit(host: str, port: int) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing binds to it here
    url = f"http://[{host}]:{port}/healthz" if ":" in host else f"http://{host}:{port}/healthz"
    timeout = aiohttp.ClientTimeout(total=RESPONSE_TIMEOUT)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url, allow_redirects=False) as response:
            return response.status == 200 and (await response.json()) == {"alive": True}
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return False
