"""What the outbox has to know of refunds and disputes to show and tell them, looked up at the moment of sending."""

from __future__ import annotations

import json
from collections.abc import Sequence

from handlers.access.authorization import Authorization
from handlers.clock import Clock
from handlers.messages import refund_text as words
from handlers.messages.outbox_message import OutboxMessage, to_job
from handlers.messages.payment_events import PaymentEvent
from handlers.messages.refund_events import VALID_WHILE
from handlers.telegram.messenger import Message
from storage.disputes import DisputeRepository
from storage.job_queue import JobQueue
from storage.models.job import Job
from storage.models.payment import ChatTarget, Payment
from storage.models.refund import Refund
from storage.models.shop import Shop
from storage.refunds import RefundRepository


class Recipients:
    """Refunds and disputes as messages."""

    def __init__(
        self,
        refunds: RefundRepository,
        disputes: DisputeRepository,
        rights: Authorization,
        outbox: JobQueue,
        clock: Clock,
    ) -> None:
        self._refunds = refunds
        self._disputes = disputes
        self._rights = rights
        self._outbox = outbox
        self._clock = clock

    async def of_card(self, payment: Payment) -> Sequence[Refund]:
        """The refunds that a card has to show; nothing was received, so there are none."""
        return await self._refunds.for_payment(payment.id) if payment.amount_received else ()

    @staticmethod
    def handles(fact: PaymentEvent) -> bool:
        """Whether a notice is about money that goes out."""
        return fact.name.startswith(("refund_", "dispute"))

    async def is_chat_detached(self, payment: Payment, place: ChatTarget) -> bool:
        """Whether the payment's chat is not the shop's any more, so that nothing of it is said there."""
        return not await self._rights.chat_belongs_to_shop(payment.shop_id, place)

    async def may_receive(self, post: OutboxMessage) -> bool:
        """Whether a message may still be said where it was to go: who was to read it may have lost his role."""
        return post.shop is None or await self._rights.chat_belongs_to_shop(post.shop, post.place)

    async def redirect_to_admins(self, mail: Job, payment: Payment, place: ChatTarget, letter: Message) -> bool:
        """Have each admin of the shop told what cannot be said in the payment's chat any more; False if it can."""
        if not await self.is_chat_detached(payment, place):
            return False
        await self._to_each(mail, payment.shop_id, letter)
        return True

    async def notice(self, payment: Payment, shop: Shop, fact: PaymentEvent) -> Message | None:
        """The words of such a notice; None if it no longer holds."""
        thing, _, detail = fact.about.partition(":")
        if fact.name == "dispute":
            dispute = await self._disputes.find(thing)
            if dispute is None or dispute.status != detail:  # it has gone on, which is told by itself
                return None
            return words.dispute_notification(payment, shop, dispute, status=detail)
        refund = await self._refunds.find(thing)
        stale = refund is None or (fact.name in VALID_WHILE and refund.status is not VALID_WHILE[fact.name])
        if refund is None or stale or (fact.name == "refund_short" and refund.retry_until is None):
            return None
        room = await self._refunds.limits(payment.id)
        return words.refund_notification(payment, shop, fact, refund, room=room)

    async def notify_admins(self, mail: Job, payment: Payment, shop: Shop) -> None:
        """Put a message to each admin of the shop; the same mail puts the same messages."""
        said = json.loads(mail.payload)
        letter = await self._details(payment, shop, said["name"], said["about"])
        if letter is not None:
            await self._to_each(mail, shop.id, letter)

    async def _to_each(self, mail: Job, shop_id: int, letter: Message) -> None:
        for person in await self._rights.approvers(shop_id):
            draft = to_job(OutboxMessage(ChatTarget(person), letter, shop=shop_id), key=f"{mail.key}:{person}")
            await self._outbox.enqueue(draft, now=self._clock.now())

    async def _details(self, payment: Payment, shop: Shop, name: str, about: str) -> Message | None:
        thing, _, status = about.partition(":")
        if name == "fraud_warning":
            return words.fraud_warning_details(payment, shop)
        dispute = await self._disputes.find(thing)
        return None if dispute is None else words.dispute_details(payment, shop, dispute, status=status)
