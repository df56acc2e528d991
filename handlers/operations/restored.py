"""Handles the start on a restored backup: roles and invitations are those of the time at which it was made."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from handlers.access.membership import display_name
from handlers.clock import Clock
from handlers.operations.alerts import OwnerNotifier
from storage import installation, shops
from storage.database.backup import BACKUP_MARK
from storage.database.database import Database
from storage.installation import WRITE_PROBE
from storage.invitations import InvitationRepository
from storage.models.shop import Role

log = logging.getLogger(__name__)

MAX_LISTED = 25
"""Members that the message to the owners names at most."""


class RestoredBackup:
    """Voids the invitations and claims of a restored backup, and sends the owners the list of roles."""

    def __init__(self, db: Database, owners: OwnerNotifier, invitations: InvitationRepository, clock: Clock) -> None:
        self._db = db
        self._owners = owners
        self._invitations = invitations
        self._clock = clock

    async def handle(self) -> None:
        """Does so if the database is a copy that `backup` made and on which no service has started before.

        The message has a key, so it is sent once if the process is killed in between.

        Raises:
            DatabaseUnavailable: it is done by the next start.
        """
        if await self._db.read(installation.get_setting, BACKUP_MARK) is None:
            return
        made_at = (await self._db.read(installation.get_setting, WRITE_PROBE) or "")[:16].replace("T", " ")
        voided = await self._db.write(self._invitations.void_all, now=self._clock.now())
        await self._db.write(installation.end_claim)
        log.warning("this database is a restored backup (%s UTC): %s open invitations are void", made_at, voided)
        members = await self._members()
        more = f" (+{len(members) - MAX_LISTED})" if len(members) > MAX_LISTED else ""
        people = ", ".join(members[:MAX_LISTED]) + more
        subject = f"restored:{self._clock.now():%Y-%m-%dT%H:%M}"
        await self._owners.notify(subject, "alert.restored", at=f"{made_at} UTC", people=people or "–", number=voided)
        await self._db.write(installation.remove_setting, BACKUP_MARK)

    async def _members(self) -> Sequence[str]:
        """All users with a role, the admins first."""
        found: list[tuple[int, str]] = []
        for shop in await self._db.read(shops.list_shops):
            for member in await self._db.read(shops.list_members, shop.id):
                who = f"{display_name(member.name, member.user_id)} – {shop.name}"
                found.append((-member.role, f"★ {who}" if member.role >= Role.ADMIN else who))
        return [who for _, who in sorted(found, key=lambda one: one[0])]
