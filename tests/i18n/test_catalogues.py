"""The catalogues of all languages have the same messages, exactly those that the code uses."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

from handlers.i18n import LANGUAGES, LOCALES_DIR, text

ROOT = LOCALES_DIR.parent.parent
KEY = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")
TEXT_FUNCTIONS = {"text", "html", "reply", "answer_callback"}
KEY_IN_TEMPLATE = re.compile(r"\b(?:text|html|t|_)\(\s*[\"']([a-z0-9_.]+)[\"']")
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
TAG = re.compile(r"</?[a-z-]+")


def catalogue(language: str) -> Catalog:
    with (LOCALES_DIR / language / "kvit.po").open("rb") as file:
        return read_po(file, locale=language)


def messages(language: str) -> dict[str, list[str]]:
    """All forms of each message, by its key; several if it has a plural."""
    forms: dict[str, list[str]] = {}
    for message in catalogue(language):
        if message.id:
            key = message.id if isinstance(message.id, str) else message.id[0]
            assert key not in forms, f"{key} is there twice"
            forms[key] = [message.string] if isinstance(message.string, str) else list(message.string or [""])
    return forms


PRESENT = [language for language in LANGUAGES if (LOCALES_DIR / language / "kvit.po").exists()]


def test_there_is_an_english_catalogue() -> None:
    assert "en" in PRESENT


@pytest.mark.parametrize("language", PRESENT)
def test_every_language_has_the_same_messages_with_the_same_placeholders_and_tags(language: str) -> None:
    ours, english = messages(language), messages("en")
    assert set(ours) == set(english)
    for key, forms in ours.items():
        for pattern in (PLACEHOLDER, TAG):
            actual = {found for form in forms for found in pattern.findall(form)}
            expected = {found for form in english[key] for found in pattern.findall(form)}
            assert actual == expected, f"{language}: {key}"


@pytest.mark.parametrize("language", PRESENT)
def test_every_message_is_translated_and_not_fuzzy(language: str) -> None:
    for message in catalogue(language):
        assert not message.id or not message.fuzzy, message.id
    for key, forms in messages(language).items():
        assert KEY.fullmatch(key), key
        for form in forms:
            assert form.strip() == form != "", key
            assert all(name.isidentifier() for name in PLACEHOLDER.findall(form)), key
            form.format(**dict.fromkeys(PLACEHOLDER.findall(form), "x"))


@pytest.mark.parametrize("language", PRESENT)
def test_count_selects_the_plural_form(language: str) -> None:
    for key, (one, *more) in messages(language).items():
        if more:
            params = dict.fromkeys(set(PLACEHOLDER.findall(one + more[0])) - {"count"}, "x")
            assert text(language, key, count=1, **params) == one.format(count=1, **params)
            assert text(language, key, count=2, **params) == more[0].format(count=2, **params)


def test_every_message_that_the_code_uses_exists() -> None:
    assert used_keys() - set(messages("en")) == set()


def test_every_message_is_used() -> None:
    literals, prefixes = possible_keys()
    unused = {key for key in messages("en") if key not in literals and not key.startswith(prefixes)}
    assert unused == set()


def modules() -> list[tuple[Path, ast.Module]]:
    """The modules of the product without the sandbox."""
    paths = [path for layer in ("storage", "handlers", "bot") for path in sorted((ROOT / layer).rglob("*.py"))]
    return [(path, ast.parse(path.read_text("utf-8"))) for path in paths if "sandbox" not in path.parts]


def templates() -> list[str]:
    return [path.read_text("utf-8") for path in (ROOT / "handlers").rglob("templates/**/*") if path.is_file()]


def used_keys() -> set[str]:
    """The keys passed to text functions, and the message keys of errors."""
    keys = {key for template in templates() for key in KEY_IN_TEMPLATE.findall(template)}
    for _, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in TEXT_FUNCTIONS:
                keys |= {key for argument in node.args for key in literal_keys(argument)}
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value and assigned(node) == "message_key":
                keys |= {key for key in literal_keys(node.value) if key.startswith("error.")}
    return keys


def possible_keys() -> tuple[set[str], tuple[str, ...]]:
    """Every string literal that could be a key, and the prefixes of keys that are composed."""
    literals = {key for template in templates() for key in KEY.findall(template)}
    prefixes: set[str] = set()
    for _, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                literals.add(node.value)
            elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                prefix = str(node.values[0].value)
                prefixes |= {prefix} if re.fullmatch(r"[a-z][a-z0-9_]*\.[a-z0-9_.]*", prefix) else set()
    return literals, tuple(prefixes)


def called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def assigned(node: ast.Assign | ast.AnnAssign) -> str:
    return ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0])


def literal_keys(node: ast.expr) -> set[str]:
    """The keys that an argument can be, also by a conditional expression."""
    branches = [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]
    strings = [
        branch.value for branch in branches if isinstance(branch, ast.Constant) and isinstance(branch.value, str)
    ]
    return {string for string in strings if KEY.fullmatch(string)}
