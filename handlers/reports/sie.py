"""Vouchers for Swedish bookkeeping, in SIE type 4I: one voucher a day (sie.se, "SIE filformat", edition 4B/4C).

Amounts are in SEK only; movements in other currencies belong into the books at the rate of their settlement. Stripe's
fees and payouts are not part of it: their accounts are not known. The accounts are the shop's setting: none is guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import date, datetime

from handlers.reports.files import ExportRow
from storage.errors import UserError
from storage.models.movement import DISPUTED, RECEIVED, REFUNDED
from storage.models.shop import Shop
from storage.models.time_zones import zone_or_utc

CURRENCY = "SEK"
PROGRAM = '"Kvit" "1"'
ORGANISATION_NUMBER = re.compile(r"(?:SE)?(\d{6})-?(\d{4})(?:01)?", re.ASCII)
"""Also as a VAT number (SE, the ten digits, 01)."""

_SUBSTITUTES = {"ø": "ö", "Ø": "Ö", "–": "-", "—": "-", "€": "EUR", "’": "'", "”": '"'}
"""For what the format's character set (CP437) lacks."""


class NoAccounts(UserError):
    """The shop has not set the accounts that vouchers need."""

    message_key = "error.no_accounts"


def make_sie(rows: Sequence[ExportRow], shop: Shop, now: datetime) -> bytes:
    """The file: for each day with movements in SEK one voucher, whose lines add up to zero.

    Raises:
        NoAccounts: the shop has not set its accounts.
    """
    if not shop.accounts:
        raise NoAccounts
    lines = [
        *("#FLAGGA 0", f"#PROGRAM {PROGRAM}", "#FORMAT PC8", f"#GEN {now.astimezone(shop.tzinfo):%Y%m%d}", "#SIETYP 4"),
        *([f"#ORGNR {found[1]}-{found[2]}"] if (found := ORGANISATION_NUMBER.fullmatch(shop.seller_number)) else []),
        f"#FNAMN {_quoted(shop.seller_name or shop.name)}",
        "#VALUTA SEK",
    ]
    by_day: dict[date, list[ExportRow]] = {}
    for row in rows:
        if _is_sale(row) and row.gross.currency == CURRENCY:
            by_day.setdefault(row.at.astimezone(zone_or_utc(shop.time_zone)).date(), []).append(row)
    for day, moved in sorted(by_day.items()):
        lines += _voucher(day, moved, shop)
    return ("\r\n".join(lines) + "\r\n").encode("cp437", errors="replace")


def left_out(rows: Sequence[ExportRow]) -> int:
    """The number of rows that such a file leaves out: those in other currencies."""
    return sum(_is_sale(row) and row.gross.currency != CURRENCY for row in rows)


def _is_sale(row: ExportRow) -> bool:
    """Whether it is about a payment, and not a fee or payout of the Stripe account."""
    return row.kind in RECEIVED | REFUNDED | DISPUTED


def _voucher(day: date, rows: Sequence[ExportRow], shop: Shop) -> list[str]:
    clearing, sales, vat_account = shop.accounts.split()
    gross = sum(row.gross.minor for row in rows)
    vat = sum(row.vat.minor for row in rows if row.vat is not None)
    amounts = ((clearing, gross), (sales, -(gross - vat)), (vat_account, -vat))
    return [
        f'#VER "" "" {day:%Y%m%d} {_quoted(f"Kvit {day:%Y-%m-%d}")}',
        "{",
        *(f"#TRANS {account} {{}} {_amount(minor)}" for account, minor in amounts if minor),
        "}",
    ]


def _amount(minor: int) -> str:
    whole, part = divmod(abs(minor), 100)
    return f"{'-' if minor < 0 else ''}{whole}.{part:02}"


def _quoted(text: str) -> str:
    """A text in quotes, of the characters that CP437 has: others lose their accents, or become a question mark."""
    known = "".join(_in_cp437(_SUBSTITUTES.get(char, char)) for char in text if char.isprintable())
    return '"' + known.replace("\\", "").replace('"', '\\"') + '"'


def _in_cp437(text: str) -> str:
    try:
        text.encode("cp437")
    except UnicodeEncodeError:
        return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode() or "?"
    return text
