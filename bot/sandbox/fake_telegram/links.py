"""Checks and normalizes URLs of buttons and links as Telegram does (TDLib, LinkManager and HttpUrl)."""

from __future__ import annotations

import ipaddress
import re

_SCHEME = re.compile(r"([^:/?#@\[\]]*)://")
_OTHER_SCHEME = re.compile(r"(tg|ton):(?://)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"[^/?#]*")
_PORT = re.compile(r"(?P<host>.+):(?P<port>[^\]@:]*)", re.DOTALL)
_HOST = re.compile(r"(?:[a-z0-9._!$,~*'();&+=\-]|%[0-9a-f]{2}|[^\x00-\x7f])+")
_USER = re.compile(r"tg://user\?id=(\d+)", re.IGNORECASE)


def normalize(link: str, *, https_only: bool = False) -> str:
    """The URL as Telegram stores it: the host in lower case, the path at least "/", the scheme http if it has none.

    A host needs a dot, unless it is an IPv6 address.
    Raises ValueError with TDLib's message: "URL 'http://localhost:8080' is invalid: Wrong HTTP URL".
    """
    try:
        return _normalize(link, https_only)
    except ValueError as error:
        raise ValueError(f"URL '{link}' is invalid: {error}") from None


def mentioned_user_id(link: str) -> int | None:
    """The id of the user that a tg://user?id=… link mentions."""
    found = _USER.fullmatch(link)
    return int(found[1]) if found else None


def _normalize(link: str, https_only: bool) -> str:
    other = _OTHER_SCHEME.match(link)
    if other:
        if https_only:
            raise ValueError("Only HTTPS links are allowed")
        return _own_scheme(other[1].lower(), link[other.end() :])
    scheme, userinfo, host, port, rest = _parse(link)
    if https_only and scheme != "https":
        raise ValueError("Only HTTPS links are allowed")
    if "." not in host and not host.startswith("["):
        raise ValueError("Wrong HTTP URL")
    return f"{scheme}://{userinfo}{host}{f':{port}' if port else ''}{rest}"


def _own_scheme(name: str, link: str) -> str:
    scheme, userinfo, host, port, rest = _parse(link)
    if scheme == "https" or userinfo or port or host.startswith("[") or link.lower().startswith("http://"):
        raise ValueError(f"Wrong {name} URL")
    if not re.fullmatch(r"[a-z0-9_-]+", host):
        raise ValueError("Unallowed characters in URL host")
    return f"{name}://{host}{rest[1:] if rest.startswith('/?') else rest}"


def _parse(link: str) -> tuple[str, str, str, int, str]:
    scheme, rest = "http", link
    if found := _SCHEME.match(link):
        scheme, rest = found[1].lower(), link[found.end() :]
        if scheme not in ("http", "https", "tonsite"):
            raise ValueError("Unsupported URL protocol")
    authority = _AUTHORITY.match(rest)
    place = authority[0] if authority else ""
    userinfo, at, address = place.rpartition("@")
    host, port = _host(address)
    path = "".join(c if c > " " else f"%{ord(c):02X}" for c in rest[len(place) :].rstrip())
    return scheme, userinfo + at, host, port, path if path.startswith("/") else "/" + path


def _host(address: str) -> tuple[str, int]:
    host, port = address, 0
    if not address.endswith("]") and (found := _PORT.fullmatch(address)):
        host = found["host"]
        if not re.fullmatch(r"0*[0-9]{1,5}", found["port"]) or not 0 < int(found["port"]) < 65536:
            raise ValueError("Wrong port number specified in the URL")
        port = int(found["port"])
    if not host:
        raise ValueError("URL host is empty")
    if host == ".":
        raise ValueError("Host is invalid")
    if host.startswith("[") and host.endswith("]"):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise ValueError("Wrong IPv6 address specified in the URL") from None
    elif not _HOST.fullmatch(host.lower()):
        raise ValueError("Wrong URL host")
    return host.lower(), port
