"""The whole of Kvit on a clock that never stands quite still, where it may die at any call and is started again."""

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
from tests.chaos.stop_points import Fate, Moment, MortalGateway, MortalMessenger, attach
from tests.invariants.case_file import Evidence
from tests.support.people import GROUP, SHOP_PEOPLE
from tests.support.world import BRISK, OWNER, World, free_port, installed

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
PATIENCE = 10.0
"""Real seconds that Kvit waits for an answer of a vendor; fewer where a vendor is to be silent."""

REST_SECONDS = 30
STILL = 12
"""After so many looks without a call whoever has something to do waits for the clock, after a failure."""

ATTEMPT_AND_TWO_SWEEPS = (240, 61, 61, 61)
STRIPES_REPEATS = (3601, 7201)
_HEADS = "SELECT min(id) FROM jobs WHERE state = 'pending' GROUP BY queue, ordering_key"
_DUE = (
    f"SELECT 'mail', key FROM jobs WHERE id IN ({_HEADS}) AND (scheduled_at <= :now OR lease IS NOT NULL)"
    " UNION ALL SELECT 'book', id FROM payments WHERE next_check_at <= :now"
    " UNION ALL SELECT 'refunds', id FROM refunds WHERE next_check_at <= :now"
)


class TickingClock(FakeClock):
    """Turned by hand, but for a microsecond each time somebody looks: so that no two things happen at the same time."""

    def __init__(self) -> None:
        super().__init__(NOON, frozen=True)
        self._display = 0

    def now(self) -> datetime:
        self._display += 1
        return super().now() + timedelta(microseconds=self._display)


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class OwnClock:
    """The clock of Kvit's own machine, which may be `wrong` while those of the vendors are right.

    While it does not go (`goes`), whoever sleeps by it sleeps on: the machine stands still.
    """

    right: FakeClock
    wrong: timedelta = timedelta()
    goes: asyncio.Event = field(default_factory=_set)

    def now(self) -> datetime:
        """What Kvit takes for the time."""
        return self.right.now() + self.wrong

    async def sleep(self, seconds: float) -> None:
        """As long as it takes, whatever the clock shows."""
        await self.right.sleep(seconds)
        await self.goes.wait()


@dataclass
class MortalWorld(World):
    """A world whose service dies at the `ends`, one for each life, and is started again at once.

    `plants` are wrapped around the two doors, within the fate. `deaths` are when the last of a life had arrived.
    """

    plants: AdapterOverrides = field(default_factory=AdapterOverrides)
    ends: list[Moment] = field(default_factory=list)
    deaths: list[datetime] = field(default_factory=list)
    fate: Fate = field(default_factory=Fate)
    patience: float = PATIENCE
    own: OwnClock = field(init=False)
    _closing: list[Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.own = OwnClock(self.clock)

    async def begin(self) -> None:
        """Another life on the same database."""
        self.fate = Fate(self.ends.pop(0) if self.deaths and self.ends else None)
        pacing, seams = (
            TelegramRateLimiter(BRISK, BRISK, BRISK, BRISK),
            AdapterOverrides(self._gateway, self._messenger),
        )
        self.service = Service(self.settings, self.own, rate_limiter=pacing, overrides=seams)
        attach(self.service._db, self.fate)
        start = asyncio.create_task(self.service.start())
        died = asyncio.create_task(self.fate.died.wait())
        await asyncio.wait({start, died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if start.done():
            await start
        else:
            self.fate.bury()
            start.cancel()
            await asyncio.gather(start, return_exceptions=True)

    async def die(self) -> None:
        """What was in memory is gone; nothing is finished and nothing is settled, but what was on the wire arrives."""
        self.fate.bury()
        house = self.service._components
        tasks = {
            *self.service._tasks,
            *house.background_tasks._running,
            *(task for worker in house.workers for task in worker._running),
        }
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.stop()
        self.deaths.append(self.clock.now())

    async def stop(self) -> None:
        """Stop the service, and close what it was given."""
        await self.service.stop()
        while self._closing:
            await self._closing.pop()()

    async def keep_alive(self) -> None:
        """Start it again whenever it died."""
        while True:
            await self.fate.died.wait()
            await self.die()
            await self.begin()

    async def rest(self) -> None:
        """Return once nobody has anything to do before the clock is turned again, or nothing is done about it."""
        seen, still = -1, 0
        try:
            async with asyncio.timeout(REST_SECONDS):
                while self._stirs() or seen != self.fate.count or (self._waits() and still < STILL):
                    still = still + 1 if seen == self.fate.count else 0
                    seen = self.fate.count
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            raise TimeoutError(f"still at work: {self._due()}") from error

    async def pass_time(self, *steps: float) -> None:
        """Let time go by while everybody is at rest, and everybody do what is due then."""
        for seconds in steps:
            await self.rest()
            self.advance(seconds)
            await self.rest()

    async def quiet(self) -> None:
        """Faults are healed, the attempt's window and two sweeps passed, and Stripe repeated what it could not say."""
        await self.pass_time(*ATTEMPT_AND_TWO_SWEEPS)
        if any(event["pending_webhooks"] for event in self.stripe.store.events.values()):
            await self.pass_time(*STRIPES_REPEATS)

    def evidence(self) -> Evidence:
        """What the checker reads."""
        path, above = str(self.database), self.settings.refund_approval_above
        seen = self.stripe.store, self.telegram.transcript, path, frozenset({OWNER}), tuple(self.deaths)
        return Evidence(*seen, approval_above=above)

    def _stirs(self) -> bool:
        """Whether something is being done."""
        return self.fate.died.is_set() or self.fate.under_way > 0 or self._on_the_way()

    def _waits(self) -> bool:
        """Whether there is something to do, which may need the clock to be turned all the same."""
        return bool(self._due() or self.telegram.state.updates.pending())

    def _on_the_way(self) -> bool:
        """Whether an event was sent and has not been answered."""
        if self.stripe.webhooks.mode != "deliver":
            return False
        tried = {delivery.event for delivery in self.stripe.store.deliveries}
        return any(e["pending_webhooks"] and e["id"] not in tried for e in self.stripe.store.events.values())

    def _due(self) -> list[tuple[str, str]]:
        now = (self.own.now() - EPOCH) // timedelta(microseconds=1)
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            return list(db.execute(_DUE, {"now": now}))

    def _gateway(self, _: PaymentGateway) -> PaymentGateway:
        key = self.settings.stripe_api_key.get_secret_value()
        inner = StripeGateway(key, api_base=self.stripe.base, timeout=self.patience)
        self._closing.append(inner.close)
        return MortalGateway(self.plants.gateway(inner), self.fate)

    def _messenger(self, _: Messenger) -> Messenger:
        request = AiohttpRequest(self.telegram.token, base=self.telegram.base, read=self.patience)
        inner = TelegramMessenger(request)
        self._closing.append(inner.close)
        return MortalMessenger(self.plants.messenger(inner), self.fate)


@cache
def blank() -> bytes:
    """A shop's people and group on the newest version: made once, for making one takes a fifth of a run."""
    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as beside:
        path = Path(folder) / "kvit.db"
        beside.submit(asyncio.run, _migrated(f"sqlite:///{path}")).result()
        return path.read_bytes()


async def _migrated(url: str) -> None:
    db = Database(url)
    await db.migrate()
    wanted = Shop(0, "Kvit", "DKK", "en", "Europe/Copenhagen")
    shop = await db.write(shops.create_shop, wanted, now=NOON, only_first=True)
    for user_id, name, role in SHOP_PEOPLE:
        await db.write(shops.set_member, shop.id, user_id, Role[role.upper()], name=name, now=NOON)
    await db.write(shops.link_chat, GROUP, shop.id, now=NOON)
    await db.close()


@asynccontextmanager
async def mortal(
    folder: Path,
    *,
    ends: Iterable[Moment] = (),
    plants: AdapterOverrides | None = None,
    patience: float = PATIENCE,
    **settings: Any,
) -> AsyncIterator[MortalWorld]:
    """Everything running. The first life ends at the first of the `ends`, counted from now, and so on."""
    (folder / "kvit.db").write_bytes(blank())
    clock = TickingClock()
    stripe, telegram = FakeStripe(clock), FakeTelegram(clock, owner_id=OWNER, flood_control=False)
    for user_id, _, _ in SHOP_PEOPLE:
        telegram.users.private_chat(user_id)
    chosen = await installed(stripe, telegram, folder, **{"port": free_port(), **settings})
    async with aiohttp.ClientSession() as http:
        service = Service(chosen, clock)
        world = MortalWorld(
            stripe, telegram, clock, chosen, http, service, plants=plants or AdapterOverrides(), ends=[*ends]
        )
        world.patience = patience
        try:
            await world.begin()
            await create_webhook_endpoint(stripe, world.service.base)
            await world.rest()
            world.fate.arm(world.ends.pop(0) if world.ends else None)
            yield world
        finally:
            world.fate.bury()
            await world.stop()
            await telegram.stop()
            await stripe.stop()
