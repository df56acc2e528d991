"""The whole service in this process, on a clock that the test advances; it can crash at any call and is restarted."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from bot.app import AdapterOverrides, Service
from bot.sandbox.fake_services import create_webhook_endpoint
from bot.sandbox.fake_stripe import FakeStripe
from bot.sandbox.fake_telegram import FakeTelegram
from bot.sandbox.shared.fake_clock import FakeClock
from bot.stripe.gateway import StripeGateway
from bot.telegram.http_client import AiohttpRequest
from bot.telegram.messenger import TelegramMessenger
from handlers.stripe.gateway import PaymentGateway
from handlers.telegram.messenger import Messenger
from handlers.telegram.rate_limit import TelegramRateLimiter
from storage import shops
from storage.database.database import Database
from storage.models.shop import Role, Shop
from tests.chaos.stop_points import InterceptedGateway, InterceptedMessenger, SimulatedProcess, StopPoint, attach
from tests.invariants.case_file import Evidence
from tests.support.people import GROUP, SHOP_PEOPLE
from tests.support.world import BRISK, OWNER, World, free_port, installed

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
VENDOR_TIMEOUT = 10.0
"""Real seconds that Kvit waits for a vendor response; shorter where a vendor does not respond on purpose."""

IDLE_TIMEOUT = 30
MAX_IDLE_POLLS = 12
"""After so many polls without a call, due work waits for the clock, for example after a failure."""

ATTEMPT_AND_THREE_RECONCILIATIONS = (240, 61, 61, 61)
WEBHOOK_RETRIES = (3601, 7201)
_HEADS = "SELECT min(id) FROM jobs WHERE state = 'pending' GROUP BY queue, ordering_key"
_DUE_JOBS = f"SELECT 'job', key FROM jobs WHERE id IN ({_HEADS}) AND (scheduled_at <= :now OR lease IS NOT NULL)"
_DUE_MESSAGES = f"{_DUE_JOBS} AND queue = 'outbox'"
_DUE = (
    f"{_DUE_JOBS}"
    " UNION ALL SELECT 'payment', id FROM payments WHERE next_check_at <= :now"
    " UNION ALL SELECT 'refund', id FROM refunds WHERE next_check_at <= :now"
)


class TickingClock(FakeClock):
    """Advanced by the test, and by one microsecond with each read, so that no two things happen at the same time."""

    def __init__(self) -> None:
        super().__init__(NOON, frozen=True)
        self._reads = 0

    def now(self) -> datetime:
        self._reads += 1
        return super().now() + timedelta(microseconds=self._reads)


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class ServiceClock:
    """The clock of Kvit's machine, with an `offset` from the vendors' clock.

    While `running` is not set, sleeps do not return: the machine is suspended.
    """

    reference: FakeClock
    offset: timedelta = timedelta()
    running: asyncio.Event = field(default_factory=_set_event)

    def now(self) -> datetime:
        return self.reference.now() + self.offset

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Sleeps on the reference clock, whatever the offset; the time counts from the call."""
        return self._sleep_until(self.reference.now() + timedelta(seconds=seconds))

    async def _sleep_until(self, until: datetime) -> None:
        await self.reference.sleep((until - self.reference.now()).total_seconds())
        await self.running.wait()


@dataclass
class CrashWorld(World):
    """A world whose service crashes at the stop points `crash_at`, one for each process, and is restarted at once.

    `mutations` are wrapped around gateway and messenger. `crashes` are the times when the last call of each process had
    arrived.
    """

    mutations: AdapterOverrides = field(default_factory=AdapterOverrides)
    crash_at: list[StopPoint] = field(default_factory=list)
    crashes: list[datetime] = field(default_factory=list)
    process: SimulatedProcess = field(default_factory=SimulatedProcess)
    vendor_timeout: float = VENDOR_TIMEOUT
    service_clock: ServiceClock = field(init=False)
    _open_clients: list[Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.service_clock = ServiceClock(self.clock)

    async def begin(self) -> None:
        """Starts another process on the same database."""
        self.process = SimulatedProcess(self.crash_at.pop(0) if self.crashes and self.crash_at else None)
        rate_limiter = TelegramRateLimiter(BRISK, BRISK, BRISK, BRISK)
        overrides = AdapterOverrides(self._gateway, self._messenger)
        self.service = Service(self.settings, self.service_clock, rate_limiter=rate_limiter, overrides=overrides)
        attach(self.service._db, self.process)
        start = asyncio.create_task(self.service.start())
        crashed = asyncio.create_task(self.process.crashed.wait())
        await asyncio.wait({start, crashed}, return_when=asyncio.FIRST_COMPLETED)
        crashed.cancel()
        if start.done():
            await start
        else:
            self.process.release()
            start.cancel()
            await asyncio.gather(start, return_exceptions=True)

    async def crash(self) -> None:
        """Drops what was in memory: nothing is finished, but requests already sent arrive."""
        self.process.release()
        components = self.service._components
        tasks = {
            *self.service._tasks,
            *components.background_tasks._running,
            *(task for worker in components.workers for task in worker._running),
        }
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.stop()
        self.crashes.append(self.clock.now())

    async def stop(self) -> None:
        """Stops the service and closes its clients."""
        await self.service.stop()
        while self._open_clients:
            await self._open_clients.pop()()

    async def restart_after_crashes(self) -> None:
        """Restarts the service after each crash, until canceled."""
        while True:
            await self.process.crashed.wait()
            await self.crash()
            await self.begin()

    async def wait_until_idle(self) -> None:
        """Returns once nothing is left to do before the clock advances; due work without progress is waited for
        briefly.

        Raises:
            TimeoutError: the service is still busy after `IDLE_TIMEOUT` real seconds.
        """
        last_count, idle_polls = -1, 0
        try:
            async with asyncio.timeout(IDLE_TIMEOUT):
                while (
                    self._is_busy()
                    or last_count != self.process.call_count
                    or (self._has_due_work() and idle_polls < MAX_IDLE_POLLS)
                ):
                    idle_polls = idle_polls + 1 if last_count == self.process.call_count else 0
                    last_count = self.process.call_count
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            raise TimeoutError(f"still busy: {self._due()}") from error

    async def pass_time(self, *steps: float) -> None:
        """Advances the clock by each of the steps, and lets all work finish that is due then."""
        for seconds in steps:
            await self.wait_until_idle()
            self.advance(seconds)
            await self.wait_until_idle()

    async def wait_until_quiet(self) -> None:
        """Passes the attempt window and three reconciliations, and the webhook retries if a delivery failed."""
        await self.pass_time(*ATTEMPT_AND_THREE_RECONCILIATIONS)
        if any(event["pending_webhooks"] for event in self.stripe.store.events.values()):
            await self.pass_time(*WEBHOOK_RETRIES)

    def has_due_messages(self) -> bool:
        """Whether messages are due or being sent."""
        return bool(self._query(_DUE_MESSAGES))

    def evidence(self) -> Evidence:
        path, above = str(self.database), self.settings.refund_approval_above
        sources = self.stripe.store, self.telegram.transcript, path, frozenset({OWNER}), tuple(self.crashes)
        return Evidence(*sources, approval_above=above)

    def _is_busy(self) -> bool:
        return self.process.crashed.is_set() or self.process.calls_in_progress > 0 or self._has_undelivered_event()

    def _has_due_work(self) -> bool:
        """Whether work is due; it may still need the clock to advance, for example after a failure."""
        return bool(self._due() or self.telegram.state.updates.pending())

    def _has_undelivered_event(self) -> bool:
        """Whether an event was sent and has no response yet."""
        if self.stripe.webhooks.mode != "deliver":
            return False
        delivered = {delivery.event for delivery in self.stripe.store.deliveries}
        return any(e["pending_webhooks"] and e["id"] not in delivered for e in self.stripe.store.events.values())

    def _due(self) -> list[tuple[str, str]]:
        return self._query(_DUE)

    def _query(self, query: str) -> list[tuple[str, str]]:
        now = (self.service_clock.now() - EPOCH) // timedelta(microseconds=1)
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            return list(db.execute(query, {"now": now}))

    def _gateway(self, _: PaymentGateway) -> PaymentGateway:
        api_key = self.settings.stripe_api_key.get_secret_value()
        client = StripeGateway(api_key, api_base=self.stripe.base, timeout=self.vendor_timeout)
        self._open_clients.append(client.close)
        return InterceptedGateway(self.mutations.gateway(client), self.process)

    def _messenger(self, _: Messenger) -> Messenger:
        request = AiohttpRequest(self.telegram.token, base=self.telegram.base, read=self.vendor_timeout)
        client = TelegramMessenger(request)
        self._open_clients.append(client.close)
        return InterceptedMessenger(self.mutations.messenger(client), self.process)


@cache
def seeded_database() -> bytes:
    """A database with a shop, its members and its group, as bytes; created once, for it takes a fifth of a run."""
    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
        path = Path(folder) / "kvit.db"
        thread.submit(asyncio.run, _seed(f"sqlite:///{path}")).result()
        return path.read_bytes()


async def _seed(url: str) -> None:
    db = Database(url)
    await db.migrate()
    shop = Shop(0, "Kvit", "DKK", "en", "Europe/Copenhagen")
    shop = await db.write(shops.create_shop, shop, now=NOON, only_first=True)
    for user_id, name, role in SHOP_PEOPLE:
        await db.write(shops.set_member, shop.id, user_id, Role[role.upper()], name=name, now=NOON)
    await db.write(shops.link_chat, GROUP, shop.id, now=NOON)
    await db.close()


@asynccontextmanager
async def crash_world(
    folder: Path,
    *,
    crash_at: Iterable[StopPoint] = (),
    mutations: AdapterOverrides | None = None,
    vendor_timeout: float = VENDOR_TIMEOUT,
    **settings: Any,
) -> AsyncIterator[CrashWorld]:
    """Everything running. The first process crashes at the first of `crash_at`, counted from now, and so on."""
    (folder / "kvit.db").write_bytes(seeded_database())
    clock = TickingClock()
    stripe, telegram = FakeStripe(clock), FakeTelegram(clock, owner_id=OWNER, flood_control=False)
    for user_id, _, _ in SHOP_PEOPLE:
        telegram.users.private_chat(user_id)
    configured = await installed(stripe, telegram, folder, **{"port": free_port(), **settings})
    async with aiohttp.ClientSession() as http:
        service = Service(configured, clock)
        world = CrashWorld(
            stripe,
            telegram,
            clock,
            configured,
            http,
            service,
            mutations=mutations or AdapterOverrides(),
            crash_at=[*crash_at],
        )
        world.vendor_timeout = vendor_timeout
        try:
            await world.begin()
            await create_webhook_endpoint(stripe, world.service.base)
            await world.wait_until_idle()
            world.process.arm(world.crash_at.pop(0) if world.crash_at else None)
            yield world
        finally:
            world.process.release()
            await world.stop()
            await telegram.stop()
            await stripe.stop()
