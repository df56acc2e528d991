"""Both fake vendors on a fast clock, and the real process between them: killed, suspended, out of disk, restarted."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import socket
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from bot.sandbox.fake_services import create_webhook_endpoint, environment
from bot.sandbox.fake_stripe import FakeStripe
from bot.sandbox.fake_telegram import FakeTelegram
from bot.sandbox.shared.fake_clock import FakeClock
from bot.settings import Settings
from tests.chaos.storm_process import START_REFUSED, FastClock
from tests.chaos.storm_shops import SHOP_MEMBERS, seeded_database
from tests.chaos.storm_watchdog import descendants, process_states, watch_standstills
from tests.invariants.checker import Evidence
from tests.support.process_world import ROOT
from tests.support.world import OWNER, Json

RATE = 20.0
"""A simulated minute takes three seconds, so leases and links expire within a test."""

ATTEMPT_SECONDS, RECONCILE_SECONDS = 100, 20
VENDOR_TIMEOUT = 1.0
"""Real seconds that Kvit waits for a vendor response."""

UPDATE_SECRET = "secret_of_the_fake_telegram"
PORTS = range(31_000, 32_700)
"""Below the ports of clients and above those of other tests."""

START_TIMEOUT = 60.0
CONTROL_TIMEOUT = aiohttp.ClientTimeout(total=60)
QUIET_TIMEOUT = 90.0
CRASH_DELAY = 0.05
"""Real seconds in which requests of a crashed process arrive; the crash is dated after them."""

SET_EXPIRES_AT = (
    "UPDATE refunds SET expires_at = coalesce(second_approved_at, approved_at)"
    " WHERE expires_at IS NULL AND approved_at IS NOT NULL"
)
PENDING_WORK = (
    "SELECT 'job', queue || ' ' || key || ' ' || coalesce(reason, '') FROM jobs WHERE state = 'pending'"
    " UNION ALL SELECT 'payment', reference FROM payments WHERE status = 'created'"
    " OR (status NOT IN ('succeeded', 'canceled')"
    " AND (cancel_requested IS NOT NULL OR capture_requested_by IS NOT NULL))"
    " UNION ALL SELECT 'attempt', payment_id FROM attempts WHERE status IN ('requested', 'active')"
    " UNION ALL SELECT 'refund', id FROM refunds WHERE status = 'approved'"
    " UNION ALL SELECT 'draft', id FROM refunds WHERE status IN ('draft', 'awaiting_approval') AND expires_at < :now"
)


class PortTaken(Exception):
    """Another program listens on the port; the round says nothing about Kvit."""


class RunningClock(FakeClock):
    """The fast clock of the vendors."""

    def __init__(self, origin: float, rate: float) -> None:
        super().__init__()
        self._fast, self._rate = FastClock(origin, rate), rate

    def now(self) -> datetime:
        return self._fast.now() + self._offset

    async def sleep(self, seconds: float) -> None:
        await self._fast.sleep(seconds)


@dataclass
class StormWorld:
    """The vendors in this process, and Kvit in another one.

    `crashes` are when it crashed or could not write. `suspensions` and `standstills` are intervals in which it, or the
    whole machine, did not run or may still have seen its pending calls fail.
    """

    stripe: FakeStripe
    telegram: FakeTelegram
    http: aiohttp.ClientSession
    folder: Path
    port: int
    environment: dict[str, str]
    approval_above: int | None = None
    crashes: list[datetime] = field(default_factory=list)
    kills: int = 0
    suspensions: list[tuple[datetime, datetime]] = field(default_factory=list)
    standstills: list[tuple[datetime, datetime]] = field(default_factory=list)
    launcher: Process | None = None
    pid: int = 0

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def has_pages(self) -> bool:
        return "PUBLIC_URL" in self.environment

    @property
    def database(self) -> Path:
        return self.folder / "kvit.db"

    def now(self) -> datetime:
        return self.stripe.state.now()

    async def start(self) -> None:
        """Loads the program, starts the first process, and creates the webhook endpoint."""
        with (self.folder / "stderr").open("ab") as stderr:
            self.launcher = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", "-m", "tests.chaos.storm_process"),
                cwd=self.folder,
                env=self.environment,
                stdin=PIPE,
                stdout=PIPE,
                stderr=stderr,
            )
        await self.begin()
        await create_webhook_endpoint(self.stripe, self.base)
        if self.has_pages:
            webhook = {"url": f"{self.base}/telegram/webhook", "secret_token": UPDATE_SECRET}
            url = f"{self.telegram.base}/bot{self.telegram.token}/setWebhook"
            async with self.http.post(url, json=webhook) as response:
                assert response.status == 200, await response.text()

    async def begin(self) -> None:
        """Starts a process; returns once it is ready.

        Raises:
            PortTaken: another program listens on the port.
        """
        await self._start_process()
        if (line := await self._line()) != f"Kvit is ready on {self.base}":
            stderr = (self.folder / "stderr").read_text()[-1500:]
            if line == f"exited {START_REFUSED}" and "the port is in use" in stderr:
                raise PortTaken(f"port {self.port} was taken by another program")
            raise AssertionError(f"it did not start: {line} {stderr}")

    async def kill(self, *during_start: float) -> None:
        """Sends SIGKILL and restarts; each of `during_start` kills a restart after so many real seconds."""
        await self._kill()
        for seconds in during_start:
            await self._start_process()
            await asyncio.sleep(seconds)
            await self._kill()
        await self.begin()

    async def restart(self) -> None:
        """Sends SIGTERM, which must end the process with code 0, and starts it again."""
        await self.terminate()
        await self._record_crash()
        await self.begin()

    async def terminate(self) -> None:
        """Sends SIGTERM, which must end the process with code 0."""
        self._send(signal.SIGTERM)
        line = await self._line()
        self.pid = 0
        assert line == "exited 0", line

    async def _start_process(self) -> None:
        assert self.launcher is not None
        assert self.launcher.stdin is not None
        self.launcher.stdin.write(b"\n")
        self.pid = int((await self._line()).removeprefix("started "))

    async def _kill(self) -> None:
        self._send(signal.SIGKILL)
        while not (line := await self._line()).startswith("exited"):
            pass
        assert line == f"exited {-signal.SIGKILL}", line
        self.kills += 1
        await self._record_crash()

    def _send(self, name: signal.Signals) -> None:
        """Signals the running process; a signal to process 0 would reach our own process group."""
        assert self.pid, "no process is running"
        os.kill(self.pid, name)

    async def _record_crash(self) -> None:
        await asyncio.sleep(CRASH_DELAY)
        self.crashes.append(self.now())

    async def suspend(self, seconds: float) -> None:
        """Sends SIGSTOP for so many real seconds: pending calls may have failed afterwards."""
        self._send(signal.SIGSTOP)
        started = self.now()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._send(signal.SIGCONT)
        self.crashes.append(self.now())
        self.suspensions.append((started, self.now() + timedelta(seconds=VENDOR_TIMEOUT * RATE)))

    @contextmanager
    def stopped(self) -> Iterator[bool]:
        """Stops the process while it is checked; yields whether no work is pending."""
        self._send(signal.SIGSTOP)
        try:
            yield not self.pending_work()
        finally:
            self._send(signal.SIGCONT)

    @asynccontextmanager
    async def full_disk(self) -> AsyncIterator[None]:
        """The process cannot write to any file; what it has just sent may be sent again, as after a crash."""
        pid = self.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
        try:
            yield
        finally:
            with suppress(ProcessLookupError):  # it was killed meanwhile, and the next process has no limit
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
            self.crashes.append(self.now())

    @asynccontextmanager
    async def locked_database(self) -> AsyncIterator[None]:
        """Another program holds the write lock."""
        with closing(sqlite3.connect(self.database, isolation_level=None, timeout=5)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    async def control(self, vendor: str, path: str, body: Json) -> bool:
        """Calls a control route; False if the request is not possible any more."""
        base = self.stripe.base if vendor == "stripe" else self.telegram.base
        async with self.http.post(f"{base}/_control/{path}", json=body) as response:
            if response.status == 400:
                raise ValueError(await response.text())
            return response.status == 200

    async def heal(self) -> None:
        """Ends all vendor faults and releases held webhooks."""
        for vendor in ("stripe", "telegram"):
            await self.control(vendor, "down", {"down": False})
        await self.control("stripe", "webhooks", {"mode": "deliver", "double": False, "shuffle": False})
        await self.control("stripe", "webhooks/release", {})

    async def wait_until_quiet(self, at_least: float = 0.0) -> list[str]:
        """Returns once no work is pending for two reconciliations, at least `at_least` simulated seconds from now.

        The result is the work still pending after `QUIET_TIMEOUT` real seconds.
        """
        started = time.monotonic()
        quiet_seconds = 0.0
        while time.monotonic() < started + QUIET_TIMEOUT:
            await asyncio.sleep(0.1)
            quiet_seconds = 0.0 if self.pending_work() else quiet_seconds + 0.1
            if quiet_seconds * RATE > 2.5 * RECONCILE_SECONDS and (time.monotonic() - started) * RATE > at_least:
                return []
        return self.pending_work()

    def pending_work(self) -> list[str]:
        """The pending work of Kvit, and the undelivered events and updates."""
        self.stripe.state.timers.run_due()
        ledger = self.stripe.store
        undelivered = [f"event {key}" for key, event in ledger.events.items() if event["pending_webhooks"]]
        if self.stripe.webhooks.mode != "deliver":
            undelivered = []
        never_delivered = {
            key for key in ledger.events if key not in {delivery.event for delivery in ledger.deliveries}
        }
        undelivered = [name for name in undelivered if name.removeprefix("event ") not in never_delivered]
        updates = [f"update {update}" for update in self.telegram.state.updates.pending()]
        return undelivered + updates + [" ".join(map(str, row)) for row in self.rows(PENDING_WORK)]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the database; `:now` in the query is the simulated time."""
        now = (self.now() - datetime.fromtimestamp(0, tz=self.now().tzinfo)) // timedelta(microseconds=1)
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            return db.execute(query, {"now": now} if ":now" in query else {}).fetchall()

    def evidence(self) -> Evidence:
        sources = self.stripe.store, self.telegram.transcript, str(self._copy_for_checker()), frozenset({OWNER})
        return Evidence(*sources, tuple(self.crashes), approval_above=self.approval_above)

    def _copy_for_checker(self) -> Path:
        """A copy of the database in which approved refunds have the expiry that the checker reads."""
        copy = self.folder / "checked.db"
        with closing(sqlite3.connect(self.database)) as source, closing(sqlite3.connect(copy)) as target, target:
            source.backup(target)
            target.execute(SET_EXPIRES_AT)
        return copy

    async def _line(self) -> str:
        """The next line of the launcher.

        Raises:
            TimeoutError: there is none, with the states of all processes.
        """
        assert self.launcher is not None
        assert self.launcher.stdout is not None
        try:
            async with asyncio.timeout(START_TIMEOUT):
                line = (await self.launcher.stdout.readline()).decode().rstrip("\n")
        except TimeoutError:
            raise TimeoutError(
                f"no line from process {self.pid}: {'; '.join(process_states(self.launcher.pid))}"
            ) from None
        if not line:
            raise AssertionError(f"the launcher has exited: {(self.folder / 'stderr').read_text()[-2000:]}")
        return line

    async def end(self) -> None:
        """Kills all processes."""
        if self.launcher is not None:
            for pid in [*descendants(self.launcher.pid)]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(START_TIMEOUT):
                await self.launcher.communicate()


def reserved_port() -> socket.socket:
    """A port that no other program gets while this socket is open, and on which the process can listen.

    The socket is bound without listening, and allows sharing only afterwards.
    """
    for port in random.SystemRandom().sample(PORTS, 100):
        reservation = socket.socket()
        try:
            reservation.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
        else:
            reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return reservation
    raise PortTaken("no port is free")


@asynccontextmanager
async def storm_world(folder: Path, *, pages: bool = False, **settings: str) -> AsyncIterator[StormWorld]:
    """Everything running; `settings` are Kvit's environment variables. Ends with SIGTERM.

    With `pages` there are pay pages, and Telegram's updates come by webhook.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with reserved_port() as reservation:
        async with _open_world(folder, reservation.getsockname()[1], pages=pages, **settings) as world:
            watcher = asyncio.create_task(watch_standstills(world.standstills, world.now, VENDOR_TIMEOUT))
            try:
                yield world
                await world.terminate()
            finally:
                watcher.cancel()


@asynccontextmanager
async def _open_world(folder: Path, port: int, *, pages: bool, **settings: str) -> AsyncIterator[StormWorld]:
    origin = time.time()
    clock = RunningClock(origin, RATE)
    stripe, telegram = FakeStripe(clock), FakeTelegram(clock, owner_id=OWNER, flood_control=False)
    stripe.state.changes = telegram.state.changes
    stripe.options.update({"attempt_seconds": ATTEMPT_SECONDS, "webhook_timeout": 2.0, "webhook_retries": (15.0,) * 60})
    for user_id in (user_id for people in SHOP_MEMBERS.values() for user_id, _, _ in people):
        telegram.users.private_chat(user_id)
    (folder / "kvit.db").write_bytes(seeded_database())
    await stripe.start()
    await telegram.start()
    own = environment(stripe, telegram) | {
        "PYTHONPATH": str(ROOT),
        "OWNER_IDS": str(OWNER),
        "PORT": str(port),
        "ATTEMPT_SECONDS": str(ATTEMPT_SECONDS),
        "RECONCILE_SECONDS": str(RECONCILE_SECONDS),
        "KVIT_CLOCK_ORIGIN": repr(origin),
        "KVIT_CLOCK_RATE": str(RATE),
        "KVIT_VENDOR_TIMEOUT": str(VENDOR_TIMEOUT),
    }
    if pages:
        own |= {
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "TELEGRAM_MODE": "webhook",
            "TELEGRAM_WEBHOOK_SECRET": UPDATE_SECRET,
        }
    inherited = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
    above = settings.get("REFUND_APPROVAL_ABOVE")
    async with aiohttp.ClientSession(timeout=CONTROL_TIMEOUT) as http:
        world = StormWorld(stripe, telegram, http, folder, port, inherited | own | settings)
        world.approval_above = int(above) if above else None
        try:
            await world.start()
            yield world
        finally:
            await world.end()
            await telegram.stop()
            await stripe.stop()
