"""Shops, their members and roles, and invitations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import IntEnum

from storage.models.time_zones import zone_or_utc

GROUP_ANONYMOUS_BOT = 1087968824
CHANNEL_BOT = 136817688
SERVICE_CHAT = 777000
SHARED_ACCOUNT_IDS = frozenset({GROUP_ANONYMOUS_BOT, CHANNEL_BOT, SERVICE_CHAT})
"""Ids that Telegram uses for many people at once. They can hold no role."""

MONTHLY_REPORT_TIME = time(8)
"""When last month's report is sent on the 1st, in the shop's time zone."""


class Role(IntEnum):
    """Roles in rising order: each may do what the ones below it may."""

    NONE = 0
    MERCHANT = 1
    ADMIN = 2
    OWNER = 3


@dataclass(frozen=True)
class Seller:
    """A shop's seller details and VAT rate from `since` on (aware UTC), as receipts of that time show them.

    `vat_rate` is in hundredths of a percent; 0 is no VAT, None is not set.
    """

    since: datetime
    name: str
    address: str
    number: str
    contact: str
    vat_rate: int | None


@dataclass(frozen=True)
class Shop:
    """A shop and its settings.

    `currency` is the default currency (upper-case ISO). `request_limit` is the largest amount of one request,
    `refund_limit` the most that one person may approve in refunds within 24 hours, both in minor units. `request_hours`
    is how long a request can be paid; None takes the installation's setting. `vat_rate` is in hundredths of a percent;
    0 is no VAT, None is not set. `accounts` are the account numbers for SIE files, with a space between: clearing,
    sales, VAT; empty is not set. `report_minute` is when the day's summary is sent, in minutes after midnight in the
    shop's time zone; None sends none. `monthly_reports` sends last month's report and export on the 1st.
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
    accounts: str = ""
    report_minute: int | None = None
    monthly_reports: bool = False

    @property
    def tzinfo(self) -> tzinfo:
        """The time zone in which the shop's days begin and end; UTC if this machine does not know the shop's."""
        return zone_or_utc(self.time_zone)

    def next_report_at(self, now: datetime) -> datetime | None:
        """When the day's summary is sent next after `now` (aware UTC); None if none is."""
        if self.report_minute is None:
            return None
        at, day = time(*divmod(self.report_minute, 60)), now.astimezone(self.tzinfo).date()
        days = (day, day + timedelta(days=1), day + timedelta(days=2))
        times = [datetime.combine(each, at, self.tzinfo).astimezone(UTC) for each in days]
        return next(each for each in times if each > now)

    def next_monthly_report_at(self, now: datetime) -> datetime | None:
        """When last month's report is sent next after `now` (aware UTC); None if none is."""
        if not self.monthly_reports:
            return None
        first = now.astimezone(self.tzinfo).date().replace(day=1)
        days = (first, (first + timedelta(days=31)).replace(day=1))
        times = [datetime.combine(each, MONTHLY_REPORT_TIME, self.tzinfo).astimezone(UTC) for each in days]
        return next(each for each in times if each > now)


@dataclass(frozen=True)
class Member:
    """A user's role in one shop. `user_id` is Telegram's numeric id (up to 52 bits)."""

    shop_id: int
    user_id: int
    role: Role
    name: str
    since: datetime
    invited_by: int | None = None


@dataclass(frozen=True)
class Invitation:
    """A role for the first user who opens the invitation link. Of its token only the SHA-256 is stored, in hex.

    `request_key` identifies the command that asked for it: the same key gives the same invitation.
    """

    token_hash: str
    shop_id: int
    role: Role
    request_key: str
    invited_by: int
    expires_at: datetime
    used_by: int | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether the invitation can be accepted now."""
        return self.used_by is None and self.expires_at > now
