"""Faults that outlast a call: starts, lost leases, moved or closed chats, outages, restored files, bad keys."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from bot.app import RetryableStartupError, Service, StartupError
from bot.sandbox.fake_stripe.store import RequestRecord
from bot.sandbox.fake_telegram import TranscriptEntry
from tests.chaos.crash_runs import CREATE
from tests.chaos.crash_world import CrashWorld, ServiceClock
from tests.chaos.fault_boundaries import TEN_MINUTES, FaultRun, full_disk, shorten_lock_wait
from tests.chaos.fault_kinds import AFTER_COMMAND, DATABASE_UNAVAILABLE, MANY_WAITS, Fault, make_database_fail
from tests.chaos.scenarios import Scenario, run_beside
from tests.chaos.stop_points import StopPoint
from tests.invariants.checker import given_up
from tests.support.evidence import alerts, event, post_event
from tests.support.people import GROUP, MERCHANT
from tests.support.world import Json

AFTER_LEASE = 130
HOUR = 3600
AFTER_CREATE = StopPoint(1, "after", "create")
"""When an intent exists at Stripe and Kvit has no response yet."""


def start_fault(how: str, when: str) -> Fault:
    """The first call of the next process to Telegram fails so."""
    name = f"{how} {when}"

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        await run.world.control("telegram", "faults", {"method": "getMe", "how": how, "when": when})
        yield

    return Fault(
        lambda run: any(e.fault == name for e in run.world.telegram.transcript), context, crash_at=(AFTER_CREATE,)
    )


def crashed_at_start(when: str) -> Fault:
    """The process after a crash crashes during its start."""
    return Fault(lambda run: len(run.world.crashes) == 2, crash_at=(AFTER_CREATE, StopPoint(1, when, "commit")))


def restarted(seconds: float = 0, *, clock_offset: timedelta = timedelta()) -> Fault:
    """Kvit stops with an open request and starts again after so many seconds, with a clock that may be wrong."""

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        await _request_payment(run)
        await run.world.stop()
        run.world.advance(seconds)
        run.world.service_clock.offset = clock_offset
        await run.world.begin()
        run.marks.append("restarted")
        yield
        run.world.service_clock.offset = timedelta()

    return Fault(lambda run: "restarted" in run.marks, context, scenario=AFTER_COMMAND)


def second_service_started() -> Fault:
    """A second service is started on the same file."""

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        await _request_payment(run)
        with pytest.raises(StartupError, match="one serve per file"):
            await Service(run.world.settings, run.world.service_clock).start()
        run.marks.append("refused")
        yield

    return Fault(lambda run: "refused" in run.marks, context, scenario=AFTER_COMMAND)


def started_while_locked(condition: Callable[[CrashWorld], AbstractContextManager[None]]) -> Fault:
    """Another program holds the write lock during the start, which waits for it."""

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        await _request_payment(run)
        await run.world.stop()
        with condition(run.world):
            start = asyncio.create_task(run.world.begin())
            await asyncio.wait({start}, timeout=0.3)
            run.marks.append("done" if start.done() else "waited")
        await start
        yield

    return Fault(lambda run: "waited" in run.marks, context, scenario=AFTER_COMMAND)


def started_on_full_disk() -> Fault:
    """The start fails with a clear error; commands wait at Telegram meanwhile."""

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        await run.world.stop()
        with (
            full_disk(run.world),
            pytest.raises(RetryableStartupError, match=f"DATABASE_URL: the {DATABASE_UNAVAILABLE}"),
        ):
            await run.world.begin()
        run.marks.append("refused")
        run.world.say("/pay 149,50 Coffee")
        await run.world.begin()
        yield

    return Fault(lambda run: "refused" in run.marks, context, scenario=AFTER_COMMAND)


async def _request_payment(run: FaultRun) -> None:
    run.world.say("/pay 149,50 Coffee")
    await run.world.wait_until_idle()
    assert len(run.world.stripe.store.intents) == 1


def _create_requests(run: FaultRun) -> list[RequestRecord]:
    """Every request to create an intent that reached Stripe."""
    return [r for r in run.world.stripe.store.requests if (r.method, r.path) == ("POST", "/v1/payment_intents")]


def lease_lost(
    stop_point: StopPoint = AFTER_CREATE,
    *,
    seconds: float = AFTER_LEASE,
    crash_at: tuple[StopPoint, ...] = (),
    second_fault: tuple[str, str] | None = None,
    clock_offset: timedelta = timedelta(),
    condition: Callable[[CrashWorld], AbstractContextManager[None]] | None = None,
) -> Fault:
    """The service is suspended past the lease of its job, another process takes the job, and then the first one goes
    on.

    After that the database may reject writes (`condition`). `second_fault` is what Stripe does to the second request.
    On a clock that was set back, or with a stale command, the job is not taken.
    """
    expected_creates = 1 if clock_offset or seconds >= TEN_MINUTES else 2

    async def suspend(run: FaultRun) -> None:
        clock = run.world.service_clock
        clock.offset = clock_offset
        clock.running.clear()
        run.world.advance(seconds)
        await Service(run.world.settings, ServiceClock(clock.reference, clock_offset)).reconcile(retry_dead=False)
        clock.running.set()
        run.marks.append("taken over")
        if condition is not None:
            await make_database_fail(run, condition)

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        await shorten_lock_wait(run.world)
        if second_fault is not None:
            how, when = second_fault
            fault = {"method": CREATE, "how": how, "when": when, "nth": 2}
            await run.world.control("stripe", "faults", fault)
        run.world.process.arm(crash_at[0] if crash_at else None)
        run.set_trap(stop_point, suspend)
        yield
        run.world.service_clock.offset = timedelta()
        if run.background is not None:
            await run.background

    def occurred(run: FaultRun) -> bool:
        creates = _create_requests(run)
        is_right = len(creates) == 1 if clock_offset else len(creates) >= expected_creates
        return "taken over" in run.marks and is_right and (not second_fault or any(r.fault for r in creates))

    return Fault(occurred, context, crash_at=crash_at)


def is_paid_announced(run: FaultRun) -> bool:
    return bool(run.world.sent("✅ Paid:"))


def custom_scenario(
    play_scenario: Callable[[FaultRun], Coroutine[Any, Any, None]],
    *,
    crash_at: tuple[StopPoint, ...] = (),
    mark: str = "occurred",
) -> Fault:
    """Plays a scenario of its own instead of the boundary's, with restarts after crashes."""

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        await run_beside(run.world.restart_after_crashes(), play_scenario(run))
        yield

    return Fault(lambda run: mark in run.marks, context, crash_at=crash_at, plays_scenario=False)


async def pass_time_until(run: FaultRun, condition: Callable[[], object], *, step: float = 10) -> None:
    """Lets time pass until the condition is true."""
    for _ in range(MANY_WAITS):
        await run.world.wait_until_idle()
        if condition():
            return
        await run.world.pass_time(step)
    raise AssertionError("the condition was never true")


async def _pay_unseen(run: FaultRun) -> None:
    """The payment message cannot be shown any more; the customer may pay, and the owner is notified of the chat."""
    if is_payable(run):
        await run.world.decide("approve")
    run.excused += ["gave up", "no message that", "no owner was notified: the chat is unavailable"]
    await pass_time_until(run, lambda: any("the chat is unavailable" in line for line in alerts(run.world)), step=30)


def _sent_to(run: FaultRun, chat: int) -> list[TranscriptEntry]:
    """The messages sent to a chat."""
    accepted = [entry for entry in run.world.sent() if isinstance(entry.result, dict) and "chat" in entry.result]
    return [entry for entry in accepted if entry.result["chat"]["id"] == chat]


async def _pay_in_moved_group(run: FaultRun) -> None:
    """A message of the old group cannot be edited in the new one, so the payment message may be sent again."""
    run.excused += [f"was requested in chat {GROUP}"]
    if _sent_to(run, GROUP):
        run.excused += ["payment_message was sent 1 times too often", "1 messages were repeated after"]
    await pass_time_until(
        run, lambda: any(_sent_to(run, chat) for chat in run.world.telegram.state.chats if chat < GROUP * 2)
    )
    if not is_payable(run):
        await _renew_link(run)
    await run.world.decide("approve")
    await pass_time_until(run, lambda: is_paid_announced(run))


async def _renew_link(run: FaultRun) -> None:
    """A merchant requests a new link, after the old one expired, wherever the payment message is."""
    world = run.world

    def expired_message() -> Json | None:
        messages = [
            m
            for chat in world.telegram.state.chats.values()
            for n, m in chat.messages.items()
            if n in chat.bot_message_ids
        ]
        return next((m for m in messages if "The link expired" in m["text"]), None)

    await pass_time_until(run, expired_message)
    world.tap(expired_message() or {}, "New link", by=MERCHANT)
    await pass_time_until(run, lambda: is_payable(run))


def is_payable(run: FaultRun) -> bool:
    """Whether the link of the newest intent can be used."""
    store = run.world.stripe.store
    return bool(store.intents) and store.open_attempt(list(store.intents)[-1]) is not None


def in_the_group(
    change: str,
    stop_point: StopPoint,
    *,
    crash_at: tuple[StopPoint, ...] = (),
    fault: dict[str, object] | None = None,
    seconds: float = 0,
    clock_offset: timedelta = timedelta(),
) -> Fault:
    """The group becomes a supergroup (`migrate`) or removes the bot (`kick`) while a merchant requests a payment."""

    async def action(run: FaultRun) -> None:
        body = {"chat_id": GROUP} | ({"from_id": MERCHANT} if change == "kick" else {})
        await run.world.control("telegram", change, body)
        run.world.advance(seconds)
        run.world.service_clock.offset = clock_offset
        run.marks.append("occurred")

    async def play_scenario(run: FaultRun) -> None:
        if fault:
            await run.world.control("telegram", "faults", dict(fault))
        run.set_trap(stop_point, action)
        run.world.say("/pay 149,50 Coffee", by=MERCHANT, chat=GROUP)
        await pass_time_until(run, lambda: run.world.stripe.store.intents)
        if change == "kick":
            await _pay_unseen(run)
        else:
            await _pay_in_moved_group(run)
        run.world.service_clock.offset = timedelta()

    return custom_scenario(play_scenario, crash_at=crash_at)


def outage(vendor: str, hours: float, *, crashes: bool = False) -> Fault:
    """A vendor does not respond for so long, while the customer pays; the payment is announced when it is back."""

    async def play_scenario(run: FaultRun) -> None:
        run.world.say("/pay 149,50 Coffee")
        await pass_time_until(run, lambda: is_payable(run))
        await run.world.control(vendor, "down", {"down": True})
        await run.world.decide("approve")
        for _ in range(2):
            await run.world.pass_time(hours * HOUR / 2)
            if crashes:
                run.world.process.crashed.set()
        assert not is_paid_announced(run) or vendor == "stripe"
        await run.world.control(vendor, "down", {"down": False})
        run.marks.append("occurred")
        await pass_time_until(run, lambda: is_paid_announced(run), step=60)

    return custom_scenario(play_scenario)


def restored(*, resend_event: bool = False, list_unavailable: bool = False) -> Fault:
    """The file of an hour ago is restored: it lacks the last payment, and the owner is notified of it.

    With `resend_event` its event arrives again; with `list_unavailable` Stripe's list of events cannot be read at
    first.
    """

    async def play_scenario(run: FaultRun) -> None:
        world = run.world
        await _request_and_pay(run)
        await world.stop()
        backup = shutil.copy(world.database, world.database.with_suffix(".backup"))
        await world.begin()
        world.advance(HOUR)
        await _request_and_pay(run)
        await world.stop()
        for suffix in ("-wal", "-shm"):
            world.database.with_name(world.database.name + suffix).unlink(missing_ok=True)
        shutil.copy(backup, world.database)
        if list_unavailable:
            world.stripe.options.missing_permissions = ("events.read",)
        await world.begin()
        run.marks.append("occurred")
        await world.pass_time(700)
        world.stripe.options.missing_permissions = ()
        if resend_event:
            assert await post_event(world, event(world, "payment_intent.succeeded")) == 200
        await pass_time_until(run, lambda: alerts(world), step=60)
        unknown_intent = world.intent()
        run.excused += [f"the intent {unknown_intent['id']}", "/pay", "gave up events", " paid, "]
        assert sum("the database does not have" in reason for reason in _dead_jobs(run)) == 1

    return custom_scenario(play_scenario)


def _dead_jobs(run: FaultRun) -> list[str]:
    return given_up(run.world.evidence())


async def _request_and_pay(run: FaultRun) -> None:
    before = len(run.world.sent("✅ Paid:"))
    run.world.say("/pay 149,50 Coffee")
    await pass_time_until(run, lambda: is_payable(run))
    await run.world.decide("approve")
    await pass_time_until(run, lambda: len(run.world.sent("✅ Paid:")) > before)


def key_rejected(
    stop_point: StopPoint, scenario: Scenario | None = None, *, crash_at: tuple[StopPoint, ...] = ()
) -> Fault:
    """Stripe rejects the API key from there on, for minutes; the owner is notified once, and Kvit recovers."""

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        async def action(_: FaultRun) -> None:
            key = run.world.stripe.state.key
            run.world.stripe.state.key = "sk_test_ofAnotherAccount00000000"
            run.background = asyncio.create_task(restore_key(key))

        async def restore_key(key: str) -> None:
            await run.world.service_clock.sleep(400)
            run.world.stripe.state.key = key

        run.set_trap(stop_point, action)
        yield
        assert run.background is not None
        await run.background

    def occurred(run: FaultRun) -> bool:
        alerts_sent = [line for line in alerts(run.world) if "does not accept Kvit's key" in line]
        return len(alerts_sent) == 1 and any(request.status == 401 for request in run.world.stripe.store.requests)

    return Fault(occurred, context, crash_at=crash_at, scenario=scenario)


def wrong_webhook_secret() -> Fault:
    """Webhooks are signed with an unknown secret: each is rejected, and Kvit retrieves from Stripe instead."""

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        secret = run.world.stripe.state.webhook_secret
        run.world.stripe.state.webhook_secret = "whsec_ofAnotherEndpoint"
        yield
        run.world.stripe.state.webhook_secret = secret

    return Fault(lambda run: any(each.status == 400 for each in run.world.stripe.store.deliveries), context)


def key_of_other_mode() -> Fault:
    """With open requests Kvit does not start with a live key, and continues with the key of their mode."""

    @asynccontextmanager
    async def context(run: FaultRun) -> AsyncIterator[None]:
        await _request_payment(run)
        await run.world.stop()
        test_settings = run.world.settings
        live_key = type(test_settings.stripe_api_key)(
            test_settings.stripe_api_key.get_secret_value().replace("_test_", "_live_")
        )
        run.world.settings = test_settings.model_copy(update={"stripe_api_key": live_key})
        with pytest.raises(StartupError, match="live key"):
            await run.world.begin()
        run.world.settings = test_settings
        run.marks.append("refused")
        await run.world.begin()
        yield

    return Fault(lambda run: "refused" in run.marks, context, scenario=AFTER_COMMAND)
