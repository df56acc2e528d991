"""The context of a command or button handler: who acts where, for which shop, and the ways to answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from handlers.access.authorization import Authorization
from handlers.access.membership import Actor, ChatAccess, MembershipService
from handlers.access.permissions import Action, ChatKind, is_allowed
from handlers.chat.updates import CallbackQuery, ChosenInlineResult, IncomingMessage, InlineQuery
from handlers.clock import Clock
from handlers.i18n import SafeHtml, html, language_of, text
from handlers.messages.chat_changes import ChatChanges
from handlers.messages.outbox_message import OutboxMessage, to_job
from handlers.messages.payment_message import DisplaySettings
from handlers.messages.questions import Questions
from handlers.payments.service import PaymentService
from handlers.refunds.service import RefundService
from handlers.runtime.heartbeats import Heartbeats
from handlers.shops.invitations import InvitationService
from handlers.telegram.messenger import Button, Keyboard, Message, Messenger
from handlers.text_cleaning import shorten, whole_sentences
from storage import prompts
from storage.database.database import Database
from storage.errors import PermissionDenied, UserError
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from storage.models.payment import ChatTarget, Payment
from storage.models.shop import Role, Shop
from storage.prompts import Prompt

LONGEST_QUOTE = 60
"""Characters of a person's text that an error message repeats at most."""

PROMPT_PREFIX = "q"

OUR_VALUES = "values"
"""The placeholder for the values that a setting can have, which are repeated in full."""

MAX_CALLBACK_ANSWER = 200
"""Characters of the answer to a callback (core.telegram.org/bots/api#answercallbackquery)."""


class NoShop(UserError):
    """The chat is linked to no shop, or the person has to select one of several."""

    message_key = "error.no_shop"


@dataclass(frozen=True, kw_only=True)
class Services:
    """What handlers use; the same for every update."""

    payments: PaymentService
    refunds: RefundService
    authorization: Authorization
    membership: MembershipService
    db: Database
    outbox: JobQueue
    messenger: Messenger
    clock: Clock
    heartbeats: Heartbeats
    invitations: InvitationService
    chats: ChatChanges
    display: DisplaySettings
    questions: Questions
    livemode: bool
    """Whether Stripe is in live mode."""


@dataclass
class Context:
    """One update on its way to its handler. `key` is unique to the update, so its answers are sent once."""

    services: Services
    key: str
    update: IncomingMessage | CallbackQuery | InlineQuery | ChosenInlineResult
    access: ChatAccess
    now: datetime
    answered: bool = False
    denied_payment: Payment | None = None
    """A payment that the person may not act on: the denial is recorded with it."""
    _number: int = 0

    @property
    def actor(self) -> Actor:
        """The person who acts."""
        return self.update.actor

    @property
    def chat(self) -> ChatTarget:
        """The chat of the update; in inline mode the person's private chat."""
        return (
            self.update.chat if isinstance(self.update, IncomingMessage | CallbackQuery) else ChatTarget(self.actor.id)
        )

    @property
    def message(self) -> IncomingMessage:
        """The message, in a command handler."""
        if not isinstance(self.update, IncomingMessage):
            raise TypeError("a command handler was given a button press")
        return self.update

    @property
    def callback(self) -> CallbackQuery:
        """The button press, in a button handler."""
        if not isinstance(self.update, CallbackQuery):
            raise TypeError("a button handler was given a message")
        return self.update

    @property
    def replies_to_us(self) -> bool:
        """Whether the message replies to one of this bot."""
        named = self.message.reply_to_bot
        return named is not None and named.lower() == self.services.messenger.username.lower()

    @property
    def shop(self) -> Shop:
        """The shop of this chat.

        Raises:
            NoShop: there is none.
        """
        if self.access.shop is None:
            raise NoShop
        return self.access.shop

    @property
    def role(self) -> Role:
        """The person's role here when the update arrived."""
        return self.access.role

    @property
    def has_role(self) -> bool:
        """Whether the person holds a role, here or in a shop they have yet to select."""
        return self.role > Role.NONE or bool(self.access.selectable_shops)

    @property
    def is_private(self) -> bool:
        """Whether it is a private chat."""
        return self.chat.chat_id > 0

    @property
    def chat_kind(self) -> ChatKind:
        """The kind of chat."""
        if self.chat.inline_message_id is not None:
            return ChatKind.INLINE
        if self.is_private:
            return ChatKind.PRIVATE
        return ChatKind.UNLINKED_GROUP if self.access.shop is None else ChatKind.GROUP

    def require(self, action: Action) -> None:
        """Check that the person may do this now.

        Raises:
            PermissionDenied: with their Telegram ID, which an admin needs to give them a role.
        """
        if not is_allowed(self.role, action):
            raise PermissionDenied(id=self.actor.id)

    @property
    def db(self) -> Database:
        """The database: `await context.db.read(fn, ...)` and `write(fn, ...)` run repository functions."""
        return self.services.db

    @property
    def language(self) -> str:
        """The person's language if Kvit speaks it, else the shop's."""
        shop = self.access.shop
        return language_of(self.actor.language_code) or (shop.language if shop else "en")

    @property
    def wallet(self) -> str:
        """The wallet's name today."""
        return self.services.display.wallet(self.now, self.access.shop)

    def html(self, key: str, **params: object) -> SafeHtml:
        """A text for this person, as HTML."""
        return html(self.language, key, **params)

    def text(self, key: str, **params: object) -> str:
        """A text without markup, for buttons and alerts."""
        return text(self.language, key, **params)

    async def reply(self, key: str, *, keyboard: Keyboard = (), **params: object) -> None:
        """Answer with a text of the catalogue, as a reply to the message."""
        await self.send(self.html(key, **params), keyboard)

    async def send(
        self,
        said: SafeHtml,
        keyboard: Keyboard = (),
        *,
        chat: ChatTarget | None = None,
        question: str | None = None,
    ) -> None:
        """Answer with this text, in another chat if one is given.

        The same update sends the same answer once, however often it is handled. `question` is what it asks, if several
        people can decide it: the message is edited once one of them has.
        """
        if chat is None:
            job = self.answer_job(said, keyboard, question=question)
        else:
            job = self._draft(OutboxMessage(chat, Message(said, keyboard)))
        await self.services.outbox.enqueue(job, now=self.now)

    def answer_job(
        self, said: SafeHtml, keyboard: Keyboard = (), *, name: str = "", question: str | None = None
    ) -> NewJob:
        """The answer as a job, for a service that enqueues it in its own transaction.

        `name` keeps it apart from answers that an earlier try of the update may have given.
        """
        reply_to = (self.update.message_id or None) if isinstance(self.update, IncomingMessage) else None
        return self._draft(
            OutboxMessage(
                self.chat,
                Message(said, keyboard),
                reply_to,
                best_effort=not self.has_role,
                question=None if question is None else (question, self.language),
            ),
            name,
        )

    async def edit(self, said: SafeHtml, keyboard: Keyboard = ()) -> None:
        """Show this in place of the message whose button was pressed."""
        showing = OutboxMessage(self.chat, Message(said, keyboard), edit_message_id=self.callback.message_id)
        await self.services.outbox.enqueue(self._draft(showing), now=self.now)

    async def answer_callback(self, key: str, /, *, alert: bool = False, **params: object) -> None:
        """Answer the button press with a text that only the person who pressed sees."""
        self.answered = True
        shown = whole_sentences(self.text(key, **params), MAX_CALLBACK_ANSWER)
        await self.services.messenger.answer_callback(self.callback.query_id, shown, alert=alert)

    async def send_error(self, refusal: UserError) -> None:
        """Answer with an error: as a reply to a message, as an alert to a button press."""
        holes = {name: hole if name == OUR_VALUES else _short(hole) for name, hole in refusal.params.items()}
        if isinstance(self.update, IncomingMessage):
            await self.send(self.html(refusal.message_key, **holes))
        else:
            await self.answer_callback(refusal.message_key, alert=True, **holes)

    async def prompt(self, name: str, kind: str, body: Mapping[str, Any]) -> Prompt:
        """Store a prompt to this person about this chat's shop; `name` is unique within the update.

        If the chat is linked to another shop when the answer comes, the answer is rejected.
        """
        shop = self.access.shop
        kept = {**body, "shop": None if shop is None else shop.id}
        return await self.db.write(
            prompts.create, f"{self.key}:{name}", kind, self.chat, self.actor.id, kept, now=self.now
        )

    async def record_answer(self, prompt: Prompt, choice: int) -> int:
        """Store the answer to a prompt and return the one that counts: the first."""
        kept = await self.services.db.write(prompts.answer, prompt.id, choice, now=self.now)
        return choice if kept.answer is None else kept.answer

    def _draft(self, outgoing: OutboxMessage, name: str = "") -> NewJob:
        self._number += 1
        return to_job(outgoing, key=f"{self.key}:{name or f'answer:{self._number}'}")


def prompt_button(prompt: Prompt, choice: int, label: str, *, style: str = "") -> Button:
    """The button that answers a prompt with this choice."""
    return Button(label, data=f"{PROMPT_PREFIX}:{prompt.id}:{choice}", style=style)


def _short(hole: object) -> object:
    return shorten(hole, LONGEST_QUOTE) if isinstance(hole, str) else hole
