"""What we know of messages in chats: where a card is, and what Telegram said about a chat."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database.database import FEW, Database
from storage.job_queue import change_lane
from storage.models.payment import Place
from storage.schema.chats import posts, questions
from storage.schema.payments import cards, payments
from storage.schema.shops import chats


@dataclass(frozen=True)
class ChatState:
    """What holds for a chat: its newest id, until when to leave it alone, and whether it is closed to us."""

    chat_id: int
    not_before: datetime | None = None
    closed_because: str | None = None


class Posts:
    """Cards and chats as Telegram has them; every change is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def card(self, payment_id: str) -> Card:
        """Where the payment's one message is."""
        async with self._db.glance() as tx:
            return to_card((await tx.execute(_CARD, {"key": payment_id})).mappings().one())

    async def sending(self, payment_id: str) -> None:
        """Write down that the card is about to be posted, so that a repeat can be counted."""
        await self._change_card(_SENDING, payment_id)

    async def not_sent(self, payment_id: str) -> None:
        """Take that back: it surely was not posted."""
        await self._change_card(_NOT_SENT, payment_id)

    async def posted(self, payment_id: str, place: Place, message_id: int, version: int, *, now: datetime) -> bool:
        """Write down the card's message; the first one stored is the card of record (False if there was one)."""
        where = {"chat_id": place.chat_id, "thread_id": place.thread_id, "message_id": message_id}
        return await self._change_card(_POSTED, payment_id, **where, shown_version=version, shown_at=now)

    async def adopt(self, payment_id: str, place: Place, message_id: int, *, now: datetime) -> None:
        """A button of this message was pressed while no card was known: then this is it, sent before a crash.

        Unless it stands in another chat than the card, or is one already, for then the press was forged.
        """
        card = await self.card(payment_id)
        if card.message_id is not None or not card.sends or await self._is_card(place.chat_id, message_id):
            return
        if (await self.state_of(card.place.chat_id)).chat_id == place.chat_id:
            await self.posted(payment_id, place, message_id, 0, now=now)

    async def shown(self, payment_id: str, version: int, *, now: datetime) -> None:
        """Write down which version the card shows."""
        await self._change_card(_SHOWN, payment_id, version=version, shown_version=version, shown_at=now)

    async def pictured(self, payment_id: str, message_id: int | None) -> None:
        """Write down which message holds the QR code, or that none does any more."""
        await self._change_card(_CHANGE, payment_id, picture_id=message_id)

    async def idle_picture(self, payment_id: str) -> tuple[int, int] | None:
        """Chat and message of the QR code of a payment that nobody can pay any more, while it stands."""
        async with self._db.glance() as tx:
            found = (await tx.execute(_IDLE_PICTURE, {"key": payment_id})).first()
        return None if found is None else (found.chat_id, found.picture_id)

    async def lost(self, payment_id: str, message_id: int) -> None:
        """Write down that this message, the payment's card, is gone."""
        await self._change_card(_LOST, payment_id, which=message_id, message_id=None, lost=True, sends=0)

    async def state_of(self, chat_id: int) -> ChatState:
        """What Telegram said about a chat, after following it to where it moved."""
        async with self._db.glance() as tx:
            for _ in range(4):
                row = (await tx.execute(_STANDING, {"key": chat_id})).mappings().first()
                if row is None:
                    return ChatState(chat_id)
                if row["moved_to"] is None:
                    return ChatState(chat_id, row["not_before"], row["closed_because"])
                chat_id = row["moved_to"]
        return ChatState(chat_id)

    async def wait(self, chat_id: int, until: datetime) -> None:
        """Leave the chat alone until then."""
        await self._upsert(chat_id, {"not_before": until})

    async def close(self, chat_id: int, reason: str) -> bool:
        """Note that Telegram does not let us into the chat; True if that is news."""
        known = (await self.state_of(chat_id)).closed_because
        await self._upsert(chat_id, {"closed_because": reason})
        return known is None

    async def reopen(self, chat_id: int) -> None:
        """Somebody spoke to us there: the chat is open again."""
        if (await self.state_of(chat_id)).closed_because is not None:
            await self._upsert(chat_id, {"closed_because": None})

    async def move(self, chat_id: int, moved_to: int) -> list[str]:
        """A group became a supergroup: its shop, its payments and what was asked there follow, once.

        Messages of the old group cannot be edited any more, and their numbers mean others in the new one, so every card
        counts as deleted. Returns the payments whose cards that were and which have not ended.
        """
        if chat_id == moved_to:
            return []
        there: dict[str, object] = {"chat_id": moved_to}
        gone = {"message_id": None, "lost": True, "sends": 0, "picture_id": None}
        async with self._db.transaction() as tx:
            await _put(tx, chat_id, {"moved_to": moved_to})
            here = sa.exists().where(cards.c.payment_id == payments.c.id, cards.c.chat_id == chat_id)
            open_ = sa.select(payments.c.id).where(payments.c.ended_at.is_(None), here)
            found = list((await tx.execute(open_)).scalars())
            await _move(tx, payments.c.id, payments.c.chat_id, chat_id, there)
            await _move(tx, questions.c.id, questions.c.chat_id, chat_id, there)
            await _move(tx, cards.c.payment_id, cards.c.chat_id, chat_id, there | gone)
            await _take_along(tx, chat_id, moved_to)
            known = (await tx.execute(sa.select(chats.c.chat_id).where(chats.c.chat_id == moved_to))).first()
            if known is None:
                await tx.execute(chats.update().where(chats.c.chat_id == chat_id).values(chat_id=moved_to))
        return found

    async def _is_card(self, chat_id: int, message_id: int) -> bool:
        where = (cards.c.chat_id == chat_id) & (cards.c.message_id == message_id)
        async with self._db.glance() as tx:
            return (await tx.execute(sa.select(cards.c.payment_id).where(where))).first() is not None

    async def _upsert(self, chat_id: int, values: dict[str, object]) -> None:
        async with self._db.transaction() as tx:
            await _put(tx, chat_id, values)

    async def _change_card(self, change: sa.Update, payment_id: str, **values: object) -> bool:
        async with self._db.transaction() as tx:
            return bool((await tx.execute(change, {"key": payment_id, **values})).rowcount)


_CARD = sa.select(cards).where(cards.c.payment_id == sa.bindparam("key"))
_STANDING = sa.select(posts).where(posts.c.chat_id == sa.bindparam("key"))
_CHANGE = cards.update().where(cards.c.payment_id == sa.bindparam("key"))
_SENDING = _CHANGE.values(sends=cards.c.sends + 1)
_NOT_SENT = _CHANGE.values(sends=cards.c.sends - 1)
_POSTED = _CHANGE.where(cards.c.message_id.is_(None))
_SHOWN = _CHANGE.where(cards.c.shown_version <= sa.bindparam("version"))
_LOST = _CHANGE.where(cards.c.message_id == sa.bindparam("which"))
_IDLE_PICTURE = (
    sa.select(cards.c.chat_id, cards.c.picture_id)
    .join(payments, payments.c.id == cards.c.payment_id)
    .where(cards.c.payment_id == sa.bindparam("key"), cards.c.picture_id.is_not(None))
    .where(payments.c.status.not_in(("created", "open")))
)
# Made once: to put a statement together costs more than to run it.


async def _take_along(tx: AsyncConnection, chat_id: int, moved_to: int) -> None:
    """What waits to be sent stays ahead of what comes after, and waits as long as Telegram said."""
    await change_lane(tx, "outbox", str(chat_id), str(moved_to))
    until = (await tx.execute(sa.select(posts.c.not_before).where(posts.c.chat_id == chat_id))).scalar()
    if until is not None:
        await _put(tx, moved_to, {"not_before": until})


async def _put(tx: AsyncConnection, chat_id: int, values: dict[str, object]) -> None:
    changed = await tx.execute(posts.update().where(posts.c.chat_id == chat_id).values(**values))
    if not changed.rowcount:
        await tx.execute(posts.insert().values(chat_id=chat_id, **values))


async def _move(
    tx: AsyncConnection, key: sa.Column[str], where: sa.Column[int], chat_id: int, values: dict[str, object]
) -> None:
    """Change the rows of a chat a few at a time, and let others have their turn in between."""
    few = sa.select(key).where(where == chat_id).limit(FEW)
    change = key.table.update().where(key.in_(few.scalar_subquery())).values(**values)
    moved = FEW
    while moved == FEW:
        moved = (await tx.execute(change)).rowcount
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Card:
    """Where a payment's one message is; `message_id` is None until it was posted, `lost` once it was deleted.

    `picture_id` is the message with the QR code below it, while there is one.
    """

    payment_id: str
    place: Place
    message_id: int | None
    shown_version: int
    shown_at: datetime | None
    sends: int
    lost: bool
    picture_id: int | None = None

    @property
    def stands(self) -> bool:
        """Whether there is a message to be edited."""
        return self.message_id is not None or self.place.inline_id is not None


def to_card(row: sa.RowMapping) -> Card:
    """A card from a row of `cards`."""
    return Card(
        payment_id=row[cards.c.payment_id.name],
        place=Place(row["chat_id"], row["thread_id"], row["inline_id"]),
        message_id=row["message_id"],
        shown_version=row["shown_version"],
        shown_at=row["shown_at"],
        sends=row["sends"],
        lost=row["lost"],
        picture_id=row["picture_id"],
    )
