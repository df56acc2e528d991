"""The routing table: one row per command, one row per button."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from handlers.access.permissions import Action, ChatKind, Trigger, is_available, min_role
from handlers.chat.commands import (
    audit_log,
    find,
    general,
    holds,
    inline,
    members,
    notes,
    open_payments,
    payments,
    refunds,
    reports,
    shop,
    today,
)
from handlers.chat.context import PROMPT_PREFIX, Context
from storage.models.payment import Payment
from storage.models.shop import Role
from storage.prompts import Prompt


@dataclass(frozen=True)
class CommandRoute:
    """A command: `name` without the slash, the actions that it can be used for, and its handler.

    The actions decide who may use it and in which chats. One that moves money is confirmed first when it arrives late.
    `command.NAME` is its line in /help, `menu.NAME` its line in Telegram's menu.
    """

    name: str
    actions: tuple[Action, ...]
    handler: Callable[[Context], Awaitable[None]]
    moves_money: bool = False

    @property
    def role(self) -> Role:
        """The least role that may use it in any chat."""
        return min(min_role(action) for action in self.actions)

    @property
    def allowed_in_unlinked_group(self) -> bool:
        """Whether it works in a group that is linked to no shop."""
        return self.role_in(ChatKind.UNLINKED_GROUP) is not None

    @property
    def needs_shop(self) -> bool:
        """Whether it works only where a shop is known."""
        return self.role > Role.NONE and not self.allowed_in_unlinked_group

    def role_in(self, where: ChatKind) -> Role | None:
        """The least role that may use it in such a chat; None where it cannot be used."""
        return min((min_role(one) for one in self.actions if is_available(one, where, Trigger.COMMAND)), default=None)

    def is_available(self, role: Role, where: ChatKind) -> bool:
        """Whether this role may use it in such a chat."""
        needed = self.role_in(where)
        return needed is not None and role >= needed


@dataclass(frozen=True)
class PaymentButton:
    """A button about one payment, `PREFIX:PAYMENT`; `action` decides who may press it."""

    action: Action
    handler: Callable[[Context, Payment], Awaitable[None]]
    moves_money: bool = False


@dataclass(frozen=True)
class RefundButton:
    """A button about one refund, `PREFIX:REFUND`; who may press it depends on the refund, so its handler decides."""

    handler: Callable[[Context, str], Awaitable[None]]
    moves_money: bool = True


@dataclass(frozen=True)
class ShopButton:
    """A button about the shop, `PREFIX:REST`; `action` decides who may press it, in groups `group_action` if given."""

    action: Action
    handler: Callable[[Context, str], Awaitable[None]]
    group_action: Action | None = None
    moves_money: bool = False


async def _help(context: Context) -> None:
    here = available_commands(context.role, context.chat_kind)
    await general.help_(context, [it.name for it in here if context.access.shop is not None or not it.needs_shop])


COMMANDS: dict[str, CommandRoute] = {
    route.name: route
    for route in (
        CommandRoute("pay", (Action.REQUEST_PAYMENT,), payments.pay, moves_money=True),
        CommandRoute("hold", (Action.HOLD,), holds.hold, moves_money=True),
        CommandRoute("capture", (Action.REQUEST_CAPTURE, Action.CAPTURE), holds.capture, moves_money=True),
        CommandRoute("release", (Action.RELEASE_OWN, Action.RELEASE_ANY), holds.release, moves_money=True),
        CommandRoute("refund", (Action.REQUEST_REFUND,), refunds.refund, moves_money=True),
        CommandRoute("status", (Action.VIEW,), payments.status),
        CommandRoute("cancel", (Action.CANCEL_OWN, Action.CANCEL_ANY), payments.cancel, moves_money=True),
        CommandRoute("today", (Action.VIEW,), today.show_today),
        CommandRoute("open", (Action.VIEW,), open_payments.open_payments),
        CommandRoute("find", (Action.VIEW,), find.find),
        CommandRoute("again", (Action.REPEAT_PAYMENT,), payments.repeat, moves_money=True),
        CommandRoute("note", (Action.NOTE,), notes.note),
        CommandRoute("settle", (Action.CANCEL_OWN, Action.CANCEL_ANY), notes.settle, moves_money=True),
        CommandRoute("team", (Action.TEAM,), members.team),
        CommandRoute("invite", (Action.INVITE,), members.invite),
        CommandRoute("revoke", (Action.REVOKE,), members.revoke),
        CommandRoute("log", (Action.LOG,), audit_log.log),
        CommandRoute("report", (Action.REPORT,), reports.report),
        CommandRoute("export", (Action.REPORT,), reports.export),
        CommandRoute("settings", (Action.SETTINGS,), shop.settings),
        CommandRoute("setup", (Action.SELECT_SHOP, Action.LINK_CHAT, Action.CREATE_SHOP), shop.setup),
        CommandRoute("start", (Action.BASIC_COMMANDS, Action.ACCEPT_INVITATION, Action.CLAIM_OWNERSHIP), general.start),
        CommandRoute("help", (Action.BASIC_COMMANDS,), _help),
        CommandRoute("id", (Action.BASIC_COMMANDS,), general.id_),
        CommandRoute("terms", (Action.LEGAL_INFO,), general.terms),
        CommandRoute("paysupport", (Action.LEGAL_INFO,), general.paysupport),
        CommandRoute("privacy", (Action.LEGAL_INFO,), general.privacy),
    )
}
"""In the order in which /help and the menus list them."""

CALLBACKS: dict[str, PaymentButton | RefundButton | ShopButton] = {
    "n": PaymentButton(Action.NEW_LINK, payments.on_new_link, moves_money=True),
    "qr": PaymentButton(Action.VIEW, payments.on_qr),
    "c": PaymentButton(Action.CANCEL_OWN, payments.on_cancel, moves_money=True),
    "a": PaymentButton(Action.REPEAT_PAYMENT, payments.repeat_tapped, moves_money=True),
    "k": PaymentButton(Action.REQUEST_CAPTURE, holds.on_capture),
    "ka": PaymentButton(Action.REQUEST_CAPTURE, holds.on_ask_admin),
    "r": PaymentButton(Action.RELEASE_OWN, holds.on_release),
    "y": RefundButton(refunds.on_approve),
    "x": RefundButton(refunds.on_decline),
    "t": RefundButton(refunds.on_retry),
    "s": ShopButton(Action.SELECT_SHOP, shop.on_shop, group_action=Action.LINK_CHAT),
    "v": ShopButton(Action.SETTINGS, shop.on_setting),
    "o": ShopButton(Action.VIEW, open_payments.on_page),
    "f": ShopButton(Action.VIEW, find.on_page),
    "d": ShopButton(Action.VIEW, today.on_period),
    "p": ShopButton(Action.VIEW, payments.on_open),
    "rf": ShopButton(Action.REQUEST_REFUND, refunds.on_refund_some),
    "m": ShopButton(Action.TEAM, members.on_team_page),
    "l": ShopButton(Action.LOG, audit_log.on_log_page),
    "g": ShopButton(Action.REQUEST_PAYMENT, inline.on_get_link, moves_money=True),
}
"""By the prefix of the callback data. Old messages carry these prefixes, so none may change its meaning."""

PROMPTS: dict[str, Callable[[Context, Prompt, int], Awaitable[None]]] = {
    "pay": payments.on_amount_chosen,
    "cancel": payments.cancel_answered,
    "again": payments.on_again_chosen,
    "another": payments.on_another_chosen,
    "capture": holds.on_capture_confirmed,
    "release": holds.on_release_confirmed,
    "refund": refunds.on_amount_chosen,
}
"""The handler of each kind of prompt. Their buttons are `q:PROMPT:CHOICE`."""


def moves_money(data: str) -> bool:
    """Whether a button with this callback data moves money, starts or ends a request, or answers a prompt."""
    prefix = data.partition(":")[0]
    button = CALLBACKS.get(prefix)
    return prefix == PROMPT_PREFIX if button is None else button.moves_money


def available_commands(role: Role, where: ChatKind) -> list[CommandRoute]:
    """The commands that this role may use in such a chat, in the order of /help."""
    return [route for route in COMMANDS.values() if route.is_available(role, where)]
