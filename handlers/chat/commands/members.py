"""`/team`, `/invite` and `/revoke`: who may do what in a shop, and how that changes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from handlers import i18n
from handlers.access.membership import known_as, role_name
from handlers.chat.context import Context
from handlers.i18n import Safe
from handlers.shops.invitations import INVITE, OwnersAreSet, Wish
from handlers.telegram.messenger import Button, Keyboard
from storage.errors import PaymentError
from storage.invitations import Joined
from storage.models.job import Draft
from storage.models.shop import Invitation, Member, Role

PER_PAGE = 20
MOST_INVITATIONS = 10
PERSON = re.compile(r"[0-9]{1,15}")
PAGE = re.compile(r"[0-9]{1,4}")
"""A number that a button names; it can be forged, so it has to fit."""


class NotInAGroup(PaymentError):
    """The link of an invitation was shown to a whole group."""

    code = "error.invitation_in_group"


class InvitationForwarded(PaymentError):
    """Somebody else took the invitation up, and this person passed his message on."""

    code = "error.forwarded"


@dataclass(frozen=True)
class _Seat:
    """Somebody with a role, as the list shows him; who stands in OWNER_IDS has neither name nor date."""

    role: Role
    user_id: int
    name: str = ""
    since: datetime | None = None


async def team(context: Context) -> None:
    """Who holds which role here, and the invitations that are open."""
    said, keyboard = await _page(context, 0)
    await context.send(said, keyboard)


async def team_page_tapped(context: Context, number: str) -> None:
    """Another page of the list, in the same message."""
    said, keyboard = await _page(context, int(number) if PAGE.fullmatch(number) else 0)
    await context.replace(said, keyboard)


async def invite(context: Context) -> None:
    """Send whoever asks a link by which one person gets a role."""
    role = _role(context, context.said.rest)
    if role is None:
        await context.reply("invite.how")
        return
    if role is Role.OWNER:
        raise OwnersAreSet
    place = context.place
    wish = Wish(
        source=context.said.source,
        key=context.key,
        user_id=context.person.id,
        language=context.language,
        chat_id=place.chat_id,
        thread_id=place.thread_id,
        message_id=context.said.message_id,
    )
    await context.desks.colleagues.invite(context.shop, role, context.person, wish)


async def join(context: Context) -> None:
    """Take an invitation up: only the person himself does, where nobody else reads along.

    Raises:
        NotInAGroup, InvitationForwarded, InvitationRefused, RoleHeld: nothing was changed.
    """
    if not context.is_private:
        raise NotInAGroup
    if context.said.forwarded:
        raise InvitationForwarded

    def answer(joined: Joined) -> Draft:
        shop, role = joined.shop, role_name(context.language, joined.member.role)
        return context.draft(context.html("join.done", shop=shop.name, role=role, currency=shop.currency))

    await context.desks.colleagues.join(context.said.rest, context.person, answer)


async def revoke(context: Context) -> None:
    """Take a role away at once, also one's own."""
    number = context.said.rest
    if not PERSON.fullmatch(number):
        await context.reply("revoke.how")
        return
    shop = context.shop

    def answer(member: Member) -> Draft:
        person, role = known_as(member.name, member.user_id), role_name(context.language, member.role)
        return context.draft(context.html("revoke.done", person=person, role=role, shop=shop.name))

    await context.desks.colleagues.revoke(shop, int(number), by=context.person.id, answer=answer)


def is_invitation(payload: str) -> bool:
    """Whether what stands behind `/start` is the word of an invitation."""
    return payload.startswith(INVITE)


def _role(context: Context, written: str) -> Role | None:
    """The role that is meant, by its English name or by that of the person's language."""
    for role in (Role.MERCHANT, Role.ADMIN, Role.OWNER):
        if written.casefold() in {role.name.casefold(), role_name(context.language, role).casefold()}:
            return role
    return None


async def _page(context: Context, number: int) -> tuple[Safe, Keyboard]:
    seats = await _seats(context)
    number = min(number, (len(seats) - 1) // PER_PAGE) if seats else 0
    lines = [context.html("team.head", shop=context.shop.name)]
    lines += [_line(context, seat) for seat in seats[number * PER_PAGE : (number + 1) * PER_PAGE]]
    waiting = await context.desks.colleagues.waiting(context.shop)
    if waiting:
        lines += [Safe(""), context.html("team.invitations", number=len(waiting))]
        names = {seat.user_id: seat.name for seat in seats}
        lines += [_waiting(context, one, names) for one in waiting[:MOST_INVITATIONS]]
    return Safe("\n".join(lines)), _buttons(context, number, len(seats))


async def _seats(context: Context) -> list[_Seat]:
    """Owners first; an owner who holds a lower role as well is an owner."""
    directory = context.desks.directory
    owners = await context.desks.team.owners()
    claimed = {one.user_id: one for one in await directory.claimants()}
    members = await directory.members(context.shop.id)
    names = {member.user_id: member.name for member in members}
    found = [
        _Seat(Role.OWNER, one, claimed[one].name, claimed[one].since)
        if one in claimed
        else _Seat(Role.OWNER, one, names.get(one, ""))
        for one in sorted(owners)
    ]
    return found + [_Seat(it.role, it.user_id, it.name, it.since) for it in members if it.user_id not in owners]


def _line(context: Context, seat: _Seat) -> Safe:
    name = Safe(f"<b>{i18n.escaped(seat.name)}</b> ") if seat.name else ""
    who = Safe(f"{name}<code>{seat.user_id}</code>")
    role = role_name(context.language, seat.role)
    if seat.since is None:
        return context.html("team.owner_set", role=role, who=who)
    since = i18n.day(context.language, seat.since, context.shop.time_zone)
    return context.html("team.member", role=role, who=who, since=since)


def _waiting(context: Context, one: Invitation, names: dict[int, str]) -> Safe:
    until = i18n.moment(context.language, one.expires_at, context.shop.time_zone)
    by = known_as(names.get(one.invited_by, ""), one.invited_by)
    return context.html("team.invitation", role=role_name(context.language, one.role), until=until, by=by)


def _buttons(context: Context, number: int, seats: int) -> Keyboard:
    back = (Button(context.text("team.back"), data=f"m:{number - 1}"),) if number else ()
    more = (Button(context.text("team.more"), data=f"m:{number + 1}"),) if seats > (number + 1) * PER_PAGE else ()
    return ((*back, *more),) if back or more else ()
