"""Runs the commands of the program: `python -m bot …` in this process, beside a fake Stripe and Telegram."""

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
from bot.stripe.serialization import WEBHOOK_EVENT_TYPES
from storage.database.database import Database
from tests.support import world as worlds
from tests.support.world import World, free_port

Json = dict[str, Any]
KEY = "rk_test_51CanaryRestrictedKey"
PUBLIC = "https://pay.example.dk"
SECRET = "whsec_CanaryOfTheEndpoint"


@dataclass
class Ended:
    """Exit code, stdout and stderr of a command."""

    code: int
    output: str
    errors: str

    @property
    def lines(self) -> dict[str, str]:
        """The output by the name at the beginning of each line; lines with the same name are joined."""
        lines_by_name: dict[str, str] = {}
        for line in self.output.splitlines():
            name, _, rest = line[6:].partition(": ")
            lines_by_name[name] = (
                f"{lines_by_name[name]}\n{line[:4]} {rest}" if name in lines_by_name else f"{line[:4]} {rest}"
            )
        return lines_by_name


@dataclass
class Terminal:
    """`env` are environment variables; both vendors run in real time, and their clock can be advanced."""

    stripe: FakeStripe
    telegram: FakeTelegram
    clock: FakeClock
    env: dict[str, str | None]

    async def run(self, *arguments: str, **env: str | None) -> Ended:
        """Runs a command with these variables in addition to the usual ones; None removes one."""
        unset: dict[str, str | None] = {name.upper(): None for name in Settings.model_fields}
        environment_variables = unset | self.env | {name.upper(): value for name, value in env.items()}
        result = await asyncio.to_thread(CliRunner().invoke, main, arguments, env=environment_variables)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    def sent(self, method: str) -> list[Json]:
        """The parameters of the calls of a Telegram method, oldest first."""
        return [entry.params for entry in self.telegram.transcript if entry.method == method]

    def endpoint(self, **changes: Any) -> Json:
        """Adds an endpoint at Stripe, correct except for the changes."""
        number = len(self.stripe.store.webhook_endpoints) + 1
        made: Json = {"id": f"we_{number}", "object": "webhook_endpoint", "url": f"{PUBLIC}/stripe/webhook"}
        made |= {
            "api_version": API_VERSION,
            "enabled_events": list(WEBHOOK_EVENT_TYPES),
            "status": "enabled",
            "created": 1,
        }
        self.stripe.store.webhook_endpoints[made["id"]] = made | changes
        return self.stripe.store.webhook_endpoints[made["id"]]


@asynccontextmanager
async def opened(folder: Path, *, key: str = KEY) -> AsyncIterator[Terminal]:
    """Both vendors, and correct settings."""
    clock = FakeClock()
    stripe, telegram = FakeStripe(clock, key=key, webhook_secret=SECRET), FakeTelegram(clock)
    telegram.state.privacy = True
    await stripe.start()
    await telegram.start()
    env: dict[str, str | None] = {
        **environment(stripe, telegram),
        "OWNER_IDS": "70010001",
        "PORT": "0",
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
    """A correct installation: tables, settings, and the endpoint at Stripe."""
    async with opened(folder) as running:
        db = Database(f"sqlite:///{folder}/kvit.db")
        await db.migrate()
        await db.close()
        running.endpoint()
        yield running


@asynccontextmanager
async def serving(folder: Path, **changed: str) -> AsyncIterator[tuple[Terminal, World]]:
    """A terminal beside a running `serve`, with changed settings, and without an endpoint at Stripe."""
    clock, port = FakeClock(), free_port()
    environment_variables: dict[str, Any] = {
        "public_url": f"http://127.0.0.1:{port}",
        "telegram_mode": "polling",
    } | changed
    async with worlds.opened(clock, folder, port=port, **environment_variables) as world:
        world.stripe.store.webhook_endpoints.clear()
        env: dict[str, str | None] = {
            **environment(world.stripe, world.telegram),
            "OWNER_IDS": "70010001",
            "DATABASE_URL": f"sqlite:///{folder}/kvit.db",
            "PORT": str(port),
        }
        env |= {name.upper(): value for name, value in environment_variables.items()}
        with chdir(folder), _logging_as_it_was():
            yield Terminal(world.stripe, world.telegram, clock, env), world


@contextmanager
def _logging_as_it_was() -> Iterator[None]:
    """Restores logging afterwards: it is global to the process, and every command configures it."""
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


def secrets_in(output: str, terminal: Terminal) -> list[str]:
    """The secret values in a text."""
    known = [terminal.telegram.token.partition(":")[2], terminal.stripe.key, terminal.stripe.webhook_secret]
    return [secret for secret in known if secret in output]


async def failing(terminal: Terminal, name: str, **env: str | None) -> str:
    """The line with this name, which is the only failure."""
    ended = await terminal.run("check", **env)
    assert ended.code == 1, ended.output
    assert [lines_by_name for lines_by_name, line in ended.lines.items() if "FAIL" in line] == [name], ended.output
    assert secrets_in(ended.output, terminal) == []
    return ended.lines[name]


async def noted(terminal: Terminal, name: str, **env: str | None) -> str:
    """The line with this name, which is a note; nothing fails."""
    ended = await terminal.run("check", **env)
    assert ended.code == 0, ended.output
    assert ended.lines[name].startswith("note"), ended.output
    return ended.lines[name]
