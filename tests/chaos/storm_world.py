"""Both pretend vendors on a fast clock, and the real process between them: killed, stopped, starved and begun again."""

from __future__ import annotations

import asyncio
import errno
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
from tests.chaos.storm_process import REFUSED, FastClock
from tests.chaos.storm_shops import PEOPLE, blank
from tests.chaos.storm_watchdog import descendants, standstills, states
from tests.invariants.checker import Evidence
from tests.support.process_world import ROOT
from tests.support.world import OWNER, Json

RATE = 20.0
"""A pretend minute takes three seconds: a lease of two can be slept through, and a link lapses while one waits."""

ATTEMPT_SECONDS, RECONCILE_SECONDS = 100, 20
PATIENCE = 1.0
"""Real seconds after which Kvit gives a silent vendor up."""

UPDATE_SECRET = "what_the_pretend_telegram_shows"
PORTS = range(31_000, 32_700)
"""Below those that clients are given, above those of the other tests."""

BORN_WITHIN = 60.0
ANSWER_WITHIN = aiohttp.ClientTimeout(total=60)
QUIET_WITHIN = 90.0
AFTER_DEATH = 0.05
"""Real seconds in which what a dead process had sent arrives; a death is dated after them, and before the next life."""

WITH_AN_END = (
    "UPDATE refunds SET expires_at = coalesce(second_approved_at, approved_at)"
    " WHERE expires_at IS NULL AND approved_at IS NOT NULL"
)
UNDER_WAY = (
    "SELECT 'mail', queue || ' ' || key || ' ' || coalesce(reason, '') FROM jobs WHERE state = 'pending'"
    " UNION ALL SELECT 'payment', reference FROM payments WHERE status = 'created'"
    " OR (status NOT IN ('succeeded', 'canceled') AND (cancel_requested IS NOT NULL OR capture_requested_by IS NOT NULL))"
    " UNION ALL SELECT 'attempt', payment_id FROM attempts WHERE status IN ('requested', 'active')"
    " UNION ALL SELECT 'refund', id FROM refunds WHERE status = 'approved'"
    " UNION ALL SELECT 'draft', id FROM refunds WHERE status IN ('draft', 'awaiting_approval') AND expires_at < :now"
)


class PortTaken(Exception):
    """Another program listens where the process is to; the round says nothing about Kvit."""


class RunningClock(FakeClock):
    """The vendors' side of the fast clock."""

    def __init__(self, origin: float, rate: float) -> None:
        super().__init__()
        self._fast, self._rate = FastClock(origin, rate), rate

    def now(self) -> datetime:
        return self._fast.now() + self._offset

    async def sleep(self, seconds: float) -> None:
        await self._fast.sleep(seconds)


@dataclass
class TortureWorld:
    """The vendors here, the process there; `deaths` are when it died or found no room, `sleeps` from when to when
    it stood still and what it waited for could seem broken to it, `standstills` the same of the whole machine."""

    stripe: FakeStripe
    telegram: FakeTelegram
    http: aiohttp.ClientSession
    folder: Path
    port: int
    environment: dict[str, str]
    approval_above: int | None = None
    deaths: list[datetime] = field(default_factory=list)
    kills: int = 0
    sleeps: list[tuple[datetime, datetime]] = field(default_factory=list)
    standstills: list[tuple[datetime, datetime]] = field(default_factory=list)
    nursery: Process | None = None
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
        """Load the program, begin its first life, and have Stripe send its events there."""
        with (self.folder / "stderr").open("ab") as stderr:
            self.nursery = await asyncio.create_subprocess_exec(
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
            wanted = {"url": f"{self.base}/telegram/webhook", "secret_token": UPDATE_SECRET}
            address = f"{self.telegram.base}/bot{self.telegram.token}/setWebhook"
            async with self.http.post(address, json=wanted) as answer:
                assert answer.status == 200, await answer.text()

    async def begin(self) -> None:
        """Begin a life, and return once it is ready; raises PortTaken if it cannot be because of another program."""
        await self._bear()
        if (line := await self._line()) != f"Kvit is ready on {self.base}":
            words = (self.folder / "stderr").read_text()[-1500:]
            if line == f"dead {REFUSED}" and os.strerror(errno.EADDRINUSE).lower() in words.lower():
                raise PortTaken(f"port {self.port} was taken meanwhile")
            raise AssertionError(f"it did not start: {line} {words}")

    async def kill(self, *in_cradle: float) -> None:
        """SIGKILL, whatever it does; begin it again, and kill it so many real seconds after each birth."""
        await self._kill()
        for seconds in in_cradle:
            await self._bear()
            await asyncio.sleep(seconds)
            await self._kill()
        await self.begin()

    async def restart(self) -> None:
        """SIGTERM, which has to end it in peace; then begin it again."""
        await self.end_life()
        await self._died()
        await self.begin()

    async def end_life(self) -> None:
        """Tell it to end, and see that it does so in peace."""
        self._send(signal.SIGTERM)
        line = await self._line()
        self.pid = 0
        assert line == "dead 0", line

    async def _bear(self) -> None:
        assert self.nursery is not None
        assert self.nursery.stdin is not None
        self.nursery.stdin.write(b"\n")
        self.pid = int((await self._line()).removeprefix("born "))

    async def _kill(self) -> None:
        self._send(signal.SIGKILL)
        while not (line := await self._line()).startswith("dead"):
            pass
        assert line == f"dead {-signal.SIGKILL}", line
        self.kills += 1
        await self._died()

    def _send(self, name: signal.Signals) -> None:
        """A signal for the process that lives; 0 would be a signal for ourselves and all that is around us."""
        assert self.pid, "nobody lives"
        os.kill(self.pid, name)

    async def _died(self) -> None:
        await asyncio.sleep(AFTER_DEATH)
        self.deaths.append(self.now())

    async def stop_for(self, seconds: float) -> None:
        """SIGSTOP for so many real seconds: whatever it waited for may seem broken to it afterwards."""
        self._send(signal.SIGSTOP)
        began = self.now()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._send(signal.SIGCONT)
        self.deaths.append(self.now())
        self.sleeps.append((began, self.now() + timedelta(seconds=PATIENCE * RATE)))

    @contextmanager
    def still(self) -> Iterator[bool]:
        """It is stopped, so that it can be judged as it stands; whether nothing was under way at that."""
        self._send(signal.SIGSTOP)
        try:
            yield not self.under_way()
        finally:
            self._send(signal.SIGCONT)

    @asynccontextmanager
    async def full_disk(self) -> AsyncIterator[None]:
        """Nothing it writes finds room: what it has just sent may be sent again, as after a death."""
        pid = self.pid
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))
        try:
            yield
        finally:
            with suppress(ProcessLookupError):  # it was killed meanwhile, and the next life was born without a limit
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
            self.deaths.append(self.now())

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Another program writes into its file and does not come to an end."""
        with closing(sqlite3.connect(self.database, isolation_level=None, timeout=5)) as other:
            other.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                other.execute("ROLLBACK")

    async def control(self, whose: str, path: str, body: Json) -> bool:
        """Ask a control route; False if what is asked for cannot be done any more."""
        base = self.stripe.base if whose == "stripe" else self.telegram.base
        async with self.http.post(f"{base}/_control/{path}", json=body) as answer:
            if answer.status == 400:
                raise ValueError(await answer.text())
            return answer.status == 200

    async def heal(self) -> None:
        """Everybody is well, and what was held comes."""
        for whose in ("stripe", "telegram"):
            await self.control(whose, "down", {"down": False})
        await self.control("stripe", "webhooks", {"mode": "deliver", "double": False, "shuffle": False})
        await self.control("stripe", "webhooks/release", {})

    async def quiet(self, at_least: float = 0.0) -> list[str]:
        """Return once nothing is under way and two sweeps have passed, after so many pretend seconds `at_least`.

        What is still under way, if that takes too long.
        """
        began = time.monotonic()
        calm = 0.0
        while time.monotonic() < began + QUIET_WITHIN:
            await asyncio.sleep(0.1)
            calm = 0.0 if self.under_way() else calm + 0.1
            if calm * RATE > 2.5 * RECONCILE_SECONDS and (time.monotonic() - began) * RATE > at_least:
                return []
        return self.under_way()

    def under_way(self) -> list[str]:
        """What the process has still to do, or Stripe to say."""
        self.stripe.state.timers.run_due()
        ledger = self.stripe.store
        unsaid = [f"event {key}" for key, event in ledger.events.items() if event["pending_webhooks"]]
        if self.stripe.webhooks.mode != "deliver":
            unsaid = []
        lost = {key for key in ledger.events if key not in {delivery.event for delivery in ledger.deliveries}}
        unsaid = [name for name in unsaid if name.removeprefix("event ") not in lost]
        waiting = [f"update {update}" for update in self.telegram.state.updates.pending()]
        return unsaid + waiting + [" ".join(map(str, row)) for row in self.rows(UNDER_WAY)]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the database says; `:now` in the query is the pretend time."""
        now = (self.now() - datetime.fromtimestamp(0, tz=self.now().tzinfo)) // timedelta(microseconds=1)
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            return db.execute(query, {"now": now} if ":now" in query else {}).fetchall()

    def evidence(self) -> Evidence:
        """What the checker reads."""
        seen = self.stripe.store, self.telegram.transcript, str(self._for_the_checker()), frozenset({OWNER})
        return Evidence(*seen, tuple(self.deaths), approval_above=self.approval_above)

    def _for_the_checker(self) -> Path:
        """The book as it stands; an approved refund has no end any more, where the checker wants to read one."""
        copy = self.folder / "judged.db"
        with closing(sqlite3.connect(self.database)) as here, closing(sqlite3.connect(copy)) as there, there:
            here.backup(there)
            there.execute(WITH_AN_END)
        return copy

    async def _line(self) -> str:
        """What is said next; raises TimeoutError if nothing is, for then it never will be, and says who does what."""
        assert self.nursery is not None
        assert self.nursery.stdout is not None
        try:
            async with asyncio.timeout(BORN_WITHIN):
                line = (await self.nursery.stdout.readline()).decode().rstrip("\n")
        except TimeoutError:
            raise TimeoutError(f"the last was {self.pid}: {'; '.join(states(self.nursery.pid))}") from None
        if not line:
            raise AssertionError(f"the program is gone: {(self.folder / 'stderr').read_text()[-2000:]}")
        return line

    async def end(self) -> None:
        """Kill whatever still runs."""
        if self.nursery is not None:
            for pid in [*descendants(self.nursery.pid)]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(BORN_WITHIN):
                await self.nursery.communicate()


def held_port() -> socket.socket:
    """A port that nobody else is given for as long as this socket is open; the process may listen there all the same.

    It is taken by a socket of its own, which does not listen, and only then said that it may be shared.
    """
    for port in random.SystemRandom().sample(PORTS, 100):
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
        else:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return holder
    raise PortTaken("no port is free")


@asynccontextmanager
async def torture_world(folder: Path, *, pages: bool = False, **settings: str) -> AsyncIterator[TortureWorld]:
    """Everything running; `settings` are Kvit's, as in the environment. Ends by SIGTERM, in peace.

    With `pages` payments have theirs, and Telegram's updates come by webhook.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with held_port() as holder:
        async with _around(folder, holder.getsockname()[1], pages=pages, **settings) as world:
            watching = asyncio.create_task(standstills(world.standstills, world.now, PATIENCE))
            try:
                yield world
                await world.end_life()
            finally:
                watching.cancel()


@asynccontextmanager
async def _around(folder: Path, port: int, *, pages: bool, **settings: str) -> AsyncIterator[TortureWorld]:
    origin = time.time()
    clock = RunningClock(origin, RATE)
    stripe, telegram = FakeStripe(clock), FakeTelegram(clock, owner_id=OWNER, flood_control=False)
    stripe.state.changes = telegram.state.changes
    stripe.options.update({"attempt_seconds": ATTEMPT_SECONDS, "webhook_timeout": 2.0, "webhook_retries": (15.0,) * 60})
    for person in (person for people in PEOPLE.values() for person, _, _ in people):
        telegram.users.private_chat(person)
    (folder / "kvit.db").write_bytes(blank())
    await stripe.start()
    await telegram.start()
    given = environment(stripe, telegram) | {
        "PYTHONPATH": str(ROOT),
        "OWNER_IDS": str(OWNER),
        "PORT": str(port),
        "ATTEMPT_SECONDS": str(ATTEMPT_SECONDS),
        "RECONCILE_SECONDS": str(RECONCILE_SECONDS),
        "KVIT_ORIGIN": repr(origin),
        "KVIT_RATE": str(RATE),
        "KVIT_PATIENCE": str(PATIENCE),
    }
    if pages:
        given |= {
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "TELEGRAM_MODE": "webhook",
            "TELEGRAM_WEBHOOK_SECRET": UPDATE_SECRET,
        }
    inherited = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
    above = settings.get("REFUND_APPROVAL_ABOVE")
    async with aiohttp.ClientSession(timeout=ANSWER_WITHIN) as http:
        world = TortureWorld(stripe, telegram, http, folder, port, inherited | given | settings)
        world.approval_above = int(above) if above else None
        try:
            await world.start()
            yield world
        finally:
            await world.end()
            await telegram.stop()
            await stripe.stop()
