"""The one table of permissions: the lowest role for each action, and the chats and triggers where it is available.

A handler calls `is_allowed(context.role, Action.X)` with the actor's current role and compares no roles itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from storage.models.shop import Role


class ChatKind(StrEnum):
    """Where an action is triggered. Telegram does not say in which chat an inline message stands."""

    PRIVATE = "private chat"
    GROUP = "shop's group"
    UNLINKED_GROUP = "unlinked group"
    INLINE = "inline message"


class Trigger(StrEnum):
    """What triggers an action.

    A reply is a command that takes its payment from the message it replies to. A result is an inline result that was
    sent.
    """

    COMMAND = "command"
    REPLY = "reply"
    BUTTON = "button"
    INLINE_RESULT = "result"


class Action(StrEnum):
    """What an actor can do. The values are the rows of the table in docs/authority.md."""

    REQUEST_PAYMENT = "request a payment"
    HOLD = "request a hold (reserve money)"
    REPEAT_PAYMENT = "repeat a request"
    VIEW = "view payments and the state of the shop"
    NOTE = "write a note on a payment"
    NEW_LINK = "make a new link"
    CANCEL_OWN = "cancel a request of one's own"
    CANCEL_ANY = "cancel any request"
    REQUEST_CAPTURE = "ask an admin to capture a hold"
    CAPTURE = "capture a hold"
    RELEASE_OWN = "release a hold of one's own"
    RELEASE_ANY = "release any hold"
    REQUEST_REFUND = "request a refund"
    APPROVE_REFUND = "refund, or approve a requested refund"
    SECOND_APPROVAL = "approve a refund as the second admin"
    SETTINGS = "view and change the shop's settings"
    TEAM = "view the members and their roles"
    INVITE = "invite a member"
    REVOKE = "revoke a role"
    LOG = "view the audit log"
    REPORT = "read reports and export files"
    SELECT_SHOP = "select a shop in a private chat"
    LINK_CHAT = "link a group to a shop"
    CREATE_SHOP = "create another shop"
    CLAIM_OWNERSHIP = "become the first owner by the claim link"
    ACCEPT_INVITATION = "accept an invitation"
    BASIC_COMMANDS = "start, read the help, see one's own id"
    LEGAL_INFO = "read terms, support contact and privacy notice"


Triggers = dict[ChatKind, frozenset[Trigger]]


@dataclass(frozen=True)
class Permission:
    """The lowest role that may do an action, and the triggers that are available by kind of chat."""

    role: Role
    triggers: Triggers


def _shop_chats(*triggers: Trigger) -> Triggers:
    return {ChatKind.PRIVATE: frozenset(triggers), ChatKind.GROUP: frozenset(triggers)}


def _anywhere(*triggers: Trigger) -> Triggers:
    return _shop_chats(*triggers) | {ChatKind.UNLINKED_GROUP: frozenset(triggers)}


COMMAND, REPLY, BUTTON, INLINE_RESULT = Trigger
_INLINE_BUTTON = {ChatKind.INLINE: frozenset({BUTTON})}

PERMISSIONS: dict[Action, Permission] = {
    Action.REQUEST_PAYMENT: Permission(
        Role.MERCHANT, _shop_chats(COMMAND, BUTTON) | {ChatKind.INLINE: frozenset({INLINE_RESULT, BUTTON})}
    ),
    Action.HOLD: Permission(Role.MERCHANT, _shop_chats(COMMAND, BUTTON)),
    Action.REPEAT_PAYMENT: Permission(Role.MERCHANT, _shop_chats(COMMAND, REPLY, BUTTON)),
    Action.VIEW: Permission(Role.MERCHANT, _shop_chats(COMMAND, REPLY, BUTTON)),
    Action.NOTE: Permission(Role.MERCHANT, _shop_chats(COMMAND, REPLY)),
    Action.NEW_LINK: Permission(Role.MERCHANT, _shop_chats(BUTTON) | _INLINE_BUTTON),
    Action.CANCEL_OWN: Permission(Role.MERCHANT, _shop_chats(COMMAND, REPLY, BUTTON) | _INLINE_BUTTON),
    Action.CANCEL_ANY: Permission(Role.ADMIN, _shop_chats(COMMAND, REPLY, BUTTON) | _INLINE_BUTTON),
    Action.REQUEST_CAPTURE: Permission(Role.MERCHANT, _shop_chats(COMMAND, REPLY, BUTTON)),
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
    Action.REPORT: Permission(Role.ADMIN, _shop_chats(COMMAND)),
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
"""The only place that assigns roles to actions: commands, buttons, menus and docs/authority.md are made from it."""


def is_allowed(role: Role, action: Action) -> bool:
    """Whether the role may do the action. Whether a payment is the actor's own is for the caller to check."""
    return role >= PERMISSIONS[action].role


def is_available(action: Action, chat_kind: ChatKind, trigger: Trigger) -> bool:
    """Whether this trigger leads to the action in such a chat, for a role that may do it."""
    return trigger in PERMISSIONS[action].triggers.get(chat_kind, frozenset())


def min_role(action: Action) -> Role:
    """The lowest role that may do the action."""
    return PERMISSIONS[action].role


def as_markdown() -> str:
    """The table as docs/authority.md shows it."""
    lines = ["| action | lowest role | " + " | ".join(ChatKind) + " |", "|---" * (2 + len(ChatKind)) + "|"]
    for action, permission in PERMISSIONS.items():
        cells = [", ".join(t for t in Trigger if is_available(action, chat_kind, t)) or "–" for chat_kind in ChatKind]
        lines.append(f"| {' | '.join([action, permission.role.name.lower(), *cells])} |")
    return "\n".join(lines)
