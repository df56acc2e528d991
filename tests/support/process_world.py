"""Both fake vendors in this process, in real time, and Kvit as a process: for signals, exit codes, output and files."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bot.sandbox.fake_services import create_webhook_endpoint, environment
from bot.sandbox.fake_stripe import FakeStripe, RequestRecord
from bot.sandbox.fake_telegram import FakeTelegram, TranscriptEntry
from bot.sandbox.shared.fake_clock import FakeClock
from bot.settings import Settings
from tests.support.world import OWNER, PATIENCE, Json, button, free_port, pay_url

ROOT = Path(__file__).parent.parent.parent
SERVE = ("bot", "serve")


@dataclass
class Outside:
    """The surroundings of the process: `environment` are its variables, `folder` its working directory.

    At the end every process is killed that has not exited.
    """

    stripe: FakeStripe
    telegram: FakeTelegram
    http: aiohttp.ClientSession
    folder: Path
    port: int
    environment: dict[str, str]
    processes: list[Process] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What all processes wrote to stderr so far."""
        return (self.folder / "stderr").read_text()

    async def begin(self, *command: str, **environment: str) -> Process:
        """Starts `python -m command` without waiting for it."""
        with (self.folder / "stderr").open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", "-m", *command),
                cwd=self.folder,
                env=self.environment | environment,
                stdout=PIPE,
                stderr=stderr,
            )
        self.processes.append(process)
        return process

    async def ready(self, *command: str, **environment: str) -> Process:
        """Starts `command`, by default `serve`, and waits until it is ready."""
        process = await self.begin(*(command or SERVE), **environment)
        await self.is_ready(process)
        return process

    async def is_ready(self, process: Process) -> None:
        """Waits until the process has printed that it is ready."""
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = (await process.stdout.readline()).decode()
        assert line == f"Kvit is ready on {self.base}\n", (line, self.log)

    async def ended(self, process: Process) -> tuple[int, str]:
        """Waits for the end of the process. Returns its exit code and the rest of stdout."""
        async with asyncio.timeout(PATIENCE):
            out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()

    async def stopped(self, process: Process, by: signal.Signals = signal.SIGTERM) -> None:
        """Sends a signal and checks that the process exits with 0 and prints nothing more."""
        process.send_signal(by)
        assert await self.ended(process) == (0, ""), self.log

    async def subscribe(self, *events: str) -> None:
        """Creates the webhook endpoint at Stripe, as the operator does once."""
        await create_webhook_endpoint(self.stripe, self.base, *events)

    async def fault(self, base: str, method: str, how: str, *, when: str = "before", times: int = 1) -> None:
        """Makes the next calls of a method fail at Stripe or Telegram."""
        order = {"method": method, "nth": 1, "when": when, "how": how, "times": times}
        async with self.http.post(f"{base}/_control/faults", json=order) as response:
            assert response.status == 200, await response.text()

    async def until(self, true: Callable[[], Any]) -> Any:
        """Waits for a condition that changes with the state of Telegram or Stripe. Returns its value."""
        return await self.telegram.wait_until(lambda _: true(), timeout=PATIENCE)

    async def message(self, contains: str, *, chat: int = OWNER, which: int | None = None) -> Json:
        """The newest message of the bot that contains `contains`, or message `which`, once its text contains it."""

        def find() -> Json | None:
            state = self.telegram.state.chats[chat]
            ids = sorted(state.bot_message_ids, reverse=True) if which is None else [which]
            messages = [state.messages[message_id] for message_id in ids]
            return next((message for message in messages if contains in message["text"]), None)

        message: Json = await self.until(find)
        return message

    async def approve(self, card: Json, response: str = "authorize") -> None:
        """Opens the link of a payment message as the customer, and answers in the wallet: `authorize` or `fail`."""
        link = pay_url(card)
        async with self.http.post(link, data={"answer": response}, allow_redirects=False) as landed:
            assert landed.status == 303, await landed.text()

    async def ask(self, owners: list[int]) -> None:
        """Sends `/pay` as each owner. Returns when Stripe has received all requests."""
        expected = len(self.created) + len(owners)
        for owner in owners:
            self.telegram.send(owner, owner, "/pay 149,50 Coffee")
        await self.until(lambda: len(self.created) == expected)

    @property
    def created(self) -> list[RequestRecord]:
        """The requests to create an intent that reached Stripe."""
        return [r for r in self.stripe.store.requests if r.method == "POST" and r.path == "/v1/payment_intents"]

    async def all_paid(self, process: Process, owners: list[int], *, waiting: list[int]) -> None:
        """The requests of the `waiting` are paid; then each owner is paid once, and the process is stopped."""
        cards = [await self.message("Waiting for payment", chat=owner) for owner in waiting]
        await asyncio.gather(*(self.approve(card) for card in cards))
        for owner in owners:
            await self.message("✅ Paid:", chat=owner)
        await self.drained()
        await self.stopped(process)
        assert [charge["status"] for charge in self.stripe.store.charges.values()] == ["succeeded"] * len(owners)
        assert self.rows("SELECT DISTINCT status, amount_received FROM payments") == [("succeeded", 14950)]

    def tap(self, message: Json, label: str) -> str:
        """Presses a button as the owner. Returns the id of the callback query."""
        return self.telegram.press_button(message["message_id"], OWNER, button(message, label)["callback_data"], OWNER)

    def sent(self, contains: str = "") -> list[TranscriptEntry]:
        """The messages sent so far, without edits, whose text contains `contains`."""
        return [e for e in self.telegram.transcript if e.method == "sendMessage" and contains in e.params["text"]]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The result of a query of the database."""
        with closing(sqlite3.connect(self.folder / "kvit.db")) as db:
            return db.execute(query).fetchall()

    async def drained(self) -> None:
        """Waits until no job is pending. It polls: another process changes the queue."""
        async with asyncio.timeout(PATIENCE):
            while self.rows("SELECT 1 FROM jobs WHERE state = 'pending'"):
                await asyncio.sleep(0.02)
        assert self.rows("SELECT kind, reason FROM jobs WHERE state = 'dead'") == []

    async def end(self) -> None:
        """Kills the processes that still run."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


@asynccontextmanager
async def outside(folder: Path, **settings: str) -> AsyncIterator[Outside]:
    """Both vendors, and no process yet. `settings` go to the environment of each process."""
    folder.mkdir(exist_ok=True)
    clock, port = FakeClock(), free_port()
    stripe, telegram = FakeStripe(clock), FakeTelegram(clock, owner_id=OWNER, flood_control=False)
    stripe.state.changes = telegram.state.changes
    inherited = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
    await stripe.start()
    await telegram.start()
    own = environment(stripe, telegram) | {
        "PYTHONPATH": str(ROOT),
        "OWNER_IDS": str(OWNER),
        "PORT": str(port),
    }
    async with aiohttp.ClientSession() as http:
        world = Outside(stripe, telegram, http, folder, port, inherited | own | settings)
        try:
            yield world
        finally:
            await world.end()
            await telegram.stop()
            await stripe.stop()
