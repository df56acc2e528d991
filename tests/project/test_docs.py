"""The documents match the code: commands parse, links resolve, tables and lists are those of the code."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import stripe

from bot.cli import main, project_version
from bot.sandbox.fake_services import FakeServices
from bot.sandbox.fake_stripe import FakeStripe
from bot.sandbox.fake_telegram import FakeTelegram
from bot.sandbox.shared.fake_clock import FakeClock
from bot.sandbox.standalone import connection_info
from bot.settings import Settings
from bot.stripe.gateway import StripeGateway
from bot.stripe.serialization import WEBHOOK_EVENT_TYPES
from handlers.chat.routes import COMMANDS
from storage.models.payment import TRANSITIONS
from storage.models.refund import REFUND_TRANSITIONS, STRIPE_STATUSES
from tests.test_architecture import HANDLERS

ROOT = Path(__file__).parent.parent.parent
README, ARCHITECTURE, CHANGELOG = (ROOT / name for name in ("README.md", "docs/architecture.md", "CHANGELOG.md"))
CONTRIBUTING, SECURITY = ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"
PAGES = (README, CHANGELOG, CONTRIBUTING, SECURITY, *sorted((ROOT / "docs").glob("*.md")))
README_TEXT = README.read_text("utf-8")
BUILT, _, PLANNED = README_TEXT.partition("## What is not there yet\n")
PLANNED, _, REST = PLANNED.partition("\n## ")
BUILT += REST

BOTFATHER_COMMANDS = {"newbot", "setprivacy", "setjoingroups", "setinline", "setinlinefeedback"}
HTTP_ROUTES = {"healthz", "readyz", "metrics"}
RIGHTS = {
    "create": {("PaymentIntents", "Write"), ("PaymentMethods", "Write")},
    "confirm": {("PaymentIntents", "Write"), ("PaymentMethods", "Write")},
    "cancel": {("PaymentIntents", "Write")},
    "capture": {("PaymentIntents", "Write")},
    "refund": {("Refunds", "Write")},
    "list_refunds": {("Refunds", "Write")},
    "list_disputes": {("Disputes", "Read")},
    "list_fraud_warnings": {("Charges", "Read")},
    "retrieve": {("PaymentIntents", "Write")},
    "find_intent": {("PaymentIntents", "Write")},
    "list_events": {("Events", "Read")},
    "server_time": {("Events", "Read")},
    "list_balance_transactions": {("Balance", "Read")},
    "retrieve_payout": {("Payouts", "Read")},
    "list_payouts": {("Payouts", "Read")},
    "account": {("Account", "Read")},
}
"""The rights that each call of the gateway needs; in Stripe's Dashboard Write includes Read."""


def blocks(kind: str) -> list[str]:
    """The lines of all code blocks of this kind in the README."""
    found = re.findall(rf"^ *```{kind}\n(.*?)^ *```$", README_TEXT, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in found for line in block.splitlines() if line.strip()]


def spans(text: str) -> list[str]:
    """The inline code of a text, without code blocks."""
    return re.findall(r"`([^`]+)`", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL))


def command_lines() -> list[str]:
    """Every shell command of the README, in code blocks and inline."""
    begins = ("make ", "python3 ", ".venv/bin/python ")
    return blocks("sh") + [span for span in spans(README_TEXT) if span.startswith(begins) and "…" not in span]


def chat_commands(text: str) -> set[str]:
    """The chat commands `/name` in a text."""
    named = {found[1] for span in spans(text) if (found := re.match(r"/([a-z]+)(?:@YourBot)?(?: |$)", span))}
    return named - BOTFATHER_COMMANDS - HTTP_ROUTES


def targets() -> set[str]:
    """The targets of the Makefile without those that only other targets need."""
    named = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert named is not None
    return set(named[1].split()) - {"python", "run-ready", "dev-ready"}


def parse_make(line: str) -> tuple[str, dict[str, str]]:
    """The target of a make command and its variables."""
    _, target, *rest = shlex.split(line)
    return target, dict(word.split("=", 1) for word in rest)


@pytest.mark.parametrize("line", command_lines())
def test_readme_command_line_can_be_parsed(line: str) -> None:
    words = shlex.split(line)
    match words:
        case ["make", *_]:
            target, variables = parse_make(line)
            assert target in targets()
            assert variables.keys() <= {"ARGS", "PY"}
            if target == "demo":
                parse_command(["demo", *shlex.split(variables.get("ARGS", ""))])
        case [".venv/bin/python", "-m", "bot", *rest]:
            parse_command(rest)
        case ["python3", script, "run"]:
            assert (ROOT / script).is_file()
        case ["cp", source, ".env"]:
            assert (ROOT / source).is_file()
        case ["chmod", "600", ".env"] | ["curl", *_]:
            pass
        case _:
            pytest.fail(f"the README shows {line!r}, which no case above checks")


def parse_command(words: list[str]) -> None:
    """Has click parse a command without running it."""
    if words in (["--help"], ["--version"]):
        return
    assert words[0] in main.commands
    command = main.commands[words[0]]
    command.make_context(words[0], words[1:])


def test_version_and_help_print_what_the_readme_says() -> None:
    printed = {line: run(line) for line in ("--version", "--help")}
    assert printed["--version"] == f"kvit {project_version()}\n"
    for name in main.commands:
        assert re.search(rf"^  {name} ", printed["--help"], re.MULTILINE)


def run(option: str) -> str:
    command = [sys.executable, "-m", "bot", option]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout


def test_readme_shows_every_command_of_the_program() -> None:
    shown = {word for line in command_lines() for word in shlex.split(line)} | set(spans(BUILT))
    assert main.commands.keys() <= shown


def test_planned_commands_of_the_program_do_not_exist() -> None:
    to_come = {span for span in spans(PLANNED) if re.fullmatch(r"[a-z]+(-[a-z]+)*", span)}
    assert to_come.isdisjoint(main.commands)


def test_readme_shows_exactly_the_chat_commands() -> None:
    assert chat_commands(BUILT) == set(COMMANDS)


def test_planned_chat_commands_do_not_exist() -> None:
    assert chat_commands(PLANNED).isdisjoint(COMMANDS)


def test_readme_event_list_is_that_of_the_webhook_endpoint() -> None:
    assert tuple(blocks("text")) == WEBHOOK_EVENT_TYPES


def test_readme_api_version_is_that_of_the_sdk() -> None:
    assert f"`{stripe.api_version}`" in README_TEXT


def test_readme_key_rights_are_those_of_the_calls_in_use() -> None:
    calls = {name for name, it in vars(StripeGateway).items() if name[0] != "_" and "async" in inspect.getsource(it)}
    assert calls - {"close"} == set(RIGHTS), "add the new call to RIGHTS, and its right to the README"
    sources = [path for folder in ("bot", "handlers") for path in (ROOT / folder).rglob("*.py")]
    text = "".join(path.read_text("utf-8") for path in sources)
    needed = [RIGHTS[name] for name in RIGHTS if re.search(rf"gateway\.{name}\(", text)]
    table = re.findall(r"^ *\| (\w+) \| (Write|Read) \|", README_TEXT, re.MULTILINE)
    assert set(table) == set().union(*needed)


def test_env_example_has_every_setting_and_readme_settings_exist() -> None:
    explained = set(re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
    assert explained == {name.upper() for name in Settings.model_fields}
    named = {span.partition("=")[0] for span in spans(README_TEXT) if re.match(r"[A-Z]+_[A-Z_]+(=|$)", span)}
    assert named
    assert named <= explained


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the platforms that show Markdown make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_and_headings_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.is_file(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_readme_links_to_every_page(page: Path) -> None:
    assert f"](docs/{page.name})" in README_TEXT


def test_security_page_offers_private_reports_and_no_email_address() -> None:
    text = SECURITY.read_text("utf-8")
    assert f"]({SECURITY.name})" in README_TEXT
    assert "Report a vulnerability" in text
    assert re.findall(r"\w@\w+\.|mailto:", text) == []


def test_readme_says_which_command_makes_the_database() -> None:
    assert "`serve` makes its database" in README_TEXT


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "operations.md"], ids=lambda page: page.name)
def test_page_names_no_path_outside_the_checkout(page: Path) -> None:
    places = r"(?:^|[\s(`'\"])(/(?:work|home|root|tmp|usr|var|opt|etc|Users)(?:/|\b)|[A-Z]:\\|~/)"
    assert re.findall(places, page.read_text("utf-8"), re.MULTILINE) == []


def layer_tables() -> dict[str, list[str]]:
    """The names in the first column of each table of packages, by layer."""
    _, _, section = ARCHITECTURE.read_text("utf-8").partition("\n## Packages\n")
    tables = re.split(r"\n\n(?=\|)", section.partition("\n## ")[0])[1:]
    rows = [re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|$", table, re.MULTILINE) for table in tables]
    for names, contents in (row for table in rows for row in table):
        several = len(spans(names)) if " · " in contents else 1
        assert len(contents.split(" · ")) == several, f"{names}: one part of the description each"
    return dict(
        zip(("handlers", "storage", "bot"), ([s for row in t for s in spans(row[0])] for t in rows), strict=True)
    )


@pytest.mark.parametrize("layer", ["handlers", "storage", "bot"])
def test_architecture_table_names_every_module_and_package_of_a_layer_once(layer: str) -> None:
    modules = {path.name for path in (ROOT / layer).glob("*.py")} - {"__init__.py"}
    packages = {f"{path.parent.name}/" for path in (ROOT / layer).glob("*/__init__.py")}
    named = [name for name in layer_tables()[layer] if name != f"{layer}/"]
    assert sorted(named) == sorted(modules | packages)


def test_architecture_lists_packages_of_handlers_in_the_order_of_imports() -> None:
    assert [name.removesuffix("/").removesuffix(".py") for name in layer_tables()["handlers"]] == list(HANDLERS)


@pytest.mark.parametrize("page", [page for page in PAGES if page != CHANGELOG], ids=lambda page: page.name)
def test_files_and_folders_named_by_a_page_exist(page: Path) -> None:
    """In the architecture also without their folder."""
    named = {span for span in spans(page.read_text("utf-8")) if re.fullmatch(r"[\w./-]+(\.(py|po|js|yml|md)|/)", span)}
    known = [f"/{path}" for path in all_files()]
    assert [name for name in named if not any(path.endswith(f"/{name}") or f"/{name}" in path for path in known)] == []


def all_files() -> list[str]:
    """Every file of the checkout, by its path."""
    folders = ("bot", "handlers", "storage", "tests", "docs", "scripts", "deploy", "requirements")
    files = [*ROOT.glob("*.*"), *(path for folder in folders for path in (ROOT / folder).rglob("*.*"))]
    return [path.relative_to(ROOT).as_posix() for path in files]


def state_rows() -> dict[str, str]:
    """The last column of the tables of states, by state; of a refund's the key is `refund.STATE`."""
    _, _, section = ARCHITECTURE.read_text("utf-8").partition("\n## States\n")
    payments, _, refunds = section.partition("\n## ")[0].partition("\n| refund |")
    rows = re.compile(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", re.MULTILINE)
    return dict(rows.findall(payments)) | {f"refund.{state}": ways for state, ways in rows.findall(refunds)}


def test_payment_states_and_transitions_are_those_of_the_models() -> None:
    documented = {state: ways for state, ways in state_rows().items() if "." not in state}
    assert documented.keys() == {str(state) for state in TRANSITIONS}
    for state, ways in TRANSITIONS.items():
        others = {str(other) for other in TRANSITIONS if other is not state}
        names = others if documented[state] == "any other" else set(documented[state].split(", ")) - {"–"}
        assert names == {str(way) for way in ways}, state


def test_refund_states_and_transitions_are_those_of_the_models() -> None:
    documented = {state[7:]: ways for state, ways in state_rows().items() if state.startswith("refund.")}
    assert documented.keys() == {str(state) for state in REFUND_TRANSITIONS}
    for state, ways in REFUND_TRANSITIONS.items():
        names = set(documented[state].split(", ")) - {"–"}
        if "*" in names:
            names = (names - {"*"}) | {str(status) for status in STRIPE_STATUSES if status is not state}
        assert names == {str(way) for way in ways}, state


def test_glossary_has_at_most_20_terms() -> None:
    _, _, glossary = ARCHITECTURE.read_text("utf-8").partition("\n## Glossary\n")
    terms = re.findall(r"^\| (?!term|---)([^|]+) \|", glossary, re.MULTILINE)
    assert 0 < len(set(terms)) == len(terms) <= 20


def test_readme_lists_the_fields_of_the_sandbox_info() -> None:
    clock = FakeClock()
    info = connection_info(FakeServices(clock, FakeStripe(clock), FakeTelegram(clock)))
    assert info.keys() <= set(spans(README_TEXT))
    command = next(line for line in blocks("sh") if "/_control/messages" in line)
    assert f'"from_id": {info["owner_id"]}' in command
    assert f'"chat_id": {info["chat_id"]}' in command


def test_make_help_lists_exactly_the_targets() -> None:
    printed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert set(re.findall(r"^make ([\w-]+)", printed.stdout, re.MULTILINE)) == targets() - {"help"}
    for target, options in re.findall(r"^make (\w+) .*ARGS=(--\w+)", printed.stdout, re.MULTILINE):
        if target == "demo":
            parse_command([target, options])


def test_changelog_begins_with_unreleased_changes() -> None:
    headings = re.findall(r"^## (.+)$", CHANGELOG.read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading) for heading in headings[1:])


def test_unknown_option_is_not_parsed() -> None:
    with pytest.raises(click.UsageError):
        parse_command(["demo", "--turn"])
