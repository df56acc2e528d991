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
from handlers.messages.payment_events import Fact, fact_of, still_holds
from handlers.messages.payment_message import Looks, asked_by, card, card_state, farewell, notice
from handlers.messages.recipients import MoneyOut
from handlers.runtime.concurrency import Turns
from handlers.telegram.messenger import DeliveryFailed, Letter, Messenger
from handlers.telegram.rate_limit import Pacing
from handlers.trace import mark
from storage.messages import Card, Posts
from storage.models.job import Discard, Done, Mail, Retry, Snooze, Verdict
from storage.models.payment import Payment, Place
from storage.models.shop import Shop
from storage.payment_queries import Queries
from storage.shops import Directory

log = logging.getLogger(__name__)

MOST_SENDS = 2
"""So often a new message is sent without hearing how it ended: one repeat is the worst, then a human decides."""

MOST_EDITS = 10
"""So often an edit is tried that gets no answer, though Telegram can be reached; it must not hold its chat for ever."""

ACTIONABLE = frozenset(
    {"ready", "failed", "lapsed", "ending", "making", "asked", "trouble", "canceling", "processing", "reserved"}
)
"""States in which a deleted card is worth posting anew."""

CLOSED = "the chat is closed"
"""How the reason begins for which a mail to a chat that does not let us in is set aside."""


class EditUnsure(DeliveryFailed):
    """An edit that may or may not have been shown."""


class Outbox:
    """What happens to each mail of the outbox; the belt knows the rest."""

    def __init__(
        self,
        post: Posts,
        queries: Queries,
        directory: Directory,
        messenger: Messenger,
        pacing: Pacing,
        clock: Clock,
        *,
        show: Callable[[str], Awaitable[None]],
        looks: Looks,
        chance: Callable[[], float] = random.random,
        money_out: MoneyOut,
        made: Mapping[str, outbox_message.Maker] | None = None,
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
        self._turns = Turns()

    async def deliver(self, mail: Mail) -> Verdict:
        """Send or edit what the mail stands for."""
        try:
            match mail.kind:
                case "card":
                    async with self._turns.of(json.loads(mail.body)["payment"]):  # of two, in two lanes, one posts it
                        return await self._show_card(mail)
                case "notice":
                    return await self._tell(mail)
                case "post":
                    return await self._send_post(mail, outbox_message.post_of(mail))
                case "admins":
                    return await self._tell_admins(mail)
                case kind if kind in self._made:
                    return await self._make(mail, self._made[kind])
                case _:
                    return Discard(f"no such kind of mail: {mail.kind}")
        except DeliveryFailed as failed:
            return await self.failed(mail, failed)

    async def _show_card(self, mail: Mail) -> Verdict:
        """Edit the card to the newest state, or post it; older versions are passed over."""
        payment, shop = await self._payment(json.loads(mail.body)["payment"])
        shown = await self._post.card(payment.id)
        if shown.stands and shown.shown_version >= payment.version:
            return Done("shown already")
        foreign = shown.place.inline_id is None and await self._money_out.is_foreign(payment, shown.place)
        if foreign and (shown.place.chat_id < 0 or shown.message_id is None):
            return Done("the chat is not the shop's any more")
        place, wait = await self.admitted(mail, shown.place)
        if wait:
            return wait
        if shown.message_id is None and shown.place.inline_id is None:
            return await self._post_card(mail, payment, shop, shown, place)
        now = self._clock.now()
        try:
            letter = farewell(payment, shop) if foreign else await self._letter(payment, shop, now)
            await self._edit(place, shown.message_id, letter)
        except DeliveryFailed as failed:
            if not (failed.permanent and failed.gone):
                raise
            if shown.message_id is None:
                return Done("the inline message was deleted")
            await self._post.lost(payment.id, shown.message_id)
            if foreign or shown.lost or card_state(payment, now) not in ACTIONABLE:
                return Done("the card was deleted")
            return Snooze(0)
        await self._post.shown(payment.id, payment.version, now=now)
        return Done()

    async def _post_card(self, mail: Mail, payment: Payment, shop: Shop, shown: Card, place: Place) -> Verdict:
        """Post the card. That it is begun is written down first, so that a repeat is counted."""
        if shown.lost and card_state(payment, self._clock.now()) not in ACTIONABLE:
            return Done("the card was deleted")
        if shown.sends >= MOST_SENDS:
            return Discard("the card was sent without an answer too often")
        if shown.sends and not mail.tries:  # begun by a process that died; a doubtful try was looked into before
            await self._reach()
        await self._post.sending(payment.id)
        now = self._clock.now()
        try:
            message_id = await self._send(place, await self._letter(payment, shop, now), asked_by(payment, place))
        except DeliveryFailed as failed:
            if not failed.unsure:
                await self._post.not_sent(payment.id)
            raise
        await self._post.posted(payment.id, place, message_id, payment.version, now=now)
        return Done()

    async def _tell(self, mail: Mail) -> Verdict:
        """Send a notice as a reply to the card, unless it no longer holds."""
        payment_id, fact = fact_of(mail)
        payment, shop = await self._payment(payment_id)
        letter = await self._words(payment, shop, fact) if still_holds(payment, fact) else None
        if letter is None:
            return Done("overtaken")
        shown = await self._post.card(payment.id)
        if await self._money_out.told_apart(mail, payment, shown.place, letter):
            return Done("the chat is not the shop's any more")
        place, wait = await self.admitted(mail, shown.place)
        if wait:
            return wait
        await self._send(place, letter, shown.message_id, silent=fact.name == "lapsed")
        return Done()

    async def _words(self, payment: Payment, shop: Shop, fact: Fact) -> Letter | None:
        """What a notice says; None if that no longer holds."""
        if self._money_out.tells(fact):
            return await self._money_out.notice(payment, shop, fact)
        return notice(payment, fact, self._looks.view(shop, self._clock.now()))

    async def _tell_admins(self, mail: Mail) -> Verdict:
        """Put a message to each admin of the shop; they are sent like any other."""
        payment, shop = await self._payment(json.loads(mail.body)["payment"])
        await self._money_out.tell_admins(mail, payment, shop)
        return Done()

    async def _make(self, mail: Mail, maker: outbox_message.Maker) -> Verdict:
        """Send a message whose words are made now; its maker learns how it ended."""
        post = await maker.letter(mail)
        if post is None:
            return Done("not wanted any more")
        try:
            verdict = await self._send_post(mail, post)
        except DeliveryFailed as failed:
            if not failed.closed:
                raise
            verdict = await self.failed(mail, failed)
        if isinstance(verdict, Discard) and verdict.reason.startswith(CLOSED):
            await maker.closed(mail)
            return Done(verdict.reason)
        if isinstance(verdict, Done):
            await maker.sent(mail)
        return verdict

    async def _send_post(self, mail: Mail, post: outbox_message.Post) -> Verdict:
        """Send or edit a message whose words are settled."""
        if not await self._money_out.is_meant(post):
            return Done("the chat is not the shop's any more")
        place, wait = await self.admitted(mail, post.place)
        if wait:
            return wait
        moved = place.chat_id != post.place.chat_id  # then numbers of messages mean others
        if post.edits is not None:
            if not moved:
                await self._edit(place, post.edits, post.letter)
            return Done()
        await self._send(place, post.letter, None if moved else post.reply_to, silent=post.silent)
        return Done()

    async def _edit(self, place: Place, message_id: int | None, letter: Letter) -> None:
        """Edit; twice is as good as once, so a doubtful one is tried more often than a new message."""
        try:
            await self._messenger.edit(place, message_id, letter)
        except DeliveryFailed as failed:
            if failed.unsure:
                raise EditUnsure(str(failed), unsure=True) from failed
            raise

    async def _reach(self) -> None:
        """Before a doubtful message is sent once more: make sure that Telegram answers at all."""
        try:
            await self._messenger.connect()
        except DeliveryFailed as failed:
            failed.unsure = False
            raise

    async def _send(self, place: Place, letter: Letter, reply_to: int | None, *, silent: bool = False) -> int:
        """Send; a topic that was closed meanwhile does not keep money news back."""
        try:
            return await self._messenger.send(place, letter, reply_to=reply_to, silent=silent)
        except DeliveryFailed as failed:
            if not (failed.gone or failed.closed_topic) or place.thread_id is None:
                raise
            return await self._messenger.send(replace(place, thread_id=None), letter, silent=silent)

    async def admitted(self, mail: Mail, place: Place) -> tuple[Place, Snooze | Discard | Done | None]:
        """Where the chat is now, and whether it has to wait: Telegram's own word first, then our own pace.

        What was tried before without an answer is not tried again before Telegram answers at all.
        """
        now = self._clock.now()
        state = await self._post.state_of(place.chat_id)
        place = replace(place, chat_id=state.chat_id)
        if state.closed_because and place.inline_id is None:
            return place, outbox_message.unsaid(mail, f"{CLOSED} ({place.chat_id}): {state.closed_because}")
        if state.not_before and state.not_before > now:
            return place, Snooze((state.not_before - now).total_seconds())
        if wait := self._pacing.wait(place.chat_id, now):
            return place, Snooze(wait)
        if mail.tries:
            await self._reach()
        return place, None

    async def failed(self, mail: Mail, failed: DeliveryFailed) -> Verdict:
        """What becomes of a mail that Telegram did not take; only an unsure try counts, the others surely failed."""
        chat_id = await self._chat_of(mail)
        if failed.moved_to is not None:
            for payment_id in await self._post.move(chat_id, failed.moved_to):
                await self._show(payment_id)
            return Snooze(0)
        if failed.wait is not None:
            await self._post.wait(chat_id, self._clock.now() + timedelta(seconds=failed.wait))
            return Snooze(failed.wait)
        if failed.permanent:
            return await self._refused(mail, chat_id, failed)
        log.warning("a message (%s) did not get out: %s", mail.kind, failed)
        pause = 1 + self._chance() * min(30.0, 2.0 ** (mail.tries + 2))
        if not failed.unsure:
            return Snooze(pause)
        if mail.tries + 1 >= (MOST_EDITS if isinstance(failed, EditUnsure) else MOST_SENDS):
            return Discard(f"tried {mail.tries + 1} times without an answer")
        return Retry(str(failed), pause)

    async def _refused(self, mail: Mail, chat_id: int, failed: DeliveryFailed) -> Verdict:
        verdict = outbox_message.unsaid(mail, str(failed))
        if isinstance(verdict, Done) or not failed.closed:
            return verdict
        if await self._post.close(chat_id, str(failed)):
            log.error("chat %s is closed to the bot: %s", chat_id, failed)
        return Discard(f"{CLOSED} ({chat_id}): {failed}")

    async def _chat_of(self, mail: Mail) -> int:
        """The chat that a mail goes to; where a card stands counts, not where it was asked for."""
        if mail.kind == "post" or mail.kind in self._made:
            return (await self._post.state_of(int(mail.lane))).chat_id
        shown = await self._post.card(json.loads(mail.body)["payment"])
        return (await self._post.state_of(shown.place.chat_id)).chat_id

    async def _payment(self, payment_id: str) -> tuple[Payment, Shop]:
        payment = await self._queries.payment(payment_id)
        shop = await self._directory.shop(payment.shop_id) if payment else None
        if payment is None or shop is None:
            raise LookupError("a mail about a payment that is not there")
        mark(payment=payment.ref)
        return payment, shop

    async def _letter(self, payment: Payment, shop: Shop, now: datetime) -> Letter:
        return card(payment, self._looks.view(shop, now, await self._money_out.of_card(payment)))
