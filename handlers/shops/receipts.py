"""Receipts: the sums in minor units, the seller, and whether the document may be called a receipt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from handlers.shops.settings import SELLER_FIELDS
from storage.models.money import Money
from storage.models.payment import Payment
from storage.models.shop import Seller, Shop

WHOLE = 100_00
"""One hundred percent, in hundredths of a percent."""


@dataclass(frozen=True)
class Receipt:
    """A receipt for received money. `vat` is the part of `amount` that is tax, None without a rate.

    A seller without VAT may not print any, not even zero.

    `number` counts without a gap within the shop, `at` is aware UTC, `net_amount` is what remains after refunds.
    """

    number: int | None
    at: datetime
    amount: Money
    refunded: Money
    net_amount: Money
    vat: Money | None
    net_vat: Money | None
    is_receipt: bool


def make_receipt(payment: Payment, shop: Shop) -> Receipt | None:
    """The receipt of this payment; None unless money was received."""
    if not payment.amount_received or payment.succeeded_at is None:
        return None
    currency = payment.amount.currency
    kept = payment.amount_received - payment.amount_refunded

    def part(minor: int) -> Money | None:
        return Money(vat_within(minor, shop.vat_rate), currency) if shop.vat_rate else None

    return Receipt(
        number=payment.receipt_number,
        at=payment.succeeded_at,
        amount=Money(payment.amount_received, currency),
        refunded=Money(payment.amount_refunded, currency),
        net_amount=Money(kept, currency),
        vat=part(payment.amount_received),
        net_vat=part(kept),
        is_receipt=payment.receipt_number is not None and not missing_fields(shop),
    )


def shop_at(shop: Shop, sellers: Sequence[Seller], at: datetime) -> Shop:
    """The shop with the seller details that held at that time, whatever they are now.

    Where details were missing then, the first complete ones hold. `sellers` is the shop's history, oldest first.
    """
    then = [one for one in sellers if one.since <= at][-1:]
    later = [one for one in sellers if one.since > at]
    whole = (named for one in (*then, *later) if not missing_fields(named := _named(shop, one)))
    return next(whole, shop)


def _named(shop: Shop, seller: Seller) -> Shop:
    return replace(
        shop,
        seller_name=seller.name,
        seller_address=seller.address,
        seller_number=seller.number,
        seller_contact=seller.contact,
        vat_rate=seller.vat_rate,
    )


def missing_fields(shop: Shop) -> list[str]:
    """The seller settings, by their names in `/settings`, without which the law knows no receipt."""
    missing = [name for name, kept in SELLER_FIELDS.items() if not getattr(shop, kept).strip()]
    return [*missing, "vat"] if shop.vat_rate is None else missing


def vat_within(minor: int, rate: int) -> int:
    """The tax within a sum that contains it, rounded half up; `rate` is in hundredths of a percent."""
    return (2 * minor * rate + WHOLE + rate) // (2 * (WHOLE + rate))
