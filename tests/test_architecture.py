"""The floors of the house: imports go downstairs, each vendor has its door, and every room is read in one sitting."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("storage", "handlers", "bot")
PURE = re.compile(r"storage/(models/\w+|errors)\.py|handlers/amounts/\w+\.py")
DOORS: dict[str, str] = {
    "stripe": r"bot/stripe/.*",
    "telegram": r"handlers/chat/updates\.py|bot/telegram/.*|bot/checks/telegram\.py",
    "aiohttp": r"handlers/web/.*|bot/.*",
    "jinja2": r"handlers/web/.*|bot/.*",
    "sqlalchemy": r"storage/.*",
    "alembic": r"storage/.*",
    "aiosqlite": r"storage/.*",
    "asyncpg": r"storage/.*",
    "babel": r"handlers/i18n\.py",
    "prometheus_client": r"handlers/operations/metrics\.py",
    "segno": r"handlers/qr_code\.py",
    "click": r"bot/.*",
    "structlog": r"bot/logging_setup\.py",
    "pydantic": r"bot/(settings|settings_validators)\.py",
    "pydantic_core": r"bot/settings\.py",
    "pydantic_settings": r"bot/settings\.py",
}
TOP = {"bot", "handlers", "storage", "tests", "pyproject.toml", ".env.example", "README.md"}
CONVENTION = {"Makefile", "LICENSE", "CHANGELOG.md", "SECURITY.md", "docs", "deploy", "requirements", "scripts", ".ci"}
DOTFILES = {".editorconfig", ".gitattributes", ".gitignore", ".git"}
PRODUCT = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))
LONGEST, USUAL = 300, 120


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, also within a function."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_log_context(imported: str) -> bool:
    """structlog.contextvars binds log fields and may be used anywhere."""
    return imported == "structlog.contextvars" or imported.startswith("structlog.contextvars.")


def wanted(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Which of the known modules a file needs; a package is not needed for the sake of a module in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            within = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (
                found if found in known else node.module for found in within if {found, node.module} & set(known)
            )


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", PRODUCT, ids=name)
def test_imports_go_downstairs_and_each_vendor_has_its_door(path: Path) -> None:
    floor = FLOORS.index(path.relative_to(ROOT).parts[0])
    for imported in imports(path):
        top = imported.partition(".")[0]
        assert top not in FLOORS or FLOORS.index(top) <= floor, f"{name(path)} imports {imported}, upstairs"
        assert top != "tests"
        if top in DOORS and not is_log_context(imported):
            assert re.fullmatch(DOORS[top], name(path)), f"{name(path)} imports {top}, which is not its door"
            assert not PURE.fullmatch(name(path)), f"{name(path)} is pure and imports {top}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    known = {module(path): path for path in PRODUCT}
    ways = {start: set(wanted(path, known)) - {start} for start, path in known.items()}
    done: set[str] = set()

    def walk(start: str, trail: tuple[str, ...]) -> None:
        assert start not in trail, " → ".join([*trail[trail.index(start) :], start])
        if start not in done:
            for onward in ways[start]:
                walk(onward, (*trail, start))
            done.add(start)

    for start in ways:
        walk(start, ())


@pytest.mark.parametrize("path", PRODUCT, ids=name)
def test_a_module_says_in_its_first_line_why_it_exists_and_is_read_in_one_sitting(path: Path) -> None:
    text = path.read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", "?"))
    assert len(text.splitlines()) <= LONGEST


def test_most_modules_are_short() -> None:
    assert statistics.median(len(path.read_text("utf-8").splitlines()) for path in PRODUCT) < USUAL


def test_nobody_below_the_roof_asks_the_machine_for_the_time() -> None:
    clock = re.compile(r"\b(?:datetime\.now|datetime\.utcnow|time\.time|date\.today)\(")
    asking = [name(path) for path in PRODUCT if not name(path).startswith("bot/") and clock.search(path.read_text())]
    assert asking == []


def test_the_top_of_the_checkout_holds_what_convention_puts_there() -> None:
    lines = (ROOT / ".gitignore").read_text().split()
    ignored = {line.strip("/") for line in lines}
    found = {path.name for path in ROOT.iterdir() if path.name not in ignored and path.suffix not in {".db", ".lock"}}
    assert found - TOP - CONVENTION - DOTFILES == set()
    assert found >= TOP
