"""Where a fault can occur: each boundary as a call of Kvit, with the shortest scenario that makes this call."""

from __future__ import annotations

import asyncio
import logging
import resource
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import sqlalchemy as sa
from aiohttp import web

from tests.chaos.crash_runs import CANCEL, CAPTURE, CONFIRM, CREATE, REFUND, RETRIEVE
from tests.chaos.crash_world import CrashWorld
from tests.chaos.refund_scenarios import CAPTURED, REFUNDED
from tests.chaos.scenarios import PAID, SCENARIOS, Scenario
from tests.chaos.stop_points import SimulatedProcess, StopPoint
from tests.invariants.checker import given_up, violations

TEN_MINUTES = 610
"""Seconds: ten minutes and a little more."""

Action = Callable[["FaultRun"], Awaitable[None]]


@dataclass(frozen=True)
class Boundary:
    """The `nth` call of that name in a scenario. `vendor` is the vendor and the method, for faults of the vendor."""

    call: str
    nth: int = 1
    scenario: Scenario = PAID
    vendor: tuple[str, str] = ("", "")

    @property
    def before(self) -> StopPoint:
        return StopPoint(self.nth, "before", self.call)

    @property
    def after(self) -> StopPoint:
        return StopPoint(self.nth, "after", self.call)


FAILED_THEN_PAID, CANCELED = SCENARIOS[1], SCENARIOS[3]
BOUNDARIES = {
    "update": Boundary("commit jobs", vendor=("telegram", "getUpdates")),
    "event": Boundary("commit jobs", 2),
    "job": Boundary("commit"),
    "create": Boundary("create", vendor=("stripe", CREATE)),
    "confirm": Boundary("confirm", scenario=FAILED_THEN_PAID, vendor=("stripe", CONFIRM)),
    "retrieve": Boundary("retrieve", vendor=("stripe", RETRIEVE)),
    "cancel": Boundary("cancel", scenario=CANCELED, vendor=("stripe", CANCEL)),
    "capture": Boundary("capture", scenario=CAPTURED, vendor=("stripe", CAPTURE)),
    "refund": Boundary("refund", scenario=REFUNDED, vendor=("stripe", REFUND)),
    "send": Boundary("send", vendor=("telegram", "sendMessage")),
    "edit": Boundary("edit", vendor=("telegram", "editMessageText")),
    "commit": Boundary("commit", 2),
}


@dataclass
class FaultRun:
    """A scenario with a fault at a boundary. `marks` record that it occurred, `log_lines` is what Kvit logged."""

    world: CrashWorld
    boundary: Boundary
    log_lines: list[str]
    marks: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)
    background: asyncio.Task[None] | None = None
    process: SimulatedProcess = field(init=False)

    def __post_init__(self) -> None:
        self.process = self.world.process

    def set_trap(self, stop_point: StopPoint, action: Action) -> None:
        """Runs the action once, when the current process reaches this stop point."""

        async def trap(reached: StopPoint) -> None:
            if reached == stop_point and "trap" not in self.marks:
                self.marks.append("trap")
                await action(self)

        self.world.process.trap = trap

    def violations(self) -> list[str]:
        """The violations at the end, without those that this fault may cause."""
        evidence = self.world.evidence()
        dead = [f"gave up {job}" for job in given_up(evidence)]
        return [line for line in (*violations(evidence), *dead) if not any(excuse in line for excuse in self.excused)]


@contextmanager
def captured_logs() -> Iterator[list[str]]:
    """The messages logged meanwhile, from warnings on."""
    log_lines: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log_lines.append(record.getMessage())

    collector = Collector(logging.WARNING)
    logging.getLogger().addHandler(collector)
    try:
        yield log_lines
    finally:
        logging.getLogger().removeHandler(collector)


@contextmanager
def locked_database(world: CrashWorld) -> Iterator[None]:
    """Holds the write lock of the database; OperationalError if Kvit holds it."""
    with closing(sqlite3.connect(world.database, isolation_level=None, timeout=0)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def full_disk(_: CrashWorld) -> Iterator[None]:
    """Limits the files of this process to one kilobyte, like a disk without space."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def shorten_lock_wait(world: CrashWorld) -> None:
    """Makes Kvit wait 50 ms for another program's lock instead of ten seconds."""

    def set_timeout(connection: sa.Connection, _: None) -> None:
        # On the driver's connection: through SQLAlchemy the statement would begin a transaction.
        driver: Any = connection.connection.driver_connection
        driver.execute("PRAGMA busy_timeout = 50").close()

    engine: Any = world.service._db._engine
    await engine._writer.run(set_timeout, None)


class Relay:
    """A proxy between Stripe's webhooks and Kvit; `handle_delivery` decides about each delivery."""

    def __init__(
        self, target: str, handle_delivery: Callable[[Relay, web.Request, bytes], Awaitable[web.StreamResponse]]
    ) -> None:
        self.count = 0
        self.base = ""
        self._target = target
        self._handle_delivery = handle_delivery

    async def forward(self, request: web.Request, body: bytes) -> web.Response:
        """Sends the delivery to Kvit and returns Kvit's status."""
        headers = {name: request.headers[name] for name in ("Content-Type", "Stripe-Signature")}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self._target}{request.path}", data=body, headers=headers) as response,
        ):
            return web.Response(status=response.status)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.count += 1
        return await self._handle_delivery(self, request, await request.read())


@asynccontextmanager
async def relayed_webhooks(
    world: CrashWorld, handle_delivery: Callable[[Relay, web.Request, bytes], Awaitable[web.StreamResponse]]
) -> AsyncIterator[Relay]:
    """Sends Stripe's webhooks through a relay."""
    relay = Relay(world.service.base, handle_delivery)
    app = web.Application()
    app.router.add_post("/{path:.*}", relay.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint = next(iter(world.stripe.store.webhook_endpoints.values()))
    original_url = endpoint["url"]
    endpoint["url"] = f"http://127.0.0.1:{runner.addresses[0][1]}/stripe/webhook"
    try:
        yield relay
    finally:
        endpoint["url"] = original_url
        await runner.cleanup()
