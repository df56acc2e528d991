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

from handlers.access.membership import MAX_NAME_LENGTH, Actor, MembershipService, display_name, role_name
from handlers.clock import Clock
from handlers.i18n import format_datetime, html, text
from handlers.messages.outbox_message import OutboxMessage, chat_ordering_key, to_job
from handlers.telegram.messenger import Button, DeliveryError, Message, Messenger
from handlers.text import clean_text
from storage.database.database import Database
from storage.errors import UserError
from storage.invitations import AcceptedInvitation, InvitationRepository
from storage.job_queue import JobQueue
from storage.models.hashing import sha256_hex
from storage.models.job import Job, NewJob
from storage.models.payment import ChatTarget
from storage.models.shop import Invitation, Member, Role, Shop

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
        name = clean_text(actor.name[:MAX_NAME_LENGTH])
        owners, now = await self._membership.owners(), self._clock.now()
        await self._db.write(
            self._invitations.accept,
            digest,
            actor.id,
            name=name,
            owners=owners,
            messages=lambda joined: (answer(joined), _accepted_notification(joined)),
            now=now,
        )

    async def revoke(self, shop: Shop, user_id: int, *, by: int, answer: Callable[[Member], NewJob]) -> None:
        """Revoke a person's role in the shop at once.

        Raises:
            OwnersAreSet, UnknownMember, LastAdmin, InviterLostRole: nothing was changed.
        """
        owners = await self._membership.owners()
        if user_id in owners:
            raise OwnersAreSet
        now = self._clock.now()
        await self._db.write(
            self._invitations.revoke_member,
            shop.id,
            user_id,
            by=by,
            owners=owners,
            messages=lambda member: (answer(member),),
            now=now,
        )

    async def waiting(self, shop: Shop) -> Sequence[Invitation]:
        """The shop's valid invitations."""
        return await self._db.read(self._invitations.open, shop.id, now=self._clock.now())

    async def build_message(self, job: Job) -> OutboxMessage | None:
        """The message with the link; None if the invitation is not valid any more.

        Raises:
            DeliveryError: the bot's username is not known yet.
        """
        stored, request = _read(job)
        token = self._token(request.source)
        invitation = await self._db.read(self._invitations.find, sha256_hex(token))
        if invitation is None or not invitation.is_valid(self._clock.now()):
            return None
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


def _read(job: Job) -> tuple[dict[str, Any], InvitationContext]:
    stored = json.loads(job.payload)
    return stored, InvitationContext(**stored.pop("request"))
