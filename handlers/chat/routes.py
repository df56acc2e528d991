"""The table of doors: which one a command or a button leads to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from handlers.access.permissions import Action
from handlers.chat import requests
from handlers.chat.commands import audit_log, general, holds, members, open_payments, payments, refunds, shop
from handlers.chat.context import Context
from storage.models.payment import Payment
from storage.prompts import Question

COMMAND_DOORS: dict[str, Callable[[Context], Awaitable[None]]] = {
    "pay": payments.pay,
    "hold": holds.hold,
    "capture": holds.capture,
    "release": holds.release,
    "refund": refunds.refund,
    "status": requests.status,
    "cancel": requests.cancel,
    "open": open_payments.open_,
    "again": requests.again,
    "start": general.start,
    "help": general.help_,
    "id": general.id_,
    "terms": general.terms,
    "paysupport": general.paysupport,
    "privacy": general.privacy,
    "setup": shop.setup,
    "settings": shop.settings,
    "team": members.team,
    "invite": members.invite,
    "revoke": members.revoke,
    "log": audit_log.log,
}

PAYMENT_BUTTONS: dict[str, Callable[[Context, Payment], Awaitable[None]]] = {
    "n": requests.new_link_tapped,
    "qr": requests.qr_tapped,
    "c": requests.cancel_tapped,
    "k": holds.capture_tapped,
    "r": holds.release_tapped,
}
"""Buttons of a card: `LETTER:PAYMENT`."""

REFUND_BUTTONS: dict[str, Callable[[Context, str], Awaitable[None]]] = {
    "y": refunds.approve_tapped,
    "x": refunds.decline_tapped,
    "t": refunds.retry_tapped,
}
"""Buttons about a refund: `LETTER:REFUND`; which shop they are about the refund itself says."""

SHOP_BUTTONS: dict[str, Callable[[Context, str], Awaitable[None]]] = {
    "s": shop.shop_tapped,
    "v": shop.setting_tapped,
    "o": open_payments.page_tapped,
    "m": members.team_page_tapped,
    "l": audit_log.log_page_tapped,
}
"""Buttons about the shop: `LETTER:REST`."""

BUTTON_ACTIONS: dict[str, Action] = {
    "n": Action.NEW_LINK,
    "c": Action.CANCEL_OWN,
    "qr": Action.LOOK,
    "k": Action.CAPTURE,
    "r": Action.RELEASE_OWN,
    "s": Action.CHOOSE_SHOP,
    "v": Action.SETTINGS,
    "o": Action.LOOK,
    "m": Action.TEAM,
    "l": Action.LOG,
}
"""What each button of a card or a shop is for, and so who may press it; its door asks for more where need be.

Of a refund the refund itself says who may decide it.
"""

ANSWERS: dict[str, Callable[[Context, Question, int], Awaitable[None]]] = {
    "pay": payments.chosen,
    "capture": holds.capture_answered,
    "release": holds.release_answered,
    "refund": refunds.amount_chosen,
}
"""Questions by their kind; their buttons are `q:QUESTION:NUMBER`. A late command goes through `COMMAND_DOORS` again."""
