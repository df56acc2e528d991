"""The client's address. `X-Forwarded-For` counts only as far as trusted proxies wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import web

Networks = Sequence[IPv4Network | IPv6Network]
IPV6_PREFIX = 64
"""Bits of an IPv6 address that identify a client. The client can change the others at will."""

UNKNOWN = "?"


def client_address(request: web.Request, trusted_proxies: Networks) -> str:
    """The client's address; for IPv6 its /64 network.

    `X-Forwarded-For` is read from its end, for as long as the address that wrote the entry is a trusted proxy.
    """
    address = _parse(request.remote or "")
    entries = [entry for line in request.headers.getall("X-Forwarded-For", []) for entry in line.split(",")]
    while address is not None and entries and any(address in network for network in trusted_proxies):
        forwarded = _parse(entries.pop().strip())
        if forwarded is None:
            break
        address = forwarded
    return _network(address)


def client_network(address: str) -> str:
    """The address as it is counted: for IPv6 its /64 network."""
    return _network(_parse(address))


def is_in_networks(address: str, networks: Networks) -> bool:
    """Whether the address belongs to one of the networks."""
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in networks)


def _network(address: IPv4Address | IPv6Address | None) -> str:
    if address is None:
        return UNKNOWN
    return str(address) if address.version == 4 else str(ip_network((address, IPV6_PREFIX), strict=False))


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """The address in the text, which may have a port as some proxies write it; None if there is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
