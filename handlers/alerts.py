"""Tells the owners, in their private chats and once, what Kvit could not finish by itself."""

from __future__ import annotations

from handlers.i18n import Safe, html
from handlers.letters import Post, draft_of
from handlers.outbox import CLOSED
from handlers.ports import Clock, Letter
from handlers.reasons import KEY_TROUBLE, MISMATCH
from handlers.team import Person, Team
from handlers.watch import KEY, Episodes
from storage.mail import Mail
from storage.mailbox import Mailbox
from storage.payment import Payment, Place
from storage.people import Shop
from storage.refund import Refund

ALERT = "alert:"
MANY_TRIES = 100
"""Tries that Stripe did not answer, some hours' worth: then somebody should know."""


class Alerts:
    """A word to each owner; one that cannot be delivered is no reason for another."""

    def __init__(self, team: Team, outbox: Mailbox, clock: Clock, episodes: Episodes) -> None:
        self._team = team
        self._outbox = outbox
        self._clock = clock
        self._episodes = episodes

    async def set_aside(self, mail: Mail, reason: str) -> None:
        """A mail waits for a human: say where and why."""
        if mail.key.startswith(ALERT):
            return
        said = html("en", "alert.set_aside", box=mail.box, kind=mail.kind, reason=reason, mail=mail.id)
        if reason.startswith(CLOSED):  # many mails wait at one closed door: a word a day
            await self._tell(f"closed:{mail.lane}:{self._clock.now():%Y-%m-%d}", said)
            return
        subject = mail.body.decode() if mail.kind == "card" else str(mail.id)  # one word for all versions of a card
        await self._tell(subject, said)

    async def trouble(self, payment: Payment) -> None:
        """A payment waits for something that will not pass by itself: once until it is over for a key, else once."""
        if payment.trouble in KEY_TROUBLE:
            await self._episodes.begin(KEY, "alert.key", ref=payment.ref)
        elif payment.trouble == MISMATCH:
            await self._tell(f"mismatch:{payment.id}", html("en", "alert.mismatch", ref=payment.ref))
        elif payment.trouble and payment.trouble_count >= MANY_TRIES:
            await self._tell(f"trouble:{payment.id}", html("en", "alert.trouble", ref=payment.ref))

    async def admin_invited(self, shop: Shop, inviter: Person, digest: str) -> None:
        """Somebody who is no owner invites somebody who may do almost everything: once per invitation."""
        said = html("en", "alert.admin_invited", shop=shop.name, name=inviter.name, id=inviter.id)
        await self._tell(f"invited:{digest}", said)

    async def refund_trouble(self, refund: Refund) -> None:
        """A refund waits for something that will not pass by itself; one that waits for balance is told in the chat."""
        if refund.trouble in KEY_TROUBLE:
            await self._episodes.begin(KEY, "alert.refund_key", refund=refund.id)
        elif refund.trouble_count >= MANY_TRIES:
            await self._tell(f"refund:{refund.id}", html("en", "alert.refund_trouble", refund=refund.id))

    async def _tell(self, subject: str, said: Safe) -> None:
        for owner in sorted(await self._team.owners()):
            post = Post(Place(owner), Letter(said))
            await self._outbox.put(draft_of(post, key=f"{ALERT}{subject}:{owner}"), now=self._clock.now())
