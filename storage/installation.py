"""Settings of this installation, claimed owners, and the claim link that makes the first owner."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from storage.schema.shops import installation_settings, owners

WRITE_PROBE = "written_at"
"""The setting that is overwritten regularly to see whether the database can be written."""


CLAIM = "claim"
"""The setting that holds the one valid claim."""


BOT_ID = "bot_id"
"""The setting that holds the bot's id: message ids in the database belong to that bot."""


@dataclass(frozen=True)
class ClaimedOwner:
    """An owner who claimed the installation; `name` is as it was then."""

    user_id: int
    name: str
    since: datetime


def list_claimed_owners(tx: sa.Connection) -> Sequence[ClaimedOwner]:
    """All owners who claimed the installation, oldest first."""
    query = sa.select(owners).order_by(owners.c.since)
    return [ClaimedOwner(row.user_id, row.name, row.since) for row in tx.execute(query)]


def is_owner(tx: sa.Connection, user_id: int) -> bool:
    """Whether a person claimed the installation."""
    query = sa.select(owners.c.user_id).where(owners.c.user_id == user_id)
    return tx.execute(query).first() is not None


def owner_ids(tx: sa.Connection) -> frozenset[int]:
    """The user ids of all owners who claimed the installation."""
    return frozenset(tx.execute(sa.select(owners.c.user_id)).scalars())


def remove_claimed_owner(tx: sa.Connection, user_id: int) -> None:
    """Remove a claim; while no owner is left, the next start offers the installation anew."""
    tx.execute(owners.delete().where(owners.c.user_id == user_id))


def void_claim(tx: sa.Connection, digest: str, *, now: datetime) -> bool:
    """End the claim with this token hash; False if it was not valid."""
    if not _is_offered(tx, digest, now):
        return False
    tx.execute(installation_settings.delete().where(installation_settings.c.name == CLAIM))
    return True


def end_claim(tx: sa.Connection) -> None:
    """End the claim that is offered, if any."""
    remove_setting(tx, CLAIM)


def remove_setting(tx: sa.Connection, name: str) -> None:
    """Remove a setting."""
    tx.execute(installation_settings.delete().where(installation_settings.c.name == name))


def create_claim(tx: sa.Connection, digest: str, *, until: datetime) -> None:
    """Let the bearer of the token with this hash become the first owner until then; an earlier claim ends."""
    set_setting(tx, CLAIM, f"{digest} {until.timestamp()}")


def is_claim_valid(tx: sa.Connection, digest: str, *, now: datetime) -> bool:
    """Whether `claim_ownership` would succeed with this token hash."""
    return _is_offered(tx, digest, now)


def claim_ownership(tx: sa.Connection, digest: str, user_id: int, *, name: str, now: datetime) -> bool:
    """Make this person the first owner; False if the claim is unknown, used or expired, or there is an owner."""
    if not _is_offered(tx, digest, now):
        return False
    if not tx.execute(installation_settings.delete().where(installation_settings.c.name == CLAIM)).rowcount:
        return False  # another person used it at the same time
    tx.execute(owners.insert().values(user_id=user_id, name=name, since=now))
    return True


def get_setting(tx: sa.Connection, name: str) -> str | None:
    """The value of a setting, None if it is not set."""
    found: str | None = (
        tx.execute(sa.select(installation_settings.c.value).where(installation_settings.c.name == name))
    ).scalar()
    return found


def probe_write(tx: sa.Connection, *, now: datetime) -> None:
    """Write a row, for a full disk can still be read.

    Raises:
        DatabaseUnavailable: nothing can be written.
    """
    set_setting(tx, WRITE_PROBE, now.isoformat())


def set_setting(tx: sa.Connection, name: str, value: str) -> None:
    """Set a setting."""
    tx.execute(installation_settings.delete().where(installation_settings.c.name == name))
    tx.execute(installation_settings.insert().values(name=name, value=value))


def _is_offered(tx: sa.Connection, digest: str, now: datetime) -> bool:
    offer = (
        tx.execute(sa.select(installation_settings.c.value).where(installation_settings.c.name == CLAIM))
    ).scalar() or " 0"
    offered, until = offer.split(" ")
    taken = tx.execute(sa.select(owners.c.user_id)).first() is not None
    return not taken and hmac.compare_digest(offered, digest) and now.timestamp() <= float(until)
