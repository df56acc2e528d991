"""The template values of the pay page and the receipt: messages, amounts and times in the visitor's language."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from handlers import i18n
from handlers.pay_page.service import PageAction, PageState, PayPage
from handlers.qr_code import qr_svg
from handlers.shops.receipts import credit_note_number, make_credit_notes, make_receipt
from storage.models.money import Money
from storage.models.movement import CreditNote
from storage.models.shop import Shop

CONTACT = re.compile(r"(?P<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)|(?P<phone>\+?(?:\(\d{1,5}\) ?)?\d[\d .-]{4,18}\d)")
"""An e-mail address or a telephone number in a seller's contact."""

REFRESH_SECONDS = 5
OUTAGE_RELOAD_SECONDS = 15
"""After this time a page that says that Stripe does not answer loads itself again, with the button to try again."""

AUTO_REFRESH_STATES = frozenset({PageState.WAITING, PageState.PROCESSING})
"""The states in which a page without JavaScript reloads by itself."""

FINAL_STATES = frozenset(
    {PageState.PAID, PageState.ENDED, PageState.CANCELED, PageState.REFUNDED, PageState.PARTLY_REFUNDED}
)
"""The states in which the page does not wait for a change."""

QR_STATES = frozenset({PageState.READY, PageState.FAILED, PageState.EXPIRED, PageState.WAITING})
"""The states in which a page on a large screen shows its QR code."""

STATE_ICONS = {
    PageState.READY: "›",
    PageState.WAITING: "…",
    PageState.PROCESSING: "…",
    PageState.PAID: "✓",
    PageState.RESERVED: "✓",
    PageState.REFUNDED: "↩",
    PageState.PARTLY_REFUNDED: "↩",
}
"""Icons that differ in shape, not only in colour. The other states have a cross."""


@dataclass(frozen=True)
class WalletNaming:
    """How this installation names the wallet: `auto`, `MobilePay` or `Vipps`."""

    setting: str

    def name(self, at: datetime, shop: Shop) -> str:
        """The wallet's name at an aware `at`."""
        return i18n.wallet_name(self.setting, at, shop.time_zone)


def page_context(
    page: PayPage,
    wallet_naming: WalletNaming,
    now: datetime,
    language: str,
    qr_url: str | None,
    *,
    is_outage: bool = False,
) -> dict[str, Any]:
    """The values of `pay.html`. `qr_url` is shown as a QR code, None shows none.

    `is_outage`: Stripe does not answer; the page says so instead of its state, and loads itself again.
    """
    payment, shop = page.payment, page.shop
    currency = payment.amount.currency
    brand = wallet_naming.name(now, shop).lower()
    headline, detail = _message_keys(page, brand)
    refresh_seconds = REFRESH_SECONDS if page.state in AUTO_REFRESH_STATES else None
    reload_seconds = _reload_seconds(page, now)
    if is_outage:
        headline, detail = "page.stripe_unavailable", "page.stripe_unavailable_more"
        refresh_seconds = reload_seconds = OUTAGE_RELOAD_SECONDS
    amount = i18n.money(language, payment.amount)
    return {
        "language": language,
        "page": page,
        "button": f"page.{_button_verb(page)}_{brand}",
        "is_hold": payment.manual_capture and page.action is not None,
        "trust": f"page.trust_{brand}",
        "sender": f"page.sender_{brand}",
        "amount": amount,
        "currency": "" if currency in amount else currency,
        "headline": headline,
        "detail": detail,
        "state_class": "waiting" if is_outage else page.state,
        "icon": "…" if is_outage else STATE_ICONS.get(page.state, "×"),
        "paid_at": payment.succeeded_at and i18n.format_datetime(language, payment.succeeded_at, shop.time_zone),
        "refunded": Money(payment.amount_refunded, currency),
        "refund_pending": Money(payment.amount_refund_pending, currency) if payment.amount_refund_pending else None,
        "until": page.until and _format_until(page)(language, page.until, shop.time_zone),
        "refresh_seconds": refresh_seconds,
        "is_live": page.state not in FINAL_STATES,
        "is_final": page.state in FINAL_STATES,
        "reload_seconds": reload_seconds,
        "reserved_until": _reserved_until(page, language),
        "receipt": _receipt_title(page),
        "seller": shop.seller_name or shop.name,
        "qr": qr_svg(qr_url, standalone=False) if qr_url and page.state in QR_STATES else "",
    }


def receipt_context(
    page: PayPage, notes: Sequence[CreditNote], wallet_naming: WalletNaming, language: str
) -> dict[str, Any] | None:
    """The values of `receipt.html`; None while nothing is received or reserved."""
    payment, shop = page.payment, page.shop
    receipt = make_receipt(payment, shop, notes)
    if receipt is None:
        return None
    verb = "paid" if receipt.until is None else "reserved"
    refunds = [note for note in make_credit_notes(payment, shop, notes) if note.canceled_by is None]
    return {
        **_document_context(page, language),
        "receipt": receipt,
        "title": _receipt_title(page),
        "at": i18n.format_datetime(language, receipt.at, shop.time_zone),
        "paid": f"receipt.{verb}_{wallet_naming.name(receipt.at, shop).lower()}",
        "until": receipt.until and i18n.format_datetime(language, receipt.until, shop.time_zone),
        "refunds": [(i18n.format_date(language, note.at, shop.time_zone), note) for note in refunds],
    }


def credit_note_context(
    page: PayPage, notes: Sequence[CreditNote], number: str, language: str
) -> dict[str, Any] | None:
    """The values of `credit_note.html` for the document with this number within its series; None if there is none."""
    payment, shop = page.payment, page.shop
    receipt = make_receipt(payment, shop, notes)
    note = next((one for one in make_credit_notes(payment, shop, notes) if str(one.number) == number), None)
    if receipt is None or note is None:
        return None
    title = "credit_note.title" if note.is_credit_note else "credit_note.confirmation"
    return {
        **_document_context(page, language),
        "receipt": receipt,
        "note": note,
        "title": "credit_note.cancellation" if note.cancels else title,
        "at": i18n.format_datetime(language, note.at, shop.time_zone),
    }


def _document_context(page: PayPage, language: str) -> dict[str, Any]:
    """What receipts and credit notes have in common."""
    return {
        "language": language,
        "page": page,
        "seller": page.shop.seller_name or page.shop.name,
        "contact": linked_contact(page.shop.seller_contact),
        "mode": "receipt.live" if page.payment.livemode else "receipt.test",
        "number_of": lambda number: credit_note_number(page.payment.shop_id, number, livemode=page.payment.livemode),
        "own_language": "" if language == page.shop.language else f"?lang={language}",
        "money": lambda amount: i18n.money(language, amount),
        "percentage": lambda rate: i18n.percentage(language, rate),
    }


def _format_until(page: PayPage) -> Callable[[str, datetime, str], str]:
    """How `until` is formatted: an attempt ends within minutes, a request perhaps on another day."""
    return i18n.format_time if page.state is PageState.WAITING else i18n.format_datetime


def _message_keys(page: PayPage, brand: str) -> tuple[str, str]:
    """The message keys of the headline and of the sentence below it."""
    state = page.state
    if state is PageState.WAITING:
        return _waiting_message_keys(page, brand)
    if state is PageState.READY:
        return "page.ready", f"page.ready_more_{brand}"
    if state in {PageState.FAILED, PageState.EXPIRED} and page.action is None:
        return f"page.{state}", "page.over_more"
    return f"page.{state}", f"page.{state}_more"


def _waiting_message_keys(page: PayPage, brand: str) -> tuple[str, str]:
    """As `_message_keys`: the attempt can be opened, or has to end first, or Stripe's response is missing."""
    if page.action is PageAction.OPEN:
        return "page.waiting", f"page.waiting_more_{brand}"
    can_start_again = page.until is not None and page.until < page.payment.expires_at
    if can_start_again and page.payment.cancel_requested is None:
        return "page.ending", f"page.ending_more_{brand}"
    return "page.settling", "page.settling_more"


def _button_verb(page: PayPage) -> str:
    """The verb in the button's message key. With a hold the customer reserves the money and does not pay yet."""
    starts_attempt = page.action is PageAction.PAY
    return "reserve" if starts_attempt and page.payment.manual_capture else str(page.action)


def _reload_seconds(page: PayPage, now: datetime) -> int | None:
    """Seconds until the attempt's link is no longer usable. The state does not change then, so no event is sent."""
    until = page.payment.attempt.link_usable_until if page.action is PageAction.OPEN else None
    return math.ceil((until - now).total_seconds()) if until else None


def _reserved_until(page: PayPage, language: str) -> str | None:
    """Until when reserved money can be charged; None unless it is reserved."""
    until = page.payment.capture_before if page.state is PageState.RESERVED else None
    return None if until is None else i18n.format_datetime(language, until, page.shop.time_zone)


def _receipt_title(page: PayPage) -> str:
    """The message key of the receipt's title; empty while nothing is received or reserved."""
    receipt = make_receipt(page.payment, page.shop, ())
    if receipt is None:
        return ""
    if receipt.until is not None:
        return "receipt.reservation"
    return "receipt.title" if receipt.is_receipt else "receipt.confirmation"


def linked_contact(contact: str) -> list[tuple[str, str]]:
    """The parts of a seller's contact, each with the URL that writes or calls there; empty where it is neither."""
    parts: list[tuple[str, str]] = []
    end = 0
    for found in CONTACT.finditer(contact):
        words = found[0]
        url = f"mailto:{quote(words, safe='@')}" if found["mail"] else f"tel:{re.sub('[^+0-9]', '', words)}"
        parts += [(contact[end : found.start()], ""), (words, url)]
        end = found.end()
    return [part for part in (*parts, (contact[end:], "")) if part[0]]
