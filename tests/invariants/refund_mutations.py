"""Bugs planted in refunds, holds and disputes: around the gateway or messenger, or in place of one service method."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from bot.app import Service
from handlers.access.membership import Actor
from handlers.chat.context import Services
from handlers.stripe.gateway import Intent, IntentStatus, RefundRequest
from handlers.telegram.messenger import Message
from storage import shops
from storage.database.database import Database
from storage.models.payment import ChatTarget, Payment
from storage.models.refund import RESERVING_STATUSES, Refund, RefundStatus, StripeRefund
from storage.models.shop import Role, Shop
from tests.invariants.mutations import UNUSED_MESSAGE_ID, GatewayWrapper, MessengerWrapper


class NewRefundKeyPerRequest(GatewayWrapper):
    """Each retry of a refund has a new idempotency key, and existing refunds are not listed before."""

    numbers = itertools.count()

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        return []

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        return await self.inner.refund(params, key=f"{key}:{next(self.numbers)}")


class PendingCountsAsSucceeded(GatewayWrapper):
    """A pending refund is reported as succeeded."""

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        return self._succeeded(await self.inner.refund(params, key=key))

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        return [self._succeeded(refund) for refund in await self.inner.list_refunds(intent_id)]

    def _succeeded(self, refund: StripeRefund) -> StripeRefund:
        return replace(refund, status=RefundStatus.SUCCEEDED) if refund.status in RESERVING_STATUSES else refund


class RefundsTwice(GatewayWrapper):
    """Each refund is made twice, the second time without a draft."""

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        without_draft = json.loads(params) | {"metadata": {"kvit_payment": "", "kvit_refund": "no-draft"}}
        await self.inner.refund(json.dumps(without_draft), key=f"{key}:again")
        return await self.inner.refund(params, key=key)


class SmallerRefund(GatewayWrapper):
    """One øre less than approved is refunded."""

    def refund_params(self, request: RefundRequest) -> str:
        return self.inner.refund_params(replace(request, amount=request.amount - 1))


class NeverListsRefunds(GatewayWrapper):
    """Kvit sees refunds only in the response that created them."""

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        return []


class CapturesUnasked(GatewayWrapper):
    """A retrieve captures a reserved payment."""

    async def retrieve(self, intent_id: str) -> Intent:
        intent = await self.inner.retrieve(intent_id)
        if intent.status is IntentStatus.REQUIRES_CAPTURE:
            return await self.inner.capture(intent_id, key=f"unasked:{intent_id}")
        return intent


class ReleasesUnasked(GatewayWrapper):
    """A retrieve cancels a reserved payment."""

    async def retrieve(self, intent_id: str) -> Intent:
        intent = await self.inner.retrieve(intent_id)
        if intent.status is IntentStatus.REQUIRES_CAPTURE:
            return await self.inner.cancel(intent_id, key=f"unasked:{intent_id}")
        return intent


class DropsRefundFailures(MessengerWrapper):
    """The notification of a failed refund is dropped and reported as sent."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        if message.html.startswith("❌") and "the refund of" in message.html:
            return UNUSED_MESSAGE_ID
        return await self.inner.send(chat, message, reply_to=reply_to, silent=silent)


class DropsDisputes(MessengerWrapper):
    """The notification of a dispute is dropped and reported as sent."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        if message.html.startswith("⚖️") and "\n" not in message.html:
            return UNUSED_MESSAGE_ID
        return await self.inner.send(chat, message, reply_to=reply_to, silent=silent)


class SendsRefundNotificationsTwice(MessengerWrapper):
    """The notification of a refund is sent twice."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        if message.html.startswith("↩️ Refunded:"):
            await self.inner.send(chat, message, reply_to=reply_to, silent=silent)
        return await self.inner.send(chat, message, reply_to=reply_to, silent=silent)


class DropsRefundEdits(MessengerWrapper):
    """The payment message is not edited when the payment is refunded."""

    async def edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        if "efunded" not in message.html:
            await self.inner.edit(chat, message_id, message)


def services_of(service: Service) -> Services:
    """The services that command handlers use."""
    services: Services = service._components.workers[0]._handle.__self__._services  # type: ignore[attr-defined]
    return services


def make_everyone_admin(service: Service) -> None:
    """Every member counts as an admin."""
    membership = services_of(service).membership
    original = membership.role

    async def role(shop_id: int, actor: Actor) -> Role:
        return max(await original(shop_id, actor), Role.ADMIN)

    vars(membership).update(role=role)


def refund_per_press(service: Service) -> None:
    """Each press of a button makes a refund, whatever became of the earlier ones."""
    refunds, presses = services_of(service).refunds, itertools.count()
    db, repository, gateway = refunds._db, refunds._refunds, refunds._gateway

    async def find(refund_id: str) -> Refund | None:
        refund = await db.read(repository.find, refund_id)
        return refund and replace(refund, status=RefundStatus.DRAFT)

    async def approve(refund: Refund, payment: Payment, shop: Shop, *, user_id: int) -> Refund:
        request = RefundRequest(refund.id, payment.id, payment.intent_id or "", refund.amount.minor)
        made = await gateway.refund(gateway.refund_params(request), key=f"press:{refund.id}:{next(presses)}")
        return replace(refund, status=made.status)

    vars(refunds).update(find=find, approve=approve)


def count_second_approval_as(service: Service, other: int) -> None:
    """A second approval by the same user counts as one by `other`."""
    refunds = services_of(service).refunds
    original = refunds.approve

    async def approve(refund: Refund, payment: Payment, shop: Shop, *, user_id: int) -> Refund:
        return await original(refund, payment, shop, user_id=other if refund.approved_by == user_id else user_id)

    vars(refunds).update(approve=approve)


def count_everybody_as_second_person(service: Service, user_ids: frozenset[int]) -> None:
    """These users count as another person whoever invited them."""
    refunds = services_of(service).refunds

    async def as_owners() -> frozenset[int]:
        return user_ids

    vars(refunds).update(_owners=as_owners)


def skip_authorization(service: Service) -> None:
    """The roles of approvers are not checked again before Stripe is called."""

    async def always(_: Refund) -> bool:
        return True

    vars(services_of(service).refunds._sync).update(_is_authorized=always)


class SplitsApprovals:
    """A database that checks an approval in one transaction and writes it in another.

    Two approvals at the same time see the same limits. The refundable amount at the request is dropped: the check
    against it, before Stripe is called, would hide the bug.
    """

    def __init__(self, inner: Database, both: asyncio.Barrier) -> None:
        self._inner = inner
        self._both = both

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def write(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        person = kwargs.pop("person", None)
        if person is None:
            return await self._inner.write(fn, *args, **kwargs)
        refund_id, decide = args
        decided: list[Refund] = []

        def check(refund: Refund, limits: Any) -> Refund:
            decided.append(decide(refund, limits))
            return refund

        await self._inner.write(fn, refund_id, check, person=person, **kwargs)
        await self._both.wait()
        checked = replace(decided[0], refundable_at_request=0)
        return await self._inner.write(
            fn, refund_id, lambda refund, _: replace(checked, next_check_at=refund.next_check_at), **kwargs
        )


def split_approvals(service: Service) -> None:
    """Two approvals at the same time are both checked before either is written."""
    refunds = services_of(service).refunds
    vars(refunds).update(_db=SplitsApprovals(refunds._db, asyncio.Barrier(2)))


def approve_drafts_at_once(service: Service) -> None:
    """A draft is approved as soon as it is created."""
    refunds = services_of(service).refunds
    original = refunds.draft

    async def draft(payment: Payment, request: Any, *, for_others: bool) -> Refund:
        refund = await original(payment, request, for_others=for_others)
        shop = await services_of(service).db.read(shops.get_shop, payment.shop_id)
        assert shop is not None
        return await refunds.approve(refund, payment, shop, user_id=request.user_id)

    vars(refunds).update(draft=draft)


class DropsDisputeHeadings(MessengerWrapper):
    """The payment message is not edited when the payment is disputed."""

    async def edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        if "Disputed" not in message.html:
            await self.inner.edit(chat, message_id, message)


class DatesRefundsByRetrieval(GatewayWrapper):
    """A refund counts as made a minute after Stripe made it."""

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        found = await self.inner.list_refunds(intent_id)
        return [replace(one, created_at=one.created_at and one.created_at + timedelta(minutes=1)) for one in found]

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        made = await self.inner.refund(params, key=key)
        return replace(made, created_at=made.created_at and made.created_at + timedelta(minutes=1))
