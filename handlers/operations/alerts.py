"""Tells the owners, once, what Kvit could not finish by itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from handlers.access.membership import Person, Team
from handlers.clock import Clock
from handlers.i18n import html
from handlers.messages.delivery import CLOSED
from handlers.messages.outbox_message import Post, draft_of
from handlers.stripe.error_codes import KEY_REFUSED, MISMATCH
from handlers.telegram.messenger import Letter
from storage.job_queue import Mailbox
from storage.models.job import Draft, Mail
from storage.models.payment import Payment, Place
from storage.models.refund import Refund
from storage.models.shop import Shop
from storage.shops import Directory

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


KEY = "key"


class Episodes:
    """Troubles that begin and end. A fact remembers what was told, so that a restart does not tell it again."""

    def __init__(self, directory: Directory, owners: Owners, clock: Clock) -> None:
        self._directory = directory
        self._owners = owners
        self._clock = clock
        self._told: set[str] = set()

    async def since(self, name: str) -> datetime | None:
        """When this trouble began; None while there is none."""
        known = await self._directory.fact(_fact(name))
        return datetime.fromisoformat(known) if known else None

    async def begin(self, name: str, key: str, **holes: object) -> None:
        """It is so: tell it unless that was done. The fact comes first, so a crash in between tells it once as well."""
        if name in self._told:
            return
        since = await self.since(name)
        if since is None:
            since = self._clock.now()
            await self._directory.record(_fact(name), since.isoformat())
        await self._owners.tell(f"{name}:{since:%Y-%m-%dT%H:%M:%S}", key, **holes)
        self._told.add(name)

    async def end(self, name: str, key: str, **holes: object) -> None:
        """It is not so any more: tell it if its beginning was told."""
        since = await self.since(name)
        if since is not None:
            await self._owners.tell(f"{name}:{since:%Y-%m-%dT%H:%M:%S}:over", key, **holes)
            await self._directory.record(_fact(name), "")
        self._told.discard(name)


def _fact(name: str) -> str:
    return f"watch:{name}"


ALERT = "alert:"
"""How the keys of such mails begin; one that cannot be delivered is no reason for another."""


class Owners:
    """Those who look after the installation, as one addressee."""

    def __init__(self, directory: Directory, team: Team, outbox: Mailbox, clock: Clock) -> None:
        self._directory = directory
        self._team = team
        self._outbox = outbox
        self._clock = clock

    async def tell(self, subject: str, key: str, **holes: object) -> None:
        """Put the sentence `key` of the catalogues for each of them, once per `subject`.

        Raises:
            DatabaseUnavailable: nobody was told.
        """
        await self._outbox.put(*await self.words(subject, key, **holes), now=self._clock.now())

    async def words(self, subject: str, key: str, **holes: object) -> list[Draft]:
        """What `tell` puts, for whoever has to put it together with something else."""
        return [
            draft_of(
                Post(Place(owner), Letter(html(await self._language(owner), key, **holes))),
                key=f"{ALERT}{subject}:{owner}",
            )
            for owner in sorted(await self._team.owners())
        ]

    async def _language(self, owner: int) -> str:
        """That of the owner's own shop, or of the only one there is; English where that does not tell."""
        shops = [seat.shop for seat in await self._directory.seats(owner)] or list(await self._directory.shops())
        languages = {shop.language for shop in shops}
        return languages.pop() if len(languages) == 1 else "en"
