"""What a receipt keeps for good: its number, and the shop's name, seller, VAT rate and time zone.

`handlers/shops/receipts.py` makes the receipt of it.
"""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from storage.models.payment import Payment, PaymentStatus
from storage.models.shop import Shop
from storage.schema.payments import receipts
from storage.schema.shops import shops

FROZEN = ("seller_name", "seller_address", "seller_number", "seller_contact", "vat_rate", "time_zone")


def assign_number(tx: sa.Connection, before: Payment, after: Payment) -> Payment:
    """The payment with its shop's next receipt number in its mode, if this change is the one by which it is paid."""
    if after.status is not PaymentStatus.SUCCEEDED or after.status is before.status:
        return after
    count = _NEXT_NUMBER if after.livemode else _NEXT_TEST_NUMBER
    number: int = tx.execute(count, {"shop": after.shop_id}).scalar_one()
    return replace(after, receipt_number=number)


def freeze(tx: sa.Connection, payment: Payment) -> None:
    """Store name and time zone of the shop in the transaction that stores that the money was received.

    The seller is stored when the receipt is first read, because seller details are entered one by one.
    """
    shop = tx.execute(_SHOP, {"key": payment.shop_id}).one()
    tx.execute(receipts.insert(), {"payment_id": payment.id, "shop_name": shop.name, "time_zone": shop.time_zone})


def shop_on_receipt(tx: sa.Connection, payment_id: str, shop: Shop) -> Shop:
    """The shop as the receipt of this payment shows it; `shop` as it is while nothing was received."""
    row = tx.execute(_RECEIPT, {"key": payment_id}).mappings().first()
    if row is None:
        return shop
    return replace(shop, name=row["shop_name"], **{name: row[name] for name in FROZEN})


def freeze_seller(tx: sa.Connection, payment_id: str, seller: Shop) -> None:
    """Store the seller as the receipt was read. What it showed before stays; only what was missing is added."""
    for name in FROZEN:
        column = receipts.c[name]
        is_missing = column.is_(None) if name == "vat_rate" else sa.func.trim(column) == ""
        which = receipts.update().where(receipts.c.payment_id == payment_id, is_missing)
        tx.execute(which.values({name: getattr(seller, name)}))


_NEXT_NUMBER, _NEXT_TEST_NUMBER = (
    shops.update().where(shops.c.id == sa.bindparam("shop")).values({last: last + 1}).returning(last)
    for last in (shops.c.last_receipt_number, shops.c.last_test_receipt_number)
)
_SHOP = sa.select(shops.c.name, shops.c.time_zone).where(shops.c.id == sa.bindparam("key"))
_RECEIPT = sa.select(receipts).where(receipts.c.payment_id == sa.bindparam("key"))
