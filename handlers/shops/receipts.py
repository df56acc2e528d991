"""Receipts: the sums in minor units, the seller, and whether the document may be called a receipt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from handlers.shops.settings import SELLER_FIELDS
from storage.models.money import Money
from storage.models.payment import Payment, PaymentStatus
from storage.models.shop import Seller, Shop

WHOLE = 100_00
"""One hundred percent, in hundredths of a percent."""


@dataclass(frozen=True)
class Receipt:
    """A receipt for received money. `vat` is the part of `amount` that is tax, None without a rate.

    A seller without VAT may not print any, not even zero.

    `number` counts without a gap within the shop and begins with the shop's own, so two shops of one seller never have
    the same; receipts of test mode are numbered by themselves. `at` is Stripe's time of the payment in aware UTC.
    `net_amount` is what remains after refunds. Of money that is only reserved, `until` is when the reservation ends at
    the latest, and `at` when it was made.
    """

    number: str | None
    at: datetime
    amount: Money
    refunded: Money
    net_amount: Money
    vat: Money | None
    net_vat: Money | None
    is_receipt: bool
    until: datetime | None = None


def make_receipt(payment: Payment, shop: Shop) -> Receipt | None:
    """The receipt of this payment, or the confirmation that its money is reserved; None without either."""
    if payment.status is PaymentStatus.AUTHORIZED and payment.authorized_at and payment.capture_before:
        nothing = Money(0, payment.amount.currency)
        at, until = payment.authorized_at, payment.capture_before
        return Receipt(None, at, payment.amount, nothing, payment.amount, None, None, is_receipt=False, until=until)
    if not payment.amount_received or payment.succeeded_at is None:
        return None
    currency = payment.amount.currency
    kept = payment.amount_received - payment.amount_refunded

    def part(minor: int) -> Money | None:
        return Money(vat_within(minor, shop.vat_rate), currency) if shop.vat_rate else None

    number = payment.receipt_number
    return Receipt(
        number=None if number is None else number_text(payment.shop_id, number, livemode=payment.livemode),
        at=payment.succeeded_at,
        amount=Money(payment.amount_received, currency),
        refunded=Money(payment.amount_refunded, currency),
        net_amount=Money(kept, currency),
        vat=part(payment.amount_received),
        net_vat=part(kept),
        is_receipt=number is not None and not missing_fields(shop),
    )


def number_text(shop_id: int, number: int, *, livemode: bool) -> str:
    """A receipt number as it is printed."""
    return f"{'' if livemode else 'TEST-'}{shop_id}-{number}"


def with_seller(shop: Shop, sellers: Sequence[Seller], at: datetime) -> Shop:
    """The shop of a receipt, with the seller details that held at that time.

    Where details were missing then, those of the first complete ones hold. What `shop` has already stays. `sellers` is
    the shop's history, oldest first.
    """
    for then in [one for one in sellers if one.since <= at][-1:]:
        shop = _filled(shop, then)
    candidates = [shop, *(_filled(shop, one) for one in sellers if one.since > at)]
    return next((one for one in candidates if not missing_fields(one)), shop)


def shop_at(shop: Shop, sellers: Sequence[Seller], at: datetime) -> Shop:
    """As `with_seller`, whatever the seller is now; the shop as it is where no complete details are known."""
    unset = replace(shop, seller_name="", seller_address="", seller_number="", seller_contact="", vat_rate=None)
    found = with_seller(unset, sellers, at)
    return shop if missing_fields(found) else found


def _filled(shop: Shop, seller: Seller) -> Shop:
    return replace(
        shop,
        seller_name=shop.seller_name if shop.seller_name.strip() else seller.name,
        seller_address=shop.seller_address if shop.seller_address.strip() else seller.address,
        seller_number=shop.seller_number if shop.seller_number.strip() else seller.number,
        seller_contact=shop.seller_contact if shop.seller_contact.strip() else seller.contact,
        vat_rate=seller.vat_rate if shop.vat_rate is None else shop.vat_rate,
    )


def missing_fields(shop: Shop) -> list[str]:
    """The seller settings that the law requires on a receipt and that are missing, by their names in `/settings`."""
    missing = [name for name, kept in SELLER_FIELDS.items() if not getattr(shop, kept).strip()]
    return [*missing, "vat"] if shop.vat_rate is None else missing


def vat_within(minor: int, rate: int) -> int:
    """The tax within a sum that contains it, rounded half up; `rate` is in hundredths of a percent."""
    return (2 * minor * rate + WHOLE + rate) // (2 * (WHOLE + rate))
