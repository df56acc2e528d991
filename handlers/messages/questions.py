"""Questions that several people can decide: all messages that ask one are edited once it is decided."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from handlers import i18n
from handlers.access.membership import display_name
from handlers.clock import Clock
from handlers.i18n import SafeHtml, html
from handlers.messages.outbox_message import OutboxMessage, to_job
from handlers.messages.question_jobs import CLOSE, REFUND, close_job, is_hold_decided, is_refund_decided
from handlers.messages.refund_text import retry_button, retry_until
from handlers.telegram.messenger import Keyboard, Message
from storage import installation, payment_queries, questions, shops
from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue
from storage.models.job import Job
from storage.models.payment import ChatTarget, Payment, PaymentStatus
from storage.models.refund import Refund, RefundStatus
from storage.models.shop import Shop
from storage.questions import QuestionMessage
from storage.refunds import get_refund_by

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _State:
    """What a question is about, as it is now."""

    payment: Payment
    shop: Shop
    names: Mapping[int, str]


class Questions:
    """Stores the messages that ask questions, and edits them once the question is decided."""

    def __init__(self, db: Database, outbox: JobQueue, clock: Clock) -> None:
        self._db = db
        self._outbox = outbox
        self._clock = clock

    async def on_sent(self, subject: str, language: str, chat: ChatTarget, message_id: int) -> None:
        """A question was sent. If it was decided in the meantime, it is closed at once."""
        try:
            await self._db.write(questions.store, QuestionMessage(subject, chat, message_id, language))
            if await self._is_decided(subject):
                job = close_job(subject, key=f"{chat.chat_id}:{message_id}")
                await self._outbox.enqueue(job, now=self._clock.now())
        except DatabaseUnavailable as error:  # the message was sent, and must not be sent again
            log.warning("a question will keep its buttons, as its place could not be stored: %s", error)

    async def close(self, job: Job) -> None:
        """Edit every message of the question to the decision, its actor and time."""
        subject = json.loads(job.payload)["subject"]
        if not await self._is_decided(subject):
            return
        for question in await self._db.read(questions.find, subject):
            message, shop_id = await self._answer(question, job.created_at)
            edit = OutboxMessage(question.chat, message, edit_message_id=question.message_id, shop=shop_id)
            key = f"{CLOSE}:{subject}:{question.chat.chat_id}:{question.message_id}:edit"
            await self._outbox.enqueue(to_job(edit, key=key), now=self._clock.now())
            await self._db.write(questions.remove, question.chat.chat_id, question.message_id)

    async def refund_answer(self, refund: Refund, language: str) -> tuple[SafeHtml, Keyboard]:
        """The text and buttons that replace a refund's question after a decision."""
        return _refund_text(await self._of_payment(refund.payment_id), refund, language)

    async def hold_answer(self, payment: Payment, language: str) -> SafeHtml:
        """The text that replaces a hold's question after a decision that was made now."""
        return _hold_text(await self._of_payment(payment.id), language, self._clock.now())

    async def _answer(self, question: QuestionMessage, at: datetime) -> tuple[Message, int]:
        kind, about, _ = _parts(question.subject)
        if kind == REFUND:
            refund = await self._refund(about)
            if refund is None:
                raise LookupError("no such refund")
            return Message(*await self.refund_answer(refund, question.language)), refund.shop_id
        state = await self._of_payment(about)
        return Message(_hold_text(state, question.language, at)), state.shop.id

    async def _is_decided(self, subject: str) -> bool:
        kind, about, approvals = _parts(subject)
        if kind == REFUND:
            refund = await self._refund(about)
            return refund is None or is_refund_decided(refund, int(approvals))
        payment = await self._db.read(payment_queries.by_id, about)
        return payment is None or is_hold_decided(payment)

    async def _refund(self, refund_id: str) -> Refund | None:
        return await self._db.read(get_refund_by, "id", refund_id)

    async def _of_payment(self, payment_id: str) -> _State:
        payment = await self._db.read(payment_queries.by_id, payment_id)
        shop = None if payment is None else await self._db.read(shops.get_shop, payment.shop_id)
        if payment is None or shop is None:
            raise LookupError("no such payment")
        names = {owner.user_id: owner.name for owner in await self._db.read(installation.list_claimed_owners)}
        names |= {member.user_id: member.name for member in await self._db.read(shops.list_members, shop.id)}
        return _State(payment, shop, names)


def _parts(subject: str) -> tuple[str, str, str]:
    """Kind, id, and the number of approvals of a refund's question."""
    kind, about, *approvals = subject.split(":")
    return kind, about, approvals[0] if approvals else ""


def _refund_text(state: _State, refund: Refund, language: str) -> tuple[SafeHtml, Keyboard]:
    params = {"amount": refund.amount, "ref": state.payment.reference}
    keyboard: Keyboard = ()
    if refund.status is RefundStatus.APPROVED and refund.retry_until is not None:
        until = retry_until(refund, language, state.shop)
        said = html(language, "refund.now_insufficient_balance", until=until, **params)
        keyboard = retry_button(refund, language)
    elif refund.status is RefundStatus.EXPIRED:
        unseen = refund.last_error is not None
        said = html(language, f"notification.refund_expired{'_unseen' if unseen else ''}", **params)
    else:
        said = html(language, f"refund.now_{refund.status}", **params)
    steps = [
        ("approved", refund.approved_by, refund.approved_at),
        ("approved", refund.second_approved_by, refund.second_approved_at),
        ("declined", refund.declined_by, refund.declined_at),
    ]
    lines = [_by(state, language, how, who, at) for how, who, at in steps if who is not None and at is not None]
    return SafeHtml("\n".join([said, *lines])), keyboard


def _hold_text(state: _State, language: str, at: datetime) -> SafeHtml:
    payment = state.payment
    params = {"amount": payment.amount, "ref": payment.reference}
    if payment.status is PaymentStatus.SUCCEEDED or payment.capture_requested_by is not None:
        done = payment.status is PaymentStatus.SUCCEEDED
        said = html(language, "capture.done" if done else "capture.pending", **params)
    else:
        said = html(language, "release.done" if payment.is_terminal else "release.pending", **params)
    who = payment.capture_requested_by or payment.cancel_requested_by
    return said if who is None else SafeHtml(f"{said}\n{_by(state, language, 'decided', who, at)}")


def _by(state: _State, language: str, how: str, who: int, at: datetime) -> SafeHtml:
    name = display_name(state.names.get(who, ""), who)
    return html(language, f"question.{how}", who=name, at=i18n.format_datetime(language, at, state.shop.time_zone))
