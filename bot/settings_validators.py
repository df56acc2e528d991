"""What each setting must look like: checks that take the text and say plainly what is wrong, without repeating it."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Network, IPv6Network
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from storage.models.shop import CHANNEL_BOT, GROUP_ANONYMOUS_BOT, SERVICE_CHAT

LARGEST_ID = 2**52
"""Telegram promises that its ids have at most 52 significant bits."""

SHARED = {
    GROUP_ANONYMOUS_BOT: "the anonymous admins of every group",
    CHANNEL_BOT: "everybody who writes as a channel",
    SERVICE_CHAT: "Telegram itself",
}
WALLETS = {"auto": "auto", "mobilepay": "MobilePay", "vipps": "Vipps"}


def bot_token(value: SecretStr) -> SecretStr:
    """Refuse what BotFather would not have made."""
    if not re.fullmatch(r"[0-9]{5,16}:[A-Za-z0-9_-]{30,50}", value.get_secret_value()):
        raise ValueError("is not a bot's token")
    return value


def stripe_key(value: SecretStr) -> SecretStr:
    """Refuse keys that can do nothing here, by name."""
    key = value.get_secret_value()
    if key.startswith("pk_"):
        raise ValueError(
            "is a publishable key, which cannot ask for money: take the restricted or secret key beside it"
        )
    if key.startswith("whsec_"):
        raise ValueError("is a webhook secret, which belongs into STRIPE_WEBHOOK_SECRETS")
    if not re.fullmatch(r"(rk|sk)_(test|live)_[A-Za-z0-9_]+", key):
        raise ValueError("is not one of Stripe's keys")
    return value


def webhook_secrets(value: Any) -> Any:
    """Several secrets; a blank one among them would let everybody in who signs with nothing."""
    if not isinstance(value, str):
        return value
    entries = _entries(value)
    if not all(re.fullmatch(r"whsec_[A-Za-z0-9+/=_-]+", entry) for entry in entries):
        raise ValueError("has an entry that is not a webhook secret")
    return tuple(SecretStr(entry) for entry in entries)


def owner_ids(value: Any) -> Any:
    """Ids of persons; ids that many share and ids of chats are refused."""
    if not isinstance(value, str):
        return value
    ids = frozenset(_user_id(entry) for entry in _entries(value))
    for shared in ids & SHARED.keys():
        raise ValueError(f"names {shared}, which is {SHARED[shared]} and can own nothing")
    return ids


def public_url(value: str) -> str:
    """Where customers find the pages; encrypted, unless it is this very machine."""
    parts = _address(value)
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ValueError("is not encrypted: http is for this machine alone")
    return value


def api_base(value: str) -> str:
    """The root of a vendor's interface: no path, for `/bot` and `/v1` are put behind it."""
    _address(value)
    return value


def database_url(value: str) -> str:
    """A file of SQLite."""
    if value.startswith(("postgres:", "postgresql:", "postgresql+")):
        raise ValueError("asks for PostgreSQL, which this version does not speak yet")
    if not re.fullmatch(r"sqlite:///[^?\x00]+", value) or value.endswith(("/", "/:memory:")):
        raise ValueError("is not the address of an SQLite file")
    return value


def host(value: str) -> str:
    """Something that can be bound."""
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", value):
        raise ValueError("is not an address")
    return value


def telegram_secret(value: SecretStr) -> SecretStr:
    """What Telegram allows as `secret_token` of `setWebhook`."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", value.get_secret_value()):
        raise ValueError("has a sign that Telegram does not allow there")
    return value


def trusted_proxies(value: Any) -> Any:
    """Single addresses become networks of one."""
    if not isinstance(value, str):
        return value
    return tuple(_network(entry) for entry in _entries(value))


def wallet_name(value: Any) -> Any:
    """The wallet's name as its owner writes it, however it was typed."""
    return WALLETS.get(value.lower(), value) if isinstance(value, str) else value


def metrics_token(value: SecretStr) -> SecretStr:
    """Something that fits behind `Authorization: Bearer`."""
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("has a space or a sign that no header can carry")
    return value


def lower(value: Any) -> Any:
    """Words of the settings may be typed in any case."""
    return value.lower() if isinstance(value, str) else value


def _entries(value: str) -> list[str]:
    entries = [entry.strip() for entry in value.split(",")]
    if not all(entries):
        raise ValueError("has a blank entry, a comma too many")
    return entries


def _user_id(entry: str) -> int:
    if entry.startswith("-"):
        raise ValueError("has a negative id, which is a group and not a person")
    if not re.fullmatch(r"[0-9]{1,16}", entry) or not 0 < int(entry) < LARGEST_ID:
        raise ValueError("has an entry that is not a user id (send /id to the bot to learn yours)")
    return int(entry)


def _network(entry: str) -> IPv4Network | IPv6Network:
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        raise ValueError("has an entry that is neither an address nor a network") from None


def _address(value: str) -> SplitResult:
    """The parts of `scheme://host:port`.

    Raises:
        ValueError: it is not one, or more than that.
    """
    try:
        parts = urlsplit(value)
        whole = f"{parts.scheme}://{parts.netloc}"
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "@" in value or not re.fullmatch(r"[!-~]+", value):
        raise ValueError("is not an address of the form scheme://host:port")
    if value == whole + "/":
        raise ValueError("has a slash at the end")
    if value.lower() != whole.lower():
        raise ValueError("has something behind the host")
    return parts


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
