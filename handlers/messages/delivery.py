"""Brings messages out: cards as they stand now, each fact once, in order per chat and within Telegram's limits."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from handlers.clock import Clock
from handlers.messages import outbox_message
from handlers.messages.payment_events import PaymentEvent, event_of_job, is_still_true
from handlers.messages.payment_message import (
    DisplaySettings,
    access_removed_message,
    display_state,
    payment_message,
    payment_notification,
    request_message_id,
)
from handlers.messages.recipients import Recipients
from handlers.runtime.concurrency import KeyedLocks
from handlers.telegram.messenger import DeliveryError, Message, Messenger
from handlers.telegram.rate_limit import TelegramRateLimiter
from handlers.trace import mark
from storage.messages import MessageRepository, PaymentMessage
from storage.models.job import DeadLetter, Done, Job, Outcome, Retry, Snooze
from storage.models.payment import ChatTarget, Payment
from storage.models.shop import Shop
from storage.payment_queries import PaymentQueries
from storage.shops import ShopRepository

log = logging.getLogger(__name__)

MAX_SENDS = 2
"""So often a new message is sent without hearing how it ended: one repeat is the worst, then a human decides."""

MAX_EDITS = 10
"""So often an edit is tried that gets no answer, though Telegram can be reached; it must not hold its chat for ever."""

OPEN_STATES = frozenset(
    {"ready", "failed", "lapsed", "ending", "making", "asked", "trouble", "canceling", "processing", "reserved"}
)
"""States in which a deleted card is worth posting anew."""

CHAT_UNAVAILABLE = "the chat is closed"
"""How the reason begins for which a mail to a chat that does not let us in is set aside."""


class EditOutcomeUnknown(DeliveryError):
    """An edit that may or may not have been shown."""


class MessageDelivery:
    """What happens to each mail of the outbox; the belt knows the rest."""

    def __init__(
        self,
        post: MessageRepository,
        queries: PaymentQueries,
        directory: ShopRepository,
        messenger: Messenger,
        pacing: TelegramRateLimiter,
        clock: Clock,
        *,
        show: Callable[[str], Awaitable[None]],
        looks: DisplaySettings,
        chance: Callable[[], float] = random.random,
        money_out: Recipients,
        made: Mapping[str, outbox_message.MessageBuilder] | None = None,
    ) -> None:
        self._post = post
        self._queries = queries
        self._directory = directory
        self._messenger = messenger
        self._pacing = pacing
        self._clock = clock
        self._show = show
        self._looks = looks
        self._chance = chance
        self._money_out = money_out
        self._made = made or {}
        self._turns = KeyedLocks()

    async def handle(self, mail: Job) -> Outcome:
        """Send or edit what the mail stands for."""
        try:
            match mail.kind:
                case "card":
                    async with self._turns.lock(
                        json.loads(mail.payload)["payment"]
                    ):  # of two, in two lanes, one posts it
                        return await self._update_payment_message(mail)
                case "notice":
                    return await self._send_notification(mail)
                case "post":
                    return await self._send_post(mail, outbox_message.from_job(mail))
                case "admins":
                    return await self._tell_admins(mail)
                case kind if kind in self._made:
                    return await self._build_and_send(mail, self._made[kind])
                case _:
                    return DeadLetter(f"no such kind of mail: {mail.kind}")
        except DeliveryError as failed:
            return await self.handle_error(mail, failed)

    async def _update_payment_message(self, mail: Job) -> Outcome:
        """Edit the card to the newest state, or post it; older versions are passed over."""
        payment, shop = await self._payment(json.loads(mail.payload)["payment"])
        shown = await self._post.payment_message(payment.id)
        if shown.exists and shown.shown_version >= payment.version:
            return Done("shown already")
        foreign = shown.place.inline_message_id is None and await self._money_out.is_chat_detached(payment, shown.place)
        if foreign and (shown.place.chat_id < 0 or shown.message_id is None):
            return Done("the chat is not the shop's any more")
        place, wait = await self.acquire_slot(mail, shown.place)
        if wait:
            return wait
        if shown.message_id is None and shown.place.inline_message_id is None:
            return await self._send_payment_message(mail, payment, shop, shown, place)
        now = self._clock.now()
        try:
            letter = access_removed_message(payment, shop) if foreign else await self._letter(payment, shop, now)
            await self._edit(place, shown.message_id, letter)
        except DeliveryError as failed:
            if not (failed.permanent and failed.message_gone):
                raise
            if shown.message_id is None:
                return Done("the inline message was deleted")
            await self._post.mark_deleted(payment.id, shown.message_id)
            if foreign or shown.is_deleted or display_state(payment, now) not in OPEN_STATES:
                return Done("the card was deleted")
            return Snooze(0)
        await self._post.mark_shown(payment.id, payment.version, now=now)
        return Done()

    async def _send_payment_message(
        self, mail: Job, payment: Payment, shop: Shop, shown: PaymentMessage, place: ChatTarget
    ) -> Outcome:
        """Post the card. That it is begun is written down first, so that a repeat is counted."""
        if shown.is_deleted and display_state(payment, self._clock.now()) not in OPEN_STATES:
            return Done("the card was deleted")
        if shown.send_attempts >= MAX_SENDS:
            return DeadLetter("the card was sent without an answer too often")
        if (
            shown.send_attempts and not mail.attempts
        ):  # begun by a process that died; a doubtful try was looked into before
            await self._reach()
        await self._post.mark_sending(payment.id)
        now = self._clock.now()
        try:
            message_id = await self._send(
                place, await self._letter(payment, shop, now), request_message_id(payment, place)
            )
        except DeliveryError as failed:
            if not failed.outcome_unknown:
                await self._post.mark_not_sent(payment.id)
            raise
        await self._post.mark_sent(payment.id, place, message_id, payment.version, now=now)
        return Done()

    async def _send_notification(self, mail: Job) -> Outcome:
        """Send a notice as a reply to the card, unless it no longer holds."""
        payment_id, fact = event_of_job(mail)
        payment, shop = await self._payment(payment_id)
        letter = await self._words(payment, shop, fact) if is_still_true(payment, fact) else None
        if letter is None:
            return Done("overtaken")
        shown = await self._post.payment_message(payment.id)
        if await self._money_out.redirect_to_admins(mail, payment, shown.place, letter):
            return Done("the chat is not the shop's any more")
        place, wait = await self.acquire_slot(mail, shown.place)
        if wait:
            return wait
        await self._send(place, letter, shown.message_id, silent=fact.name == "lapsed")
        return Done()

    async def _words(self, payment: Payment, shop: Shop, fact: PaymentEvent) -> Message | None:
        """What a notice says; None if that no longer holds."""
        if self._money_out.handles(fact):
            return await self._money_out.notice(payment, shop, fact)
        return payment_notification(payment, fact, self._looks.view(shop, self._clock.now()))

    async def _tell_admins(self, mail: Job) -> Outcome:
        """Put a message to each admin of the shop; they are sent like any other."""
        payment, shop = await self._payment(json.loads(mail.payload)["payment"])
        await self._money_out.notify_admins(mail, payment, shop)
        return Done()

    async def _build_and_send(self, mail: Job, maker: outbox_message.MessageBuilder) -> Outcome:
        """Send a message whose words are made now; its maker learns how it ended."""
        post = await maker.build_message(mail)
        if post is None:
            return Done("not wanted any more")
        try:
            verdict = await self._send_post(mail, post)
        except DeliveryError as failed:
            if not failed.chat_unavailable:
                raise
            verdict = await self.handle_error(mail, failed)
        if isinstance(verdict, DeadLetter) and verdict.reason.startswith(CHAT_UNAVAILABLE):
            await maker.on_chat_unavailable(mail)
            return Done(verdict.reason)
        if isinstance(verdict, Done):
            await maker.on_sent(mail)
        return verdict

    async def _send_post(self, mail: Job, post: outbox_message.OutboxMessage) -> Outcome:
        """Send or edit a message whose words are settled."""
        if not await self._money_out.may_receive(post):
            return Done("the chat is not the shop's any more")
        place, wait = await self.acquire_slot(mail, post.place)
        if wait:
            return wait
        moved = place.chat_id != post.place.chat_id  # then numbers of messages mean others
        if post.edit_message_id is not None:
            if not moved:
                await self._edit(place, post.edit_message_id, post.message)
            return Done()
        await self._send(place, post.message, None if moved else post.reply_to, silent=post.silent)
        return Done()

    async def _edit(self, place: ChatTarget, message_id: int | None, letter: Message) -> None:
        """Edit; twice is as good as once, so a doubtful one is tried more often than a new message."""
        try:
            await self._messenger.edit(place, message_id, letter)
        except DeliveryError as failed:
            if failed.outcome_unknown:
                raise EditOutcomeUnknown(str(failed), unsure=True) from failed
            raise

    async def _reach(self) -> None:
        """Before a doubtful message is sent once more: make sure that Telegram answers at all."""
        try:
            await self._messenger.get_me()
        except DeliveryError as failed:
            failed.outcome_unknown = False
            raise

    async def _send(self, place: ChatTarget, letter: Message, reply_to: int | None, *, silent: bool = False) -> int:
        """Send; a topic that was closed meanwhile does not keep money news back."""
        try:
            return await self._messenger.send(place, letter, reply_to=reply_to, silent=silent)
        except DeliveryError as failed:
            if not (failed.message_gone or failed.topic_closed) or place.thread_id is None:
                raise
            return await self._messenger.send(replace(place, thread_id=None), letter, silent=silent)

    async def acquire_slot(self, mail: Job, place: ChatTarget) -> tuple[ChatTarget, Snooze | DeadLetter | Done | None]:
        """Where the chat is now, and whether it has to wait: Telegram's own word first, then our own pace.

        What was tried before without an answer is not tried again before Telegram answers at all.
        """
        now = self._clock.now()
        state = await self._post.chat_status(place.chat_id)
        place = replace(place, chat_id=state.chat_id)
        if state.blocked_reason and place.inline_message_id is None:
            return place, outbox_message.undeliverable(
                mail, f"{CHAT_UNAVAILABLE} ({place.chat_id}): {state.blocked_reason}"
            )
        if state.not_before and state.not_before > now:
            return place, Snooze((state.not_before - now).total_seconds())
        if wait := self._pacing.acquire(place.chat_id, now):
            return place, Snooze(wait)
        if mail.attempts:
            await self._reach()
        return place, None

    async def handle_error(self, mail: Job, failed: DeliveryError) -> Outcome:
        """What becomes of a mail that Telegram did not take; only an unsure try counts, the others surely failed."""
        chat_id = await self._chat_of(mail)
        if failed.moved_to is not None:
            for payment_id in await self._post.migrate_chat(chat_id, failed.moved_to):
                await self._show(payment_id)
            return Snooze(0)
        if failed.retry_after is not None:
            await self._post.set_retry_after(chat_id, self._clock.now() + timedelta(seconds=failed.retry_after))
            return Snooze(failed.retry_after)
        if failed.permanent:
            return await self._refused(mail, chat_id, failed)
        log.warning("a message (%s) did not get out: %s", mail.kind, failed)
        pause = 1 + self._chance() * min(30.0, 2.0 ** (mail.attempts + 2))
        if not failed.outcome_unknown:
            return Snooze(pause)
        if mail.attempts + 1 >= (MAX_EDITS if isinstance(failed, EditOutcomeUnknown) else MAX_SENDS):
            return DeadLetter(f"tried {mail.attempts + 1} times without an answer")
        return Retry(str(failed), pause)

    async def _refused(self, mail: Job, chat_id: int, failed: DeliveryError) -> Outcome:
        verdict = outbox_message.undeliverable(mail, str(failed))
        if isinstance(verdict, Done) or not failed.chat_unavailable:
            return verdict
        if await self._post.mark_blocked(chat_id, str(failed)):
            log.error("chat %s is closed to the bot: %s", chat_id, failed)
        return DeadLetter(f"{CHAT_UNAVAILABLE} ({chat_id}): {failed}")

    async def _chat_of(self, mail: Job) -> int:
        """The chat that a mail goes to; where a card stands counts, not where it was asked for."""
        if mail.kind == "post" or mail.kind in self._made:
            return (await self._post.chat_status(int(mail.ordering_key))).chat_id
        shown = await self._post.payment_message(json.loads(mail.payload)["payment"])
        return (await self._post.chat_status(shown.place.chat_id)).chat_id

    async def _payment(self, payment_id: str) -> tuple[Payment, Shop]:
        payment = await self._queries.payment(payment_id)
        shop = await self._directory.shop(payment.shop_id) if payment else None
        if payment is None or shop is None:
            raise LookupError("a mail about a payment that is not there")
        mark(payment=payment.reference)
        return payment, shop

    async def _letter(self, payment: Payment, shop: Shop, now: datetime) -> Message:
        return payment_message(payment, self._looks.view(shop, now, await self._money_out.of_card(payment)))
