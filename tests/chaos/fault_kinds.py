"""The faults: each is set up before the scenario, removed after it, and asserts that it occurred."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from bot.app import AdapterOverrides
from handlers.stripe.gateway import PaymentGateway
from handlers.telegram.messenger import Messenger
from storage.errors import DatabaseUnavailable
from tests.chaos.crash_world import VENDOR_TIMEOUT, CrashWorld, crash_world
from tests.chaos.fault_boundaries import (
    TEN_MINUTES,
    Action,
    Boundary,
    FaultRun,
    Relay,
    captured_logs,
    full_disk,
    locked_database,
    relayed_webhooks,
    shorten_lock_wait,
)
from tests.chaos.scenarios import Scenario, ScenarioRunner, play
from tests.chaos.stop_points import StopPoint
from tests.support.evidence import eventually

SHORT_VENDOR_TIMEOUT = 3.0
"""Real seconds that Kvit waits for a vendor that does not respond on purpose."""

TWO_HOURS = 7200
MANY_WAITS = 150
"""How often a user looks into the chat: longer than a clock that was set back delays anything."""

LINK_EXPIRED_IN_FLIGHT = "shows ready at"
"""A message that is being sent is not withdrawn when its link expires, and a slow clock does not see it expire."""

DATABASE_UNAVAILABLE = "database is out of reach"


@asynccontextmanager
async def _no_context(_: FaultRun) -> AsyncIterator[None]:
    yield


MAX_TRIES = 3


@dataclass(frozen=True)
class Fault:
    """`context` sets it up and removes it, `occurred` tells whether it took place. `scenario` replaces the boundary's.

    A violation that contains one of the `excuses` is about something that Kvit cannot know under this fault.
    """

    occurred: Callable[[FaultRun], object]
    context: Callable[[FaultRun], AbstractAsyncContextManager[None]] = _no_context
    crash_at: tuple[StopPoint, ...] = ()
    sent_twice: tuple[str, str] | None = None
    vendor_timeout: float = VENDOR_TIMEOUT
    scenario: Scenario | None = None
    excuses: tuple[str, ...] = ()
    plays_scenario: bool = True
    """Whether the boundary's scenario is played; otherwise `context` does everything."""

    needs_quiet: bool = True
    """Whether the world has to become quiet again after the fault is removed."""


async def play_with_fault(folder: Path, boundary: Boundary, fault: Fault) -> None:
    """The scenario comes to its end in spite of the fault, and then every invariant holds.

    Two processes race in some faults, so one that did not occur is tried again.
    """
    missed = ""
    for number in range(MAX_TRIES):
        run_folder = folder / str(number)
        run_folder.mkdir()
        if not (missed := await _play_once(run_folder, boundary, fault)):
            return
    raise AssertionError(f"the fault did not occur in {MAX_TRIES} runs: {missed}")


async def _play_once(folder: Path, boundary: Boundary, fault: Fault) -> str:
    """Plays it and asserts the invariants; returns what happened instead if the fault did not occur."""
    scenario, marks = fault.scenario or boundary.scenario, list[str]()
    mutations = _send_twice(*fault.sent_twice, marks) if fault.sent_twice else AdapterOverrides()
    world_context = crash_world(
        folder, crash_at=fault.crash_at, mutations=mutations, vendor_timeout=fault.vendor_timeout, **scenario.settings
    )
    with captured_logs() as log_lines:
        async with world_context as world:
            run = FaultRun(world, boundary, log_lines, marks, [*fault.excuses])
            async with fault.context(run):
                if fault.plays_scenario:
                    await play(world, scenario, max_waits=MANY_WAITS)
            if fault.needs_quiet:
                await world.wait_until_quiet()
            assert not (found := run.violations()), "\n".join(found)
            return "" if fault.occurred(run) else f"{run.process.calls}, {log_lines}"


def crash(boundary: Boundary, when: str) -> Fault:
    """The process crashes there."""

    def has_crashed(run: FaultRun) -> bool:
        return len(run.world.crashes) == 1 and run.process.calls.count(boundary.call) >= boundary.nth

    return Fault(has_crashed, crash_at=(StopPoint(boundary.nth, when, boundary.call),), needs_quiet=False)


def vendor_fault(boundary: Boundary, how: str, when: str) -> Fault:
    """The vendor responds so, or not at all, before or after executing the request."""
    vendor_name, method = boundary.vendor
    name = f"{how} {when}"

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        await run.world.control(vendor_name, "faults", {"method": method, "how": how, "when": when})
        yield

    def occurred(run: FaultRun) -> bool:
        faults = [request.fault for request in run.world.stripe.store.requests]
        return name in faults or any(entry.fault == name for entry in run.world.telegram.transcript)

    return Fault(
        occurred,
        context,
        vendor_timeout=SHORT_VENDOR_TIMEOUT if how == "timeout" else VENDOR_TIMEOUT,
        needs_quiet=False,
    )


def poll_fault(how: str, when: str, text: str) -> Fault:
    """The poll that brings the command fails so. Polls are not in the transcript, so the log must contain the text."""

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        await run.world.control("telegram", "faults", {"method": "getUpdates", "how": how, "when": when})
        run.world.advance(26)  # ends the current long poll; the next one meets the fault
        if when == "before":
            await eventually(lambda: any(text in line for line in run.log_lines))
        yield

    return Fault(lambda run: any(text in line for line in run.log_lines), context)


def at_stop_point(stop_point: StopPoint, action: Action, *, scenario: Scenario | None = None) -> Fault:
    """Runs an action there."""

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        run.set_trap(stop_point, action)
        yield

    return Fault(lambda run: "trap" in run.marks, context, scenario=scenario, needs_quiet=False)


def commit_outcome_unknown(boundary: Boundary, when: str) -> Fault:
    """A commit fails as unavailable, before it is executed or although it was."""

    async def action(run: FaultRun) -> None:
        raise DatabaseUnavailable("the database is out of reach: the outcome is unknown")

    stop_point = boundary.after if when == "after" else boundary.before
    fault = at_stop_point(stop_point, action)
    return Fault(
        lambda run: "trap" in run.marks and any(DATABASE_UNAVAILABLE in line for line in run.log_lines),
        fault.context,
        needs_quiet=False,
    )


async def make_database_fail(run: FaultRun, condition: Callable[[CrashWorld], AbstractContextManager[None]]) -> None:
    """Returns once the database rejects writes; it does so until Kvit has logged that.

    A message accepted meanwhile cannot be recorded, which may leave one repeat, like a crash.
    """
    started = asyncio.Event()

    async def keep_failing() -> None:
        held = ExitStack()
        while not started.is_set():
            try:
                held.enter_context(condition(run.world))
                started.set()
            except sqlite3.OperationalError:  # Kvit is writing and needs this event loop to finish
                await asyncio.sleep(0.01)
        with held:
            await eventually(lambda: any(DATABASE_UNAVAILABLE in line for line in run.log_lines))
        run.world.crashes.append(run.world.clock.now())

    run.background = asyncio.create_task(keep_failing())
    await started.wait()


def database_fault(stop_point: StopPoint, condition: Callable[[CrashWorld], AbstractContextManager[None]]) -> Fault:
    """From that stop point on the database rejects writes, until Kvit has met that once."""

    async def action(run: FaultRun) -> None:
        await make_database_fail(run, condition)

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        await shorten_lock_wait(run.world)
        run.world.process.arm(None)
        run.set_trap(stop_point, action)
        yield
        assert run.background is not None
        await run.background

    return Fault(lambda run: any(DATABASE_UNAVAILABLE in line for line in run.log_lines), context, needs_quiet=False)


def database_busy(stop_point: StopPoint) -> Fault:
    """Another program holds the write lock for longer than Kvit waits."""
    return database_fault(stop_point, locked_database)


def disk_full(stop_point: StopPoint) -> Fault:
    """The disk has no space."""
    return database_fault(stop_point, full_disk)


def time_passes(stop_point: StopPoint, seconds: float, *, excuses: tuple[str, ...] = ()) -> Fault:
    """So many seconds pass there: a slow call, or a machine that slept.

    Beside a request to Stripe no message is being sent meanwhile: it would show what was true when it was written.
    """

    async def action(run: FaultRun) -> None:
        if stop_point.name not in {"send", "edit", "commit"}:  # these hold up the messages themselves
            await eventually(lambda: not run.world.has_due_messages())
        run.world.advance(seconds)

    return replace(at_stop_point(stop_point, action), excuses=excuses)


def clock_set_back(stop_point: StopPoint) -> Fault:
    """Kvit's own clock is set back by ten minutes there, and is right again at the end."""

    async def action(run: FaultRun) -> None:
        run.world.service_clock.offset = timedelta(minutes=-10)

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        run.set_trap(stop_point, action)
        yield
        run.world.service_clock.offset = timedelta()
        run.world.advance(0)

    return Fault(lambda run: "trap" in run.marks, context, excuses=(LINK_EXPIRED_IN_FLIGHT,))


def event_before_response(boundary: Boundary) -> Fault:
    """Stripe's event arrives before the response to the call that caused it."""

    async def action(run: FaultRun) -> None:
        events = run.world.stripe.store.events
        assert events
        await eventually(lambda: not any(event["pending_webhooks"] for event in events.values()))

    return at_stop_point(boundary.after, action)


def payment_during_retrieve(boundary: Boundary) -> Fault:
    """The customer pays while a retrieve is under way, and the event arrives before its response."""

    async def action(run: FaultRun) -> None:
        await run.world.decide("approve")
        events = run.world.stripe.store.events
        await eventually(lambda: not any(event["pending_webhooks"] for event in events.values()))

    return at_stop_point(boundary.after, action, scenario=Scenario("paid during a retrieve", ()))


def request_sent_twice(boundary: Boundary) -> Fault:
    """The same request reaches the vendor twice."""
    return Fault(lambda run: "twice" in run.marks, sent_twice=(boundary.vendor[0], boundary.call), needs_quiet=False)


def _send_twice(vendor_name: str, call: str, marks: list[str]) -> AdapterOverrides:
    class Twice:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            if name != call:
                return getattr(self.inner, name)

            async def action(*args: Any, **more: Any) -> Any:
                marks.append("twice")
                await getattr(self.inner, name)(*args, **more)
                return await getattr(self.inner, name)(*args, **more)

            return action

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "inner":
                object.__setattr__(self, name, value)
            else:
                setattr(self.inner, name, value)

    if vendor_name == "stripe":
        return AdapterOverrides(gateway=lambda inner: cast("PaymentGateway", Twice(inner)))
    return AdapterOverrides(messenger=lambda inner: cast("Messenger", Twice(inner)))


def webhook_fault(how: str) -> Fault:
    """The first delivery of an event is lost on the way to or from Kvit, sent twice, or rejected by a proxy."""
    second = asyncio.Event()

    async def handle_delivery(relay: Relay, request: web.Request, body: bytes) -> web.StreamResponse:
        number = relay.count
        if how == "reversed" and number == 1:
            await second.wait()
        if number == 1 and how.isdigit():
            return web.Response(status=int(how))
        answer = await relay.forward(request, body) if how != "before" or number > 1 else None
        if how == "twice":
            answer = await relay.forward(request, body)
        if number == 2:
            second.set()
        if (number == 1 and how in {"before", "after"}) or answer is None:
            assert request.transport is not None
            request.transport.close()
        return answer or web.Response(status=502)

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        async with relayed_webhooks(run.world, handle_delivery):
            yield

    def occurred(run: FaultRun) -> bool:
        deliveries = run.world.stripe.store.deliveries
        if how.isdigit():
            return deliveries[0].status == int(how)
        return len(deliveries) > 1 and (how in {"twice", "reversed"} or any(each.status is None for each in deliveries))

    return Fault(occurred, context, needs_quiet=False)


def events_held_back() -> Fault:
    """The events arrive ten minutes late, after Kvit has found the payment itself."""

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        await run.world.control("stripe", "webhooks", {"mode": "hold"})
        yield
        await run.world.pass_time(TEN_MINUTES)
        await run.world.control("stripe", "webhooks", {"mode": "deliver"})
        await run.world.control("stripe", "webhooks/release", {})
        await run.world.wait_until_idle()

    def occurred(run: FaultRun) -> bool:
        events = run.world.stripe.store.events
        late = [
            each
            for each in run.world.stripe.store.deliveries
            if each.at.timestamp() - events[each.event]["created"] > 600
        ]
        return bool(late)

    return Fault(occurred, context)


def update_redelivered() -> Fault:
    """Telegram delivers the command a second time."""

    async def action(run: FaultRun) -> None:
        updates = run.world.telegram.state.updates
        await run.world.control("telegram", "redeliver", {"update_id": updates.pending()[0].id})

    return at_stop_point(StopPoint(1, "before", "commit jobs"), action)


AFTER_COMMAND = Scenario("late command", ("approve",), command="/id")


def late_command(stop_point: StopPoint | None, seconds: float) -> Fault:
    """The command arrives so late that Kvit asks for confirmation, and is executed only after that.

    It waits at Telegram or, with a `stop_point`, that much time passes there.
    """

    async def action(run: FaultRun) -> None:
        run.world.advance(seconds)

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        world = run.world
        if stop_point is not None:
            run.set_trap(stop_point, action)
            world.say("/pay 149,50 Coffee")
        else:
            await world.control("telegram", "down", {"down": True})
            world.say("/pay 149,50 Coffee")
            world.advance(seconds)
            await world.control("telegram", "down", {"down": False})
        prompt = await ScenarioRunner(world, 60).wait_for_message("This command arrived late")
        assert not world.stripe.store.intents
        world.tap(prompt, "Do it now")
        yield

    return Fault(lambda run: run.world.sent("This command arrived late"), context, scenario=AFTER_COMMAND)
