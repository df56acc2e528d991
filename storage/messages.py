"""Where payment messages are, and what Telegram said about each chat."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from storage.job_queue import move_ordering_key
from storage.models.payment import ChatTarget
from storage.schema.chats import chat_status, prompts, question_messages
from storage.schema.payments import payment_messages, payments
from storage.schema.refunds import refunds
from storage.schema.shops import shop_chats
from storage.schema.types import IntBool


@dataclass(frozen=True)
class PaymentMessage:
    """Where a payment's message is. `message_id` is None before it was sent and after it was deleted (`is_deleted`).

    `qr_message_id` is the message with the QR code below it, while there is one.
    """

    payment_id: str
    chat: ChatTarget
    message_id: int | None
    shown_version: int
    shown_at: datetime | None
    send_attempts: int
    is_deleted: bool
    qr_message_id: int | None = None

    @property
    def exists(self) -> bool:
        """Whether there is a message to edit."""
        return self.message_id is not None or self.chat.inline_message_id is not None


@dataclass(frozen=True)
class ChatStatus:
    """A chat by its newest id: when it may be sent to again (UTC), and why it cannot be sent to at all."""

    chat_id: int
    not_before: datetime | None = None
    blocked_reason: str | None = None


def chat_ordering_key(chat_id: int) -> str:
    """The ordering key of a chat: its messages are sent in order of creation."""
    return str(chat_id)


def repost_ordering_key(chat_id: int) -> str:
    """The ordering key of the payment messages that are shown again in a chat, behind its other messages."""
    return f"{chat_id}:reposts"


def get_payment_message(tx: sa.Connection, payment_id: str) -> PaymentMessage:
    """Where the payment's message is."""
    return row_to_payment_message(tx.execute(_BY_PAYMENT, {"key": payment_id}).mappings().one())


def mark_sending(tx: sa.Connection, card: PaymentMessage) -> bool:
    """Count a send before it happens, so that a repeated one is known; False if the group has migrated since."""
    return _update_payment_message(tx, _MARK_SENDING, card.payment_id, was_in=card.chat.chat_id)


def mark_not_sent(tx: sa.Connection, card: PaymentMessage) -> None:
    """Undo `mark_sending`: the message was surely not sent. Sends count from zero again once a group has migrated."""
    _update_payment_message(tx, _MARK_NOT_SENT, card.payment_id, was_in=card.chat.chat_id)


def mark_sent(
    tx: sa.Connection, card: PaymentMessage, chat: ChatTarget, message_id: int, version: int, *, now: datetime
) -> bool:
    """Store where the message is.

    False if an earlier message is stored, which counts, or if the group has migrated since `card` was read: the message
    is in the old group then.
    """
    where = {"chat_id": chat.chat_id, "thread_id": chat.thread_id, "message_id": message_id}
    was_in = card.chat.chat_id
    return _update_payment_message(
        tx, _MARK_SENT, card.payment_id, **where, was_in=was_in, shown_version=version, shown_at=now
    )


def adopt_message(tx: sa.Connection, payment_id: str, chat: ChatTarget, message_id: int, *, now: datetime) -> None:
    """Take this message as the payment's if none is stored: it was sent before a crash, and its button was pressed now.

    A message in another chat, or of another payment, is not taken: that press was forged.
    """
    card = get_payment_message(tx, payment_id)
    if card.message_id is not None or not card.send_attempts or _is_payment_message(tx, chat.chat_id, message_id):
        return
    if get_chat_status(tx, card.chat.chat_id).chat_id == chat.chat_id:
        mark_sent(tx, card, chat, message_id, 0, now=now)


def mark_shown(tx: sa.Connection, payment_id: str, version: int, *, now: datetime) -> None:
    """Store which version of the payment the message shows."""
    _update_payment_message(tx, _MARK_SHOWN, payment_id, version=version, shown_version=version, shown_at=now)


def set_qr_message(tx: sa.Connection, payment_id: str, message_id: int | None) -> None:
    """Store which message holds the QR code, None if there is none any more."""
    _update_payment_message(tx, _CHANGE, payment_id, qr_message_id=message_id)


def stale_qr_message(tx: sa.Connection, payment_id: str) -> tuple[int, int] | None:
    """Chat id and message id of the QR code of a payment that can no longer be paid, while that message exists."""
    found = tx.execute(_STALE_QR_MESSAGE, {"key": payment_id}).first()
    return None if found is None else (found.chat_id, found.qr_message_id)


def mark_deleted(tx: sa.Connection, payment_id: str, message_id: int) -> None:
    """Record that the payment's message was deleted."""
    _update_payment_message(
        tx, _MARK_DELETED, payment_id, which=message_id, message_id=None, is_deleted=True, send_attempts=0
    )


def get_chat_status(tx: sa.Connection, chat_id: int) -> ChatStatus:
    """What Telegram said about a chat, after following it to the id it migrated to."""
    for _ in range(4):
        row = tx.execute(_CHAT_STATUS, {"key": chat_id}).mappings().first()
        if row is None:
            return ChatStatus(chat_id)
        if row["moved_to"] is None:
            return ChatStatus(chat_id, row["not_before"], row["blocked_reason"])
        chat_id = row["moved_to"]
    return ChatStatus(chat_id)


def set_retry_after(tx: sa.Connection, chat_id: int, until: datetime) -> None:
    """Do not send to the chat before then."""
    _update_chat_status(tx, chat_id, {"not_before": until})


def mark_blocked(tx: sa.Connection, chat_id: int, reason: str) -> bool:
    """Record that the bot may not send to the chat; True if that was not known."""
    known = get_chat_status(tx, chat_id).blocked_reason
    _update_chat_status(tx, chat_id, {"blocked_reason": reason})
    return known is None


def mark_unblocked(tx: sa.Connection, chat_id: int) -> bool:
    """Record that the bot may send to the chat again; True if it could not."""
    if was_blocked := get_chat_status(tx, chat_id).blocked_reason is not None:
        _update_chat_status(tx, chat_id, {"blocked_reason": None})
    return was_blocked


def migrate_chat(tx: sa.Connection, chat_id: int, moved_to: int) -> list[str]:
    """Move everything of a group that became a supergroup to its new id; a second call changes nothing.

    Its messages cannot be edited any more, and their ids mean other messages in the new group, so the payment messages
    that were sent count as deleted and its questions are forgotten. A message that was not sent yet still has to be.
    Returns the ids of the open payments whose messages those were.
    """
    if chat_id == moved_to:
        return []
    there: dict[str, object] = {"chat_id": moved_to}
    deleted = sa.literal(True, IntBool)  # stored as a number, which PostgreSQL does not mix with booleans
    is_deleted = sa.case((payment_messages.c.message_id.is_not(None), deleted), else_=payment_messages.c.is_deleted)
    gone = {"message_id": None, "is_deleted": is_deleted, "send_attempts": 0, "qr_message_id": None}
    _set_chat_status(tx, chat_id, {"moved_to": moved_to})
    here = sa.exists().where(payment_messages.c.payment_id == payments.c.id, payment_messages.c.chat_id == chat_id)
    open_ = sa.select(payments.c.id).where(payments.c.closed_at.is_(None), here)
    found = list(tx.execute(open_).scalars())
    tx.execute(payments.update().where(payments.c.chat_id == chat_id).values(**there))
    tx.execute(refunds.update().where(refunds.c.chat_id == chat_id).values(**there))
    tx.execute(prompts.update().where(prompts.c.chat_id == chat_id).values(**there))
    tx.execute(question_messages.delete().where(question_messages.c.chat_id == chat_id))
    tx.execute(payment_messages.update().where(payment_messages.c.chat_id == chat_id).values(**there, **gone))
    _move_pending_jobs(tx, chat_id, moved_to)
    known = tx.execute(sa.select(shop_chats.c.chat_id).where(shop_chats.c.chat_id == moved_to)).first()
    if known is None:
        tx.execute(shop_chats.update().where(shop_chats.c.chat_id == chat_id).values(chat_id=moved_to))
    return found


def _is_payment_message(tx: sa.Connection, chat_id: int, message_id: int) -> bool:
    where = (payment_messages.c.chat_id == chat_id) & (payment_messages.c.message_id == message_id)
    return tx.execute(sa.select(payment_messages.c.payment_id).where(where)).first() is not None


def _update_chat_status(tx: sa.Connection, chat_id: int, values: dict[str, object]) -> None:
    _set_chat_status(tx, chat_id, values)


def _update_payment_message(tx: sa.Connection, change: sa.Update, payment_id: str, **values: object) -> bool:
    return bool(tx.execute(change, {"key": payment_id, **values}).rowcount)


_BY_PAYMENT = sa.select(payment_messages).where(payment_messages.c.payment_id == sa.bindparam("key"))
_CHAT_STATUS = sa.select(chat_status).where(chat_status.c.chat_id == sa.bindparam("key"))
_CHANGE = payment_messages.update().where(payment_messages.c.payment_id == sa.bindparam("key"))
_CHANGE_IN_CHAT = _CHANGE.where(payment_messages.c.chat_id == sa.bindparam("was_in"))
_MARK_SENDING = _CHANGE_IN_CHAT.values(send_attempts=payment_messages.c.send_attempts + 1)
_MARK_NOT_SENT = _CHANGE_IN_CHAT.values(send_attempts=payment_messages.c.send_attempts - 1)
_MARK_SENT = _CHANGE_IN_CHAT.where(payment_messages.c.message_id.is_(None))
_MARK_SHOWN = _CHANGE.where(payment_messages.c.shown_version <= sa.bindparam("version"))
_MARK_DELETED = _CHANGE.where(payment_messages.c.message_id == sa.bindparam("which"))
_STALE_QR_MESSAGE = (
    sa.select(payment_messages.c.chat_id, payment_messages.c.qr_message_id)
    .join(payments, payments.c.id == payment_messages.c.payment_id)
    .where(payment_messages.c.payment_id == sa.bindparam("key"), payment_messages.c.qr_message_id.is_not(None))
    .where(payments.c.status.not_in(("created", "open")))
)
# Built once: building a statement costs more than running it.


def _move_pending_jobs(tx: sa.Connection, chat_id: int, moved_to: int) -> None:
    """Move the chat's messages, so that they stay ahead of later ones, and its `retry_after`."""
    for key in (chat_ordering_key, repost_ordering_key):
        move_ordering_key(tx, "outbox", key(chat_id), key(moved_to))
    until = tx.execute(sa.select(chat_status.c.not_before).where(chat_status.c.chat_id == chat_id)).scalar()
    if until is not None:
        _set_chat_status(tx, moved_to, {"not_before": until})


def _set_chat_status(tx: sa.Connection, chat_id: int, values: dict[str, object]) -> None:
    changed = tx.execute(chat_status.update().where(chat_status.c.chat_id == chat_id).values(**values))
    if not changed.rowcount:
        tx.execute(chat_status.insert().values(chat_id=chat_id, **values))


def row_to_payment_message(row: sa.RowMapping) -> PaymentMessage:
    """A payment message from a row of `payment_messages`."""
    return PaymentMessage(
        payment_id=row[payment_messages.c.payment_id.name],
        chat=ChatTarget(row["chat_id"], row["thread_id"], row["inline_message_id"]),
        message_id=row["message_id"],
        shown_version=row["shown_version"],
        shown_at=row["shown_at"],
        send_attempts=row["send_attempts"],
        is_deleted=row["is_deleted"],
        qr_message_id=row["qr_message_id"],
    )
