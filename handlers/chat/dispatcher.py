"""What happens to one stored update: it is read and led to its door, and every refusal is told in one place."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from handlers.chat import callback_dispatch, command_dispatch
from handlers.chat.command_dispatch import SpeakAsYourself
from handlers.chat.commands import inline
from handlers.chat.context import Context, Desks
from handlers.chat.rate_limits import Restraint
from handlers.chat.updates import Access, InlineAsked, InlineChosen, Moved, Said, Tapped, read
from handlers.telegram.messenger import DeliveryFailed
from handlers.trace import mark
from storage.errors import NotAllowed, PaymentError
from storage.models.job import Discard, Done, Draft, Mail, Retry, Verdict

log = logging.getLogger(__name__)

UNREADABLE = "unreadable"
"""How the reason begins for which an update is set aside that nobody can be answered."""


class Chat:
    """The handling of updates. Done twice it has the effects of once: all of them have keys made of the update's."""

    def __init__(self, desks: Desks) -> None:
        self._desks = desks
        self._manners = Restraint()

    async def handle(self, mail: Mail) -> Verdict:
        """Lead the update to its door."""
        try:
            news = read(mail.body)
        except Exception as error:  # whatever Telegram may have sent: it will not become readable
            log.exception("an update cannot be read")
            return Discard(f"{UNREADABLE}: {type(error).__name__}")
        mark(update=mail.key)
        match news:
            case Said():
                return await self._said(news, mail.key)
            case Tapped():
                return await self._tapped(news, mail.key)
            case InlineAsked():
                await self._inline_asked(news, mail.key)
            case InlineChosen():
                await inline.chosen(await self._context(news, mail.key), news)
            case Moved(old, new):
                for payment_id in await self._desks.posts.move(old, new):
                    await self._desks.payments.show(payment_id)
            case Access(chat_id, is_open):
                await self._access(chat_id, is_open)
        return Done()

    async def gave_up(self, mail: Mail, reason: str) -> Sequence[Draft]:
        """The update could not be dealt with in all its tries: do not leave the person without a word."""
        if reason.startswith(UNREADABLE):
            return ()
        news = read(mail.body)
        if not isinstance(news, Said | Tapped):
            return ()
        context = await self._context(news, mail.key)
        return (context.draft(context.html("error.broken"), name="broken"),)

    async def _inline_asked(self, asked: InlineAsked, key: str) -> None:
        """Nobody waits long for results: what cannot be answered now is not worth another try."""
        context = await self._context(asked, key)
        if not self._manners.may_see(context):
            return
        try:
            await inline.asked(context, asked)
        except DeliveryFailed as failed:
            log.info("an inline query could not be answered: %s", failed)

    async def _said(self, said: Said, key: str) -> Verdict:
        username = self._desks.messenger.username
        if said.to_bot is not None:
            if not username:
                return Retry("our own name is not known yet", 2)
            if said.to_bot.lower() != username.lower():
                return Done("for another bot")
        if said.command is None and said.place.chat_id < 0:
            return Done("not for us")
        context = await self._context(said, key)
        if not await self._manners.may_hear(context):
            return Done("strangers are heard so often only")
        await self._desks.posts.reopen(said.place.chat_id)
        try:
            await command_dispatch.take_up(context)
        except PaymentError as refusal:
            await self._note(context, refusal)
            if self._manners.may_refuse(context):
                await context.refuse(refusal)
        return Done()

    async def _tapped(self, tapped: Tapped, key: str) -> Verdict:
        context = await self._context(tapped, key)
        if not self._manners.may_see(context):
            return Done("strangers are seen so often only")
        try:
            await self._carry_out(context)
            if not context.answered:
                await self._desks.messenger.answer(tapped.query_id)
        except DeliveryFailed as failed:
            log.info("the tap could not be answered: %s", failed)
        return Done()

    async def _carry_out(self, context: Context) -> None:
        try:
            await callback_dispatch.take_up(context)
        except PaymentError as refusal:
            await self._note(context, refusal)
            await context.refuse(refusal)

    async def _note(self, context: Context, refusal: PaymentError) -> None:
        """Write into the history that somebody tried what he may not: that of the shop whose payment he reached for."""
        payment, shop = context.reached_for, context.standing.shop
        forbidden = payment is not None or (shop is not None and isinstance(refusal, NotAllowed | SpeakAsYourself))
        if not forbidden or not self._manners.may_note(context):
            return
        news, actor = context.news, f"user:{context.person.id}"
        detail = {"command": news.command} if isinstance(news, Said) else {"button": context.tapped.data[:1]}
        if payment is not None:
            await self._desks.trail.refused_at(payment, actor, detail, context.now)
        elif shop is not None:
            await self._desks.trail.refused(shop.id, actor, detail, context.now)

    async def _context(self, news: Said | Tapped | InlineAsked | InlineChosen, key: str) -> Context:
        standing = await self._desks.team.standing(_chat_of(news), news.person)
        return Context(self._desks, f"update:{key}", news, standing, self._desks.clock.now())

    async def _access(self, chat_id: int, is_open: bool) -> None:
        if is_open:
            await self._desks.posts.reopen(chat_id)
        elif await self._is_ours(chat_id) and await self._desks.posts.close(chat_id, "the bot was shut out"):
            log.warning("the bot was shut out of chat %s", chat_id)

    async def _is_ours(self, chat_id: int) -> bool:
        """Whether a shop speaks there; strangers come and go as they like."""
        desks = self._desks
        if await desks.directory.shop_of_chat(chat_id) is not None or await desks.team.is_owner(chat_id):
            return True
        return bool(await desks.directory.seats(chat_id))


def _chat_of(news: Said | Tapped | InlineAsked | InlineChosen) -> int:
    return news.place.chat_id if isinstance(news, Said | Tapped) else news.person.id
