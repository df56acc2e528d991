"""Chooses the words of a page and of a receipt: which sentence fits, in which language, by which name of the wallet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from handlers import i18n
from handlers.pay_page.service import PageAction, PageState, PayPage
from handlers.qr_code import qr_svg
from handlers.shops.receipts import make_receipt
from storage.models.money import Money
from storage.models.refund import Refund
from storage.models.shop import Shop

REFRESH_SECONDS = 5

AUTO_REFRESH_STATES = frozenset({PageState.WAITING, PageState.PROCESSING})
"""The states in which a page without script looks again by itself."""

S = PageState
FINAL_STATES = frozenset({S.PAID, S.ENDED, S.CANCELED, S.REFUNDED, S.PARTLY_REFUNDED})
"""The states in which nobody waits for the next one."""

SCANNED = frozenset({PageState.READY, PageState.FAILED, PageState.EXPIRED, PageState.WAITING})

MARKS = {
    PageState.READY: "›",
    PageState.WAITING: "…",
    PageState.PROCESSING: "…",
    PageState.PAID: "✓",
    PageState.RESERVED: "✓",
    PageState.REFUNDED: "↩",
    PageState.PARTLY_REFUNDED: "↩",
}
"""A mark of its own shape, so that nobody has to tell colours apart; the rest is over, and has a cross."""


@dataclass(frozen=True)
class WalletNaming:
    """How this installation names the wallet: auto, MobilePay or Vipps."""

    wallet_name: str

    def wallet(self, at: datetime, shop: Shop) -> str:
        """Its name at an aware `at`."""
        return i18n.wallet_name(self.wallet_name, at, shop.time_zone)


def page_context(
    page: PayPage, wallet_naming: WalletNaming, now: datetime, language: str, link: str | None
) -> dict[str, Any]:
    """What `pay.html` is filled with; `link` is drawn to be scanned."""
    payment, shop = page.payment, page.shop
    currency = payment.amount.currency
    brand = wallet_naming.wallet(now, shop).lower()
    key, more = _sentences(page, brand)
    amount = i18n.money(language, payment.amount)
    return {
        "language": language,
        "page": page,
        "button": f"page.{_verb(page)}_{brand}",
        "hold": payment.manual_capture and page.action is not None,
        "trust": f"page.trust_{brand}",
        "sender": f"page.sender_{brand}",
        "amount": amount,
        "code": "" if currency in amount else currency,
        "key": key,
        "more": more,
        "mark": MARKS.get(page.state, "×"),
        "refunded": Money(payment.amount_refunded, currency),
        "refunding": Money(payment.amount_refund_pending, currency) if payment.amount_refund_pending else None,
        "until": page.until and _time(page)(language, page.until, shop.time_zone),
        "refresh": REFRESH_SECONDS if page.state in AUTO_REFRESH_STATES else None,
        "live": page.state not in FINAL_STATES,
        "turn": _seconds_to_turn(page, now),
        "paper": _paper(page),
        "seller": shop.seller_name or shop.name,
        "qr": qr_svg(link, standalone=False) if link and page.state in SCANNED else "",
    }


def receipt_values(
    page: PayPage, refunds: Sequence[Refund], wallet_naming: WalletNaming, language: str
) -> dict[str, Any] | None:
    """What `receipt.html` is filled with; None where nothing was received."""
    payment, shop = page.payment, page.shop
    receipt = make_receipt(payment, shop)
    if receipt is None:
        return None
    return {
        "language": language,
        "page": page,
        "receipt": receipt,
        "title": "receipt.title" if receipt.is_receipt else "receipt.confirmation",
        "seller": shop.seller_name or shop.name,
        "at": i18n.format_datetime(language, receipt.at, shop.time_zone),
        "rate": None if shop.vat_rate is None else i18n.percentage(language, shop.vat_rate),
        "paid": f"receipt.paid_{wallet_naming.wallet(receipt.at, shop).lower()}",
        "refunds": [
            (i18n.format_date(language, refund.settled_at or refund.requested_at, shop.time_zone), refund.amount)
            for refund in refunds
        ],
        "money": lambda amount: i18n.money(language, amount),
    }


def _time(page: PayPage) -> Callable[[str, datetime, str], str]:
    """How a time is written: an attempt ends within minutes, a request perhaps another day."""
    return i18n.format_time if page.state is PageState.WAITING else i18n.format_datetime


def _sentences(page: PayPage, brand: str) -> tuple[str, str]:
    """The keys of the headline and of the sentence below it."""
    state = page.state
    if state is PageState.WAITING:
        return _while_waiting(page, brand)
    if state is PageState.READY:
        return "page.ready", f"page.ready_more_{brand}"
    if state in {PageState.FAILED, PageState.EXPIRED} and page.action is None:
        return f"page.{state}", "page.over_more"
    return f"page.{state}", f"page.{state}_more"


def _while_waiting(page: PayPage, brand: str) -> tuple[str, str]:
    """An attempt that can be opened, one that has to end first, or an answer that Stripe owes."""
    if page.action is PageAction.OPEN:
        return "page.waiting", f"page.waiting_more_{brand}"
    again = page.until is not None and page.until < page.payment.expires_at
    if again and page.payment.cancel_requested is None:
        return "page.ending", f"page.ending_more_{brand}"
    return "page.settling", "page.settling_more"


def _verb(page: PayPage) -> str:
    """What the button does, in the words that its customer is bound by: money that is only reserved is not paid yet."""
    begins = page.action is PageAction.PAY
    return "reserve" if begins and page.payment.manual_capture else str(page.action)


def _seconds_to_turn(page: PayPage, now: datetime) -> int | None:
    """How long an attempt can be opened: that this ends is no change of the state, so nobody tells the page."""
    until = page.payment.attempt.link_usable_until if page.action is PageAction.OPEN else None
    return math.ceil((until - now).total_seconds()) if until else None


def _paper(page: PayPage) -> str:
    """What the paper about this payment is called; empty where there is none."""
    receipt = make_receipt(page.payment, page.shop)
    return "" if receipt is None else "receipt.title" if receipt.is_receipt else "receipt.confirmation"
