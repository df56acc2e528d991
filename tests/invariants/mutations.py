"""Bugs planted around the gateway and the messenger, for the tests of the checker."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from handlers.stripe.gateway import Intent, IntentRequest, IntentStatus, PaymentGateway, RefundRequest, StripeEventRef
from handlers.telegram.messenger import DeliveryError, InlineResult, Message, Messenger
from storage.models.balance import BalanceTransaction, Payout
from storage.models.dispute import Dispute, FraudWarning
from storage.models.payment import ChatTarget
from storage.models.refund import StripeRefund

FOREIGN_CHAT = 70_099_099
UNUSED_MESSAGE_ID = 10**6
NEVER = 10**6
"""Seconds, longer than any test."""


class GatewayWrapper:
    """Passes every call to `inner`; each bug overrides one call."""

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

    def list_balance_transactions(
        self, *, source: str | None = None, payout: str | None = None, since: datetime | None = None
    ) -> AsyncGenerator[BalanceTransaction, None]:
        return self.inner.list_balance_transactions(source=source, payout=payout, since=since)

    async def retrieve_payout(self, payout_id: str) -> Payout:
        return await self.inner.retrieve_payout(payout_id)

    def list_payouts(self, since: datetime) -> AsyncGenerator[Payout, None]:
        return self.inner.list_payouts(since)

    async def server_time(self) -> datetime:
        return await self.inner.server_time()

    def list_events(self, cursor: str | None, since: datetime) -> AsyncGenerator[tuple[StripeEventRef, str], None]:
        return self.inner.list_events(cursor, since)


class NewKeyPerRequest(GatewayWrapper):
    """Each retry of a create has a new idempotency key."""

    numbers = itertools.count()

    async def create(self, params: str, *, key: str) -> Intent:
        return await self.inner.create(params, key=f"{key}:{next(self.numbers)}")


class CachedIntents(GatewayWrapper):
    """The first response about an intent is used for ever, as if a replayed response were current."""

    cached: dict[str, Intent]

    def __init__(self, inner: PaymentGateway) -> None:
        super().__init__(inner)
        self.cached = {}

    async def retrieve(self, intent_id: str) -> Intent:
        return self.cached.setdefault(intent_id, await self.inner.retrieve(intent_id))


class DatesPaymentsByRetrieval(GatewayWrapper):
    """A payment counts as made a minute after Stripe's charge."""

    async def retrieve(self, intent_id: str) -> Intent:
        intent = await self.inner.retrieve(intent_id)
        return replace(intent, succeeded_at=intent.succeeded_at and intent.succeeded_at + timedelta(minutes=1))


class ConfirmsTwice(GatewayWrapper):
    """A new intent is confirmed a second time while its link is open."""

    async def create(self, params: str, *, key: str) -> Intent:
        intent = await self.inner.create(params, key=key)
        try:
            return await self.inner.confirm(intent.id, confirm_params(params), key=f"{key}:again")
        except Exception:  # Stripe rejects it, as it should
            return intent


class ConfirmsUnasked(GatewayWrapper):
    """A failed attempt is followed by another one without a request."""

    params: dict[str, str]

    def __init__(self, inner: PaymentGateway) -> None:
        super().__init__(inner)
        self.params = {}

    async def create(self, params: str, *, key: str) -> Intent:
        intent = await self.inner.create(params, key=key)
        self.params[intent.id] = confirm_params(params)
        return intent

    async def retrieve(self, intent_id: str) -> Intent:
        intent = await self.inner.retrieve(intent_id)
        if intent.status is IntentStatus.REQUIRES_PAYMENT_METHOD:
            return await self.inner.confirm(intent_id, self.params[intent_id], key=f"unasked:{intent_id}")
        return intent


class CancelsUnasked(GatewayWrapper):
    """A retrieve cancels the intent."""

    async def retrieve(self, intent_id: str) -> Intent:
        return await self.inner.cancel(intent_id, key=f"unasked:{intent_id}")


class ChangesParams(GatewayWrapper):
    """Each retry of a create has the same key and other parameters."""

    numbers = itertools.count()

    async def create(self, params: str, *, key: str) -> Intent:
        changed = json.loads(params) | {"description": f"try {next(self.numbers)}"}
        return await self.inner.create(json.dumps(changed), key=key)


class OpenCountsAsPaid(GatewayWrapper):
    """An intent that awaits the customer is reported as succeeded."""

    async def retrieve(self, intent_id: str) -> Intent:
        intent = await self.inner.retrieve(intent_id)
        if intent.status is IntentStatus.REQUIRES_ACTION:
            return replace(intent, status=IntentStatus.SUCCEEDED, amount_received=intent.amount)
        return intent


class OffByOne(GatewayWrapper):
    """One øre more than requested is charged, and responses show one øre less, so that Kvit does not notice."""

    def create_params(self, request: IntentRequest) -> str:
        return self.inner.create_params(replace(request, amount=request.amount + 1))

    async def create(self, params: str, *, key: str) -> Intent:
        return self._reduced(await self.inner.create(params, key=key))

    async def retrieve(self, intent_id: str) -> Intent:
        return self._reduced(await self.inner.retrieve(intent_id))

    def _reduced(self, intent: Intent) -> Intent:
        return replace(intent, amount=intent.amount - 1, amount_received=max(0, intent.amount_received - 1))


class WrongMetadata(GatewayWrapper):
    """The intent's metadata names another payment."""

    def create_params(self, request: IntentRequest) -> str:
        return self.inner.create_params(replace(request, payment_id="lost"))

    async def create(self, params: str, *, key: str) -> Intent:
        intent = await self.inner.create(params, key=key)
        return replace(intent, metadata=intent.metadata | {"kvit_payment": key.split(":")[1]})


class MessengerWrapper:
    """Passes every call to `inner`; each bug overrides one call."""

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

    async def send_document(
        self, chat: ChatTarget, content: bytes, name: str, message: Message, *, reply_to: int | None = None
    ) -> int:
        return await self.inner.send_document(chat, content, name, message, reply_to=reply_to)

    async def delete(self, chat: ChatTarget, message_id: int) -> None:
        await self.inner.delete(chat, message_id)

    async def edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        await self.inner.edit(chat, message_id, message)

    async def answer_inline_query(self, query_id: str, results: Sequence[InlineResult]) -> None:
        await self.inner.answer_inline_query(query_id, results)

    async def answer_callback(self, callback_id: str, text: str = "", *, alert: bool = False) -> None:
        await self.inner.answer_callback(callback_id, text, alert=alert)


class SendsNotificationsTwice(MessengerWrapper):
    """Each notification is sent twice."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        if is_notification(message):
            await self.inner.send(chat, message, reply_to=reply_to, silent=silent)
        return await self.inner.send(chat, message, reply_to=reply_to, silent=silent)


class SendsInsteadOfEditing(MessengerWrapper):
    """An edit sends another payment message."""

    async def edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        await self.inner.send(chat, message)


class DropsFailures(MessengerWrapper):
    """The notification of a failed attempt is dropped and reported as sent."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        if is_notification(message) and message.html.startswith("❌"):
            return UNUSED_MESSAGE_ID
        return await self.inner.send(chat, message, reply_to=reply_to, silent=silent)


class SendsToWrongChat(MessengerWrapper):
    """Notifications are sent to a foreign chat."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        target = ChatTarget(FOREIGN_CHAT) if is_notification(message) else chat
        return await self.inner.send(target, message, reply_to=reply_to, silent=silent)


class DropsPaidEdit(MessengerWrapper):
    """The payment message is not edited when the payment succeeds."""

    async def edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        if "Paid" not in message.html:
            await self.inner.edit(chat, message_id, message)


class CallsPaidExpired(MessengerWrapper):
    """The notification of an expired link is sent after the one that the payment succeeded."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        message_id = await self.inner.send(chat, message, reply_to=reply_to, silent=silent)
        if is_notification(message) and message.html.startswith("✅"):
            late = message.html.replace("✅ Paid:", "⌛") + ": the link expired before it was paid."
            await self.inner.send(chat, Message(late), reply_to=reply_to, silent=True)
        return message_id


class ShowsWrongAmount(MessengerWrapper):
    """Messages show another amount than the intent has."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        wrong = replace(message, html=message.html.replace("149.50", "149.05"))
        return await self.inner.send(chat, wrong, reply_to=reply_to, silent=silent)


class DelaysNotifications(MessengerWrapper):
    """A notification is retried after a delay longer than the test."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        if is_notification(message):
            raise DeliveryError("not today", retry_after=NEVER)
        return await self.inner.send(chat, message, reply_to=reply_to, silent=silent)


class DropsAlerts(MessengerWrapper):
    """A notification is rejected for good, and the alert to the owner about it is dropped."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        if is_notification(message):
            raise DeliveryError("never", permanent=True)
        if "could not finish" in message.html:
            return UNUSED_MESSAGE_ID
        return await self.inner.send(chat, message, reply_to=reply_to, silent=silent)


def confirm_params(create_params: str) -> str:
    """The parameters of a confirm that repeats the first attempt of a create."""
    params = json.loads(create_params)
    return json.dumps({name: params[name] for name in ("payment_method_data", "return_url")})


def is_notification(message: Message) -> bool:
    """Whether it is the notification of a payment event, in one line."""
    return message.html.startswith(("✅", "❌", "⌛", "🏁")) and "#" in message.html.partition("\n")[0]
