"""Where a fault can strike: each boundary as a call that Kvit makes, and the shortest story that comes by there."""

from __future__ import annotations

import asyncio
import logging
import resource
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from tests.chaos.crash_world import MortalWorld
from tests.chaos.refund_stories import CAPTURED, REFUNDED
from tests.chaos.stop_points import Fate, Moment
from tests.chaos.stories import PAID, STORIES, Story
from tests.chaos.storm_judge import CANCEL, CAPTURE, CONFIRM, CREATE, LOOK, REFUND
from tests.invariants.checker import given_up, violations

LATE = 610
"""Seconds: ten minutes, and a little more."""

Act = Callable[["Run"], Awaitable[None]]


@dataclass(frozen=True)
class Place:
    """The `nth` call of that name in a story. `vendor` is who is called, and by which method, for faults of his own."""

    call: str
    nth: int = 1
    story: Story = PAID
    vendor: tuple[str, str] = ("", "")

    @property
    def before(self) -> Moment:
        return Moment(self.nth, "before", self.call)

    @property
    def after(self) -> Moment:
        return Moment(self.nth, "after", self.call)


FAILED_THEN_PAID, CANCELED = STORIES[1], STORIES[3]
PLACES = {
    "update": Place("commit mail", vendor=("telegram", "getUpdates")),
    "event": Place("commit mail", 2),
    "kept": Place("commit"),
    "create": Place("create", vendor=("stripe", CREATE)),
    "confirm": Place("confirm", story=FAILED_THEN_PAID, vendor=("stripe", CONFIRM)),
    "retrieve": Place("retrieve", vendor=("stripe", LOOK)),
    "cancel": Place("cancel", story=CANCELED, vendor=("stripe", CANCEL)),
    "capture": Place("capture", story=CAPTURED, vendor=("stripe", CAPTURE)),
    "refund": Place("refund", story=REFUNDED, vendor=("stripe", REFUND)),
    "send": Place("send", vendor=("telegram", "sendMessage")),
    "edit": Place("edit", vendor=("telegram", "editMessageText")),
    "commit": Place("commit", 2),
}


@dataclass
class Run:
    """A story in which a fault strikes at a place. `marks` say that it did, `heard` is what Kvit logged."""

    world: MortalWorld
    place: Place
    heard: list[str]
    marks: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)
    beside: asyncio.Task[None] | None = None
    life: Fate = field(init=False)

    def __post_init__(self) -> None:
        self.life = self.world.fate

    def set_trap(self, moment: Moment, act: Act) -> None:
        """Have this happen once, when the present life comes to that moment."""

        async def trap(reached: Moment) -> None:
            if reached == moment and "trap" not in self.marks:
                self.marks.append("trap")
                await act(self)

        self.world.fate.trap = trap

    def wrong(self) -> list[str]:
        """What does not hold in the end, but for what this fault may do."""
        evidence = self.world.evidence()
        lost = [f"it gave up {what}" for what in given_up(evidence)]
        return [line for line in (*violations(evidence), *lost) if not any(word in line for word in self.excused)]


@contextmanager
def overheard() -> Iterator[list[str]]:
    """What is logged meanwhile, from warnings on."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ear = Ear(logging.WARNING)
    logging.getLogger().addHandler(ear)
    try:
        yield heard
    finally:
        logging.getLogger().removeHandler(ear)


@contextmanager
def locked(world: MortalWorld) -> Iterator[None]:
    """Another program keeps the lock of the database; OperationalError while Kvit has it."""
    with closing(sqlite3.connect(world.database, isolation_level=None, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def full(_: MortalWorld) -> Iterator[None]:
    """This process may not write behind the first kilobyte of any file, as on a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def give_up_soon(world: MortalWorld) -> None:
    """Have Kvit wait for somebody else's lock for a moment only, instead of ten seconds."""
    raw = world.service._db._engine._writer
    await raw.run(lambda connection, _: connection.exec_driver_sql("PRAGMA busy_timeout = 50").all(), None)


class Relay:
    """Stands between Stripe's webhooks and Kvit; each delivery passes by `treat`, which may do what it likes."""

    def __init__(
        self, target: str, treat: Callable[[Relay, web.Request, bytes], Awaitable[web.StreamResponse]]
    ) -> None:
        self.count = 0
        self.base = ""
        self._target = target
        self._treat = treat

    async def passed_on(self, request: web.Request, body: bytes) -> web.Response:
        """What Kvit answers."""
        headers = {name: request.headers[name] for name in ("Content-Type", "Stripe-Signature")}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self._target}{request.path}", data=body, headers=headers) as answer,
        ):
            return web.Response(status=answer.status)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.count += 1
        return await self._treat(self, request, await request.read())


@asynccontextmanager
async def between(
    world: MortalWorld, treat: Callable[[Relay, web.Request, bytes], Awaitable[web.StreamResponse]]
) -> AsyncIterator[Relay]:
    """Have Stripe's webhooks go through a relay."""
    relay = Relay(world.service.base, treat)
    app = web.Application()
    app.router.add_post("/{path:.*}", relay.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint = next(iter(world.stripe.store.webhook_endpoints.values()))
    direct = endpoint["url"]
    endpoint["url"] = f"http://127.0.0.1:{runner.addresses[0][1]}/stripe/webhook"
    try:
        yield relay
    finally:
        endpoint["url"] = direct
        await runner.cleanup()
