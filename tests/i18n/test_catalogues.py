"""The catalogues of all languages hold the same sentences, and exactly those that the code says."""

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
SPEAKERS = {"text", "html", "reply", "answer_callback"}
IN_A_TEMPLATE = re.compile(r"\b(?:text|html|t|_)\(\s*[\"']([a-z0-9_.]+)[\"']")
HOLE = re.compile(r"\{([^{}]*)\}")
TAG = re.compile(r"</?[a-z-]+")


def catalogue(language: str) -> Catalog:
    with (LOCALES_DIR / language / "kvit.po").open("rb") as written:
        return read_po(written, locale=language)


def sentences(language: str) -> dict[str, list[str]]:
    """Key → all its forms (several where it has a plural)."""
    found: dict[str, list[str]] = {}
    for message in catalogue(language):
        if message.id:
            key = message.id if isinstance(message.id, str) else message.id[0]
            assert key not in found, f"{key} stands twice"
            found[key] = [message.string] if isinstance(message.string, str) else list(message.string or [""])
    return found


PRESENT = [language for language in LANGUAGES if (LOCALES_DIR / language / "kvit.po").exists()]


def test_there_is_an_english_catalogue() -> None:
    assert "en" in PRESENT


@pytest.mark.parametrize("language", PRESENT)
def test_every_language_has_the_same_sentences_with_the_same_holes_and_tags(language: str) -> None:
    ours, english = sentences(language), sentences("en")
    assert set(ours) == set(english)
    for key, forms in ours.items():
        for shape in (HOLE, TAG):
            said = {found for form in forms for found in shape.findall(form)}
            meant = {found for form in english[key] for found in shape.findall(form)}
            assert said == meant, f"{language}: {key}"


@pytest.mark.parametrize("language", PRESENT)
def test_every_sentence_is_written_and_approved(language: str) -> None:
    for message in catalogue(language):
        assert not message.id or not message.fuzzy, message.id
    for key, forms in sentences(language).items():
        assert KEY.fullmatch(key), key
        for form in forms:
            assert form.strip() == form != "", key
            assert all(hole.isidentifier() for hole in HOLE.findall(form)), key
            form.format(**dict.fromkeys(HOLE.findall(form), "x"))


@pytest.mark.parametrize("language", PRESENT)
def test_a_count_chooses_between_the_forms_of_a_sentence(language: str) -> None:
    for key, (one, *more) in sentences(language).items():
        if more:
            holes = dict.fromkeys(set(HOLE.findall(one + more[0])) - {"count"}, "x")
            assert text(language, key, count=1, **holes) == one.format(count=1, **holes)
            assert text(language, key, count=2, **holes) == more[0].format(count=2, **holes)


def test_everything_that_is_said_has_been_written() -> None:
    assert keys_said() - set(sentences("en")) == set()


def test_nothing_is_written_that_nobody_says() -> None:
    words, beginnings = keys_named()
    unsaid = {key for key in sentences("en") if key not in words and not key.startswith(beginnings)}
    assert unsaid == set()


def modules() -> list[tuple[Path, ast.Module]]:
    """The modules that may speak; the pretend world has no part in it."""
    paths = [path for floor in ("storage", "handlers", "bot") for path in sorted((ROOT / floor).rglob("*.py"))]
    return [(path, ast.parse(path.read_text("utf-8"))) for path in paths if "sandbox" not in path.parts]


def templates() -> list[str]:
    return [path.read_text("utf-8") for path in (ROOT / "handlers").rglob("templates/**/*") if path.is_file()]


def keys_said() -> set[str]:
    """Keys handed to something that speaks, and the codes of refusals."""
    said = {key for template in templates() for key in IN_A_TEMPLATE.findall(template)}
    for _, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in SPEAKERS:
                said |= {word for argument in node.args for word in literals(argument)}
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value and assigned(node) == "message_key":
                said |= {word for word in literals(node.value) if word.startswith("error.")}
    return said


def keys_named() -> tuple[set[str], tuple[str, ...]]:
    """Every literal that could be a key, and the beginnings of keys that are put together."""
    words = {word for template in templates() for word in KEY.findall(template)}
    beginnings: set[str] = set()
    for _, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
            elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                beginning = str(node.values[0].value)
                beginnings |= {beginning} if re.fullmatch(r"[a-z][a-z0-9_]*\.[a-z0-9_.]*", beginning) else set()
    return words, tuple(beginnings)


def called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def assigned(node: ast.Assign | ast.AnnAssign) -> str:
    return ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0])


def literals(node: ast.expr) -> set[str]:
    """The keys that an argument can be, also by a choice between two."""
    branches = [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]
    words = [branch.value for branch in branches if isinstance(branch, ast.Constant) and isinstance(branch.value, str)]
    return {word for word in words if KEY.fullmatch(word)}
