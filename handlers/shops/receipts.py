"""Receipts and credit notes: the sums in minor units, the seller, and whether a document may be called a receipt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from handlers.shops.settings import SELLER_FIELDS
from storage.models.money import Money
from storage.models.movement import CreditNote
from storage.models.payment import Payment, PaymentStatus
from storage.models.shop import Seller, Shop

WHOLE = 100_00
"""One hundred percent, in hundredths of a percent."""


@dataclass(frozen=True)
class VatLine:
    """What a document contains at one VAT rate: `net` and `vat` add up to `gross`.

    `rate` is in hundredths of a percent.
    """

    rate: int
    gross: Money
    vat: Money

    @property
    def net(self) -> Money:
        """The amount without VAT."""
        return self.gross - self.vat


@dataclass(frozen=True)
class Receipt:
    """A receipt for received money. `vat_lines` is what `amount` contains at each rate, nothing without a rate.

    A seller without VAT may not print any, not even zero.

    `number` counts without a gap within the shop and begins with the shop's own, so two shops of one seller never have
    the same; receipts of test mode are numbered by themselves. `at` is Stripe's time of the payment in aware UTC.
    `net_amount` is what remains after refunds, with `net_vat_lines`: the receipt less its credit notes. Of money that
    is only reserved, `until` is when the reservation ends at the latest, and `at` when it was made.
    """

    number: str | None
    at: datetime
    amount: Money
    refunded: Money
    net_amount: Money
    vat_lines: tuple[VatLine, ...]
    net_vat_lines: tuple[VatLine, ...]
    is_receipt: bool
    until: datetime | None = None


@dataclass(frozen=True)
class CreditNoteDocument:
    """A credit note as it is shown, or its cancellation, which names the credit note that it `cancels`.

    `number` counts without a gap within the shop and its mode, and `canceled_by` is that of the cancellation of a
    credit note whose refund failed; `credit_note_number` prints them. `is_credit_note`: the seller is complete;
    otherwise it confirms a refund and shows no numbers. `at` is Stripe's time in aware UTC.
    """

    number: int
    at: datetime
    amount: Money
    vat_lines: tuple[VatLine, ...]
    is_credit_note: bool
    cancels: int | None = None
    canceled_by: int | None = None


def make_receipt(payment: Payment, shop: Shop, notes: Sequence[CreditNote]) -> Receipt | None:
    """The receipt of this payment, or the confirmation that its money is reserved; None without either.

    `notes` are the payment's credit notes.
    """
    if payment.status is PaymentStatus.AUTHORIZED and payment.authorized_at and payment.capture_before:
        nothing = Money(0, payment.amount.currency)
        at, until = payment.authorized_at, payment.capture_before
        return Receipt(None, at, payment.amount, nothing, payment.amount, (), (), is_receipt=False, until=until)
    if not payment.amount_received or payment.succeeded_at is None:
        return None
    currency = payment.amount.currency
    received, rate = payment.amount_received, shop.vat_rate
    signed = [(-1 if note.is_cancellation else 1, note) for note in notes]
    refunded = sum(sign * note.amount.minor for sign, note in signed)
    vat = vat_within(received, rate) if rate else 0
    vat_back = sum(sign * credit_note_vat(payment, note, rate) for sign, note in signed) if rate else 0
    number = payment.receipt_number
    return Receipt(
        number=None if number is None else number_text(payment.shop_id, number, livemode=payment.livemode),
        at=payment.succeeded_at,
        amount=Money(received, currency),
        refunded=Money(refunded, currency),
        net_amount=Money(received - refunded, currency),
        vat_lines=_vat_lines(rate, received, vat, currency),
        net_vat_lines=_vat_lines(rate, received - refunded, vat - vat_back, currency),
        is_receipt=number is not None and not missing_fields(shop),
    )


def make_credit_notes(payment: Payment, shop: Shop, notes: Sequence[CreditNote]) -> list[CreditNoteDocument]:
    """The documents of a payment's refunds, as `shop` on its receipt has them, in the order of their numbers."""
    issued = {note.refund_id: note.number for note in notes if not note.is_cancellation}
    canceled = {note.refund_id: note.number for note in notes if note.is_cancellation}
    return [
        CreditNoteDocument(
            number=note.number,
            at=note.at,
            amount=note.amount,
            vat_lines=_vat_lines(
                shop.vat_rate,
                note.amount.minor,
                credit_note_vat(payment, note, shop.vat_rate) if shop.vat_rate else 0,
                note.amount.currency,
            ),
            is_credit_note=payment.receipt_number is not None and not missing_fields(shop),
            cancels=issued[note.refund_id] if note.is_cancellation else None,
            canceled_by=None if note.is_cancellation else canceled.get(note.refund_id),
        )
        for note in notes
    ]


def credit_note_vat(payment: Payment, note: CreditNote, rate: int) -> int:
    """The tax in a refund, in minor units. See `refunded_vat`."""
    return refunded_vat(payment.amount_received, note.refunded_before, note.amount.minor, rate)


def refunded_vat(received: int, refunded_before: int, amount: int, rate: int) -> int:
    """The tax in a refund of `amount`, all in minor units: that of what was left before less that of what is left then.

    So the tax of all refunds adds up to that of the payment once the whole is refunded, however each part is rounded.
    """
    left = received - refunded_before
    return vat_within(left, rate) - vat_within(left - amount, rate)


def number_text(shop_id: int, number: int, *, livemode: bool) -> str:
    """A receipt number as it is printed."""
    return f"{'' if livemode else 'TEST-'}{shop_id}-{number}"


def credit_note_number(shop_id: int, number: int, *, livemode: bool) -> str:
    """The number of a credit note as it is printed: of a series of its own."""
    return f"{'' if livemode else 'TEST-'}{shop_id}-C{number}"


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
    """The tax within a sum that contains it, rounded half away from zero; `rate` is in hundredths of a percent."""
    part = (2 * abs(minor) * rate + WHOLE + rate) // (2 * (WHOLE + rate))
    return -part if minor < 0 else part


def _vat_lines(rate: int | None, gross: int, vat: int, currency: str) -> tuple[VatLine, ...]:
    """One line, for a shop has one rate; none without a rate."""
    return (VatLine(rate, Money(gross, currency), Money(vat, currency)),) if rate else ()
