"""`/team`, `/invite` and `/revoke`: members, their roles, and how these change."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from handlers import i18n
from handlers.access.membership import display_name, role_name
from handlers.chat.arguments import bare
from handlers.chat.context import Context
from handlers.i18n import SafeHtml
from handlers.shops.invitations import INVITE, InvitationContext, OwnersAreSet
from handlers.telegram.messenger import Button, Keyboard
from storage import installation, shops
from storage.errors import UserError
from storage.invitations import AcceptedInvitation
from storage.models.job import NewJob
from storage.models.shop import Invitation, Member, Role

PER_PAGE = 20
MOST_INVITATIONS = 10
PERSON = re.compile(r"[0-9]{1,15}")
PAGE = re.compile(r"[0-9]{1,4}")
"""A number in callback data; it can be forged, so its length is limited."""


class InvitationInGroup(UserError):
    """The invitation's link was shown in a group."""

    message_key = "error.invitation_in_group"


class InvitationForwarded(UserError):
    """The message with the invitation was forwarded."""

    message_key = "error.forwarded_command"


@dataclass(frozen=True)
class _MemberRow:
    """A person with a role; owners of OWNER_IDS have neither name nor date."""

    role: Role
    user_id: int
    name: str = ""
    since: datetime | None = None


async def team(context: Context) -> None:
    """List the members and the valid invitations."""
    said, keyboard = await _page(context, 0)
    await context.send(said, keyboard)


async def on_team_page(context: Context, number: str) -> None:
    """Show another page of the list in the same message."""
    said, keyboard = await _page(context, int(number) if PAGE.fullmatch(number) else 0)
    await context.edit(said, keyboard)


async def invite(context: Context) -> None:
    """Send the admin a link that gives one person a role, or give it to the person with this Telegram ID."""
    name, *rest = context.message.args.split() or [""]
    role, number = _role(context, bare(name)), [word.rstrip(".,;:!") for word in rest]
    if role is None or len(number) > 1 or not all(PERSON.fullmatch(one) for one in number):
        await context.reply("invite.how")
        return
    if role is Role.OWNER:
        raise OwnersAreSet
    if number:
        await _give_role(context, role, int(number[0]))
        return
    chat = context.chat
    invitation_context = InvitationContext(
        source=context.message.request_key,
        key=context.key,
        user_id=context.actor.id,
        language=context.language,
        chat_id=chat.chat_id,
        thread_id=chat.thread_id,
        message_id=context.message.message_id,
    )
    await context.services.invitations.invite(context.shop, role, context.actor, invitation_context)


async def _give_role(context: Context, role: Role, user_id: int) -> None:
    def answer(joined: AcceptedInvitation) -> NewJob:
        person, named = display_name(joined.member.name, user_id), role_name(context.language, role)
        words = context.html("invite.given", person=person, role=named, shop=joined.shop.name, id=user_id)
        return context.answer_job(words)

    request = context.message.request_key
    await context.services.invitations.give_role(context.shop, role, user_id, context.actor, request, answer)


async def accept_invitation(context: Context) -> None:
    """Accept an invitation, in a private chat only.

    Raises:
        InvitationInGroup, InvitationForwarded, InvalidInvitation, RoleAlreadyHeld: nothing was changed.
    """
    if not context.is_private:
        raise InvitationInGroup
    if context.message.forwarded:
        raise InvitationForwarded

    def answer(joined: AcceptedInvitation) -> NewJob:
        shop, role = joined.shop, role_name(context.language, joined.member.role)
        return context.answer_job(context.html("join.done", shop=shop.name, role=role, currency=shop.currency))

    await context.services.invitations.join(context.message.args, context.actor, answer)


async def revoke(context: Context) -> None:
    """Revoke a role at once; one's own too."""
    number = bare(context.message.args)
    if not PERSON.fullmatch(number):
        await context.reply("revoke.how")
        return
    shop = context.shop

    def answer(member: Member) -> NewJob:
        person, role = display_name(member.name, member.user_id), role_name(context.language, member.role)
        return context.answer_job(context.html("revoke.done", person=person, role=role, shop=shop.name))

    await context.services.invitations.revoke(shop, int(number), by=context.actor.id, answer=answer)


def is_invitation(payload: str) -> bool:
    """Whether the text behind `/start` is an invitation."""
    return payload.startswith(INVITE)


def _role(context: Context, written: str) -> Role | None:
    """The role of this name, in English or in the person's language."""
    for role in (Role.MERCHANT, Role.ADMIN, Role.OWNER):
        if written.casefold() in {role.name.casefold(), role_name(context.language, role).casefold()}:
            return role
    return None


async def _page(context: Context, number: int) -> tuple[SafeHtml, Keyboard]:
    seats = await _seats(context)
    number = min(number, (len(seats) - 1) // PER_PAGE) if seats else 0
    lines = [context.html("team.head", shop=context.shop.name)]
    lines += [_line(context, seat) for seat in seats[number * PER_PAGE : (number + 1) * PER_PAGE]]
    waiting = await context.services.invitations.waiting(context.shop)
    if waiting:
        lines += [SafeHtml(""), context.html("team.invitations", number=len(waiting))]
        names = {seat.user_id: seat.name for seat in seats}
        lines += [_waiting(context, one, names) for one in waiting[:MOST_INVITATIONS]]
    return SafeHtml("\n".join(lines)), _buttons(context, number, len(seats))


async def _seats(context: Context) -> list[_MemberRow]:
    """Members, owners first; an owner who is also a member is listed as an owner."""
    owners = await context.services.membership.owners()
    claimed = {one.user_id: one for one in await context.db.read(installation.list_claimed_owners)}
    members = await context.db.read(shops.list_members, context.shop.id)
    names = {member.user_id: member.name for member in members}
    found = [
        _MemberRow(Role.OWNER, one, claimed[one].name, claimed[one].since)
        if one in claimed
        else _MemberRow(Role.OWNER, one, names.get(one, ""))
        for one in sorted(owners)
    ]
    return found + [_MemberRow(it.role, it.user_id, it.name, it.since) for it in members if it.user_id not in owners]


def _line(context: Context, seat: _MemberRow) -> SafeHtml:
    name = SafeHtml(f"<b>{i18n.escaped(seat.name)}</b> ") if seat.name else ""
    who = SafeHtml(f"{name}<code>{seat.user_id}</code>")
    role = role_name(context.language, seat.role)
    if seat.since is None:
        return context.html("team.owner_set", role=role, who=who)
    since = i18n.format_date(context.language, seat.since, context.shop.time_zone)
    return context.html("team.member", role=role, who=who, since=since)


def _waiting(context: Context, one: Invitation, names: dict[int, str]) -> SafeHtml:
    until = i18n.format_datetime(context.language, one.expires_at, context.shop.time_zone)
    by = display_name(names.get(one.invited_by, ""), one.invited_by)
    return context.html("team.invitation", role=role_name(context.language, one.role), until=until, by=by)


def _buttons(context: Context, number: int, seats: int) -> Keyboard:
    back = (Button(context.text("team.back"), data=f"m:{number - 1}"),) if number else ()
    more = (Button(context.text("team.more"), data=f"m:{number + 1}"),) if seats > (number + 1) * PER_PAGE else ()
    return ((*back, *more),) if back or more else ()
