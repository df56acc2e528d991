"""Imports go down, each vendor has one adapter, and packages form no cycles: the rules of docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("storage", "handlers", "bot")
"""Each layer imports itself and the layers before it."""

HANDLERS = (
    *(
        "clock",
        "i18n",
        "text_cleaning",
        "qr_code",
        "backoff",
        "sliding_window",
        "stripe",
        "telegram",
        "amounts",
        "access",
        "runtime",
        "payments",
        "refunds",
    ),
    *("disputes", "balance", "messages", "shops", "reports", "stripe_events", "pay_page", "operations", "chat", "web"),
)
"""The packages of handlers/, from the bottom up: each imports only those before it."""

MAX_LEVELS = 6
"""The longest chain of imports between packages of handlers/, in packages."""

VENDORS: dict[str, str] = {
    "stripe": r"bot/stripe/.*",
    "telegram": r"bot/telegram/.*|bot/checks/telegram\.py",
    "aiohttp": r"bot/.*|handlers/web/.*",
    "jinja2": r"bot/.*|handlers/web/.*",
    "sqlalchemy": r"storage/.*",
    "alembic": r"storage/migrations/.*",
    "aiosqlite": r"storage/.*",
    "asyncpg": r"storage/.*",
    "babel": r"handlers/i18n\.py",
    "prometheus_client": r"handlers/operations/metrics\.py",
    "matplotlib": r"handlers/reports/draw_chart\.py",
    "segno": r"handlers/qr_code\.py",
    "xlsxwriter": r"handlers/reports/files\.py",
    "click": r"bot/.*",
    "structlog": r"bot/.*",
    "pydantic": r"bot/settings(_validators)?\.py",
    "pydantic_core": r"bot/settings\.py",
    "pydantic_settings": r"bot/settings\.py",
}
"""The files that may import a vendor's library."""

ANYWHERE = {"structlog.contextvars"}
PURE = re.compile(r"storage/(models/\w+|errors)\.py|handlers/amounts/\w+\.py")
LAZY = {"storage/migrations/__init__.py": {"alembic"}, "storage/database/database.py": {"storage"}}
"""Imports inside a function, by file: Alembic is loaded for a migration only, PostgreSQL's libraries for its URL."""

WALL_CLOCK = re.compile(r"\b(?:datetime|date)\.(?:now|utcnow|today)\(|\btime\.time(?:_ns)?\(")
TOP = {"bot", "handlers", "storage", "tests", "pyproject.toml", ".env.example", "README.md"}
CONVENTION = {
    *("Makefile", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *("docs", "deploy", "requirements", "scripts", ".ci", ".editorconfig", ".gitattributes", ".gitignore", ".git"),
}
FILES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


class Import(NamedTuple):
    """One imported name: the module it comes from (of our own: the module itself), and where."""

    module: str
    line: int
    in_function: bool


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in FILES}


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """Every import of a file, also those in functions and for type checkers only."""
    return tuple(_imports(ast.parse(path.read_text("utf-8")), in_function=False))


def _imports(node: ast.AST, *, in_function: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, in_function)
        elif isinstance(child, ast.ImportFrom):
            assert child.module is not None
            assert child.level == 0, "imports are absolute"
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                is_module = whole in MODULES or whole in ANYWHERE
                yield Import(whole if is_module else child.module, child.lineno, in_function)
        inside = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(child, in_function=inside)


def own_imports() -> Iterator[tuple[str, str, str]]:
    """The importing module, the imported one, and both with the line, of all imports within the product."""
    for importer, path in MODULES.items():
        for found in imports(path):
            if found.module in MODULES and found.module != importer:
                yield importer, found.module, f"{name(path)}:{found.line} imports {found.module}"


def child_of(package: str, of_module: str) -> str | None:
    """The direct child of a package in which a module is; None if it is elsewhere."""
    if of_module == package:
        return f"{package}.__init__"
    below = of_module.removeprefix(f"{package}.")
    return None if below == of_module else f"{package}.{below.partition('.')[0]}"


def package_graph(package: str) -> dict[str, dict[str, str]]:
    """Which children of a package import which, each with one import that does it."""
    graph: dict[str, dict[str, str]] = {}
    for importer, imported, where in own_imports():
        start, end = child_of(package, importer), child_of(package, imported)
        if start and end and start != end:
            graph.setdefault(start, {}).setdefault(end, where)
    return graph


def find_cycle(graph: dict[str, dict[str, str]]) -> list[str]:
    """The imports that form a cycle; none if there is no cycle."""
    done: set[str] = set()

    def walk(node: str, trail: dict[str, str]) -> list[str]:
        if node in trail:
            return list(trail.values())[list(trail).index(node) :]
        if node in done:
            return []
        for further, where in graph.get(node, {}).items():
            if found := walk(further, trail | {node: where}):
                return found
        done.add(node)
        return []

    return next((found for node in graph if (found := walk(node, {}))), [])


@pytest.mark.parametrize("path", FILES, ids=name)
def test_module_imports_only_its_own_and_lower_layers(path: Path) -> None:
    layer = LAYERS.index(path.relative_to(ROOT).parts[0])
    for found in imports(path):
        top = found.module.partition(".")[0]
        assert top != "tests", f"{name(path)}:{found.line} imports {found.module}"
        assert top not in LAYERS[layer + 1 :], f"{name(path)}:{found.line} imports {found.module}, a higher layer"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_vendor_library_is_imported_only_by_its_adapter(path: Path) -> None:
    for found in imports(path):
        top = found.module.partition(".")[0]
        if top in VENDORS and found.module not in ANYWHERE:
            assert re.fullmatch(VENDORS[top], name(path)), f"{name(path)}:{found.line} imports {found.module}"
            assert not PURE.fullmatch(name(path)), (
                f"{name(path)}:{found.line} imports {found.module} into a pure module"
            )


@pytest.mark.parametrize("package", sorted({*LAYERS, *(m for m in MODULES if MODULES[m].name == "__init__.py")}))
def test_modules_and_packages_of_a_package_form_no_cycle(package: str) -> None:
    assert find_cycle(package_graph(package)) == []


def test_package_of_handlers_imports_only_packages_above_it_in_the_table() -> None:
    upward = [
        where
        for start, ends in package_graph("handlers").items()
        for end, where in ends.items()
        if HANDLERS.index(start.removeprefix("handlers.")) <= HANDLERS.index(end.removeprefix("handlers."))
    ]
    assert upward == []


def test_table_of_packages_names_everything_in_handlers() -> None:
    found = {
        path.stem for path in (ROOT / "handlers").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert found - {"__init__"} == set(HANDLERS)


def test_import_chains_between_packages_of_handlers_are_short() -> None:
    graph = package_graph("handlers")

    @cache
    def longest(package: str) -> tuple[str, ...]:
        return (package, *max((longest(end) for end in graph.get(package, {})), key=len, default=()))

    chain = max((longest(package) for package in graph), key=len)
    assert len(chain) <= MAX_LEVELS, " → ".join(chain)


@pytest.mark.parametrize("path", [path for path in FILES if not name(path).startswith("bot/")], ids=name)
def test_module_below_bot_imports_nothing_inside_a_function(path: Path) -> None:
    allowed = LAZY.get(name(path), set())
    lazy = [found for found in imports(path) if found.in_function and found.module.partition(".")[0] not in allowed]
    assert lazy == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_module_docstring_begins_with_one_sentence_in_one_line(path: Path) -> None:
    summary, _, rest = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")
    assert summary.endswith(".")
    assert rest == "" or rest.startswith("\n")


def test_no_module_below_bot_reads_the_clock() -> None:
    reading = [
        name(path) for path in FILES if not name(path).startswith("bot/") and WALL_CLOCK.search(path.read_text())
    ]
    assert reading == []


def test_top_level_of_the_checkout_holds_only_conventional_names() -> None:
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().split()}
    found = {path.name for path in ROOT.iterdir() if path.name not in ignored and path.suffix not in {".db", ".lock"}}
    assert found - TOP - CONVENTION == set()
    assert found >= TOP
