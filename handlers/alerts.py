"""Tells the owners, in their private chats and once, what Kvit could not finish by itself."""

from __future__ import annotations

from handlers.i18n import html
from handlers.letters import Post, draft_of
from handlers.ports import Clock, Letter
from handlers.team import Team
from storage.mail import Mail
from storage.mailbox import Mailbox
from storage.payment import Place

ALERT = "alert:"


class Alerts:
    """A word to each owner; one that cannot be delivered is no reason for another."""

    def __init__(self, team: Team, outbox: Mailbox, clock: Clock) -> None:
        self._team = team
        self._outbox = outbox
        self._clock = clock

    async def set_aside(self, mail: Mail, reason: str) -> None:
        """A mail waits for a human: say where and why."""
        if mail.key.startswith(ALERT):
            return
        said = html("en", "alert.set_aside", box=mail.box, kind=mail.kind, reason=reason, mail=mail.id)
        for owner in sorted(await self._team.owners()):
            post = Post(Place(owner), Letter(said))
            await self._outbox.put(draft_of(post, key=f"{ALERT}{mail.id}:{owner}"), now=self._clock.now())
