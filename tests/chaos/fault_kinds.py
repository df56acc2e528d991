"""What goes wrong: each fault is ordered before the story, healed after it, and tells whether it really took place."""

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
from tests.chaos.crash_world import PATIENCE, MortalWorld, mortal
from tests.chaos.fault_places import LATE, Act, Place, Relay, Run, between, full, give_up_soon, locked, overheard
from tests.chaos.stop_points import Moment
from tests.chaos.stories import Stage, Story, tell
from tests.support.evidence import eventually

SILENCE = 3.0
"""Real seconds after which Kvit gives up a vendor who is silent on purpose."""

TWO_HOURS = 7200
LONG_SUFFERING = 150
"""So often people look whether it goes on: longer than a clock that was set back holds up anything."""

TOO_LATE = "says open at"
"""A card on its way is not called back when the link that it shows lapses; nor by a clock that is behind."""

OUT_OF_REACH = "database is out of reach"


@asynccontextmanager
async def _nothing(_: Run) -> AsyncIterator[None]:
    yield


@dataclass(frozen=True)
class Fault:
    """`around` brings it about and heals it, `struck` tells whether it took place; `story` instead of the place's.

    A line of the checker with one of the `excuses` is about what nobody can know who meets this fault.
    """

    struck: Callable[[Run], object]
    around: Callable[[Run], AbstractAsyncContextManager[None]] = _nothing
    ends: tuple[Moment, ...] = ()
    twice: tuple[str, str] | None = None
    patience: float = PATIENCE
    story: Story | None = None
    excuses: tuple[str, ...] = ()
    tells: bool = True
    """Whether the place's story is told meanwhile; else `around` is all there is."""

    heals: bool = True
    """Whether something is set right after the story, so that there has to be quiet once more."""


async def play(folder: Path, place: Place, fault: Fault) -> None:
    """The story comes to its end in spite of the fault, and then every invariant holds."""
    story, marks = fault.story or place.story, list[str]()
    plants = _twice(*fault.twice, marks) if fault.twice else AdapterOverrides()
    opened = mortal(folder, ends=fault.ends, plants=plants, patience=fault.patience, **story.settings)
    with overheard() as heard:
        async with opened as world:
            run = Run(world, place, heard, marks, [*fault.excuses])
            async with fault.around(run):
                if fault.tells:
                    await tell(world, story, patience=LONG_SUFFERING)
            if fault.heals:
                await world.quiet()
            assert fault.struck(run), f"the fault did not take place: {run.life.calls}, {heard}"
            assert not (wrong := run.wrong()), "\n".join(wrong)


def crash(place: Place, when: str) -> Fault:
    """The process dies there."""

    def died(run: Run) -> bool:
        return len(run.world.deaths) == 1 and run.life.calls.count(place.call) == place.nth

    return Fault(died, ends=(Moment(place.nth, when, place.call),), heals=False)


def vendor(place: Place, how: str, when: str) -> Fault:
    """The vendor answers so, or not at all, before or after he did what he was asked for."""
    whose, method = place.vendor
    name = f"{how} {when}"

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        await run.world.control(whose, "faults", {"method": method, "how": how, "when": when})
        yield

    def struck(run: Run) -> bool:
        asked = [request.fault for request in run.world.stripe.store.requests]
        return name in asked or any(entry.fault == name for entry in run.world.telegram.transcript)

    return Fault(struck, around, patience=SILENCE if how == "timeout" else PATIENCE, heals=False)


def polled(how: str, when: str, words: str) -> Fault:
    """The poll that brings the command is answered so; polls stand in no transcript, so that the log has to say it."""

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        await run.world.control("telegram", "faults", {"method": "getUpdates", "how": how, "when": when})
        run.world.advance(26)  # the poll that waits already ends with nothing, and the next one meets the fault
        if when == "before":
            await eventually(lambda: any(words in line for line in run.heard))
        yield

    return Fault(lambda run: any(words in line for line in run.heard), around)


def trapped(moment: Moment, act: Act, *, story: Story | None = None) -> Fault:
    """Something happens just then."""

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        run.set_trap(moment, act)
        yield

    return Fault(lambda run: "trap" in run.marks, around, story=story, heals=False)


def unknown(place: Place, when: str) -> Fault:
    """Whoever commits hears that the database is out of reach: before it is done, or though it was."""

    async def act(run: Run) -> None:
        raise DatabaseUnavailable("the database is out of reach: nobody knows what became of it")

    moment = place.after if when == "after" else place.before
    told = trapped(moment, act)
    return Fault(
        lambda run: "trap" in run.marks and any(OUT_OF_REACH in line for line in run.heard), told.around, heals=False
    )


async def refuse_until_met(run: Run, cause: Callable[[MortalWorld], AbstractContextManager[None]]) -> None:
    """Return once the database refuses to be written to; it does so until Kvit has met that.

    A message that was accepted meanwhile cannot be written down, which may leave one repeat as a death may.
    """
    begun = asyncio.Event()

    async def last() -> None:
        lasting = ExitStack()
        while not begun.is_set():
            try:
                lasting.enter_context(cause(run.world))
                begun.set()
            except sqlite3.OperationalError:  # Kvit is writing, and needs this loop to come to the end of it
                await asyncio.sleep(0.01)
        with lasting:
            await eventually(lambda: any(OUT_OF_REACH in line for line in run.heard))
        run.world.deaths.append(run.world.clock.now())

    run.beside = asyncio.create_task(last())
    await begun.wait()


def trouble(moment: Moment, cause: Callable[[MortalWorld], AbstractContextManager[None]]) -> Fault:
    """From that moment on the database refuses to be written to, until Kvit met that once."""

    async def act(run: Run) -> None:
        await refuse_until_met(run, cause)

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        await give_up_soon(run.world)
        run.world.fate.arm(None)
        run.set_trap(moment, act)
        yield
        assert run.beside is not None
        await run.beside

    return Fault(lambda run: any(OUT_OF_REACH in line for line in run.heard), around, heals=False)


def busy(moment: Moment) -> Fault:
    """Another program holds the lock for longer than Kvit waits."""
    return trouble(moment, locked)


def disk_full(moment: Moment) -> Fault:
    """There is no room for what is to be written."""
    return trouble(moment, full)


def passes(moment: Moment, seconds: float, *, excuses: tuple[str, ...] = ()) -> Fault:
    """So much time goes by within that moment: a call on its way, or a machine that slept."""

    async def act(run: Run) -> None:
        run.world.advance(seconds)

    return replace(trapped(moment, act), excuses=excuses)


def back(moment: Moment) -> Fault:
    """Kvit's own clock is set back by ten minutes then, and is right again in the end."""

    async def act(run: Run) -> None:
        run.world.own.wrong = timedelta(minutes=-10)

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        run.set_trap(moment, act)
        yield
        run.world.own.wrong = timedelta()
        run.world.advance(0)

    return Fault(lambda run: "trap" in run.marks, around, excuses=(TOO_LATE,))


def overtaken(place: Place) -> Fault:
    """Stripe's event about it is there before Stripe's answer."""

    async def act(run: Run) -> None:
        events = run.world.stripe.store.events
        assert events
        await eventually(lambda: not any(event["pending_webhooks"] for event in events.values()))

    return trapped(place.after, act)


def outrun_look(place: Place) -> Fault:
    """The answer to a look comes when the customer has paid since, and the event about that is there."""

    async def act(run: Run) -> None:
        await run.world.decide("approve")
        events = run.world.stripe.store.events
        await eventually(lambda: not any(event["pending_webhooks"] for event in events.values()))

    return trapped(place.after, act, story=Story("paid while Kvit looks", ()))


def doubled(place: Place) -> Fault:
    """The same request reaches the vendor twice."""
    return Fault(lambda run: "twice" in run.marks, twice=(place.vendor[0], place.call), heals=False)


def _twice(whose: str, call: str, marks: list[str]) -> AdapterOverrides:
    class Twice:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            if name != call:
                return getattr(self.inner, name)

            async def act(*args: Any, **more: Any) -> Any:
                marks.append("twice")
                await getattr(self.inner, name)(*args, **more)
                return await getattr(self.inner, name)(*args, **more)

            return act

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "inner":
                object.__setattr__(self, name, value)
            else:
                setattr(self.inner, name, value)

    if whose == "stripe":
        return AdapterOverrides(gateway=lambda inner: cast("PaymentGateway", Twice(inner)))
    return AdapterOverrides(messenger=lambda inner: cast("Messenger", Twice(inner)))


def relayed(how: str) -> Fault:
    """The first delivery of an event is lost on the way to Kvit or back, doubled, or refused by what stands between."""
    second = asyncio.Event()

    async def treat(relay: Relay, request: web.Request, body: bytes) -> web.StreamResponse:
        number = relay.count
        if how == "reversed" and number == 1:
            await second.wait()
        if number == 1 and how.isdigit():
            return web.Response(status=int(how))
        answer = await relay.passed_on(request, body) if how != "before" or number > 1 else None
        if how == "twice":
            answer = await relay.passed_on(request, body)
        if number == 2:
            second.set()
        if (number == 1 and how in {"before", "after"}) or answer is None:
            assert request.transport is not None
            request.transport.close()
        return answer or web.Response(status=502)

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        async with between(run.world, treat):
            yield

    def struck(run: Run) -> bool:
        tried = run.world.stripe.store.deliveries
        if how.isdigit():
            return tried[0].status == int(how)
        return len(tried) > 1 and (how in {"twice", "reversed"} or any(each.status is None for each in tried))

    return Fault(struck, around, heals=False)


def held_back() -> Fault:
    """The events come ten minutes late, after Kvit has found out by itself."""

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        await run.world.control("stripe", "webhooks", {"mode": "hold"})
        yield
        await run.world.pass_time(LATE)
        await run.world.control("stripe", "webhooks", {"mode": "deliver"})
        await run.world.control("stripe", "webhooks/release", {})
        await run.world.rest()

    def struck(run: Run) -> bool:
        events = run.world.stripe.store.events
        late = [
            each
            for each in run.world.stripe.store.deliveries
            if each.at.timestamp() - events[each.event]["created"] > 600
        ]
        return bool(late)

    return Fault(struck, around)


def redelivered() -> Fault:
    """Telegram brings the command a second time."""

    async def act(run: Run) -> None:
        updates = run.world.telegram.state.updates
        await run.world.control("telegram", "redeliver", {"update_id": updates.pending()[0].id})

    return trapped(Moment(1, "before", "commit mail"), act)


LATER = Story("asked late", ("approve",), command="/id")


def asked_again(moment: Moment | None, seconds: float) -> Fault:
    """The command comes so late that Kvit asks whether it still holds, and does it only then.

    It waits at Telegram, or, with a `moment`, goes by that much later.
    """

    async def act(run: Run) -> None:
        run.world.advance(seconds)

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        world = run.world
        if moment is not None:
            run.set_trap(moment, act)
            world.say("/pay 149,50 Coffee")
        else:
            await world.control("telegram", "down", {"down": True})
            world.say("/pay 149,50 Coffee")
            world.advance(seconds)
            await world.control("telegram", "down", {"down": False})
        question = await Stage(world, 60).message("This command arrived late")
        assert not world.stripe.store.intents
        world.tap(question, "Do it now")
        yield

    return Fault(lambda run: run.world.sent("This command arrived late"), around, story=LATER)
