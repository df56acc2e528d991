"""Validation of single settings. Each function returns the value or raises ValueError with a text that omits it."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Network, IPv6Network
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from storage.models.shop import CHANNEL_BOT, GROUP_ANONYMOUS_BOT, SERVICE_CHAT

MAX_ID = 2**52
"""Telegram's ids have at most 52 significant bits (Bot API documentation)."""

SHARED = {
    GROUP_ANONYMOUS_BOT: "the anonymous admins of every group",
    CHANNEL_BOT: "everyone who writes as a channel",
    SERVICE_CHAT: "Telegram itself",
}
WALLETS = {"auto": "auto", "mobilepay": "MobilePay", "vipps": "Vipps"}


def bot_token(value: SecretStr) -> SecretStr:
    """A token in BotFather's format."""
    if not re.fullmatch(r"[0-9]{5,16}:[A-Za-z0-9_-]{30,50}", value.get_secret_value()):
        raise ValueError("is not a bot token")
    return value


def stripe_key(value: SecretStr) -> SecretStr:
    """A secret or restricted key; other keys of Stripe's are named in the error."""
    key = value.get_secret_value()
    if key.startswith("pk_"):
        raise ValueError("is a publishable key, which cannot create payments: use the restricted or secret key")
    if key.startswith("whsec_"):
        raise ValueError("is a webhook secret, which belongs into STRIPE_WEBHOOK_SECRETS")
    if not re.fullmatch(r"(rk|sk)_(test|live)_[A-Za-z0-9_]+", key):
        raise ValueError("is not one of Stripe's keys")
    return value


def webhook_secrets(value: Any) -> Any:
    """One or more secrets. A blank one would accept every request that is signed with nothing."""
    if not isinstance(value, str):
        return value
    entries = _entries(value)
    if not all(re.fullmatch(r"whsec_[A-Za-z0-9+/=_-]+", entry) for entry in entries):
        raise ValueError("has an entry that is not a webhook secret")
    return tuple(SecretStr(entry) for entry in entries)


def owner_ids(value: Any) -> Any:
    """Ids of users. Ids that many users share and ids of chats are invalid."""
    if not isinstance(value, str):
        return value
    ids = frozenset(_user_id(entry) for entry in _entries(value))
    for shared in ids & SHARED.keys():
        raise ValueError(f"has {shared}, which is {SHARED[shared]} and cannot be an owner")
    return ids


def public_url(value: str) -> str:
    """The base URL of the pay pages, as browsers write it (lower case, Punycode): https, or http on this machine."""
    value = _as_browsers_write_it(value)
    parts = _address(value)
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ValueError("is not encrypted: http is allowed on this machine only")
    return value


def api_base(value: str) -> str:
    """The base URL of an API, without a path: `/bot` and `/v1` are appended."""
    _address(value)
    return value


def database_url(value: str) -> str:
    """The URL of an SQLite file or of a PostgreSQL database."""
    if value.startswith(("postgres:", "postgresql:", "postgresql+")):
        return postgres_url(value)
    if not re.fullmatch(r"sqlite:///[^?\x00]+", value) or value.endswith(("/", "/:memory:")):
        raise ValueError("is neither the URL of an SQLite file nor one of PostgreSQL")
    return value


def postgres_url(value: str) -> str:
    """The URL of a PostgreSQL database, as `psql` takes it; what follows `?` are connection parameters like sslmode."""
    try:
        parts = urlsplit(value)
        is_right = parts.scheme in ("postgresql", "postgres") and (parts.port is None or parts.port > 0)
    except ValueError:
        is_right = False
    if not is_right or not re.fullmatch(r"/[^/\s]+", parts.path) or not (parts.netloc or "host=" in parts.query):
        raise ValueError("is not the URL of a PostgreSQL database")
    return value


def host(value: str) -> str:
    """An address or name to bind to."""
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", value):
        raise ValueError("is not an address")
    return value


def telegram_secret(value: SecretStr) -> SecretStr:
    """A `secret_token` that Telegram's `setWebhook` accepts."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", value.get_secret_value()):
        raise ValueError("has a character that Telegram does not allow there")
    return value


def trusted_proxies(value: Any) -> Any:
    """Networks; an address is a network of one."""
    if not isinstance(value, str):
        return value
    return tuple(_network(entry) for entry in _entries(value))


def wallet_name(value: Any) -> Any:
    """The wallet's name as its owner writes it, from any case."""
    return WALLETS.get(value.lower(), value) if isinstance(value, str) else value


def metrics_token(value: SecretStr) -> SecretStr:
    """A token for an `Authorization: Bearer` header."""
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("has a space or a character that is not allowed in a header")
    return value


def lower(value: Any) -> Any:
    """The value in lower case."""
    return value.lower() if isinstance(value, str) else value


def _entries(value: str) -> list[str]:
    entries = [entry.strip() for entry in value.split(",")]
    if not all(entries):
        raise ValueError("has a blank entry or a comma too many")
    return entries


def _user_id(entry: str) -> int:
    if entry.startswith("-"):
        raise ValueError("has a negative id, which is a group and not a user")
    if not re.fullmatch(r"[0-9]{1,16}", entry) or not 0 < int(entry) < MAX_ID:
        raise ValueError("has an entry that is not a user id (send /id to the bot to get yours)")
    return int(entry)


def _network(entry: str) -> IPv4Network | IPv6Network:
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        raise ValueError("has an entry that is neither an address nor a network") from None


def _address(value: str) -> SplitResult:
    """The parts of `scheme://host:port`. Anything else is a ValueError."""
    try:
        parts = urlsplit(value)
        base = f"{parts.scheme}://{parts.netloc}"
        is_valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or "@" in value or not re.fullmatch(r"[!-~]+", value):
        raise ValueError("is not an address of the form scheme://host:port")
    if value == base + "/":
        raise ValueError("has a slash at the end")
    if value.lower() != base.lower():
        raise ValueError("has something after the host")
    return parts


def _as_browsers_write_it(value: str) -> str:
    """Scheme and host in lower case, and an internationalized host in Punycode. The rest stays as it is."""
    scheme, separator, rest = value.partition("://")
    host, slash, path = rest.partition("/")
    name, colon, port = host.partition(":") if not host.startswith("[") else (host, "", "")
    try:
        name = name.encode("idna").decode() if not name.isascii() else name
    except UnicodeError:
        raise ValueError("has a host with characters that are not allowed there") from None
    return f"{scheme.lower()}{separator}{name.lower()}{colon}{port}{slash}{path}"


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
