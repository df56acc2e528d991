"""A terminal for the program's commands: `python -m bot …` in this process, beside a pretend Stripe and Telegram."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from bot import logging_setup
from bot.cli import main
from bot.sandbox.fake_services import environment
from bot.sandbox.fake_stripe import FakeStripe
from bot.sandbox.fake_telegram import FakeTelegram
from bot.sandbox.shared.fake_clock import FakeClock
from bot.settings import Settings
from bot.stripe.admin_client import API_VERSION
from bot.stripe.serialization import EVENT_TYPES
from storage.database.database import Database
from tests.support import world as worlds
from tests.support.world import World, free_port

Json = dict[str, Any]
KEY = "rk_test_51CanaryRestrictedKey"
PUBLIC = "https://pay.example.dk"
SECRET = "whsec_CanaryOfTheEndpoint"


@dataclass
class Ended:
    """How a command ended and what it said on stdout."""

    code: int
    said: str

    @property
    def lines(self) -> dict[str, str]:
        """What was said, by the name that each line begins with; several of one name are one text."""
        found: dict[str, str] = {}
        for line in self.said.splitlines():
            name, _, rest = line[6:].partition(": ")
            found[name] = f"{found[name]}\n{line[:4]} {rest}" if name in found else f"{line[:4]} {rest}"
        return found


@dataclass
class Terminal:
    """`env` are the variables of the environment; both vendors run in real time, and may be turned."""

    stripe: FakeStripe
    telegram: FakeTelegram
    clock: FakeClock
    env: dict[str, str | None]

    async def run(self, *words: str, **env: str | None) -> Ended:
        """Run a command with these variables beside the usual ones; None takes one away."""
        nothing: dict[str, str | None] = {name.upper(): None for name in Settings.model_fields}
        given = nothing | self.env | {name.upper(): value for name, value in env.items()}
        result = await asyncio.to_thread(CliRunner().invoke, main, words, env=given)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout)

    def sent(self, method: str) -> list[Json]:
        """What Telegram was told by this method, oldest first."""
        return [entry.params for entry in self.telegram.transcript if entry.method == method]

    def endpoint(self, **changes: Any) -> Json:
        """Another endpoint at Stripe, the right one but for the changes."""
        number = len(self.stripe.store.webhook_endpoints) + 1
        made: Json = {"id": f"we_{number}", "object": "webhook_endpoint", "url": f"{PUBLIC}/stripe/webhook"}
        made |= {"api_version": API_VERSION, "enabled_events": list(EVENT_TYPES), "status": "enabled", "created": 1}
        self.stripe.store.webhook_endpoints[made["id"]] = made | changes
        return self.stripe.store.webhook_endpoints[made["id"]]


@asynccontextmanager
async def opened(folder: Path, *, key: str = KEY) -> AsyncIterator[Terminal]:
    """Both vendors running, and settings in which nothing is wrong."""
    clock = FakeClock()
    stripe, telegram = FakeStripe(clock, key=key, webhook_secret=SECRET), FakeTelegram(clock)
    telegram.state.privacy = True
    await stripe.start()
    await telegram.start()
    env: dict[str, str | None] = {
        **environment(stripe, telegram),
        "OWNER_IDS": "70010001",
        "PUBLIC_URL": PUBLIC,
        "DATABASE_URL": f"sqlite:///{folder}/kvit.db",
        "TELEGRAM_MODE": "polling",
    }
    try:
        with chdir(folder), _logging_as_it_was():
            yield Terminal(stripe, telegram, clock, env)
    finally:
        await telegram.stop()
        await stripe.stop()


@asynccontextmanager
async def installed(folder: Path) -> AsyncIterator[Terminal]:
    """An installation in which nothing is wrong: tables, settings, and the endpoint at Stripe."""
    async with opened(folder) as running:
        db = Database(f"sqlite:///{folder}/kvit.db")
        await db.migrate()
        await db.close()
        running.endpoint()
        yield running


@asynccontextmanager
async def serving(folder: Path, **changed: str) -> AsyncIterator[tuple[Terminal, World]]:
    """A terminal beside a `serve` that runs, with what differs from its settings, and no endpoint at Stripe yet."""
    clock, port = FakeClock(), free_port()
    given: dict[str, Any] = {"public_url": f"http://127.0.0.1:{port}", "telegram_mode": "polling"} | changed
    async with worlds.opened(clock, folder, port=port, **given) as world:
        world.stripe.store.webhook_endpoints.clear()
        env: dict[str, str | None] = {
            **environment(world.stripe, world.telegram),
            "OWNER_IDS": "70010001",
            "DATABASE_URL": f"sqlite:///{folder}/kvit.db",
            "PORT": str(port),
        }
        env |= {name.upper(): value for name, value in given.items()}
        with chdir(folder), _logging_as_it_was():
            yield Terminal(world.stripe, world.telegram, clock, env), world


@contextmanager
def _logging_as_it_was() -> Iterator[None]:
    """Logging is one for the whole process, and every command sets it up: give it back."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = list(root.handlers), root.level
    levels = {
        name: logging.getLogger(name).level
        for name in (*logging_setup.WARNING_ONLY_LOGGERS, *logging_setup.DISABLED_LOGGERS)
    }
    try:
        yield
    finally:
        root.handlers[:], sys.excepthook = handlers, hook
        root.setLevel(level)
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)


def secrets_in(said: str, terminal: Terminal) -> list[str]:
    """Which secret values a text shows."""
    known = [terminal.telegram.token.partition(":")[2], terminal.stripe.key, terminal.stripe.webhook_secret]
    return [secret for secret in known if secret in said]


async def failing(terminal: Terminal, name: str, **env: str | None) -> str:
    """The line of that name, which is the only one that fails."""
    ended = await terminal.run("check", **env)
    assert ended.code == 1, ended.said
    assert [found for found, line in ended.lines.items() if "FAIL" in line] == [name], ended.said
    assert secrets_in(ended.said, terminal) == []
    return ended.lines[name]


async def noted(terminal: Terminal, name: str, **env: str | None) -> str:
    """The line of that name, which is a note; nothing fails."""
    ended = await terminal.run("check", **env)
    assert ended.code == 0, ended.said
    assert ended.lines[name].startswith("note"), ended.said
    return ended.lines[name]
