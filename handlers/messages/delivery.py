"""Delivers the outbox: payment messages in their newest state, each notification once, in order per chat."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from structlog.contextvars import bind_contextvars

from handlers.backoff import backoff
from handlers.clock import Clock
from handlers.messages import outbox_message, question_jobs
from handlers.messages.chat_changes import ChatChanges
from handlers.messages.outbox_message import CHAT_UNAVAILABLE
from handlers.messages.payment_change_jobs import PaymentEvent, event_of_job, is_still_true
from handlers.messages.payment_message import (
    DisplaySettings,
    access_removed_message,
    display_state,
    payment_message,
    payment_notification,
    request_message_id,
)
from handlers.messages.questions import Questions
from handlers.messages.recipients import Recipients
from handlers.runtime.concurrency import KeyedLocks
from handlers.telegram.messenger import DeliveryError, Message, Messenger
from handlers.telegram.rate_limit import TelegramRateLimiter
from storage import messages, payment_queries, shops
from storage.database.database import Database
from storage.messages import PaymentMessage, repost_ordering_key
from storage.models.job import DeadLetter, Done, Job, Outcome, Retry, Snooze
from storage.models.payment import ChatTarget, Payment
from storage.models.shop import Shop

log = logging.getLogger(__name__)

MAX_SENDS = 2
"""Sends of a new message without a known outcome, at most: one repeat is tolerated, then an operator decides."""

MAX_EDITS = 10
"""Tries of an edit without a response, at most, so that it does not hold its chat up for ever."""

OPEN_STATES = frozenset(
    {
        "ready",
        "waiting",
        "failed",
        "expired",
        "ending",
        "creating",
        "requested",
        "error",
        "canceling",
        "processing",
        "reserved",
    }
)
"""States in which a deleted payment message is sent again."""

REPOST_SPARE = 8
"""Messages a minute that payment messages which are shown again in a group leave to all others."""

REPOST_PAUSE = 1.0
"""Seconds that they wait while other messages to the chat are pending."""


async def in_topic_or_outside(
    chat: ChatTarget, reply_to: int | None, send: Callable[[ChatTarget, int | None], Awaitable[int]]
) -> int:
    """Send by `send`; if the chat's topic was closed or deleted, send outside of it, as no reply.

    Raises:
        DeliveryError: it was not sent, or perhaps it was.
    """
    try:
        return await send(chat, reply_to)
    except DeliveryError as failed:
        if not (failed.message_gone or failed.topic_closed) or chat.thread_id is None:
            raise
        return await send(replace(chat, thread_id=None), None)


class EditOutcomeUnknown(DeliveryError):
    """An edit whose outcome is unknown."""


class MessageDelivery:
    """Handles each job of the outbox; the worker does the rest."""

    def __init__(
        self,
        db: Database,
        messenger: Messenger,
        rate_limiter: TelegramRateLimiter,
        clock: Clock,
        *,
        chats: ChatChanges,
        display: DisplaySettings,
        chance: Callable[[], float] = random.random,
        recipients: Recipients,
        questions: Questions,
        made: Mapping[str, outbox_message.MessageBuilder] | None = None,
    ) -> None:
        self._db = db
        self._messenger = messenger
        self._rate_limiter = rate_limiter
        self._clock = clock
        self._chats = chats
        self._display = display
        self._chance = chance
        self._recipients = recipients
        self._questions = questions
        self._made = made or {}
        self._locks = KeyedLocks()

    async def handle(self, job: Job) -> Outcome:
        """Send or edit what the job is about."""
        try:
            match job.kind:
                case "payment_message":
                    async with self._locks.lock(
                        json.loads(job.payload)["payment"]
                    ):  # two jobs with two ordering keys: one of them sends it
                        return await self._update_payment_message(job)
                case "notification":
                    return await self._send_notification(job)
                case "message":
                    return await self._send_post(job, outbox_message.from_job(job))
                case "notify_admins":
                    return await self._tell_admins(job)
                case question_jobs.CLOSE:
                    await self._questions.close(job)
                    return Done()
                case kind if kind in self._made:
                    return await self._build_and_send(job, self._made[kind])
                case _:
                    return DeadLetter(f"unknown kind of job: {job.kind}")
        except DeliveryError as failed:
            return await self.handle_error(job, failed)

    async def _update_payment_message(self, job: Job) -> Outcome:
        """Edit the payment message to the newest state, or send it; jobs for older versions do nothing."""
        payment, shop = await self._payment(json.loads(job.payload)["payment"])
        shown = await self._db.read(messages.get_payment_message, payment.id)
        if shown.exists and shown.shown_version >= payment.version:
            return Done("already shown")
        same_since = json.loads(job.payload).get("unless_shown_since")
        if same_since and shown.exists and shown.shown_at and shown.shown_at >= datetime.fromisoformat(same_since):
            return Done("it looks the same")
        foreign = shown.chat.inline_message_id is None and await self._recipients.is_chat_detached(payment, shown.chat)
        if foreign and (shown.chat.chat_id < 0 or shown.message_id is None):
            return Done("the chat is not linked to the shop any more")
        chat, wait = await self.acquire_slot(job, shown.chat)
        if wait:
            return wait
        if shown.message_id is None and shown.chat.inline_message_id is None:
            return await self._send_payment_message(job, payment, shop, shown, chat)
        now = self._clock.now()
        try:
            message = access_removed_message(payment, shop) if foreign else await self._message(payment, shop, now)
            await self._edit(chat, shown.message_id, message)
        except DeliveryError as failed:
            if not (failed.permanent and failed.message_gone):
                raise
            if shown.message_id is None:
                return Done("the inline message was deleted")
            await self._db.write(messages.mark_deleted, payment.id, shown.message_id)
            if foreign or shown.is_deleted or display_state(payment, now) not in OPEN_STATES:
                return Done("the payment message was deleted")
            return Snooze(0)
        await self._db.write(messages.mark_shown, payment.id, payment.version, now=now)
        return Done()

    async def _send_payment_message(
        self, job: Job, payment: Payment, shop: Shop, shown: PaymentMessage, chat: ChatTarget
    ) -> Outcome:
        """Send the payment message. The send is counted before it happens, so that a repeated one is known."""
        if shown.is_deleted and display_state(payment, self._clock.now()) not in OPEN_STATES:
            return Done("the payment message was deleted")
        if shown.send_attempts >= MAX_SENDS:
            return DeadLetter("the payment message was sent too often without a response")
        if (
            shown.send_attempts and not job.attempts
        ):  # counted by a process that crashed; an unknown outcome was handled before
            await self._reach()
        if not await self._db.write(messages.mark_sending, shown):
            return Snooze(0)  # the group has become a supergroup since
        now = self._clock.now()
        try:
            message_id = await self._send(
                chat, await self._message(payment, shop, now), request_message_id(payment, chat)
            )
        except DeliveryError as failed:
            if not failed.outcome_unknown:
                await self._db.write(messages.mark_not_sent, shown)
            raise
        is_stored = await self._db.write(messages.mark_sent, shown, chat, message_id, payment.version, now=now)
        return Done() if is_stored else Snooze(0)

    async def _send_notification(self, job: Job) -> Outcome:
        """Send a notification as a reply to the payment message, unless it is not true any more."""
        payment_id, event = event_of_job(job)
        payment, shop = await self._payment(payment_id)
        is_true = is_still_true(payment, event, self._clock.now())
        message = await self._words(payment, shop, event) if is_true else None
        if message is None:
            return Done("not true any more")
        shown = await self._db.read(messages.get_payment_message, payment.id)
        if await self._recipients.redirect_to_admins(job, payment, shown.chat, message):
            return Done("the chat is not linked to the shop any more")
        chat, wait = await self.acquire_slot(job, shown.chat)
        if wait:
            return wait
        await self._send(chat, message, shown.message_id, silent=event.name == "expired")
        return Done()

    async def _words(self, payment: Payment, shop: Shop, event: PaymentEvent) -> Message | None:
        """The notification's text; None if it is not true any more."""
        if self._recipients.handles(event):
            return await self._recipients.notice(payment, shop, event)
        return payment_notification(payment, event, self._display.view(shop, self._clock.now()))

    async def _tell_admins(self, job: Job) -> Outcome:
        """Enqueue a message to each admin of the shop."""
        payment, shop = await self._payment(json.loads(job.payload)["payment"])
        await self._recipients.notify_admins(job, payment, shop)
        return Done()

    async def _build_and_send(self, job: Job, maker: outbox_message.MessageBuilder) -> Outcome:
        """Build a message now and send it; its builder learns the outcome."""
        outgoing = await maker.build_message(job)
        if outgoing is None:
            return Done("not needed any more")
        try:
            verdict = await self._send_post(job, outgoing)
        except DeliveryError as failed:
            if not failed.chat_unavailable:
                raise
            verdict = await self.handle_error(job, failed)
        if isinstance(verdict, DeadLetter) and verdict.reason.startswith(CHAT_UNAVAILABLE):
            await maker.on_chat_unavailable(job)
            return Done(verdict.reason)
        if isinstance(verdict, Done):
            await maker.on_sent(job)
        return verdict

    async def _send_post(self, job: Job, outgoing: outbox_message.OutboxMessage) -> Outcome:
        """Send or edit a message whose text is stored."""
        if not await self._recipients.may_receive(outgoing):
            return Done("the chat is not linked to the shop any more")
        chat, wait = await self.acquire_slot(job, outgoing.chat)
        if wait:
            return wait
        moved = chat.chat_id != outgoing.chat.chat_id  # then message ids mean other messages
        if outgoing.edit_message_id is not None:
            if not moved:
                await self._edit(chat, outgoing.edit_message_id, outgoing.message)
            return Done()
        message_id = await self._send(
            chat, outgoing.message, None if moved else outgoing.reply_to, silent=outgoing.silent
        )
        if outgoing.question is not None:
            await self._questions.on_sent(*outgoing.question, chat, message_id)
        return Done()

    async def _edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        """Edit. An edit can be repeated, so one with an unknown outcome is tried more often than a new message."""
        try:
            await self._messenger.edit(chat, message_id, message)
        except DeliveryError as failed:
            if failed.outcome_unknown:
                raise EditOutcomeUnknown(str(failed), outcome_unknown=True) from failed
            raise

    async def _reach(self) -> None:
        """Before a message with an unknown outcome is sent again, make sure that Telegram answers at all."""
        try:
            await self._messenger.get_me()
        except DeliveryError as failed:
            failed.outcome_unknown = False
            raise

    async def _send(self, chat: ChatTarget, message: Message, reply_to: int | None, *, silent: bool = False) -> int:
        """Send; outside of the chat's topic if that was closed or deleted."""
        return await in_topic_or_outside(
            chat, reply_to, lambda to, reply: self._messenger.send(to, message, reply_to=reply, silent=silent)
        )

    async def acquire_slot(self, job: Job, chat: ChatTarget) -> tuple[ChatTarget, Snooze | DeadLetter | Done | None]:
        """The chat's newest id, and the outcome if the job has to wait.

        It waits for Telegram's `retry_after`, then for our rate limit; a payment message that is shown again also waits
        for all other messages to the chat. A job whose last try had no response waits until Telegram answers.
        """
        now = self._clock.now()
        state = await self._db.read(messages.get_chat_status, chat.chat_id)
        chat = replace(chat, chat_id=state.chat_id)
        if state.blocked_reason and chat.inline_message_id is None:
            return chat, outbox_message.undeliverable(
                job, f"{CHAT_UNAVAILABLE} ({chat.chat_id}): {state.blocked_reason}"
            )
        if state.not_before and state.not_before > now:
            return chat, Snooze((state.not_before - now).total_seconds())
        is_repost = job.ordering_key == repost_ordering_key(chat.chat_id)
        if is_repost and await self._chats.has_pending(chat.chat_id):
            return chat, Snooze(REPOST_PAUSE)
        if wait := self._rate_limiter.acquire(chat.chat_id, now, spare=REPOST_SPARE if is_repost else 0):
            return chat, Snooze(wait)
        if job.attempts:
            await self._reach()
        return chat, None

    async def handle_error(self, job: Job, error: DeliveryError) -> Outcome:
        """The outcome of a job that Telegram did not accept; only tries without a response are limited in number."""
        chat_id = await self._chat_of(job)
        if error.moved_to is not None:
            await self._chats.migrate(chat_id, error.moved_to)
            return Snooze(0)
        if error.retry_after is not None:
            await self._db.write(
                messages.set_retry_after, chat_id, self._clock.now() + timedelta(seconds=error.retry_after)
            )
            return Snooze(error.retry_after)
        if error.permanent:
            return await self._refused(job, chat_id, error)
        log.warning("a message (%s) was not delivered: %s", job.kind, error)
        pause = 1 + backoff(job.attempts, first=4.0, longest=30.0, jitter=1.0, chance=self._chance())
        if not error.outcome_unknown:
            return Snooze(pause)
        if job.attempts + 1 >= (MAX_EDITS if isinstance(error, EditOutcomeUnknown) else MAX_SENDS):
            return DeadLetter(f"no response in {job.attempts + 1} attempts")
        return Retry(str(error), pause)

    async def _refused(self, job: Job, chat_id: int, error: DeliveryError) -> Outcome:
        verdict = outbox_message.undeliverable(job, str(error))
        if isinstance(verdict, Done) or not error.chat_unavailable:
            return verdict
        if await self._db.write(messages.mark_blocked, chat_id, str(error)):
            log.error("the bot cannot send to chat %s: %s", chat_id, error)
        return DeadLetter(f"{CHAT_UNAVAILABLE} ({chat_id}): {error}")

    async def _chat_of(self, job: Job) -> int:
        """The chat that a job goes to: where the payment message is, not where the payment was requested."""
        if job.kind == "message" or job.kind in self._made:
            return (await self._db.read(messages.get_chat_status, int(job.ordering_key))).chat_id
        shown = await self._db.read(messages.get_payment_message, json.loads(job.payload)["payment"])
        return (await self._db.read(messages.get_chat_status, shown.chat.chat_id)).chat_id

    async def _payment(self, payment_id: str) -> tuple[Payment, Shop]:
        payment = await self._db.read(payment_queries.by_id, payment_id)
        shop = await self._db.read(shops.get_shop, payment.shop_id) if payment else None
        if payment is None or shop is None:
            raise LookupError("a job about an unknown payment")
        bind_contextvars(payment=payment.reference)
        return payment, shop

    async def _message(self, payment: Payment, shop: Shop, now: datetime) -> Message:
        return payment_message(payment, self._display.view(shop, now, await self._recipients.of_card(payment)))
