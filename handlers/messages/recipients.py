"""Who may read about a refund or dispute, decided at the moment of sending."""

from __future__ import annotations

import json
from collections.abc import Sequence

from handlers.access.authorization import Authorization
from handlers.clock import Clock
from handlers.messages import refund_text as words
from handlers.messages.outbox_message import OutboxMessage, to_job
from handlers.messages.payment_change_jobs import PaymentEvent
from handlers.messages.refund_change_jobs import VALID_WHILE
from handlers.telegram.messenger import Message
from storage.database.database import Database
from storage.disputes import DisputeRepository
from storage.job_queue import JobQueue
from storage.models.job import Job
from storage.models.payment import ChatTarget, Payment
from storage.models.refund import Refund
from storage.models.shop import Shop
from storage.refunds import RefundRepository


class Recipients:
    """Looks up refunds and disputes when their messages are sent, and who may receive them."""

    def __init__(
        self,
        db: Database,
        refunds: RefundRepository,
        disputes: DisputeRepository,
        authorization: Authorization,
        outbox: JobQueue,
        clock: Clock,
    ) -> None:
        self._db = db
        self._refunds = refunds
        self._disputes = disputes
        self._authorization = authorization
        self._outbox = outbox
        self._clock = clock

    async def of_card(self, payment: Payment) -> Sequence[Refund]:
        """The refunds that a payment message lists; none if nothing was received."""
        return await self._db.read(self._refunds.for_payment, payment.id) if payment.amount_received else ()

    @staticmethod
    def handles(event: PaymentEvent) -> bool:
        """Whether a notification is about a refund, dispute or fraud warning."""
        return event.name.startswith(("refund_", "dispute"))

    async def is_chat_detached(self, payment: Payment, chat: ChatTarget) -> bool:
        """Whether the chat is linked to another shop or its member lost their role, and so gets no notifications."""
        return not await self._authorization.chat_belongs_to_shop(payment.shop_id, chat)

    async def may_receive(self, outgoing: OutboxMessage) -> bool:
        """Whether the message may still be sent to its chat: its reader may have lost the role."""
        return outgoing.shop is None or await self._authorization.chat_belongs_to_shop(outgoing.shop, outgoing.chat)

    async def redirect_to_admins(self, job: Job, payment: Payment, chat: ChatTarget, message: Message) -> bool:
        """Send a notification to each admin instead if the payment's chat may not have it; False if it may."""
        if not await self.is_chat_detached(payment, chat):
            return False
        await self._to_each(job, payment.shop_id, message)
        return True

    async def notice(self, payment: Payment, shop: Shop, event: PaymentEvent) -> Message | None:
        """The text of such a notification; None if it is not true any more."""
        thing, _, detail = event.about.partition(":")
        if event.name == "dispute":
            dispute = await self._db.read(self._disputes.find, thing)
            if dispute is None or dispute.status != detail:  # it has changed since, which has a notification of its own
                return None
            return words.dispute_notification(payment, shop, dispute, status=detail, now=self._clock.now())
        refund = await self._db.read(self._refunds.find, thing)
        stale = refund is None or (event.name in VALID_WHILE and refund.status is not VALID_WHILE[event.name])
        if refund is None or stale or (event.name == "refund_insufficient_balance" and refund.retry_until is None):
            return None
        limits = await self._db.read(self._refunds.limits, payment.id)
        return words.refund_notification(payment, shop, event, refund, limits=limits, now=self._clock.now())

    async def notify_admins(self, job: Job, payment: Payment, shop: Shop) -> None:
        """Enqueue the message for each admin of the shop; the same job enqueues the same messages."""
        said = json.loads(job.payload)
        message = await self._details(payment, shop, said["name"], said["about"])
        if message is not None:
            await self._to_each(job, shop.id, message)

    async def _to_each(self, job: Job, shop_id: int, message: Message) -> None:
        for person in await self._authorization.approvers(shop_id):
            copy = to_job(OutboxMessage(ChatTarget(person), message, shop=shop_id), key=f"{job.key}:{person}")
            await self._outbox.enqueue(copy, now=self._clock.now())

    async def _details(self, payment: Payment, shop: Shop, name: str, about: str) -> Message | None:
        thing, _, status = about.partition(":")
        if name == "fraud_warning":
            return words.fraud_warning_details(payment, shop)
        dispute = await self._db.read(self._disputes.find, thing)
        return (
            None
            if dispute is None
            else words.dispute_details(payment, shop, dispute, status=status, now=self._clock.now())
        )
