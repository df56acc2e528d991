"""What a door has in hand: who acts where, for which shop, and the ways to answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from handlers.access.authorization import Rights
from handlers.access.membership import Person, Standing, Team
from handlers.access.permissions import Action, Where, may
from handlers.chat.updates import InlineAsked, InlineChosen, Said, Tapped
from handlers.clock import Clock
from handlers.i18n import Safe, html, language_of, text
from handlers.messages.outbox_message import Post, draft_of
from handlers.messages.payment_message import Looks
from handlers.payments.service import Payments
from handlers.refunds.service import Refunds
from handlers.runtime.heartbeats import Health
from handlers.shops.invitations import Colleagues
from handlers.telegram.messenger import Keyboard, Letter, Messenger
from storage.audit_log import Trail
from storage.errors import NotAllowed, PaymentError
from storage.job_queue import Draft, Mailbox
from storage.messages import Posts
from storage.models.payment import Payment, Place
from storage.models.shop import Role, Shop
from storage.payment_queries import Queries
from storage.prompts import Question, Questions
from storage.shops import Directory

LONGEST_QUOTE = 60
"""Characters of what somebody wrote that a refusal repeats, for a message has its bounds."""


class NoShop(PaymentError):
    """The chat acts for no shop, or the person has to say for which of several."""

    code = "error.no_shop"


@dataclass(frozen=True, kw_only=True)
class Desks:
    """What the doors may ask; the same for every update."""

    payments: Payments
    refunds: Refunds
    rights: Rights
    team: Team
    queries: Queries
    directory: Directory
    questions: Questions
    posts: Posts
    outbox: Mailbox
    messenger: Messenger
    clock: Clock
    health: Health
    colleagues: Colleagues
    trail: Trail
    looks: Looks


@dataclass
class Context:
    """One update on its way through a door. `key` is the update's own, so that its answers are sent once."""

    desks: Desks
    key: str
    news: Said | Tapped | InlineAsked | InlineChosen
    standing: Standing
    now: datetime
    answered: bool = False
    reached_for: Payment | None = None
    """A payment that the person may not touch: the refusal is remembered with it."""
    _number: int = 0

    @property
    def person(self) -> Person:
        """Who acts."""
        return self.news.person

    @property
    def place(self) -> Place:
        """Where he acts; in inline mode that is his own private chat, as far as we know."""
        return self.news.place if isinstance(self.news, Said | Tapped) else Place(self.person.id)

    @property
    def said(self) -> Said:
        """The message, in a door for commands."""
        if not isinstance(self.news, Said):
            raise TypeError("a door for commands was given a tap")
        return self.news

    @property
    def tapped(self) -> Tapped:
        """The tap, in a door for buttons."""
        if not isinstance(self.news, Tapped):
            raise TypeError("a door for buttons was given a message")
        return self.news

    @property
    def shop(self) -> Shop:
        """The shop that this chat acts for.

        Raises:
            NoShop: there is none.
        """
        if self.standing.shop is None:
            raise NoShop
        return self.standing.shop

    @property
    def role(self) -> Role:
        """What the person may do here, as it was when the update was taken up."""
        return self.standing.role

    @property
    def is_known(self) -> bool:
        """Whether the person holds a role, here or in a shop that he has still to pick."""
        return self.role > Role.STRANGER or bool(self.standing.choices)

    @property
    def is_private(self) -> bool:
        """Whether nobody else reads along."""
        return self.place.chat_id > 0

    @property
    def where(self) -> Where:
        """In which kind of chat he acts."""
        if self.place.inline_id is not None:
            return Where.INLINE
        if self.is_private:
            return Where.PRIVATE
        return Where.HOMELESS if self.standing.shop is None else Where.GROUP

    def require(self, action: Action) -> None:
        """Refuse whoever may not do that now.

        Raises:
            NotAllowed: with his number, which an admin needs to give him a role.
        """
        if not may(self.role, action):
            raise NotAllowed(id=self.person.id)

    @property
    def language(self) -> str:
        """The person's language if it is ours, else the shop's."""
        shop = self.standing.shop
        return language_of(self.person.language_code) or (shop.language if shop else "en")

    def html(self, key: str, **holes: object) -> Safe:
        """A sentence for this person."""
        return html(self.language, key, **holes)

    def text(self, key: str, **holes: object) -> str:
        """A sentence without markup, for buttons and toasts."""
        return text(self.language, key, **holes)

    async def reply(self, key: str, *, keyboard: Keyboard = (), **holes: object) -> None:
        """Answer with a sentence, as a reply to the message."""
        await self.send(self.html(key, **holes), keyboard)

    async def send(self, said: Safe, keyboard: Keyboard = ()) -> None:
        """Answer with these words. The same update sends the same answer once, however often it is taken up."""
        await self.desks.outbox.put(self.draft(said, keyboard), now=self.now)

    def draft(self, said: Safe, keyboard: Keyboard = (), *, name: str = "") -> Draft:
        """The answer as a mail, for a desk that keeps it in the transaction of what it tells.

        `name` sets one apart from the answers that an earlier try of the update may have given.
        """
        reply_to = self.news.message_id if isinstance(self.news, Said) else None
        return self._draft(Post(self.place, Letter(said, keyboard), reply_to, passing=not self.is_known), name)

    async def replace(self, said: Safe, keyboard: Keyboard = ()) -> None:
        """Show this instead of the message whose button was tapped."""
        showing = Post(self.place, Letter(said, keyboard), edits=self.tapped.message_id)
        await self.desks.outbox.put(self._draft(showing), now=self.now)

    async def toast(self, key: str, /, *, alert: bool = False, **holes: object) -> None:
        """End the waiting of the tapped button with a sentence that only the person who tapped sees."""
        self.answered = True
        await self.desks.messenger.answer(self.tapped.query_id, self.text(key, **holes)[:200], alert=alert)

    async def refuse(self, refusal: PaymentError) -> None:
        """Say why not: as a reply to a message, as an alert to a tap."""
        holes = {name: _short(hole) for name, hole in refusal.holes.items()}
        if isinstance(self.news, Said):
            await self.send(self.html(refusal.code, **holes))
        else:
            await self.toast(refusal.code, alert=True, **holes)

    async def ask(self, name: str, kind: str, body: Mapping[str, Any]) -> Question:
        """Keep a question to this person, here, about the shop that the chat acts for; `name` is its own in the update.

        Another shop that the chat acts for by the time of the answer is not meant by it.
        """
        shop = self.standing.shop
        kept = {**body, "shop": None if shop is None else shop.id}
        keep = self.desks.questions.ask
        return await keep(f"{self.key}:{name}", kind, self.place, self.person.id, kept, now=self.now)

    async def decided(self, question: Question, choice: int) -> int:
        """Write down how a question was answered, and return the answer that counts: the first one."""
        kept = await self.desks.questions.answer(question.id, choice, now=self.now)
        return choice if kept.answer is None else kept.answer

    def _draft(self, post: Post, name: str = "") -> Draft:
        self._number += 1
        return draft_of(post, key=f"{self.key}:{name or f'answer:{self._number}'}")


def _short(hole: object) -> object:
    return f"{hole[:LONGEST_QUOTE]}…" if isinstance(hole, str) and len(hole) > LONGEST_QUOTE else hole
