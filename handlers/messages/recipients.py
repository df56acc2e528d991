"""What the outbox has to know of refunds and disputes to show and tell them, looked up at the moment of sending."""

from __future__ import annotations

import json
from collections.abc import Sequence

from handlers.access.authorization import Rights
from handlers.clock import Clock
from handlers.messages import refund_text as words
from handlers.messages.outbox_message import Post, draft_of
from handlers.messages.payment_events import Fact
from handlers.messages.refund_events import STALE
from handlers.telegram.messenger import Letter
from storage.disputes import DisputeBook
from storage.job_queue import Mailbox
from storage.models.job import Mail
from storage.models.payment import Payment, Place
from storage.models.refund import Refund
from storage.models.shop import Shop
from storage.refunds import RefundBook


class MoneyOut:
    """Refunds and disputes as messages."""

    def __init__(
        self, refunds: RefundBook, disputes: DisputeBook, rights: Rights, outbox: Mailbox, clock: Clock
    ) -> None:
        self._refunds = refunds
        self._disputes = disputes
        self._rights = rights
        self._outbox = outbox
        self._clock = clock

    async def of_card(self, payment: Payment) -> Sequence[Refund]:
        """The refunds that a card has to show; nothing was received, so there are none."""
        return await self._refunds.of_payment(payment.id) if payment.received else ()

    @staticmethod
    def tells(fact: Fact) -> bool:
        """Whether a notice is about money that goes out."""
        return fact.name.startswith(("refund_", "dispute"))

    async def is_foreign(self, payment: Payment, place: Place) -> bool:
        """Whether the payment's chat is not the shop's any more, so that nothing of it is said there."""
        return not await self._rights.is_ours(payment.shop_id, place)

    async def is_meant(self, post: Post) -> bool:
        """Whether a message may still be said where it was to go: who was to read it may have lost his role."""
        return post.shop is None or await self._rights.is_ours(post.shop, post.place)

    async def told_apart(self, mail: Mail, payment: Payment, place: Place, letter: Letter) -> bool:
        """Have each admin of the shop told what cannot be said in the payment's chat any more; False if it can."""
        if not await self.is_foreign(payment, place):
            return False
        await self._to_each(mail, payment.shop_id, letter)
        return True

    async def notice(self, payment: Payment, shop: Shop, fact: Fact) -> Letter | None:
        """The words of such a notice; None if it no longer holds."""
        thing, _, detail = fact.about.partition(":")
        if fact.name == "dispute":
            dispute = await self._disputes.find(thing)
            if dispute is None or dispute.status != detail:  # it has gone on, which is told by itself
                return None
            return words.dispute_notice(payment, shop, dispute, status=detail)
        refund = await self._refunds.find(thing)
        stale = refund is None or (fact.name in STALE and refund.status is not STALE[fact.name])
        if refund is None or stale or (fact.name == "refund_short" and refund.retry_until is None):
            return None
        room = await self._refunds.room(payment.id)
        return words.refund_notice(payment, shop, fact, refund, room=room)

    async def tell_admins(self, mail: Mail, payment: Payment, shop: Shop) -> None:
        """Put a message to each admin of the shop; the same mail puts the same messages."""
        said = json.loads(mail.body)
        letter = await self._details(payment, shop, said["name"], said["about"])
        if letter is not None:
            await self._to_each(mail, shop.id, letter)

    async def _to_each(self, mail: Mail, shop_id: int, letter: Letter) -> None:
        for person in await self._rights.approvers(shop_id):
            draft = draft_of(Post(Place(person), letter, shop=shop_id), key=f"{mail.key}:{person}")
            await self._outbox.put(draft, now=self._clock.now())

    async def _details(self, payment: Payment, shop: Shop, name: str, about: str) -> Letter | None:
        thing, _, status = about.partition(":")
        if name == "fraud_warning":
            return words.warning_details(payment, shop)
        dispute = await self._disputes.find(thing)
        return None if dispute is None else words.dispute_details(payment, shop, dispute, status=status)
