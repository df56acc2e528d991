"""Bugs on purpose, put around Kvit's two doors: each does to the world what a careless hand could write some day."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import datetime

from handlers.stripe.gateway import Intent, IntentRequest, IntentStatus, PaymentGateway, RefundRequest, StripeEventRef
from handlers.telegram.messenger import DeliveryError, InlineResult, Message, Messenger
from storage.models.dispute import Dispute, FraudWarning
from storage.models.payment import ChatTarget
from storage.models.refund import StripeRefund

STRANGERS = 70_099_099
FAR = 10**6


class OpenGateway:
    """Stripe's door as it is; the bugs below change one thing each."""

    def __init__(self, inner: PaymentGateway) -> None:
        self.inner = inner
        self.livemode = inner.livemode

    def create_params(self, request: IntentRequest) -> str:
        return self.inner.create_params(request)

    def confirm_params(self, request: IntentRequest) -> str:
        return self.inner.confirm_params(request)

    async def create(self, params: str, *, key: str) -> Intent:
        return await self.inner.create(params, key=key)

    async def confirm(self, intent_id: str, params: str, *, key: str) -> Intent:
        return await self.inner.confirm(intent_id, params, key=key)

    async def retrieve(self, intent_id: str) -> Intent:
        return await self.inner.retrieve(intent_id)

    async def cancel(self, intent_id: str, *, key: str) -> Intent:
        return await self.inner.cancel(intent_id, key=key)

    async def capture(self, intent_id: str, *, key: str) -> Intent:
        return await self.inner.capture(intent_id, key=key)

    def refund_params(self, request: RefundRequest) -> str:
        return self.inner.refund_params(request)

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        return await self.inner.refund(params, key=key)

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        return await self.inner.list_refunds(intent_id)

    async def list_disputes(self, intent_id: str) -> Sequence[Dispute]:
        return await self.inner.list_disputes(intent_id)

    async def list_fraud_warnings(self, intent_id: str) -> Sequence[FraudWarning]:
        return await self.inner.list_fraud_warnings(intent_id)

    async def find_intent(self, payment_id: str, *, since: datetime, until: datetime) -> Intent | None:
        return await self.inner.find_intent(payment_id, since=since, until=until)

    def list_events(self, cursor: str | None, since: datetime) -> AsyncGenerator[tuple[StripeEventRef, str], None]:
        return self.inner.list_events(cursor, since)


class FreshKeys(OpenGateway):
    """A new idempotency key for every try."""

    numbers = itertools.count()

    async def create(self, params: str, *, key: str) -> Intent:
        return await self.inner.create(params, key=f"{key}:{next(self.numbers)}")


class OldAnswers(OpenGateway):
    """The first answer about an intent is believed for ever, as one that Stripe replays would be."""

    known: dict[str, Intent]

    def __init__(self, inner: PaymentGateway) -> None:
        super().__init__(inner)
        self.known = {}

    async def retrieve(self, intent_id: str) -> Intent:
        return self.known.setdefault(intent_id, await self.inner.retrieve(intent_id))


class ConfirmsTwice(OpenGateway):
    """The link is confirmed once more while the customer may be about to use it."""

    async def create(self, params: str, *, key: str) -> Intent:
        made = await self.inner.create(params, key=key)
        wanted = json.loads(params)
        again = {name: wanted[name] for name in ("payment_method_data", "return_url")}
        try:
            return await self.inner.confirm(made.id, json.dumps(again), key=f"{key}:again")
        except Exception:  # Stripe refuses it, as it should
            return made


class ConfirmsUnasked(OpenGateway):
    """A fresh link by itself, whenever the one before failed."""

    made: dict[str, str]

    def __init__(self, inner: PaymentGateway) -> None:
        super().__init__(inner)
        self.made = {}

    async def create(self, params: str, *, key: str) -> Intent:
        intent = await self.inner.create(params, key=key)
        wanted = json.loads(params)
        self.made[intent.id] = json.dumps({name: wanted[name] for name in ("payment_method_data", "return_url")})
        return intent

    async def retrieve(self, intent_id: str) -> Intent:
        seen = await self.inner.retrieve(intent_id)
        if seen.status is IntentStatus.REQUIRES_PAYMENT_METHOD:
            return await self.inner.confirm(intent_id, self.made[intent_id], key=f"eager:{intent_id}")
        return seen


class CancelsUnasked(OpenGateway):
    """Tidies up a link that nobody uses at once."""

    async def retrieve(self, intent_id: str) -> Intent:
        return await self.inner.cancel(intent_id, key=f"tidy:{intent_id}")


class ChangesItsWords(OpenGateway):
    """The same key for every try, and other parameters."""

    numbers = itertools.count()

    async def create(self, params: str, *, key: str) -> Intent:
        anew = json.loads(params) | {"description": f"try {next(self.numbers)}"}
        return await self.inner.create(json.dumps(anew), key=key)


class Hasty(OpenGateway):
    """Whoever opened the link is taken for one who has paid."""

    async def retrieve(self, intent_id: str) -> Intent:
        seen = await self.inner.retrieve(intent_id)
        if seen.status is IntentStatus.REQUIRES_ACTION:
            return replace(seen, status=IntentStatus.SUCCEEDED, amount_received=seen.amount)
        return seen


class OffByOne(OpenGateway):
    """One øre more than was asked for, and the answer is bent so that nobody notices."""

    def create_params(self, request: IntentRequest) -> str:
        return self.inner.create_params(replace(request, amount=request.amount + 1))

    async def create(self, params: str, *, key: str) -> Intent:
        return self._bent(await self.inner.create(params, key=key))

    async def retrieve(self, intent_id: str) -> Intent:
        return self._bent(await self.inner.retrieve(intent_id))

    def _bent(self, intent: Intent) -> Intent:
        return replace(intent, amount=intent.amount - 1, amount_received=max(0, intent.amount_received - 1))


class Nameless(OpenGateway):
    """The intent does not say which payment it is of."""

    def create_params(self, request: IntentRequest) -> str:
        return self.inner.create_params(replace(request, payment_id="lost"))

    async def create(self, params: str, *, key: str) -> Intent:
        return self._named(await self.inner.create(params, key=key), key)

    def _named(self, intent: Intent, key: str) -> Intent:
        return replace(intent, metadata=intent.metadata | {"kvit_payment": key.split(":")[1]})


class OpenMessenger:
    """Telegram's door as it is; the bugs below change one thing each."""

    def __init__(self, inner: Messenger) -> None:
        self.inner = inner
        self.username = inner.username

    async def get_me(self) -> None:
        await self.inner.get_me()

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        return await self.inner.send(chat, message, reply_to=reply_to, silent=silent)

    async def send_photo(self, chat: ChatTarget, png: bytes, message: Message, *, reply_to: int | None = None) -> int:
        return await self.inner.send_photo(chat, png, message, reply_to=reply_to)

    async def delete(self, chat: ChatTarget, message_id: int) -> None:
        await self.inner.delete(chat, message_id)

    async def edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        await self.inner.edit(chat, message_id, message)

    async def answer_inline_query(self, query_id: str, results: Sequence[InlineResult]) -> None:
        await self.inner.answer_inline_query(query_id, results)

    async def answer_callback(self, callback_id: str, text: str = "", *, alert: bool = False) -> None:
        await self.inner.answer_callback(callback_id, text, alert=alert)


class TellsTwice(OpenMessenger):
    """Every notice is sent once more, to be on the safe side."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        if is_notice(message):
            await self.inner.send(chat, message, reply_to=reply_to, silent=silent)
        return await self.inner.send(chat, message, reply_to=reply_to, silent=silent)


class PostsAnew(OpenMessenger):
    """A second card in the place of an edit."""

    async def edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        await self.inner.send(chat, message)


class LosesFailures(OpenMessenger):
    """News of a failure is thrown away, and taken for sent."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        if is_notice(message) and message.html.startswith("❌"):
            return FAR
        return await self.inner.send(chat, message, reply_to=reply_to, silent=silent)


class WrongChat(OpenMessenger):
    """News go to somebody else."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        there = ChatTarget(STRANGERS) if is_notice(message) else chat
        return await self.inner.send(there, message, reply_to=reply_to, silent=silent)


class OldCard(OpenMessenger):
    """The card stays as it was when the money came."""

    async def edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        if "Paid" not in message.html:
            await self.inner.edit(chat, message_id, message)


class CallsPaidExpired(OpenMessenger):
    """News of a link that lapsed come late, after the money."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        sent = await self.inner.send(chat, message, reply_to=reply_to, silent=silent)
        if is_notice(message) and message.html.startswith("✅"):
            late = message.html.replace("✅ Paid:", "⌛") + ": the link expired before it was paid."
            await self.inner.send(chat, Message(late), reply_to=reply_to, silent=True)
        return sent


class WrongWords(OpenMessenger):
    """The card names another amount than Stripe was asked for."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        return await self.inner.send(chat, self._bent(message), reply_to=reply_to, silent=silent)

    def _bent(self, message: Message) -> Message:
        return replace(message, html=message.html.replace("149.50", "149.05"))


class Sulks(OpenMessenger):
    """A notice that did not get out once is put off for ever."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        if is_notice(message):
            raise DeliveryError("not today", retry_after=FAR)
        return await self.inner.send(chat, message, reply_to=reply_to, silent=silent)


class GivesUpSilently(OpenMessenger):
    """A notice is refused for good, and the word to the owner about that goes nowhere."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        if is_notice(message):
            raise DeliveryError("never", permanent=True)
        if "could not finish" in message.html:
            return FAR
        return await self.inner.send(chat, message, reply_to=reply_to, silent=silent)


def is_notice(message: Message) -> bool:
    """Whether it tells something of a payment in one line."""
    return message.html.startswith(("✅", "❌", "⌛", "🏁")) and "#" in message.html.partition("\n")[0]
