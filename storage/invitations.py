"""Invitations, which give a role once, and the revocation of roles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage import installation
from storage.audit_log import record
from storage.database.database import lock_rows
from storage.errors import UserError
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from storage.models.shop import Invitation, Member, Role, Shop
from storage.schema.shops import invitations, members, shop_chats, shops
from storage.shops import lock_shop, row_to_member, row_to_shop

NAMES = {Role.MERCHANT: "merchant", Role.ADMIN: "admin", Role.OWNER: "owner"}
"""How roles are written in the audit log."""


class InvalidInvitation(UserError):
    """The invitation is unknown, used, revoked or expired."""

    message_key = "error.invalid_invitation"


class RoleAlreadyHeld(UserError):
    """The person already holds that role in the shop, or a higher one."""

    message_key = "error.role_already_held"


class UnknownMember(UserError):
    """No user with that Telegram ID holds a role in the shop."""

    message_key = "error.unknown_member"


class LastAdmin(UserError):
    """No admin or owner would be left."""

    message_key = "error.last_admin"


class InviterLostRole(UserError):
    """The acting person lost their own role a moment ago."""

    message_key = "error.inviter_lost_role"


@dataclass(frozen=True)
class AcceptedInvitation:
    """An invitation, the shop and the member that it made."""

    shop: Shop
    member: Member
    invitation: Invitation


class InvitationRepository:
    """Writes invitations and roles. `owners` is always the set of all owners, who hold no row of their own."""

    def __init__(self, outbox: JobQueue) -> None:
        self._outbox = outbox

    def create(self, tx: sa.Connection, invitation: Invitation, *, now: datetime) -> Invitation:
        """Store an invitation; the same request key returns the stored one."""
        known = _first(tx, invitations.c.request_key == invitation.request_key)
        if known is not None:
            return known
        values = {"token_hash": invitation.token_hash, "shop_id": invitation.shop_id, "role": int(invitation.role)}
        values |= {"request_key": invitation.request_key, "invited_by": invitation.invited_by}
        tx.execute(invitations.insert().values(**values, invited_at=now, expires_at=invitation.expires_at))
        detail = {"role": NAMES[invitation.role]}
        record(tx, invitation.shop_id, f"user:{invitation.invited_by}", "invited", detail, now)
        return invitation

    def find(self, tx: sa.Connection, digest: str) -> Invitation | None:
        """An invitation by the hash of its token."""
        return _first(tx, invitations.c.token_hash == digest)

    def accept(
        self,
        tx: sa.Connection,
        digest: str,
        user_id: int,
        *,
        name: str,
        owners: frozenset[int],
        messages: Callable[[AcceptedInvitation], tuple[NewJob, ...]],
        now: datetime,
    ) -> AcceptedInvitation:
        """Give the bearer of the token its role, use the invitation up, and enqueue `messages`, all in one transaction.

        Raises:
            InvalidInvitation: unknown, used or expired, or the inviter may no longer invite.
            RoleAlreadyHeld: the person has that role or a higher one; the invitation stays valid.
        """
        lock_rows(tx, sa.select(invitations.c.token_hash).where(invitations.c.token_hash == digest))
        found = _first(tx, invitations.c.token_hash == digest)
        if found is None or not found.is_valid(now):
            raise InvalidInvitation
        if not _may_assign_role(tx, found.shop_id, found.invited_by, owners):
            raise InvalidInvitation
        shop = row_to_shop(tx.execute(sa.select(shops).where(shops.c.id == found.shop_id)).mappings().one())
        held = Role.OWNER if user_id in owners else _role(tx, found.shop_id, user_id)
        if held >= found.role:
            raise RoleAlreadyHeld(shop=shop.name)
        member = Member(found.shop_id, user_id, found.role, name, now, found.invited_by)
        _set_member(tx, member)
        used = invitations.update().where(invitations.c.token_hash == digest)
        tx.execute(used.values(used_by=user_id, used_at=now))
        detail = {"role": NAMES[found.role], "invited_by": found.invited_by}
        record(tx, found.shop_id, f"user:{user_id}", "joined", detail, now)
        joined = AcceptedInvitation(shop, member, found)
        self._outbox.enqueue_in(tx, *messages(joined), now=now)
        return joined

    def give_role(
        self,
        tx: sa.Connection,
        invitation: Invitation,
        user_id: int,
        *,
        owners: frozenset[int],
        messages: Callable[[AcceptedInvitation], tuple[NewJob, ...]],
        now: datetime,
    ) -> None:
        """Store an invitation that this person has accepted; the same request key again changes nothing.

        Raises:
            InvalidInvitation, RoleAlreadyHeld: as `accept`; nothing was stored.
        """
        if self.create(tx, invitation, now=now).used_by is None:
            self.accept(tx, invitation.token_hash, user_id, name="", owners=owners, messages=messages, now=now)

    def open(self, tx: sa.Connection, shop_id: int, *, now: datetime) -> Sequence[Invitation]:
        """The valid invitations of a shop, in the order in which they expire."""
        waiting = (
            (invitations.c.shop_id == shop_id) & invitations.c.used_by.is_(None) & (invitations.c.expires_at > now)
        )
        found = tx.execute(
            sa.select(invitations).where(waiting).order_by(invitations.c.expires_at, invitations.c.token_hash)
        )
        return [_to_invitation(row) for row in found.mappings()]

    def revoke_invitation(self, tx: sa.Connection, digest: str, *, now: datetime) -> None:
        """End an unused invitation now."""
        _revoke(tx, invitations.c.token_hash == digest, now)

    def revoke_member(
        self,
        tx: sa.Connection,
        shop_id: int,
        user_id: int,
        *,
        by: int,
        owners: frozenset[int],
        messages: Callable[[Member], tuple[NewJob, ...]],
        now: datetime,
    ) -> Member:
        """Remove a member with the invitations they made and the link of their private chat, and enqueue messages.

        Raises:
            InviterLostRole: the acting person may not do this any more.
            UnknownMember: no user with that Telegram ID has a role here.
            LastAdmin: no admin or owner would be left.
        """
        lock_shop(tx, shop_id)
        if not _may_assign_role(tx, shop_id, by, owners):
            raise InviterLostRole
        mine = (members.c.shop_id == shop_id) & (members.c.user_id == user_id)
        row = tx.execute(sa.select(members).where(mine)).mappings().first()
        if row is None:
            raise UnknownMember(id=user_id)
        others = sa.select(members.c.user_id).where(members.c.shop_id == shop_id, members.c.user_id != user_id)
        others = others.where(members.c.role >= int(Role.ADMIN)).limit(1)
        if not owners and tx.execute(others).first() is None:
            raise LastAdmin
        member = row_to_member(row)
        tx.execute(members.delete().where(mine))
        _revoke(tx, (invitations.c.shop_id == shop_id) & (invitations.c.invited_by == user_id), now)
        tx.execute(shop_chats.delete().where(shop_chats.c.chat_id == user_id, shop_chats.c.shop_id == shop_id))
        detail = {"user": user_id, "role": NAMES[member.role]}
        record(tx, shop_id, f"user:{by}", "revoked", detail, now)
        self._outbox.enqueue_in(tx, *messages(member), now=now)
        return member

    def revoke_owner(
        self,
        tx: sa.Connection,
        shop_id: int,
        user_id: int,
        *,
        by: int,
        owners: frozenset[int],
        messages: Callable[[Member], tuple[NewJob, ...]],
        now: datetime,
    ) -> Member:
        """Remove the claim of an owner, with all their roles, invitations and the link of their private chat.

        Raises:
            InviterLostRole: the acting person is no owner.
            UnknownMember: this person has not claimed the installation.
            LastAdmin: no owner or admin would be left to assign roles.
        """
        if by not in owners:
            raise InviterLostRole
        claim = next((one for one in installation.list_claimed_owners(tx) if one.user_id == user_id), None)
        if claim is None:
            raise UnknownMember(id=user_id)
        admins = sa.select(members.c.user_id).where(members.c.role >= int(Role.ADMIN), members.c.user_id != user_id)
        if owners <= {user_id} and tx.execute(admins.limit(1)).first() is None:
            raise LastAdmin
        installation.remove_claimed_owner(tx, user_id)
        tx.execute(members.delete().where(members.c.user_id == user_id))
        _revoke(tx, invitations.c.invited_by == user_id, now)
        tx.execute(shop_chats.delete().where(shop_chats.c.chat_id == user_id))
        record(tx, shop_id, f"user:{by}", "revoked", {"user": user_id, "role": NAMES[Role.OWNER]}, now)
        member = Member(shop_id, user_id, Role.OWNER, claim.name, claim.since)
        self._outbox.enqueue_in(tx, *messages(member), now=now)
        return member

    def void_leaked(
        self,
        tx: sa.Connection,
        digest: str,
        *,
        messages: Callable[[Shop, Invitation], tuple[NewJob, ...]],
        now: datetime,
    ) -> bool:
        """End a valid invitation whose token others have seen, and enqueue messages; False if it was not valid."""
        found = _first(tx, invitations.c.token_hash == digest)
        if found is None or not found.is_valid(now):
            return False
        shop = row_to_shop(tx.execute(sa.select(shops).where(shops.c.id == found.shop_id)).mappings().one())
        _revoke(tx, invitations.c.token_hash == digest, now)
        record(tx, found.shop_id, "system", "invitation_voided", {"role": NAMES[found.role]}, now)
        self._outbox.enqueue_in(tx, *messages(shop, found), now=now)
        return True

    def void_all(self, tx: sa.Connection, *, now: datetime) -> int:
        """End every valid invitation of every shop; returns how many."""
        valid = invitations.c.used_by.is_(None) & (invitations.c.expires_at > now)
        return tx.execute(invitations.update().where(valid).values(expires_at=now)).rowcount


def invited_through(tx: sa.Connection, shop_id: int, user_ids: Iterable[int]) -> dict[int, tuple[int, ...]]:
    """The chain of each user: the user, then their inviter into the shop, then that person's inviter, and so on.

    It is read from used invitations, which are kept for good, so a role that is revoked does not hide who invited whom.
    A chain ends before a user who claimed the installation.
    """
    query = sa.select(invitations.c.used_by, invitations.c.invited_by, invitations.c.used_at)
    query = query.where(invitations.c.shop_id == shop_id, invitations.c.used_by.is_not(None))
    used = tx.execute(query.order_by(invitations.c.used_at.desc(), invitations.c.token_hash)).all()
    current = tx.execute(
        sa.select(members.c.user_id, members.c.invited_by, members.c.since).where(members.c.shop_id == shop_id)
    ).all()
    joined = [tuple(row) for row in (*current, *used)]  # first the roles held now, which store their inviter
    claimed = installation.owner_ids(tx)
    return {user_id: _chain(user_id, joined, claimed) for user_id in user_ids}


def _chain(user_id: int, joined: Sequence[tuple[Any, ...]], claimed: frozenset[int]) -> tuple[int, ...]:
    """The user, their inviter, and so on; `joined` are user, inviter and time, the latest first."""
    chain, before = [user_id], None
    while True:
        mine = (row for row in joined if row[0] == chain[-1] and (before is None or row[2] <= before))
        _, inviter, before = next(mine, (None, None, None))
        if inviter is None or inviter in claimed or inviter in chain:
            return tuple(chain)
        chain.append(inviter)


def _may_assign_role(tx: sa.Connection, shop_id: int, user_id: int, owners: frozenset[int]) -> bool:
    return user_id in owners or _role(tx, shop_id, user_id) >= Role.ADMIN


def _role(tx: sa.Connection, shop_id: int, user_id: int) -> Role:
    query = sa.select(members.c.role).where(members.c.shop_id == shop_id, members.c.user_id == user_id)
    return Role(tx.execute(query).scalar() or 0)


def _set_member(tx: sa.Connection, member: Member) -> None:
    """Write the role instead of a lower one."""
    mine = (members.c.shop_id == member.shop_id) & (members.c.user_id == member.user_id)
    tx.execute(members.delete().where(mine))
    values = {"shop_id": member.shop_id, "user_id": member.user_id, "role": int(member.role), "name": member.name}
    tx.execute(members.insert().values(**values, since=member.since, invited_by=member.invited_by))


def _revoke(tx: sa.Connection, which: sa.ColumnElement[bool], now: datetime) -> None:
    waiting = which & invitations.c.used_by.is_(None) & (invitations.c.expires_at > now)
    tx.execute(invitations.update().where(waiting).values(expires_at=now))


def _first(tx: sa.Connection, which: sa.ColumnElement[bool]) -> Invitation | None:
    row = tx.execute(sa.select(invitations).where(which)).mappings().first()
    return None if row is None else _to_invitation(row)


def _to_invitation(row: sa.RowMapping) -> Invitation:
    values = {
        name: row[name] for name in ("token_hash", "shop_id", "request_key", "invited_by", "expires_at", "used_by")
    }
    return Invitation(role=Role(row["role"]), **values)
