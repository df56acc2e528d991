"""Answers to callbacks: Telegram shows at most 200 characters of them, so every text that can be one has to fit."""

from __future__ import annotations

import ast
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import pytest

import handlers
import storage
from handlers.access.membership import MAX_NAME_LENGTH
from handlers.chat.context import LONGEST_QUOTE, MAX_CALLBACK_ANSWER
from handlers.i18n import LANGUAGE_NAMES, LANGUAGES, money, text
from handlers.shops.settings import MOST_HOURS
from handlers.text_cleaning import MAX_TEXT_LENGTH, shorten
from storage.errors import UserError
from storage.models.money import CURRENCIES, MAX_AMOUNT, Money
from tests.i18n.test_catalogues import called, literal_keys, messages, modules

LONGEST_REFERENCE = "K7F3QXYZ"
MONEY = frozenset({"amount", "least", "left", "limit", "lost", "minimum"})
"""Parameters that are amounts."""

LONGEST = {
    "command": "c" * LONGEST_QUOTE,
    "currency": "DKK",
    "example": LONGEST_REFERENCE,
    "id": str(2**52),
    "longest": str(MAX_TEXT_LENGTH),
    "ref": LONGEST_REFERENCE,
    "replied": LONGEST_REFERENCE,
    "shop": "N" * MAX_NAME_LENGTH,
    "until": "14:05",
    "values": max(
        (", ".join(CURRENCIES), ", ".join(f"{code} ({name})" for code, name in LANGUAGE_NAMES.items())), key=len
    ),
    "written": "w" * LONGEST_QUOTE,
}
"""The longest value that each other parameter can have in an answer to a callback."""


def user_errors(base: type[UserError] = UserError) -> Iterator[type[UserError]]:
    """All refusals; `Context.send_error` answers a callback with any of them."""
    yield base
    for derived in base.__subclasses__():
        yield from user_errors(derived)


def import_all(package: ModuleType) -> None:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if "migrations" not in found.name:
            import_module(found.name)


def callback_message_keys() -> set[str]:
    """The message keys of refusals and those that handlers pass to `answer_callback`."""
    import_all(storage)
    import_all(handlers)
    keys = {error.message_key for error in user_errors()}
    for _, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) == "answer_callback":
                keys |= {key for argument in node.args[:1] for key in literal_keys(argument)}
    return keys


CALLBACK_KEYS = sorted(callback_message_keys())


def longest_params(language: str, key: str) -> dict[str, object]:
    """The placeholders of a text, each with the longest value that it can have."""
    params: dict[str, object] = {}
    for name in re.findall(r"{(\w+)}", messages(language)[key][0]):
        if name in MONEY or (name == "most" and "least" in params):
            amounts = [Money(MAX_AMOUNT, currency) for currency in CURRENCIES]
            params[name] = max(amounts, key=lambda amount: len(money(language, amount)))
        else:
            params[name] = str(MOST_HOURS) if name == "most" else LONGEST[name]
    return params


def test_refusals_and_callback_answers_are_found() -> None:
    assert {"error.permission_denied", "error.chat_has_open_payments", "refund.recorded"} <= set(CALLBACK_KEYS)
    assert {"cancel.done", "cancel.pending", "renew.done", "renew.pending", "setup.toast"} <= set(CALLBACK_KEYS)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("key", CALLBACK_KEYS)
def test_callback_answer_fits_with_the_longest_parameters(language: str, key: str) -> None:
    shown = text(language, key, **longest_params(language, key))
    assert len(shown) <= MAX_CALLBACK_ANSWER, shown


def test_text_that_is_too_long_is_cut_with_an_ellipsis() -> None:
    assert shorten("a" * 200, 200) == "a" * 200
    assert shorten("word " * 50, 200) == "word " * 39 + "word…"
    assert len(shorten("a" * 201, 200)) == 200
