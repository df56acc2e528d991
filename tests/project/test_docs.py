"""What the documents say is true: every command is understood, every link leads somewhere, every list is the code's."""

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

from bot.cli import main, our_version
from bot.sandbox.fake_services import FakeServices
from bot.sandbox.fake_stripe import FakeStripe
from bot.sandbox.fake_telegram import FakeTelegram
from bot.sandbox.shared.fake_clock import FakeClock
from bot.sandbox.standalone import connection_info
from bot.settings import Settings
from bot.stripe.gateway import StripeGateway
from bot.stripe.serialization import EVENT_TYPES
from handlers.chat.routes import COMMANDS
from storage.models.payment import TRANSITIONS

ROOT = Path(__file__).parent.parent.parent
FLOORS = ("bot", "handlers", "storage")
README, ARCHITECTURE, CHANGELOG = (ROOT / name for name in ("README.md", "docs/architecture.md", "CHANGELOG.md"))
SECURITY = ROOT / "SECURITY.md"
PAGES = (README, ARCHITECTURE, CHANGELOG, SECURITY)
SAID = README.read_text("utf-8")
BUILT, _, TO_COME = SAID.partition("## What is not there yet\n")
TO_COME, _, REST = TO_COME.partition("\n## ")
BUILT += REST

BOTFATHERS = {"newbot", "setprivacy", "setjoingroups", "setinline", "setinlinefeedback"}
OURS_OVER_HTTP = {"healthz", "readyz", "metrics"}
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
    "account": {("Account", "Read")},
}
"""What each of the gateway's calls needs of a restricted key; in Stripe's Dashboard Write includes Read."""


def blocks(kind: str) -> list[str]:
    """The lines of all code blocks of the README that are of this kind."""
    found = re.findall(rf"^ *```{kind}\n(.*?)^ *```$", SAID, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in found for line in block.splitlines() if line.strip()]


def spans(text: str) -> list[str]:
    """What stands in backticks within sentences."""
    return re.findall(r"`([^`]+)`", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL))


def command_lines() -> list[str]:
    """Every line that a reader may copy into his shell, from blocks and from sentences."""
    begins = ("make ", "python3 ", ".venv/bin/python ")
    return blocks("sh") + [span for span in spans(SAID) if span.startswith(begins) and "…" not in span]


def chat_commands(text: str) -> set[str]:
    """The commands `/name` that a text shows."""
    named = {found[1] for span in spans(text) if (found := re.match(r"/([a-z]+)(?:@YourBot)?(?: |$)", span))}
    return named - BOTFATHERS - OURS_OVER_HTTP


def targets() -> set[str]:
    """What can be made, by the Makefile's own list; what only other targets need is left out."""
    named = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert named is not None
    return set(named[1].split()) - {"python", "run-ready", "dev-ready"}


def made(line: str) -> tuple[str, dict[str, str]]:
    """The target of a make command and its variables."""
    _, target, *rest = shlex.split(line)
    return target, dict(word.split("=", 1) for word in rest)


@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_of_the_readme_is_understood(line: str) -> None:
    words = shlex.split(line)
    match words:
        case ["make", *_]:
            target, variables = made(line)
            assert target in targets()
            assert variables.keys() <= {"ARGS", "PY"}
            if target == "demo":
                understood(["demo", *shlex.split(variables.get("ARGS", ""))])
        case [".venv/bin/python", "-m", "bot", *rest]:
            understood(rest)
        case ["python3", script, "run"]:
            assert (ROOT / script).is_file()
        case ["cp", source, ".env"]:
            assert (ROOT / source).is_file()
        case ["chmod", "600", ".env"] | ["curl", *_]:
            pass
        case _:
            pytest.fail(f"the README shows {line!r}, and nobody has looked whether that is right")


def understood(words: list[str]) -> None:
    """Have click read these words, as far as it can without doing anything."""
    if words in (["--help"], ["--version"]):
        return
    assert words[0] in main.commands
    command = main.commands[words[0]]
    command.make_context(words[0], words[1:])


def test_what_does_no_harm_is_run_as_the_readme_writes_it() -> None:
    said = {line: run(line) for line in ("--version", "--help")}
    assert said["--version"] == f"kvit {our_version()}\n"
    for name in main.commands:
        assert re.search(rf"^  {name} ", said["--help"], re.MULTILINE)


def run(option: str) -> str:
    command = [sys.executable, "-m", "bot", option]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout


def test_every_command_of_the_program_is_in_the_readme() -> None:
    shown = {word for line in command_lines() for word in shlex.split(line)} | set(spans(BUILT))
    assert main.commands.keys() <= shown


def test_commands_of_the_program_that_are_to_come_are_not_there() -> None:
    to_come = {span for span in spans(TO_COME) if re.fullmatch(r"[a-z]+(-[a-z]+)*", span)}
    assert to_come.isdisjoint(main.commands)


def test_the_readme_shows_every_command_of_the_chat_and_no_other() -> None:
    assert chat_commands(BUILT) == set(COMMANDS)


def test_commands_of_the_chat_that_are_to_come_are_not_there() -> None:
    assert chat_commands(TO_COME).isdisjoint(COMMANDS)


def test_the_list_of_events_is_what_kvit_asks_for() -> None:
    assert tuple(blocks("text")) == EVENT_TYPES


def test_the_version_of_stripes_api_is_that_of_the_sdk() -> None:
    assert f"`{stripe.api_version}`" in SAID


def test_the_rights_of_the_restricted_key_are_those_of_the_calls_that_are_made() -> None:
    calls = {name for name, it in vars(StripeGateway).items() if name[0] != "_" and "async" in inspect.getsource(it)}
    assert calls - {"close"} == set(RIGHTS), "say in RIGHTS what the new call needs, and in the README"
    sources = [path for folder in ("bot", "handlers") for path in (ROOT / folder).glob("*.py")]
    text = "".join(path.read_text("utf-8") for path in sources)
    needed = [RIGHTS[name] for name in RIGHTS if re.search(rf"gateway\.{name}\(", text)]
    table = re.findall(r"^ *\| (\w+) \| (Write|Read) \|", SAID, re.MULTILINE)
    assert set(table) == set().union(*needed)


def test_every_setting_is_in_env_example_and_those_of_the_readme_exist() -> None:
    explained = set(re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
    assert explained == {name.upper() for name in Settings.model_fields}
    named = {span.partition("=")[0] for span in spans(SAID) if re.match(r"[A-Z]+_[A-Z_]+(=|$)", span)}
    assert named
    assert named <= explained


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    text = page.read_text("utf-8")
    headings = {
        re.sub(r"[^a-z -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings
        elif not target.startswith("https://"):
            assert (page.parent / target.partition("#")[0]).is_file(), f"{page.name} leads to {target}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_page_can_be_found_from_the_readme(page: Path) -> None:
    assert f"](docs/{page.name})" in SAID


def test_security_is_reported_where_nobody_reads_along_and_by_no_address_that_may_not_exist() -> None:
    text = SECURITY.read_text("utf-8")
    assert f"]({SECURITY.name})" in SAID
    assert "Report a vulnerability" in text
    assert re.findall(r"\w@\w+\.|mailto:", text) == []


def test_the_readme_says_which_command_makes_the_database() -> None:
    assert "`serve` makes its database" in SAID


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_place_on_somebodys_machine(page: Path) -> None:
    places = r"(?:^|[\s(`'\"])(/(?:work|home|root|tmp|usr|var|opt|etc|Users)(?:/|\b)|[A-Z]:\\|~/)"
    assert re.findall(places, page.read_text("utf-8"), re.MULTILINE) == []


def test_the_rooms_of_the_architecture_exist() -> None:
    text = ARCHITECTURE.read_text("utf-8")
    names = {span for span in spans(text) if re.fullmatch(r"[\w/]+(\.py|/)", span) and "*" not in span}
    known = {str(path.relative_to(ROOT)) for folder in FLOORS for path in known_in(folder)}
    missing = [name for name in names if not any(f"/{path}".endswith(f"/{name.rstrip('/')}") for path in known)]
    assert missing == []


def test_every_module_has_one_place_in_the_architecture() -> None:
    """Of what lies in a folder that is named itself, the folder is enough."""
    _, _, rooms = ARCHITECTURE.read_text("utf-8").partition("\n## Rooms\n")
    rows = re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|$", rooms.partition("\n## ")[0], re.MULTILINE)
    named = [span for names, _ in rows for span in spans(names)]
    whole = tuple(name for name in named if name.endswith("/"))
    paths = [path.relative_to(ROOT).as_posix() for floor in FLOORS for path in (ROOT / floor).rglob("*.py")]
    modules = [path for path in paths if not path.startswith(whole) and "/__" not in path]
    assert sorted(name for name in named if name not in whole) == sorted(modules)
    for names, told in rows:
        assert len(told.split(" · ")) == len(spans(names)), f"{names} are not told one by one"


def known_in(folder: str) -> list[Path]:
    return [ROOT / folder, *(ROOT / folder).rglob("*.py"), *(p for p in (ROOT / folder).rglob("*") if p.is_dir())]


def test_the_states_of_the_architecture_are_those_of_the_store() -> None:
    rows = re.findall(r"^\| (\w+) \|.*\| ([^|]+) \|$", ARCHITECTURE.read_text("utf-8"), re.MULTILINE)
    said = {state: ways for state, ways in rows if state in set(TRANSITIONS)}
    assert said.keys() == {str(state) for state in TRANSITIONS}
    for state, ways in TRANSITIONS.items():
        if said[state] != "any of the others":
            assert set(said[state].replace("–", "").split(", ")) - {""} == {str(way) for way in ways}


def test_the_sandbox_introduces_itself_as_the_readme_says() -> None:
    clock = FakeClock()
    told = connection_info(FakeServices(clock, FakeStripe(clock), FakeTelegram(clock)))
    assert told.keys() <= set(spans(SAID))
    posted = next(line for line in blocks("sh") if "/_control/messages" in line)
    assert f'"from_id": {told["owner_id"]}' in posted
    assert f'"chat_id": {told["chat_id"]}' in posted


def test_make_help_tells_of_every_target_and_of_no_other() -> None:
    said = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert set(re.findall(r"^make ([\w-]+)", said.stdout, re.MULTILINE)) == targets() - {"help"}
    for target, options in re.findall(r"^make (\w+) .*ARGS=(--\w+)", said.stdout, re.MULTILINE):
        if target == "demo":
            understood([target, options])


def test_the_changelog_tells_of_what_is_not_released_yet_first() -> None:
    headings = re.findall(r"^## (.+)$", CHANGELOG.read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading) for heading in headings[1:])


def test_commands_are_read_by_click() -> None:
    with pytest.raises(click.UsageError):
        understood(["demo", "--turn"])
