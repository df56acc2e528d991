"""A word to each owner, in his private chat and his language; one that is put again is not sent again."""

from __future__ import annotations

from handlers.access.membership import Team
from handlers.clock import Clock
from handlers.i18n import html
from handlers.messages.outbox_message import Post, draft_of
from handlers.telegram.messenger import Letter
from storage.job_queue import Mailbox
from storage.models.job import Draft
from storage.models.payment import Place
from storage.shops import Directory

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
