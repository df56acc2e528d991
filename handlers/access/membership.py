"""Who may do what, and for which shop a chat acts: looked up anew each time somebody acts."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from handlers.clock import Clock
from handlers.i18n import language_of, text
from handlers.text import clean_text
from storage.models.shop import SHARED_ACCOUNT_IDS, Role, Shop
from storage.shops import ShopRepository


@dataclass(frozen=True)
class Actor:
    """Somebody who acts: Telegram's numeric id, his first name, and the language tag of his app."""

    id: int
    name: str
    language_code: str | None = None

    @property
    def is_shared_account(self) -> bool:
        """Whether many people stand behind this id (anonymous admins, channels): it never has a role."""
        return self.id in SHARED_ACCOUNT_IDS


@dataclass(frozen=True)
class ChatAccess:
    """For which shop a chat acts and what the person may do there.

    `shop` is None where there is none, or where the person has to choose among `choices` first.
    """

    shop: Shop | None
    role: Role
    selectable_shops: tuple[Shop, ...] = ()


LONGEST_NAME = 60
CLAIM = "claim-"
CLAIM_LIFE = timedelta(minutes=15)
NOWHERE = ChatAccess(None, Role.NONE)


class MembershipService:
    """Roles by shop. Owners are those of the settings and those who claimed the installation."""

    def __init__(self, shops: ShopRepository, owner_ids: frozenset[int], clock: Clock) -> None:
        self._shops = shops
        self._owner_ids = owner_ids
        self._clock = clock

    async def is_owner(self, user_id: int) -> bool:
        """Whether the whole installation is his."""
        if user_id in SHARED_ACCOUNT_IDS:
            return False
        return user_id in self._owner_ids or await self._shops.is_owner(user_id)

    async def owners(self) -> frozenset[int]:
        """Everybody to whom the whole installation belongs."""
        return self._owner_ids | await self._shops.owners()

    async def create_claim_link(self) -> str | None:
        """A one-use word by which somebody becomes the first owner within 15 minutes; None where there is one."""
        if await self.owners():
            return None
        word = secrets.token_urlsafe(16)
        await self._shops.create_claim(_digest(word), until=self._clock.now() + CLAIM_LIFE)
        return f"{CLAIM}{word}"

    async def claim(self, said: str, actor: Actor) -> bool:
        """Make the person who brings the word the first owner; False if it is not worth anything (any more)."""
        if actor.is_shared_account or self._owner_ids:
            return False
        digest = _digest(said.removeprefix(CLAIM))
        return await self._shops.claim_ownership(digest, actor.id, name=actor.name, now=self._clock.now())

    async def is_offered(self, said: str) -> bool:
        """Whether a word is the one by which somebody can become the first owner now."""
        if not said.startswith(CLAIM) or self._owner_ids:
            return False
        return await self._shops.is_claim_valid(_digest(said.removeprefix(CLAIM)), now=self._clock.now())

    async def chat_access(self, chat_id: int, actor: Actor) -> ChatAccess:
        """What the person may do in this chat now; a private chat acts for the shop its person belongs to."""
        owner = await self.is_owner(actor.id)
        tied = await self._shops.shop_of_chat(chat_id)
        if tied is not None:
            role = await self.role(tied.id, actor)
            if chat_id < 0 or role is not Role.NONE:
                return ChatAccess(tied, role)
        if chat_id < 0:
            return ChatAccess(None, Role.OWNER if owner else Role.NONE)
        return await self._private(actor, owner)

    async def role(self, shop_id: int, actor: Actor) -> Role:
        """The role a person holds in a shop now."""
        if await self.is_owner(actor.id):
            return Role.OWNER
        return Role.NONE if actor.is_shared_account else await self._shops.role(shop_id, actor.id)

    async def first_shop(self, owner: Actor) -> Shop:
        """The oldest shop, opened for this owner if there is none."""
        language = language_of(owner.language_code) or "en"
        name = clean_text(owner.name[:LONGEST_NAME]) or "Kvit"
        wanted = Shop(0, name, "DKK", language, "Europe/Copenhagen")
        return await self._shops.create_shop(wanted, now=self._clock.now(), only_first=True)

    async def shops_of(self, actor: Actor) -> Sequence[Shop]:
        """The shops for which his private chat can act: all of them for an owner, else those of his roles."""
        if await self.is_owner(actor.id):
            return await self._shops.shops() or [await self.first_shop(actor)]
        return [seat.shop for seat in await self._shops.memberships(actor.id)]

    async def _private(self, actor: Actor, owner: bool) -> ChatAccess:
        if owner:
            shops = await self.shops_of(actor)
            return ChatAccess(shops[0], Role.OWNER) if len(shops) == 1 else ChatAccess(None, Role.OWNER, tuple(shops))
        seats = await self._shops.memberships(actor.id)
        if len(seats) == 1:
            return ChatAccess(seats[0].shop, seats[0].role)
        if not seats:
            return NOWHERE
        return ChatAccess(None, max(seat.role for seat in seats), tuple(seat.shop for seat in seats))


def _digest(word: str) -> str:
    """What is kept of a word that opens a door."""
    return hashlib.sha256(word.encode(errors="replace")).hexdigest()


def role_name(language: str, role: Role) -> str:
    """How a role is called."""
    match role:
        case Role.OWNER:
            return text(language, "role.owner")
        case Role.ADMIN:
            return text(language, "role.admin")
        case Role.MERCHANT:
            return text(language, "role.merchant")
    raise ValueError("a stranger has no role that has a name")


def display_name(name: str, user_id: int) -> str:
    """A person's name with his number, or the number alone."""
    return f"{name} ({user_id})" if name else str(user_id)
