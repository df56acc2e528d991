"""Tells the owners, once, what Kvit could not finish by itself."""

from __future__ import annotations

from collections.abc import Sequence

from handlers.access.membership import Person
from handlers.messages.delivery import CLOSED
from handlers.operations.monitor import KEY, Episodes
from handlers.owners import ALERT, Owners
from handlers.stripe.error_codes import KEY_REFUSED, MISMATCH
from handlers.stripe.gateway import Clock
from storage.models.job import Draft, Mail
from storage.models.payment import Payment
from storage.models.refund import Refund
from storage.models.shop import Shop

MANY_TRIES = 100
"""Tries that Stripe did not answer, some hours' worth: then somebody should know."""


class Alerts:
    """What is worth a word to those who look after the installation."""

    def __init__(self, owners: Owners, clock: Clock, episodes: Episodes) -> None:
        self._owners = owners
        self._clock = clock
        self._episodes = episodes

    async def set_aside(self, mail: Mail, reason: str) -> Sequence[Draft]:
        """What the owners are to hear of a mail that waits for a human: where and why, a word a day.

        One that was tried again in vain is told again; all versions of a card, and all that waits at one closed door,
        are one thing.
        """
        if mail.key.startswith(ALERT):
            return ()
        subject = mail.body.decode() if mail.kind == "card" else str(mail.id)
        if reason.startswith(CLOSED):
            subject = f"closed:{mail.lane}"
        holes = {"box": mail.box, "kind": mail.kind, "reason": reason, "mail": mail.id}
        return await self._owners.words(f"{subject}:{self._today}", "alert.set_aside", **holes)

    @property
    def _today(self) -> str:
        """An outage is told once a day, and not once for all that waits for its end."""
        return f"{self._clock.now():%Y-%m-%d}"

    async def trouble(self, payment: Payment) -> None:
        """A payment waits for something that will not pass by itself: for a key once until it is over, else daily."""
        if payment.trouble in KEY_REFUSED:
            await self._episodes.begin(KEY, "alert.key", ref=payment.ref)
        elif payment.trouble == MISMATCH:
            await self._owners.tell(f"mismatch:{payment.id}", "alert.mismatch", ref=payment.ref)
        elif payment.trouble and payment.trouble_count >= MANY_TRIES:
            await self._owners.tell(f"trouble:{self._today}", "alert.trouble", ref=payment.ref)

    async def admin_invited(self, shop: Shop, inviter: Person, digest: str) -> None:
        """Somebody who is no owner invites somebody who may do almost everything: once per invitation."""
        holes = {"shop": shop.name, "name": inviter.name, "id": inviter.id}
        await self._owners.tell(f"invited:{digest}", "alert.admin_invited", **holes)

    async def refund_trouble(self, refund: Refund, payment: Payment) -> None:
        """A refund waits for something that will not pass by itself; one that waits for balance is told in the chat."""
        if refund.trouble in KEY_REFUSED:
            await self._episodes.begin(KEY, "alert.refund_key", ref=payment.ref, amount=refund.amount)
        elif refund.trouble_count >= MANY_TRIES:
            holes = {"ref": payment.ref, "amount": refund.amount}
            await self._owners.tell(f"refund:{self._today}", "alert.refund_trouble", **holes)
