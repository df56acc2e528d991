"""Roles of people in shops, and the shop that a chat acts for. Both are read from the database for every action."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from handlers.clock import Clock
from handlers.i18n import language_of, text
from handlers.text_cleaning import clean_name
from storage import installation, shops
from storage.database.database import Database
from storage.models.hashing import sha256_hex
from storage.models.shop import SHARED_ACCOUNT_IDS, Role, Shop

MAX_NAME_LENGTH = 60


@dataclass(frozen=True)
class Actor:
    """The author of an update: Telegram's numeric id, first name as plain words, and the language tag of the app."""

    id: int
    name: str
    language_code: str | None = None

    def __post_init__(self) -> None:
        """Cleans the name, which the person chose: it is shown to others in messages of ours."""
        object.__setattr__(self, "name", clean_name(self.name, MAX_NAME_LENGTH))

    @property
    def is_shared_account(self) -> bool:
        """Whether many people share this id (anonymous admins, channels). Such an id never has a role."""
        return self.id in SHARED_ACCOUNT_IDS


@dataclass(frozen=True)
class ChatAccess:
    """The shop that a chat acts for, and the actor's role there.

    `shop` is None where there is none, or where the actor has to select one of `selectable_shops` first.
    """

    shop: Shop | None
    role: Role
    selectable_shops: tuple[Shop, ...] = ()


CLAIM_PREFIX = "claim-"
CLAIM_TTL = timedelta(minutes=15)
NO_ACCESS = ChatAccess(None, Role.NONE)


class MembershipService:
    """Roles by shop. The owners are those of OWNER_IDS; if it is not set, the users who claimed the installation."""

    def __init__(self, db: Database, owner_ids: frozenset[int], clock: Clock) -> None:
        self._db = db
        self._owner_ids = owner_ids
        self._clock = clock

    async def is_owner(self, user_id: int) -> bool:
        """Whether the user owns the installation."""
        if user_id in SHARED_ACCOUNT_IDS:
            return False
        if self._owner_ids:
            return user_id in self._owner_ids
        return await self._db.read(installation.is_owner, user_id)

    def is_set_owner(self, user_id: int) -> bool:
        """Whether OWNER_IDS names the user, whom no chat can remove."""
        return user_id in self._owner_ids

    async def owners(self) -> frozenset[int]:
        """The ids of all owners of the installation."""
        return self._owner_ids or await self._db.read(installation.owner_ids)

    async def create_claim_link(self) -> str | None:
        """A start payload that makes its first sender the owner, valid for 15 minutes; None if there is an owner."""
        if await self.owners():
            return None
        token = secrets.token_urlsafe(16)
        await self._db.write(installation.create_claim, sha256_hex(token), until=self._clock.now() + CLAIM_TTL)
        return f"{CLAIM_PREFIX}{token}"

    async def claim(self, payload: str, actor: Actor) -> bool:
        """Makes the actor the first owner; False if the start payload is not, or no longer, valid."""
        if actor.is_shared_account or self._owner_ids:
            return False
        return await self._db.write(
            installation.claim_ownership, _token_hash(payload), actor.id, name=actor.name, now=self._clock.now()
        )

    async def void_leaked_claim(self, payload: str) -> bool:
        """End the claim of this start payload, which others have seen; False if it was not valid."""
        return await self._db.write(installation.void_claim, _token_hash(payload), now=self._clock.now())

    async def is_claim_valid(self, payload: str) -> bool:
        """Whether `claim` would accept the start payload now."""
        if not payload.startswith(CLAIM_PREFIX) or self._owner_ids:
            return False
        return await self._db.read(installation.is_claim_valid, _token_hash(payload), now=self._clock.now())

    async def chat_access(self, chat_id: int, actor: Actor) -> ChatAccess:
        """The shop and the role that the actor has in this chat now.

        A private chat acts for the shop that its user belongs to.
        """
        is_owner = await self.is_owner(actor.id)
        linked = await self._db.read(shops.shop_of_chat, chat_id)
        if linked is not None:
            role = await self.role(linked.id, actor)
            if chat_id < 0 or role is not Role.NONE:
                return ChatAccess(linked, role)
        if chat_id < 0:
            return ChatAccess(None, Role.OWNER if is_owner else Role.NONE)
        return await self._private_chat_access(actor, is_owner)

    async def role(self, shop_id: int, actor: Actor) -> Role:
        """The actor's role in the shop now."""
        if await self.is_owner(actor.id):
            return Role.OWNER
        return Role.NONE if actor.is_shared_account else await self._db.read(shops.get_role, shop_id, actor.id)

    async def first_shop(self, owner: Actor) -> Shop:
        """The oldest shop; creates one for this owner if there is none."""
        language = language_of(owner.language_code) or "en"
        new_shop = Shop(0, owner.name or "Kvit", "DKK", language, "Europe/Copenhagen")
        return await self._db.write(shops.create_shop, new_shop, now=self._clock.now(), only_first=True)

    async def shops_of(self, actor: Actor) -> Sequence[Shop]:
        """The shops that the actor's private chat can act for: all of them for an owner, else those with a role."""
        if await self.is_owner(actor.id):
            return await self._db.read(shops.list_shops) or [await self.first_shop(actor)]
        return [membership.shop for membership in await self._db.read(shops.memberships, actor.id)]

    async def _private_chat_access(self, actor: Actor, is_owner: bool) -> ChatAccess:
        if is_owner:
            every = await self.shops_of(actor)
            return ChatAccess(every[0], Role.OWNER) if len(every) == 1 else ChatAccess(None, Role.OWNER, tuple(every))
        memberships = await self._db.read(shops.memberships, actor.id)
        if len(memberships) == 1:
            return ChatAccess(memberships[0].shop, memberships[0].role)
        if not memberships:
            return NO_ACCESS
        highest = max(membership.role for membership in memberships)
        return ChatAccess(None, highest, tuple(membership.shop for membership in memberships))


def _token_hash(payload: str) -> str:
    return sha256_hex(payload.removeprefix(CLAIM_PREFIX))


def role_name(language: str, role: Role) -> str:
    """The name of a role in this language.

    Raises:
        ValueError: `Role.NONE` has no name.
    """
    match role:
        case Role.OWNER:
            return text(language, "role.owner")
        case Role.ADMIN:
            return text(language, "role.admin")
        case Role.MERCHANT:
            return text(language, "role.merchant")
    raise ValueError("Role.NONE has no name")


def display_name(name: str, user_id: int) -> str:
    """`NAME (ID)`, or the id alone where the name is unknown."""
    return f"{name} ({user_id})" if name else str(user_id)
