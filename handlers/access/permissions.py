"""The one table of authority: which role may do what, in which kind of chat, and by which way it can be asked for.

Whoever acts is looked up when he acts; a door asks `may(context.role, Action.X)` and writes no role of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from storage.models.shop import Role


class ChatKind(StrEnum):
    """The kinds of chat; what happens under a message of inline mode happens in no chat that we know."""

    PRIVATE = "private chat"
    GROUP = "group of the shop"
    UNLINKED_GROUP = "group of no shop"
    INLINE = "inline message"


class Trigger(StrEnum):
    """How something is asked for: a reply is a command that takes its payment from the card it replies to.

    A result is one that inline mode offered and that was sent.
    """

    COMMAND = "command"
    REPLY = "reply"
    BUTTON = "button"
    INLINE_RESULT = "result"


class Action(StrEnum):
    """What people do; each member's own words stand in the table that is printed."""

    REQUEST_PAYMENT = "ask for money"
    HOLD = "reserve money"
    REPEAT_PAYMENT = "ask the same once more"
    VIEW = "look at payments and at how the shop stands"
    NEW_LINK = "make a new link"
    CANCEL_OWN = "cancel a request of one's own"
    CANCEL_ANY = "cancel anybody's request"
    CAPTURE = "take reserved money"
    RELEASE_OWN = "let go money that one reserved oneself"
    RELEASE_ANY = "let go money that anybody reserved"
    REQUEST_REFUND = "ask for a refund"
    APPROVE_REFUND = "do a refund, or approve one that was asked for"
    SECOND_APPROVAL = "approve a refund that another admin approved"
    SETTINGS = "see and change the shop's settings"
    TEAM = "see who holds which role"
    INVITE = "invite somebody"
    REVOKE = "take a role away"
    LOG = "see who did what"
    SELECT_SHOP = "choose among one's own shops in a private chat"
    LINK_CHAT = "tie a group to a shop"
    CREATE_SHOP = "open another shop"
    CLAIM_OWNERSHIP = "become the first owner by the claim link"
    ACCEPT_INVITATION = "take up an invitation"
    BASIC_COMMANDS = "say hello, see what can be written, see one's number"
    LEGAL_INFO = "read the terms, whom to ask, and what is kept"


Triggers = dict[ChatKind, frozenset[Trigger]]


@dataclass(frozen=True)
class Permission:
    """The least role that may do it, and by which ways it can be asked for where."""

    role: Role
    triggers: Triggers


def _shop_chats(*ways: Trigger) -> Triggers:
    return {ChatKind.PRIVATE: frozenset(ways), ChatKind.GROUP: frozenset(ways)}


def _anywhere(*ways: Trigger) -> Triggers:
    return _shop_chats(*ways) | {ChatKind.UNLINKED_GROUP: frozenset(ways)}


COMMAND, REPLY, BUTTON, INLINE_RESULT = Trigger
_CARD = {ChatKind.INLINE: frozenset({BUTTON})}

PERMISSIONS: dict[Action, Permission] = {
    Action.REQUEST_PAYMENT: Permission(
        Role.MERCHANT, _shop_chats(COMMAND, BUTTON) | {ChatKind.INLINE: frozenset({INLINE_RESULT, BUTTON})}
    ),
    Action.HOLD: Permission(Role.MERCHANT, _shop_chats(COMMAND, BUTTON)),
    Action.REPEAT_PAYMENT: Permission(Role.MERCHANT, _shop_chats(COMMAND, REPLY, BUTTON)),
    Action.VIEW: Permission(Role.MERCHANT, _shop_chats(COMMAND, REPLY, BUTTON)),
    Action.NEW_LINK: Permission(Role.MERCHANT, _shop_chats(BUTTON) | _CARD),
    Action.CANCEL_OWN: Permission(Role.MERCHANT, _shop_chats(COMMAND, REPLY, BUTTON) | _CARD),
    Action.CANCEL_ANY: Permission(Role.ADMIN, _shop_chats(COMMAND, REPLY, BUTTON) | _CARD),
    Action.CAPTURE: Permission(Role.ADMIN, _shop_chats(COMMAND, REPLY, BUTTON)),
    Action.RELEASE_OWN: Permission(Role.MERCHANT, _shop_chats(COMMAND, REPLY, BUTTON)),
    Action.RELEASE_ANY: Permission(Role.ADMIN, _shop_chats(COMMAND, REPLY, BUTTON)),
    Action.REQUEST_REFUND: Permission(Role.MERCHANT, _shop_chats(COMMAND, REPLY, BUTTON)),
    Action.APPROVE_REFUND: Permission(Role.ADMIN, _shop_chats(BUTTON)),
    Action.SECOND_APPROVAL: Permission(Role.ADMIN, _shop_chats(BUTTON)),
    Action.SETTINGS: Permission(Role.ADMIN, _shop_chats(COMMAND, BUTTON)),
    Action.TEAM: Permission(Role.ADMIN, _shop_chats(COMMAND, BUTTON)),
    Action.INVITE: Permission(Role.ADMIN, _shop_chats(COMMAND)),
    Action.REVOKE: Permission(Role.ADMIN, _shop_chats(COMMAND)),
    Action.LOG: Permission(Role.ADMIN, _shop_chats(COMMAND, REPLY, BUTTON)),
    Action.SELECT_SHOP: Permission(Role.MERCHANT, {ChatKind.PRIVATE: frozenset({COMMAND, BUTTON})}),
    Action.LINK_CHAT: Permission(
        Role.OWNER,
        {ChatKind.GROUP: frozenset({COMMAND, BUTTON}), ChatKind.UNLINKED_GROUP: frozenset({COMMAND, BUTTON})},
    ),
    Action.CREATE_SHOP: Permission(Role.OWNER, _anywhere(COMMAND)),
    Action.CLAIM_OWNERSHIP: Permission(Role.NONE, {ChatKind.PRIVATE: frozenset({COMMAND})}),
    Action.ACCEPT_INVITATION: Permission(Role.NONE, {ChatKind.PRIVATE: frozenset({COMMAND})}),
    Action.BASIC_COMMANDS: Permission(Role.NONE, _anywhere(COMMAND)),
    Action.LEGAL_INFO: Permission(Role.NONE, _shop_chats(COMMAND)),
}
"""Whatever somebody may do stands here once; commands, buttons, menus and docs/authority.md take it from here."""


def is_allowed(role: Role, action: Action) -> bool:
    """Whether somebody who holds this role now may do that; whether it is his own is the door's question."""
    return role >= PERMISSIONS[action].role


def is_available(action: Action, where: ChatKind, way: Trigger) -> bool:
    """Whether that can be asked for in such a chat by this way, by whoever may."""
    return way in PERMISSIONS[action].triggers.get(where, frozenset())


def min_role(action: Action) -> Role:
    """The least role that may do that."""
    return PERMISSIONS[action].role


def as_markdown() -> str:
    """The table for people, as it stands in docs/authority.md."""
    lines = ["| what | least role | " + " | ".join(ChatKind) + " |", "|---" * (2 + len(ChatKind)) + "|"]
    for action, rule in PERMISSIONS.items():
        cells = [", ".join(way for way in Trigger if is_available(action, where, way)) or "–" for where in ChatKind]
        lines.append(f"| {' | '.join([action, rule.role.name.lower(), *cells])} |")
    return "\n".join(lines)
