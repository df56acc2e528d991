"""Which address a visitor comes from: a header is believed only where a proxy of ours wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import web

Networks = Sequence[IPv4Network | IPv6Network]
IPV6_PREFIX = 64
"""Bits of an IPv6 address that name a household; it changes the rest as it likes."""

NOWHERE = "?"


def client_address(request: web.Request, trusted: Networks) -> str:
    """The visitor's address, of IPv6 its /64.

    `X-Forwarded-For` is read from its end, for as long as the one who wrote the entry is a proxy in `trusted`.
    """
    found = _read(request.remote or "")
    entries = [entry for line in request.headers.getall("X-Forwarded-For", []) for entry in line.split(",")]
    while found is not None and entries and any(found in network for network in trusted):
        before = _read(entries.pop().strip())
        if before is None:
            break
        found = before
    return _household(found)


def client_network(written: str) -> str:
    """An address as it is counted: of IPv6 its /64."""
    return _household(_read(written))


def is_in_networks(address: str, networks: Networks) -> bool:
    """Whether an address is of one of these networks."""
    found = _read(address)
    return found is not None and any(found in network for network in networks)


def _household(found: IPv4Address | IPv6Address | None) -> str:
    if found is None:
        return NOWHERE
    return str(found) if found.version == 4 else str(ip_network((found, IPV6_PREFIX), strict=False))


def _read(written: str) -> IPv4Address | IPv6Address | None:
    """An address, perhaps with a port behind it as some proxies write it; None where it is none."""
    if written.startswith("["):
        written = written[1:].partition("]")[0]
    elif written.count(":") == 1:
        written = written.partition(":")[0]
    try:
        read = ip_address(written)
    except ValueError:
        return None
    return getattr(read, "ipv4_mapped", None) or read
