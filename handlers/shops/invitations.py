"""The desk of colleagues: somebody is invited by a link that works once, joins by it, and can be shown the door."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from handlers.access.membership import LONGEST_NAME, Person, Team, known_as, role_name
from handlers.clock import Clock
from handlers.i18n import html, moment, text
from handlers.messages.outbox_message import Post, draft_of, lane_of
from handlers.operations.alerts import Alerts
from handlers.telegram.messenger import Button, DeliveryFailed, Letter, Messenger
from handlers.text import caption
from storage.errors import PaymentError
from storage.invitations import Invitations, Joined
from storage.job_queue import Mailbox
from storage.models.job import Draft, Mail
from storage.models.payment import Place
from storage.models.shop import Invitation, Member, Role, Shop

KIND = "invitation"
"""How the outbox knows the mail whose link is made when it is sent."""

INVITE = "invite-"
INVITE_LIFE = timedelta(days=1)
WORD_BYTES = 24
"""192 of the digest's bits: 32 characters, so that the start payload stays below Telegram's 64."""

WAIT_FOR_NAME = 2.0


class OwnersAreSet(PaymentError):
    """Owners are those of OWNER_IDS, so nobody is made or unmade one in the chat."""

    code = "error.owners_are_set"


@dataclass(frozen=True)
class Wish:
    """Who wants to invite, from where, and how he is to be answered; kept with the mail, without the word."""

    source: str
    key: str
    user_id: int
    language: str
    chat_id: int
    thread_id: int | None
    message_id: int

    @property
    def is_private(self) -> bool:
        """Whether the wish was said where nobody else reads along."""
        return self.chat_id > 0


class Colleagues:
    """Invitations and goodbyes. The word of a link is made from `secret` and what asked for it, and kept nowhere."""

    def __init__(
        self,
        team: Team,
        book: Invitations,
        outbox: Mailbox,
        alerts: Alerts,
        messenger: Messenger,
        clock: Clock,
        *,
        secret: bytes,
    ) -> None:
        self._team = team
        self._book = book
        self._outbox = outbox
        self._alerts = alerts
        self._messenger = messenger
        self._clock = clock
        self._secret = secret

    async def invite(self, shop: Shop, role: Role, inviter: Person, wish: Wish) -> None:
        """Send the inviter a link in his private chat; the same wish again sends nothing more."""
        now = self._clock.now()
        digest = _digest(self._word(wish.source))
        wanted = Invitation(digest, shop.id, role, wish.source, inviter.id, now + INVITE_LIFE)
        kept = await self._book.offer(wanted, now=now)
        said = {"digest": kept.digest, "role": int(kept.role), "shop": shop.name, "zone": shop.time_zone}
        body = json.dumps(said | {"wish": asdict(wish)}).encode()
        await self._outbox.put(Draft(f"{KIND}:{kept.digest}", lane_of(inviter.id), KIND, body), now=now)
        if kept.role is Role.ADMIN and not await self._team.is_owner(inviter.id):
            await self._alerts.admin_invited(shop, inviter, kept.digest)

    async def is_invited(self, said: str) -> bool:
        """Whether a word is one of an invitation that somebody can take up now."""
        if not said.startswith(INVITE):
            return False
        invitation = await self._book.find(_digest(said.removeprefix(INVITE)))
        return invitation is not None and invitation.is_open(self._clock.now())

    async def join(self, said: str, person: Person, answer: Callable[[Joined], Draft]) -> None:
        """Seat the person who brings an invitation's word, and tell him and whoever invited him.

        Raises:
            InvitationRefused, RoleHeld: nothing was changed.
        """
        digest = _digest(said.removeprefix(INVITE))
        name = caption(person.name[:LONGEST_NAME])
        owners, now = await self._team.owners(), self._clock.now()
        await self._book.take_up(
            digest,
            person.id,
            name=name,
            owners=owners,
            say=lambda joined: (answer(joined), _told(joined)),
            now=now,
        )

    async def revoke(self, shop: Shop, user_id: int, *, by: int, answer: Callable[[Member], Draft]) -> None:
        """Take a person's role in the shop away at once.

        Raises:
            OwnersAreSet, UnknownMember, LastAdmin, NoLongerAdmin: nothing was changed.
        """
        owners = await self._team.owners()
        if user_id in owners:
            raise OwnersAreSet
        now = self._clock.now()
        await self._book.revoke(shop.id, user_id, by=by, owners=owners, say=lambda it: (answer(it),), now=now)

    async def waiting(self, shop: Shop) -> Sequence[Invitation]:
        """The shop's invitations that somebody can still take up."""
        return await self._book.open(shop.id, now=self._clock.now())

    async def letter(self, mail: Mail) -> Post | None:
        """The message with the link; None once the invitation is not worth anything any more.

        Raises:
            DeliveryFailed: the bot does not know its own name yet.
        """
        said, wish = _read(mail)
        word = self._word(wish.source)
        invitation = await self._book.find(_digest(word))
        if invitation is None or not invitation.is_open(self._clock.now()):
            return None
        if not self._messenger.username:
            raise DeliveryFailed("our own name is not known yet", wait=WAIT_FOR_NAME)
        link = f"https://t.me/{self._messenger.username}?start={INVITE}{word}"
        words = html(
            wish.language,
            "invite.link",
            shop=said["shop"],
            role=role_name(wish.language, Role(said["role"])),
            until=moment(wish.language, invitation.expires_at, said["zone"]),
            link=link,
        )
        share = Button(text(wish.language, "button.share"), url=f"https://t.me/share/url?url={quote(link, safe='')}")
        return Post(Place(wish.user_id), Letter(words, ((share,),)), wish.message_id if wish.is_private else None)

    async def sent(self, mail: Mail) -> None:
        """The link is with the inviter; where he asked in a group, say so there, and nothing more."""
        await self._say_in_group(mail, "invite.sent_privately")

    async def closed(self, mail: Mail) -> None:
        """The inviter's private chat is closed to the bot: let the invitation end, and say in the group what to do."""
        await self._book.void(_read(mail)[0]["digest"], now=self._clock.now())
        await self._say_in_group(mail, "invite.private_closed")

    async def _say_in_group(self, mail: Mail, key: str) -> None:
        _, wish = _read(mail)
        if wish.is_private:
            return
        words = html(wish.language, key, bot=f"https://t.me/{self._messenger.username}")
        post = Post(Place(wish.chat_id, wish.thread_id), Letter(words), wish.message_id)
        await self._outbox.put(draft_of(post, key=f"{wish.key}:{KIND}"), now=self._clock.now())

    def _word(self, source: str) -> str:
        made = hmac.digest(self._secret, source.encode(), "sha256")[:WORD_BYTES]
        return base64.urlsafe_b64encode(made).decode()


def _told(joined: Joined) -> Draft:
    """The word to whoever invited, in the language of the shop."""
    shop, member = joined.shop, joined.member
    role = role_name(shop.language, member.role)
    person = known_as(member.name, member.user_id)
    words = html(shop.language, "join.told", person=person, role=role, shop=shop.name)
    post = Post(Place(joined.invitation.invited_by), Letter(words))
    return draft_of(post, key=f"joined:{joined.invitation.digest}")


def _digest(word: str) -> str:
    return hashlib.sha256(word.encode(errors="replace")).hexdigest()


def _read(mail: Mail) -> tuple[dict[str, Any], Wish]:
    said = json.loads(mail.body)
    return said, Wish(**said.pop("wish"))
