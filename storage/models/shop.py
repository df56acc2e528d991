"""Who may act: shops, the roles of their people, and the chats that belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from zoneinfo import ZoneInfo

GROUP_ANONYMOUS_BOT = 1087968824
CHANNEL_BOT = 136817688
SERVICE_CHAT = 777000
SHARED_ACCOUNT_IDS = frozenset({GROUP_ANONYMOUS_BOT, CHANNEL_BOT, SERVICE_CHAT})
"""Ids that Telegram shares between many people; none of them can ever hold a role."""


class Role(IntEnum):
    """Roles in rising order, so that `role >= Role.ADMIN` reads as it is meant."""

    NONE = 0
    MERCHANT = 1
    ADMIN = 2
    OWNER = 3


@dataclass(frozen=True)
class Seller:
    """Who sells, as a receipt names him, and what of the price is tax: as a shop said it from `since` on (aware UTC).

    `vat_rate` is in hundredths of a percent (None: nobody has said; 0: no VAT).
    """

    since: datetime
    name: str
    address: str
    number: str
    contact: str
    vat_rate: int | None


@dataclass(frozen=True)
class Shop:
    """A seller: `currency` is its own (upper-case ISO), `limit` the most one request may ask, in minor units.

    `refund_limit` is the most that one person may refund within 24 hours, `request_hours` how long a request can be
    paid (None: as the installation has it), `vat_rate` in hundredths of a percent (None: nobody has said; 0: no VAT).
    """

    id: int
    name: str
    currency: str
    language: str
    time_zone: str
    request_limit: int = 100_000_00
    refund_limit: int = 100_000_00
    request_hours: int | None = None
    seller_name: str = ""
    seller_address: str = ""
    seller_number: str = ""
    seller_contact: str = ""
    vat_rate: int | None = None

    @property
    def tzinfo(self) -> ZoneInfo:
        """The shop's time zone, in which its days begin and end."""
        return ZoneInfo(self.time_zone)


@dataclass(frozen=True)
class Member:
    """A person's role in one shop; `user_id` is Telegram's numeric id (up to 52 bits)."""

    shop_id: int
    user_id: int
    role: Role
    name: str
    since: datetime
    invited_by: int | None = None


@dataclass(frozen=True)
class Invitation:
    """A role that waits for whoever brings the word; of that word only the SHA-256 is known, in hex: `digest`.

    `source` is what asked for it: the same source gives the same invitation.
    """

    token_hash: str
    shop_id: int
    role: Role
    request_key: str
    invited_by: int
    expires_at: datetime
    used_by: int | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether somebody can still take it up."""
        return self.used_by is None and self.expires_at > now
