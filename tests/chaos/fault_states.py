"""What lasts longer than a call: a start, a lost lease, a chat that moved or is gone, an outage, an old file, a key."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import timedelta

import pytest

from bot.app import RetryableStartupError, Service, StartupError
from bot.sandbox.fake_stripe.store import RequestRecord
from bot.sandbox.fake_telegram import TranscriptEntry
from tests.chaos.crash_world import MortalWorld, OwnClock
from tests.chaos.fault_kinds import LATER, LONG_SUFFERING, OUT_OF_REACH, Fault, refuse_until_met
from tests.chaos.fault_places import LATE, Run, full, give_up_soon
from tests.chaos.stop_points import Moment
from tests.chaos.stories import Story, beside
from tests.chaos.storm_judge import CREATE
from tests.invariants.checker import given_up
from tests.support.evidence import alerts, event, post_event
from tests.support.people import GROUP, MERCHANT
from tests.support.world import Json

LEASE_IS_OVER = 130
HOUR = 3600
ASKED = Moment(1, "after", "create")
"""When a request has been made at Stripe, and Kvit has not heard of it."""


def started(how: str, when: str) -> Fault:
    """Telegram answers the first call of a new life so."""
    name = f"{how} {when}"

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        await run.world.control("telegram", "faults", {"method": "getMe", "how": how, "when": when})
        yield

    return Fault(lambda run: any(e.fault == name for e in run.world.telegram.transcript), around, ends=(ASKED,))


def died_at_the_start(when: str) -> Fault:
    """The life after a death ends while it begins."""
    return Fault(lambda run: len(run.world.deaths) == 2, ends=(ASKED, Moment(1, when, "commit")))


def begun_anew(seconds: float = 0, *, wrong: timedelta = timedelta()) -> Fault:
    """Kvit stops with a request open and begins again that much later, on a clock that may be wrong."""

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        await _asked(run)
        await run.world.stop()
        run.world.advance(seconds)
        run.world.own.wrong = wrong
        await run.world.begin()
        run.marks.append("begun anew")
        yield
        run.world.own.wrong = timedelta()

    return Fault(lambda run: "begun anew" in run.marks, around, story=LATER)


def begun_beside() -> Fault:
    """Somebody starts a second one on the same file."""

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        await _asked(run)
        with pytest.raises(StartupError, match="one serve per file"):
            await Service(run.world.settings, run.world.own).start()
        run.marks.append("refused")
        yield

    return Fault(lambda run: "refused" in run.marks, around, story=LATER)


def begun_while_locked(cause: Callable[[MortalWorld], AbstractContextManager[None]]) -> Fault:
    """While it starts another program holds the lock; it waits for that."""

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        await _asked(run)
        await run.world.stop()
        with cause(run.world):
            start = asyncio.create_task(run.world.begin())
            await asyncio.wait({start}, timeout=0.3)
            run.marks.append("done" if start.done() else "waited")
        await start
        yield

    return Fault(lambda run: "waited" in run.marks, around, story=LATER)


def begun_on_a_full_disk() -> Fault:
    """It says in plain words that it cannot start; what is said meanwhile waits at Telegram."""

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        await run.world.stop()
        with full(run.world), pytest.raises(RetryableStartupError, match=f"DATABASE_URL: the {OUT_OF_REACH}"):
            await run.world.begin()
        run.marks.append("refused")
        run.world.say("/pay 149,50 Coffee")
        await run.world.begin()
        yield

    return Fault(lambda run: "refused" in run.marks, around, story=LATER)


async def _asked(run: Run) -> None:
    run.world.say("/pay 149,50 Coffee")
    await run.world.rest()
    assert len(run.world.stripe.store.intents) == 1


def _creates(run: Run) -> list[RequestRecord]:
    """Every request for an intent that reached Stripe."""
    return [r for r in run.world.stripe.store.requests if (r.method, r.path) == ("POST", "/v1/payment_intents")]


def lease_lost(
    moment: Moment = ASKED,
    *,
    seconds: float = LEASE_IS_OVER,
    ends: tuple[Moment, ...] = (),
    second: tuple[str, str] | None = None,
    wrong: timedelta = timedelta(),
    cause: Callable[[MortalWorld], AbstractContextManager[None]] | None = None,
) -> Fault:
    """It stands still past the lease of what it works on, another process does that, and then it goes on.

    When it goes on the database may refuse, for a `cause`. `second` is what Stripe does to the other's request; on a
    clock that was set back meanwhile the lease holds on.
    """
    taken = 1 if wrong or seconds >= LATE else 2

    async def stands_still(run: Run) -> None:
        own = run.world.own
        own.wrong = wrong
        own.goes.clear()
        run.world.advance(seconds)
        await Service(run.world.settings, OwnClock(own.right, wrong)).reconcile(retry_dead=False)
        own.goes.set()
        run.marks.append("taken over")
        if cause is not None:
            await refuse_until_met(run, cause)

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        await give_up_soon(run.world)
        if second is not None:
            how, when = second
            order = {"method": CREATE, "how": how, "when": when, "nth": 2}
            await run.world.control("stripe", "faults", order)
        run.world.fate.arm(ends[0] if ends else None)
        run.set_trap(moment, stands_still)
        yield
        run.world.own.wrong = timedelta()
        if run.beside is not None:
            await run.beside

    def struck(run: Run) -> bool:
        asked = _creates(run)
        right = len(asked) == 1 if wrong else len(asked) >= taken
        return "taken over" in run.marks and right and (not second or any(r.fault for r in asked))

    return Fault(struck, around, ends=ends)


def told_anyway(run: Run) -> bool:
    """What was paid is told as paid."""
    return bool(run.world.sent("✅ Paid:"))


def script(play: Callable[[Run], Awaitable[None]], *, ends: tuple[Moment, ...] = (), mark: str = "struck") -> Fault:
    """What people do in a story of its own, while Kvit is raised whenever it dies."""

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        await beside(run.world.keep_alive(), play(run))
        yield

    return Fault(lambda run: mark in run.marks, around, ends=ends, tells=False)


async def by_and_by(run: Run, true: Callable[[], object], *, step: float = 10) -> None:
    """Let time go by until it is true."""
    for _ in range(LONG_SUFFERING):
        await run.world.rest()
        if true():
            return
        await run.world.pass_time(step)
    raise AssertionError("it never came true")


async def _paid_unseen(run: Run) -> None:
    """Nobody sees a card there any more; whoever has the link may pay, and the owner is told of the chat."""
    if is_payable(run):
        await run.world.decide("approve")
    run.excused += ["it gave up", "nobody was told that", "no owner has a word about it: the chat is unavailable"]
    await by_and_by(run, lambda: any("the chat is unavailable" in line for line in alerts(run.world)), step=30)


def _in(run: Run, chat: int) -> list[TranscriptEntry]:
    """What was posted in a chat."""
    accepted = [entry for entry in run.world.sent() if isinstance(entry.result, dict) and "chat" in entry.result]
    return [entry for entry in accepted if entry.result["chat"]["id"] == chat]


async def _paid_where_it_moved(run: Run) -> None:
    """What was said in the old group cannot be edited from the new one, so that a card may be posted anew."""
    run.excused += [f"was asked for in chat {GROUP}"]
    if _in(run, GROUP):
        run.excused += ["card was said 1 times too often", "1 messages were repeated by"]
    await by_and_by(run, lambda: any(_in(run, chat) for chat in run.world.telegram.state.chats if chat < GROUP * 2))
    if not is_payable(run):
        await _renewed(run)
    await run.world.decide("approve")
    await by_and_by(run, lambda: told_anyway(run))


async def _renewed(run: Run) -> None:
    """The link lapsed meanwhile, and somebody wants another one wherever the card stands now."""
    world = run.world

    def card() -> Json | None:
        cards = [
            m
            for chat in world.telegram.state.chats.values()
            for n, m in chat.messages.items()
            if n in chat.bot_message_ids
        ]
        return next((m for m in cards if "The link expired" in m["text"]), None)

    await by_and_by(run, card)
    world.tap(card() or {}, "New link", by=MERCHANT)
    await by_and_by(run, lambda: is_payable(run))


def is_payable(run: Run) -> bool:
    """Whether the newest request's link can be used."""
    ledger = run.world.stripe.store
    return bool(ledger.intents) and ledger.open_attempt(list(ledger.intents)[-1]) is not None


def in_the_group(
    verb: str,
    moment: Moment,
    *,
    ends: tuple[Moment, ...] = (),
    order: dict[str, object] | None = None,
    seconds: float = 0,
    wrong: timedelta = timedelta(),
) -> Fault:
    """The group becomes a supergroup (`migrate`) or throws the bot out (`kick`) just when somebody wants to be paid."""

    async def act(run: Run) -> None:
        body = {"chat_id": GROUP} | ({"from_id": MERCHANT} if verb == "kick" else {})
        await run.world.control("telegram", verb, body)
        run.world.advance(seconds)
        run.world.own.wrong = wrong
        run.marks.append("struck")

    async def sells(run: Run) -> None:
        if order:
            await run.world.control("telegram", "faults", dict(order))
        run.set_trap(moment, act)
        run.world.say("/pay 149,50 Coffee", by=MERCHANT, chat=GROUP)
        await by_and_by(run, lambda: run.world.stripe.store.intents)
        if verb == "kick":
            await _paid_unseen(run)
        else:
            await _paid_where_it_moved(run)
        run.world.own.wrong = timedelta()

    return script(sells, ends=ends)


def outage(whose: str, hours: float, *, dies: bool = False) -> Fault:
    """A vendor answers nothing for so long, while the customer pays; the money is told when he is back."""

    async def sells(run: Run) -> None:
        run.world.say("/pay 149,50 Coffee")
        await by_and_by(run, lambda: is_payable(run))
        await run.world.control(whose, "down", {"down": True})
        await run.world.decide("approve")
        for _ in range(2):
            await run.world.pass_time(hours * HOUR / 2)
            if dies:
                run.world.fate.died.set()
        assert not told_anyway(run) or whose == "stripe"
        await run.world.control(whose, "down", {"down": False})
        run.marks.append("struck")
        await by_and_by(run, lambda: told_anyway(run), step=60)

    return script(sells)


def restored(*, again: bool = False, refused: bool = False) -> Fault:
    """The file of an hour ago comes back: what was sold since is not in it, and the owner is told of the money.

    `again`: the events come again as well; `refused`: Stripe's list of events cannot be read at first.
    """

    async def sells(run: Run) -> None:
        world = run.world
        await _sell(run)
        await world.stop()
        kept = shutil.copy(world.database, world.database.with_suffix(".kept"))
        await world.begin()
        world.advance(HOUR)
        await _sell(run)
        await world.stop()
        for suffix in ("-wal", "-shm"):
            world.database.with_name(world.database.name + suffix).unlink(missing_ok=True)
        shutil.copy(kept, world.database)
        if refused:
            world.stripe.options.missing_permissions = ("events.read",)
        await world.begin()
        run.marks.append("struck")
        await world.pass_time(700)
        world.stripe.options.missing_permissions = ()
        if again:
            assert await post_event(world, event(world, "payment_intent.succeeded")) == 200
        await by_and_by(run, lambda: alerts(world), step=60)
        lost = world.intent()
        run.excused += [f"the intent {lost['id']}", "/pay", "it gave up events", " paid, "]
        assert sum("not in the book" in note for note in _set_aside(run)) == 1

    return script(sells)


def _set_aside(run: Run) -> list[str]:
    return given_up(run.world.evidence())


async def _sell(run: Run) -> None:
    before = len(run.world.sent("✅ Paid:"))
    run.world.say("/pay 149,50 Coffee")
    await by_and_by(run, lambda: is_payable(run))
    await run.world.decide("approve")
    await by_and_by(run, lambda: len(run.world.sent("✅ Paid:")) > before)


def key_refused(moment: Moment, story: Story | None = None, *, ends: tuple[Moment, ...] = ()) -> Fault:
    """Stripe refuses the key from that moment on, for minutes: the owner is told once, and it goes on by itself."""

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        async def act(_: Run) -> None:
            ours = run.world.stripe.state.key
            run.world.stripe.state.key = "sk_test_ofSomebodyElse0000000000"
            run.beside = asyncio.create_task(heal(ours))

        async def heal(ours: str) -> None:
            await run.world.own.sleep(400)
            run.world.stripe.state.key = ours

        run.set_trap(moment, act)
        yield
        assert run.beside is not None
        await run.beside

    def struck(run: Run) -> bool:
        told = [line for line in alerts(run.world) if "does not accept Kvit's key" in line]
        return len(told) == 1 and any(request.status == 401 for request in run.world.stripe.store.requests)

    return Fault(struck, around, ends=ends, story=story)


def secret_wrong() -> Fault:
    """Webhooks are signed with a secret that Kvit does not know: each is refused, and Stripe is asked instead."""

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        right = run.world.stripe.state.webhook_secret
        run.world.stripe.state.webhook_secret = "whsec_ofSomebodyElse"
        yield
        run.world.stripe.state.webhook_secret = right

    return Fault(lambda run: any(each.status == 400 for each in run.world.stripe.store.deliveries), around)


def key_of_the_other_mode() -> Fault:
    """With open requests it does not start on a live key, and goes on with the one they were made with."""

    @asynccontextmanager
    async def around(run: Run) -> AsyncIterator[None]:
        await _asked(run)
        await run.world.stop()
        test = run.world.settings
        live = type(test.stripe_api_key)(test.stripe_api_key.get_secret_value().replace("_test_", "_live_"))
        run.world.settings = test.model_copy(update={"stripe_api_key": live})
        with pytest.raises(StartupError, match="live key"):
            await run.world.begin()
        run.world.settings = test
        run.marks.append("refused")
        await run.world.begin()
        yield

    return Fault(lambda run: "refused" in run.marks, around, story=LATER)
