"""Shops, their members, the chats linked to them, and the history of their seller details."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from storage.audit_log import record
from storage.database.database import lock_rows, lock_table
from storage.models.shop import Member, Role, Seller, Shop
from storage.schema.shops import members, seller_history, shop_chats, shops

SYSTEM_ACTOR = "system"
"""The actor of changes that Kvit makes by itself."""


SAME_CHANGE = timedelta(minutes=15)
"""Seller details are entered line by line, so changes within this time become one entry of the history."""


@dataclass(frozen=True)
class ShopMembership:
    """A shop and the role that a person holds in it."""

    shop: Shop
    role: Role


def lock_shop(tx: sa.Connection, shop_id: int) -> None:
    """Let no other transaction change the shop, or what is counted per shop, until this one ends."""
    lock_rows(tx, sa.select(shops.c.id).where(shops.c.id == shop_id))


def get_shop(tx: sa.Connection, shop_id: int) -> Shop | None:
    """A shop by its id."""
    row = tx.execute(_SHOP, {"key": shop_id}).mappings().first()
    return None if row is None else row_to_shop(row)


def list_shops(tx: sa.Connection) -> list[Shop]:
    """All shops of this installation, oldest first."""
    found = tx.execute(_SHOPS).mappings().all()
    return [row_to_shop(row) for row in found]


def shop_of_chat(tx: sa.Connection, chat_id: int) -> Shop | None:
    """The shop that a chat is linked to."""
    row = tx.execute(_SHOP_OF_CHAT, {"key": chat_id}).mappings().first()
    return None if row is None else row_to_shop(row)


def memberships(tx: sa.Connection, user_id: int) -> Sequence[ShopMembership]:
    """The shops in which a person is a member, oldest first."""
    query = sa.select(shops, members.c.role).join(members, members.c.shop_id == shops.c.id)
    query = query.where(members.c.user_id == user_id).order_by(shops.c.id)
    found = tx.execute(query).mappings().all()
    return [ShopMembership(row_to_shop(row), Role(row["role"])) for row in found]


def get_role(tx: sa.Connection, shop_id: int, user_id: int) -> Role:
    """The role a person holds in a shop as a member; `Role.NONE` if none."""
    query = sa.select(members.c.role).where((members.c.shop_id == shop_id) & (members.c.user_id == user_id))
    found = tx.execute(query).scalar()
    return Role.NONE if found is None else Role(found)


def list_members(tx: sa.Connection, shop_id: int) -> Sequence[Member]:
    """The members of a shop, the highest role first."""
    query = sa.select(members).where(members.c.shop_id == shop_id)
    query = query.order_by(members.c.role.desc(), members.c.since, members.c.user_id)
    return [row_to_member(row) for row in tx.execute(query).mappings()]


def create_shop(
    tx: sa.Connection,
    shop: Shop,
    *,
    now: datetime,
    only_first: bool = False,
    chat_id: int | None = None,
    actor: str = SYSTEM_ACTOR,
) -> Shop:
    """Store a new shop (`shop.id` is ignored); with `only_first`, return the oldest one if there is any."""
    if only_first:
        lock_table(tx, shops)
        row = tx.execute(sa.select(shops).order_by(shops.c.id).limit(1)).mappings().first()
        if row is not None:
            return row_to_shop(row)
    writing = shops.insert().values(**_columns(shop), created_at=now).returning(shops)
    opened = row_to_shop(tx.execute(writing).mappings().one())
    record(tx, opened.id, actor, "shop_created", {}, now)
    if chat_id is not None:
        _link(tx, chat_id, opened.id, actor, now)
    return opened


def update_shop(
    tx: sa.Connection,
    shop_id: int,
    decide: Callable[[Shop], Shop],
    *,
    actor: str,
    detail: dict[str, Any],
    now: datetime,
) -> Shop:
    """Apply a change to a shop's settings and record it; a change that changes nothing is not recorded."""
    lock_shop(tx, shop_id)
    row = tx.execute(sa.select(shops).where(shops.c.id == shop_id)).mappings().one()
    before = row_to_shop(row)
    after = decide(before)
    if after != before:
        tx.execute(shops.update().where(shops.c.id == shop_id).values(**_columns(after)))
        if (after.report_minute, after.time_zone) != (before.report_minute, before.time_zone):
            due = {"next_report_at": after.next_report_at(now)}
            tx.execute(shops.update().where(shops.c.id == shop_id).values(**due))
        if (after.monthly_reports, after.time_zone) != (before.monthly_reports, before.time_zone):
            due = {"next_monthly_report_at": after.next_monthly_report_at(now)}
            tx.execute(shops.update().where(shops.c.id == shop_id).values(**due))
        if _seller(after) != _seller(before):
            _keep_seller(tx, after, now)
        record(tx, shop_id, actor, "setting_changed", detail, now)
    return after


def list_sellers(tx: sa.Connection, shop_id: int) -> Sequence[Seller]:
    """The shop's seller details over time, oldest first."""
    found = tx.execute(_SELLERS, {"key": shop_id})
    return [Seller(*row) for row in found]


def set_member(tx: sa.Connection, shop_id: int, user_id: int, role: Role, *, name: str, now: datetime) -> None:
    """Set a person's role in a shop."""
    mine = (members.c.shop_id == shop_id) & (members.c.user_id == user_id)
    tx.execute(members.delete().where(mine))
    values = {"shop_id": shop_id, "user_id": user_id, "role": int(role), "name": name, "since": now}
    tx.execute(members.insert().values(**values))


def link_chat(tx: sa.Connection, chat_id: int, shop_id: int, *, now: datetime, actor: str = SYSTEM_ACTOR) -> None:
    """Link a chat to a shop, and to no other."""
    _link(tx, chat_id, shop_id, actor, now)


_SELLERS = (
    sa.select(*(seller_history.c[name] for name in ("since", "name", "address", "number", "contact", "vat_rate")))
    .where(seller_history.c.shop_id == sa.bindparam("key"))
    .order_by(seller_history.c.since, seller_history.c.id)
)
_SHOPS = sa.select(shops).order_by(shops.c.id)
_SHOP = sa.select(shops).where(shops.c.id == sa.bindparam("key"))
_SHOP_OF_CHAT = sa.select(shops).join(shop_chats, shop_chats.c.shop_id == shops.c.id)
_SHOP_OF_CHAT = _SHOP_OF_CHAT.where(shop_chats.c.chat_id == sa.bindparam("key"))


def _link(tx: sa.Connection, chat_id: int, shop_id: int, actor: str, now: datetime) -> None:
    """Link the chat; each of the two shops has an audit log entry about its own side."""
    before = tx.execute(sa.select(shop_chats.c.shop_id).where(shop_chats.c.chat_id == chat_id)).scalar()
    if before == shop_id:
        return
    tx.execute(shop_chats.delete().where(shop_chats.c.chat_id == chat_id))
    tx.execute(shop_chats.insert().values(chat_id=chat_id, shop_id=shop_id, since=now))
    if before is not None:
        record(tx, before, actor, "chat_unlinked", {"chat": chat_id}, now)
    record(tx, shop_id, actor, "chat_linked", {"chat": chat_id}, now)


def _keep_seller(tx: sa.Connection, shop: Shop, now: datetime) -> None:
    """Add an entry to the seller history, or extend the one made a moment ago.

    An entry dated in the future was written under a wrong clock: from its time on the new details hold as well.
    """
    newest = sa.select(seller_history.c.id, seller_history.c.since, seller_history.c.updated_at).where(
        seller_history.c.shop_id == shop.id
    )
    newest = newest.order_by(seller_history.c.since.desc(), seller_history.c.id.desc()).limit(1)
    last = tx.execute(newest).first()
    found = tx.execute(newest.where(seller_history.c.since <= now)).first()
    said = {"updated_at": now, **_seller(shop)}
    if found is not None and found.updated_at is not None and timedelta(0) <= now - found.updated_at < SAME_CHANGE:
        tx.execute(seller_history.update().where(seller_history.c.id == found.id).values(**said))
    else:
        tx.execute(seller_history.insert().values(shop_id=shop.id, since=now, **said))
    if last is not None and last.since > now:
        tx.execute(seller_history.insert().values(shop_id=shop.id, since=last.since, **said))


def _seller(shop: Shop) -> dict[str, object]:
    return {
        "name": shop.seller_name,
        "address": shop.seller_address,
        "number": shop.seller_number,
        "contact": shop.seller_contact,
        "vat_rate": shop.vat_rate,
    }


def _columns(shop: Shop) -> dict[str, object]:
    return {
        "name": shop.name,
        "currency": shop.currency,
        "language": shop.language,
        "time_zone": shop.time_zone,
        "request_limit": shop.request_limit,
        "refund_limit": shop.refund_limit,
        "request_hours": shop.request_hours,
        "seller_name": shop.seller_name,
        "seller_address": shop.seller_address,
        "seller_number": shop.seller_number,
        "seller_contact": shop.seller_contact,
        "vat_rate": shop.vat_rate,
        "accounts": shop.accounts,
        "report_minute": shop.report_minute,
        "monthly_reports": shop.monthly_reports,
    }


def row_to_member(row: sa.RowMapping) -> Member:
    """A member from a row of `members`."""
    return Member(row["shop_id"], row["user_id"], Role(row["role"]), row["name"], row["since"], row["invited_by"])


def row_to_shop(row: sa.RowMapping) -> Shop:
    """A shop from a row of `shops`."""
    return Shop(
        id=row["id"],
        name=row["name"],
        currency=row["currency"],
        language=row["language"],
        time_zone=row["time_zone"],
        request_limit=row["request_limit"],
        refund_limit=row["refund_limit"],
        request_hours=row["request_hours"],
        seller_name=row["seller_name"],
        seller_address=row["seller_address"],
        seller_number=row["seller_number"],
        seller_contact=row["seller_contact"],
        vat_rate=row["vat_rate"],
        accounts=row["accounts"],
        report_minute=row["report_minute"],
        monthly_reports=row["monthly_reports"],
    )
