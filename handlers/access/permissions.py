"""The one table of authority: which role may do what, in which kind of chat, and by which way it can be asked for.

Whoever acts is looked up when he acts; a door asks `may(context.role, Action.X)` and writes no role of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from storage.models.shop import Role


class Where(StrEnum):
    """The kinds of chat; what happens under a message of inline mode happens in no chat that we know."""

    PRIVATE = "private chat"
    GROUP = "group of the shop"
    HOMELESS = "group of no shop"
    INLINE = "inline message"


class Way(StrEnum):
    """How something is asked for: a reply is a command that takes its payment from the card it replies to.

    A result is one that inline mode offered and that was sent.
    """

    COMMAND = "command"
    REPLY = "reply"
    TAP = "button"
    RESULT = "result"


class Action(StrEnum):
    """What people do; each member's own words stand in the table that is printed."""

    ASK = "ask for money"
    HOLD = "reserve money"
    AGAIN = "ask the same once more"
    LOOK = "look at payments and at how the shop stands"
    NEW_LINK = "make a new link"
    CANCEL_OWN = "cancel a request of one's own"
    CANCEL_ANY = "cancel anybody's request"
    CAPTURE = "take reserved money"
    RELEASE_OWN = "let go money that one reserved oneself"
    RELEASE_ANY = "let go money that anybody reserved"
    ASK_REFUND = "ask for a refund"
    APPROVE_REFUND = "do a refund, or approve one that was asked for"
    SECOND_APPROVAL = "approve a refund that another admin approved"
    SETTINGS = "see and change the shop's settings"
    TEAM = "see who holds which role"
    INVITE = "invite somebody"
    REVOKE = "take a role away"
    LOG = "see who did what"
    CHOOSE_SHOP = "choose among one's own shops in a private chat"
    TIE = "tie a group to a shop"
    OPEN_SHOP = "open another shop"
    CLAIM = "become the first owner by the claim link"
    JOIN = "take up an invitation"
    GREET = "say hello, see what can be written, see one's number"
    INFORM = "read the terms, whom to ask, and what is kept"


Cells = dict[Where, frozenset[Way]]


@dataclass(frozen=True)
class Rule:
    """The least role that may do it, and by which ways it can be asked for where."""

    role: Role
    cells: Cells


def _shop_chats(*ways: Way) -> Cells:
    return {Where.PRIVATE: frozenset(ways), Where.GROUP: frozenset(ways)}


def _anywhere(*ways: Way) -> Cells:
    return _shop_chats(*ways) | {Where.HOMELESS: frozenset(ways)}


COMMAND, REPLY, TAP, RESULT = Way
_CARD = {Where.INLINE: frozenset({TAP})}

AUTHORITY: dict[Action, Rule] = {
    Action.ASK: Rule(Role.MERCHANT, _shop_chats(COMMAND, TAP) | {Where.INLINE: frozenset({RESULT, TAP})}),
    Action.HOLD: Rule(Role.MERCHANT, _shop_chats(COMMAND, TAP)),
    Action.AGAIN: Rule(Role.MERCHANT, _shop_chats(COMMAND, REPLY, TAP)),
    Action.LOOK: Rule(Role.MERCHANT, _shop_chats(COMMAND, REPLY, TAP)),
    Action.NEW_LINK: Rule(Role.MERCHANT, _shop_chats(TAP) | _CARD),
    Action.CANCEL_OWN: Rule(Role.MERCHANT, _shop_chats(COMMAND, REPLY, TAP) | _CARD),
    Action.CANCEL_ANY: Rule(Role.ADMIN, _shop_chats(COMMAND, REPLY, TAP) | _CARD),
    Action.CAPTURE: Rule(Role.ADMIN, _shop_chats(COMMAND, REPLY, TAP)),
    Action.RELEASE_OWN: Rule(Role.MERCHANT, _shop_chats(COMMAND, REPLY, TAP)),
    Action.RELEASE_ANY: Rule(Role.ADMIN, _shop_chats(COMMAND, REPLY, TAP)),
    Action.ASK_REFUND: Rule(Role.MERCHANT, _shop_chats(COMMAND, REPLY, TAP)),
    Action.APPROVE_REFUND: Rule(Role.ADMIN, _shop_chats(TAP)),
    Action.SECOND_APPROVAL: Rule(Role.ADMIN, _shop_chats(TAP)),
    Action.SETTINGS: Rule(Role.ADMIN, _shop_chats(COMMAND, TAP)),
    Action.TEAM: Rule(Role.ADMIN, _shop_chats(COMMAND, TAP)),
    Action.INVITE: Rule(Role.ADMIN, _shop_chats(COMMAND)),
    Action.REVOKE: Rule(Role.ADMIN, _shop_chats(COMMAND)),
    Action.LOG: Rule(Role.ADMIN, _shop_chats(COMMAND, REPLY, TAP)),
    Action.CHOOSE_SHOP: Rule(Role.MERCHANT, {Where.PRIVATE: frozenset({COMMAND, TAP})}),
    Action.TIE: Rule(Role.OWNER, {Where.GROUP: frozenset({COMMAND, TAP}), Where.HOMELESS: frozenset({COMMAND, TAP})}),
    Action.OPEN_SHOP: Rule(Role.OWNER, _anywhere(COMMAND)),
    Action.CLAIM: Rule(Role.STRANGER, {Where.PRIVATE: frozenset({COMMAND})}),
    Action.JOIN: Rule(Role.STRANGER, {Where.PRIVATE: frozenset({COMMAND})}),
    Action.GREET: Rule(Role.STRANGER, _anywhere(COMMAND)),
    Action.INFORM: Rule(Role.STRANGER, _shop_chats(COMMAND)),
}
"""Whatever somebody may do stands here once; commands, buttons, menus and docs/authority.md take it from here."""


def may(role: Role, action: Action) -> bool:
    """Whether somebody who holds this role now may do that; whether it is his own is the door's question."""
    return role >= AUTHORITY[action].role


def asked_for(action: Action, where: Where, way: Way) -> bool:
    """Whether that can be asked for in such a chat by this way, by whoever may."""
    return way in AUTHORITY[action].cells.get(where, frozenset())


def least(action: Action) -> Role:
    """The least role that may do that."""
    return AUTHORITY[action].role


def table() -> str:
    """The table for people, as it stands in docs/authority.md."""
    lines = ["| what | least role | " + " | ".join(Where) + " |", "|---" * (2 + len(Where)) + "|"]
    for action, rule in AUTHORITY.items():
        cells = [", ".join(way for way in Way if asked_for(action, where, way)) or "–" for where in Where]
        lines.append(f"| {' | '.join([action, rule.role.name.lower(), *cells])} |")
    return "\n".join(lines)
