"""Use cases of membership: invite by a link that works once, join by it, revoke a role."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from handlers.access.membership import Actor, MembershipService, display_name, role_name
from handlers.clock import Clock
from handlers.i18n import format_datetime, html, text
from handlers.messages.outbox_message import OutboxMessage, to_job
from handlers.telegram.messenger import Button, DeliveryError, Message, Messenger
from storage import installation
from storage.database.database import Database
from storage.errors import UserError
from storage.invitations import AcceptedInvitation, InvitationRepository, RoleAlreadyHeld
from storage.job_queue import JobQueue
from storage.messages import chat_ordering_key
from storage.models.hashing import sha256_hex
from storage.models.job import Job, NewJob
from storage.models.payment import ChatTarget
from storage.models.shop import SHARED_ACCOUNT_IDS, Invitation, Member, Role, Shop

KIND = "invitation"
"""The kind of job whose link is made when it is sent."""

INVITE = "invite-"
INVITE_LIFE = timedelta(days=1)
WORD_BYTES = 24
"""192 bits of the digest: 32 characters, so that the start payload stays below Telegram's 64."""

WAIT_FOR_NAME = 2.0


class OwnersAreSet(UserError):
    """Owners are set by OWNER_IDS, so no chat can make or remove one."""

    message_key = "error.owners_are_set"


class NoPersonsId(UserError):
    """The id is that of an account which many people share."""

    message_key = "error.no_persons_id"


class PersonHasRole(UserError):
    """The person has that role or a higher one."""

    message_key = "error.person_has_role"


@dataclass(frozen=True)
class InvitationContext:
    """Who invites, from which chat, and how to answer them; stored with the job, without the token."""

    source: str
    key: str
    user_id: int
    language: str
    chat_id: int
    thread_id: int | None
    message_id: int

    @property
    def is_private(self) -> bool:
        """Whether the invitation was requested in a private chat."""
        return self.chat_id > 0


class InvitationService:
    """Invites members and revokes roles. The token of a link is derived from `secret` and is stored nowhere."""

    def __init__(
        self,
        db: Database,
        membership: MembershipService,
        invitations: InvitationRepository,
        outbox: JobQueue,
        messenger: Messenger,
        clock: Clock,
        *,
        secret: bytes,
        on_admin_invited: Callable[[Shop, Actor, str], Awaitable[None]],
    ) -> None:
        self._db = db
        self._membership = membership
        self._invitations = invitations
        self._outbox = outbox
        self._messenger = messenger
        self._clock = clock
        self._secret = secret
        self._on_admin_invited = on_admin_invited

    async def invite(self, shop: Shop, role: Role, inviter: Actor, request: InvitationContext) -> None:
        """Send the inviter a link in their private chat; the same request again sends nothing more."""
        now = self._clock.now()
        digest = sha256_hex(self._token(request.source))
        wanted = Invitation(digest, shop.id, role, request.source, inviter.id, now + INVITE_LIFE)
        kept = await self._db.write(self._invitations.create, wanted, now=now)
        stored = {"digest": kept.token_hash, "role": int(kept.role), "shop": shop.name, "zone": shop.time_zone}
        body = json.dumps(stored | {"request": asdict(request)}).encode()
        await self._outbox.enqueue(
            NewJob(f"{KIND}:{kept.token_hash}", chat_ordering_key(inviter.id), KIND, body), now=now
        )
        if kept.role is Role.ADMIN and not await self._membership.is_owner(inviter.id):
            await self._on_admin_invited(shop, inviter, kept.token_hash)

    async def give_role(
        self,
        shop: Shop,
        role: Role,
        user_id: int,
        inviter: Actor,
        request: str,
        answer: Callable[[AcceptedInvitation], NewJob],
    ) -> None:
        """Give the person a role without a link, and notify them; the same request again changes nothing.

        Raises:
            NoPersonsId, PersonHasRole, InvalidInvitation: nothing was changed.
        """
        if user_id in SHARED_ACCOUNT_IDS or not user_id:
            raise NoPersonsId(id=user_id)
        now = self._clock.now()
        digest = sha256_hex(self._token(request))
        wanted = Invitation(digest, shop.id, role, request, inviter.id, now + INVITE_LIFE)
        try:
            await self._db.write(
                self._invitations.give_role,
                wanted,
                user_id,
                owners=await self._membership.owners(),
                messages=lambda joined: (answer(joined), _welcome(joined)),
                now=now,
            )
        except RoleAlreadyHeld as error:
            raise PersonHasRole(**error.params) from error
        if role is Role.ADMIN and not await self._membership.is_owner(inviter.id):
            await self._on_admin_invited(shop, inviter, digest)

    async def is_invited(self, stored: str) -> bool:
        """Whether the text is the token of a valid invitation."""
        if not stored.startswith(INVITE):
            return False
        invitation = await self._db.read(self._invitations.find, sha256_hex(stored.removeprefix(INVITE)))
        return invitation is not None and invitation.is_valid(self._clock.now())

    async def join(self, stored: str, actor: Actor, answer: Callable[[AcceptedInvitation], NewJob]) -> None:
        """Make the bearer of an invitation's token a member, and notify them and the inviter.

        Raises:
            InvalidInvitation, RoleAlreadyHeld: nothing was changed.
        """
        digest = sha256_hex(stored.removeprefix(INVITE))
        owners, now = await self._membership.owners(), self._clock.now()
        await self._db.write(
            self._invitations.accept,
            digest,
            actor.id,
            name=actor.name,
            owners=owners,
            messages=lambda joined: (answer(joined), _accepted_notification(joined)),
            now=now,
        )

    async def revoke(self, shop: Shop, user_id: int, *, by: int, answer: Callable[[Member], NewJob]) -> None:
        """Revoke a person's role in the shop at once; the claim of an owner, who then has no role in any shop.

        Raises:
            OwnersAreSet, UnknownMember, LastAdmin, InviterLostRole: nothing was changed.
        """
        owners = await self._membership.owners()
        has_claim = await self._db.read(installation.is_owner, user_id)
        is_set = self._membership.is_set_owner(user_id)
        if is_set or (user_id in owners and by not in owners):
            raise OwnersAreSet
        now = self._clock.now()
        await self._db.write(
            self._invitations.revoke_owner if has_claim else self._invitations.revoke_member,
            shop.id,
            user_id,
            by=by,
            owners=owners,
            messages=lambda member: (answer(member),),
            now=now,
        )

    async def void_leaked(self, stored: str) -> bool:
        """End the invitation with this start payload, which others have seen, and tell the inviter.

        Returns False if it was not valid.
        """
        digest = sha256_hex(stored.removeprefix(INVITE))
        return await self._db.write(
            self._invitations.void_leaked, digest, messages=_leaked_notification, now=self._clock.now()
        )

    async def waiting(self, shop: Shop) -> Sequence[Invitation]:
        """The shop's valid invitations."""
        return await self._db.read(self._invitations.open, shop.id, now=self._clock.now())

    async def build_message(self, job: Job) -> OutboxMessage | None:
        """The message with the link; None if the invitation is not valid any more.

        Raises:
            DeliveryError: Telegram, which is asked for the bot's present name, does not answer.
        """
        stored, request = _read(job)
        token = self._token(request.source)
        invitation = await self._db.read(self._invitations.find, sha256_hex(token))
        if invitation is None or not invitation.is_valid(self._clock.now()):
            return None
        try:
            await self._messenger.get_me()
        except DeliveryError as failed:
            failed.outcome_unknown = False  # the message was surely not sent
            raise
        if not self._messenger.username:
            raise DeliveryError("the bot's username is not known yet", retry_after=WAIT_FOR_NAME)
        link = f"https://t.me/{self._messenger.username}?start={INVITE}{token}"
        words = html(
            request.language,
            "invite.link",
            shop=stored["shop"],
            role=role_name(request.language, Role(stored["role"])),
            until=format_datetime(request.language, invitation.expires_at, stored["zone"]),
            link=link,
        )
        share = Button(text(request.language, "button.share"), url=f"https://t.me/share/url?url={quote(link, safe='')}")
        return OutboxMessage(
            ChatTarget(request.user_id), Message(words, ((share,),)), request.message_id if request.is_private else None
        )

    async def on_sent(self, job: Job) -> None:
        """The inviter has the link; if they asked in a group, say so there, without the link."""
        await self._say_in_group(job, "invite.sent_privately")

    async def on_chat_unavailable(self, job: Job) -> None:
        """The bot cannot send to the inviter's private chat: end the invitation and tell the group what to do."""
        await self._db.write(self._invitations.revoke_invitation, _read(job)[0]["digest"], now=self._clock.now())
        await self._say_in_group(job, "invite.private_closed")

    async def _say_in_group(self, job: Job, key: str) -> None:
        _, request = _read(job)
        if request.is_private:
            return
        words = html(request.language, key, bot=f"https://t.me/{self._messenger.username}")
        outgoing = OutboxMessage(ChatTarget(request.chat_id, request.thread_id), Message(words), request.message_id)
        await self._outbox.enqueue(to_job(outgoing, key=f"{request.key}:{KIND}"), now=self._clock.now())

    def _token(self, source: str) -> str:
        made = hmac.digest(self._secret, source.encode(), "sha256")[:WORD_BYTES]
        return base64.urlsafe_b64encode(made).decode()


def _accepted_notification(joined: AcceptedInvitation) -> NewJob:
    """The notification to the inviter, in the shop's language."""
    shop, member = joined.shop, joined.member
    role = role_name(shop.language, member.role)
    person = display_name(member.name, member.user_id)
    words = html(shop.language, "join.notified", person=person, role=role, shop=shop.name)
    outgoing = OutboxMessage(ChatTarget(joined.invitation.invited_by), Message(words))
    return to_job(outgoing, key=f"joined:{joined.invitation.token_hash}")


def _leaked_notification(shop: Shop, invitation: Invitation) -> tuple[NewJob, ...]:
    """The notification to the inviter, in the shop's language."""
    words = html(shop.language, "invite.leaked", role=role_name(shop.language, invitation.role), shop=shop.name)
    outgoing = OutboxMessage(ChatTarget(invitation.invited_by), Message(words))
    return (to_job(outgoing, key=f"leaked:{invitation.token_hash}"),)


def _welcome(joined: AcceptedInvitation) -> NewJob:
    """The notification to a person who was given a role, in the shop's language; they may never have used the bot."""
    shop, member = joined.shop, joined.member
    words = html(
        shop.language, "join.done", shop=shop.name, role=role_name(shop.language, member.role), currency=shop.currency
    )
    outgoing = OutboxMessage(ChatTarget(member.user_id), Message(words), best_effort=True)
    return to_job(outgoing, key=f"welcome:{joined.invitation.token_hash}")


def _read(job: Job) -> tuple[dict[str, Any], InvitationContext]:
    stored = json.loads(job.payload)
    return stored, InvitationContext(**stored.pop("request"))
