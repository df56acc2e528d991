"""The table of doors: which one a command or a button leads to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from handlers.chat import lists, manners, pay, requests, shop
from handlers.chat.context import Context
from storage.payment import Payment
from storage.questions import Question

COMMAND_DOORS: dict[str, Callable[[Context], Awaitable[None]]] = {
    "pay": pay.pay,
    "status": requests.status,
    "cancel": requests.cancel,
    "open": lists.open_,
    "again": requests.again,
    "start": manners.start,
    "help": manners.help_,
    "id": manners.id_,
    "terms": manners.terms,
    "paysupport": manners.paysupport,
    "privacy": manners.privacy,
    "setup": shop.setup,
    "settings": shop.settings,
}

PAYMENT_BUTTONS: dict[str, Callable[[Context, Payment], Awaitable[None]]] = {
    "n": requests.new_link_tapped,
    "c": requests.cancel_tapped,
}
"""Buttons of a card: `LETTER:PAYMENT`."""

SHOP_BUTTONS: dict[str, Callable[[Context, str], Awaitable[None]]] = {
    "s": shop.shop_tapped,
    "v": shop.setting_tapped,
    "o": lists.page_tapped,
}
"""Buttons about the shop: `LETTER:REST`."""

ANSWERS: dict[str, Callable[[Context, Question, int], Awaitable[None]]] = {
    "pay": pay.chosen,
}
"""Questions by their kind; their buttons are `q:QUESTION:NUMBER`."""
