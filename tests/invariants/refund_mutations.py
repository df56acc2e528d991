"""Bugs on purpose where money goes out: around Kvit's two doors, or one part of the house replaced by a bad one."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
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
from tests.invariants.mutations import FAR, OpenGateway, OpenMessenger


class FreshRefundKeys(OpenGateway):
    """A new idempotency key for every try of a refund, and nobody looks before he tries."""

    numbers = itertools.count()

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        return []

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        return await self.inner.refund(params, key=f"{key}:{next(self.numbers)}")


class PendingIsDone(OpenGateway):
    """A refund that is under way is taken for done."""

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        return self._done(await self.inner.refund(params, key=key))

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        return [self._done(report) for report in await self.inner.list_refunds(intent_id)]

    def _done(self, report: StripeRefund) -> StripeRefund:
        return replace(report, status=RefundStatus.SUCCEEDED) if report.status in RESERVING_STATUSES else report


class OneMore(OpenGateway):
    """Whatever is refunded is refunded once more, of the Dashboard's own accord as it were."""

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        bare = json.loads(params) | {"metadata": {"kvit_payment": "", "kvit_refund": "of-nobody"}}
        await self.inner.refund(json.dumps(bare), key=f"{key}:again")
        return await self.inner.refund(params, key=key)


class SmallerRefund(OpenGateway):
    """One øre less goes back than was approved, and the answer is bent so that nobody notices."""

    def refund_params(self, request: RefundRequest) -> str:
        return self.inner.refund_params(replace(request, amount=request.amount - 1))


class NeverLooksAgain(OpenGateway):
    """Refunds are never seen but in the first answer."""

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        return []


class TakesUnasked(OpenGateway):
    """Whatever the customer reserved is taken at once."""

    async def retrieve(self, intent_id: str) -> Intent:
        seen = await self.inner.retrieve(intent_id)
        if seen.status is IntentStatus.REQUIRES_CAPTURE:
            return await self.inner.capture(intent_id, key=f"eager:{intent_id}")
        return seen


class LetsGoUnasked(OpenGateway):
    """Whatever the customer reserved is let go at once."""

    async def retrieve(self, intent_id: str) -> Intent:
        seen = await self.inner.retrieve(intent_id)
        if seen.status is IntentStatus.REQUIRES_CAPTURE:
            return await self.inner.cancel(intent_id, key=f"eager:{intent_id}")
        return seen


class LosesRefundFailures(OpenMessenger):
    """That a refund failed is thrown away, and taken for sent."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        if message.html.startswith("❌") and "the refund of" in message.html:
            return FAR
        return await self.inner.send(chat, message, reply_to=reply_to, silent=silent)


class LosesDisputes(OpenMessenger):
    """That there is a dispute is thrown away, and taken for sent."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        if message.html.startswith("⚖️") and "\n" not in message.html:
            return FAR
        return await self.inner.send(chat, message, reply_to=reply_to, silent=silent)


class TellsRefundsTwice(OpenMessenger):
    """Each refund is told once more, to be on the safe side."""

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        if message.html.startswith("↩️ Refunded:"):
            await self.inner.send(chat, message, reply_to=reply_to, silent=silent)
        return await self.inner.send(chat, message, reply_to=reply_to, silent=silent)


class OldRefundCard(OpenMessenger):
    """The card says paid for ever."""

    async def edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        if "efunded" not in message.html:
            await self.inner.edit(chat, message_id, message)


def desks(service: Service) -> Services:
    """What the doors of this service may ask."""
    found: Services = service._components.workers[0]._handle.__self__._services  # type: ignore[attr-defined]
    return found


def everybody_is_an_admin(service: Service) -> None:
    """Whoever holds a role holds the one of an admin."""
    membership = desks(service).membership
    known = membership.role

    async def role(shop_id: int, actor: Actor) -> Role:
        return max(await known(shop_id, actor), Role.ADMIN)

    vars(membership).update(role=role)


def a_refund_per_click(service: Service) -> None:
    """Each click is a refund of its own, whatever became of the one before."""
    desk, clicks = desks(service).refunds, itertools.count()
    db, repository, gateway = desk._db, desk._refunds, desk._gateway

    async def find(refund_id: str) -> Refund | None:
        found = await db.read(repository.find, refund_id)
        return found and replace(found, status=RefundStatus.DRAFT)

    async def approve(refund: Refund, payment: Payment, shop: Shop, *, user_id: int) -> Refund:
        wanted = RefundRequest(refund.id, payment.id, payment.intent_id or "", refund.amount.minor)
        report = await gateway.refund(gateway.refund_params(wanted), key=f"click:{refund.id}:{next(clicks)}")
        return replace(refund, status=report.status)

    vars(desk).update(find=find, approve=approve)


def the_same_person_is_two(service: Service, other: int) -> None:
    """Whoever says yes a second time is counted as somebody else."""
    desk = desks(service).refunds
    known = desk.approve

    async def approve(refund: Refund, payment: Payment, shop: Shop, *, user_id: int) -> Refund:
        return await known(refund, payment, shop, user_id=other if refund.approved_by == user_id else user_id)

    vars(desk).update(approve=approve)


def nobody_is_asked_again(service: Service) -> None:
    """Whoever approved is taken to hold his role for ever."""

    async def always(_: Refund) -> bool:
        return True

    vars(desks(service).refunds._sync).update(_is_authorized=always)


class SplitsApprovals:
    """A database that checks an approval in one transaction and writes it in another.

    Two approvals at the same time see the same limits. The figure that the approver was shown is dropped as well, for
    the check against it before Stripe is called would repair the fault.
    """

    def __init__(self, inner: Database, both: asyncio.Barrier) -> None:
        self._inner = inner
        self._both = both

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def write(self, fn: Callable[..., Any], *args: Any, **named: Any) -> Any:
        person = named.pop("person", None)
        if person is None:
            return await self._inner.write(fn, *args, **named)
        refund_id, decide = args
        seen: list[Refund] = []

        def check(refund: Refund, limits: Any) -> Refund:
            seen.append(decide(refund, limits))
            return refund

        await self._inner.write(fn, refund_id, check, person=person, **named)
        await self._both.wait()
        blind = replace(seen[0], refundable_at_request=0)
        return await self._inner.write(
            fn, refund_id, lambda refund, _: replace(blind, next_check_at=refund.next_check_at), **named
        )


def checks_and_writes_apart(service: Service) -> None:
    """Two approvals at the same time are checked before either is written."""
    desk = desks(service).refunds
    vars(desk).update(_db=SplitsApprovals(desk._db, asyncio.Barrier(2)))


def no_limit(service: Service) -> None:
    """Nobody looks at what somebody approved before."""
    desk = desks(service).refunds
    known = desk.approve

    async def approve(refund: Refund, payment: Payment, shop: Shop, *, user_id: int) -> Refund:
        return await known(refund, payment, replace(shop, refund_limit=FAR * 100), user_id=user_id)

    vars(desk).update(approve=approve)


def approved_at_once(service: Service) -> None:
    """Whoever asks for a refund gets it without a tap."""
    desk = desks(service).refunds
    known = desk.draft

    async def draft(payment: Payment, wish: Any, *, for_others: bool) -> Refund:
        refund = await known(payment, wish, for_others=for_others)
        shop = await desks(service).db.read(shops.get_shop, payment.shop_id)
        assert shop is not None
        return await desk.approve(refund, payment, shop, user_id=wish.user_id)

    vars(desk).update(draft=draft)
