"""Kills at any call, with restarts: one intent, one charge, a correct payment message, and each message once."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.chaos.process_killer import RestartedService, restarted_service
from tests.support.process_world import Outside, outside
from tests.support.world import OWNER, labels

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL and no SIGSTOP"),
    pytest.mark.timeout(300),
]

MAX_PARALLEL = 3
"""Scenarios in parallel: each waits for processes more than it computes."""

EVENTS = ("payment_intent.succeeded", "payment_intent.payment_failed")
"""Only events that change something, so that every undisturbed run makes the same calls."""

Scenario = Callable[[RestartedService], Awaitable[None]]


async def pay(service: RestartedService) -> None:
    """The merchant requests a payment, and the customer pays with the first link."""
    world = service.world
    world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
    await world.approve(await world.message("Waiting for payment"))
    await world.message("Paid · TEST")
    await world.message("✅ Paid:")


async def renew_link(service: RestartedService) -> None:
    """The customer aborts, the merchant requests a new link, and the customer pays with that one."""
    world = service.world
    world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
    await world.approve(await world.message("Waiting for payment"), "fail")
    await world.message("❌ #")
    message = await world.message("Payment attempt failed")
    query = world.tap(message, "New link")
    await world.until(lambda: world.telegram.state.callback_queries[query].answer)
    await world.approve(await world.message("Waiting for payment", which=message["message_id"]))
    await world.message("Paid · TEST")
    await world.message("✅ Paid:")


def sent_kinds(world: Outside) -> list[str]:
    """What was sent, in order: `payment_message`, or the icon of a notification."""
    return ["payment_message" if "TEST" in entry.params["text"] else entry.params["text"][0] for entry in world.sent()]


def check_money(world: Outside) -> None:
    """One payment is at Stripe, in the database and in the chat, with the same state."""
    ledger = world.stripe.store
    [intent] = ledger.intents.values()
    assert [charge["status"] for charge in ledger.charges.values()].count("succeeded") == 1
    keys = {r.idempotency_key for r in ledger.requests if r.method == "POST" and r.path == "/v1/payment_intents"}
    assert len(keys) == 1
    assert world.rows("SELECT status, amount, amount_received, intent_id FROM payments") == [
        ("succeeded", 14950, 14950, intent["id"])
    ]
    [(message_id,)] = world.rows("SELECT message_id FROM payment_messages")
    message, notification = world.telegram.state.chats[OWNER].messages[message_id], world.sent("✅ Paid:")[-1]
    assert message["text"].startswith("✅ Paid · TEST")
    assert "149.50 – Coffee" in message["text"].replace("\u00a0", " ")
    assert labels(message) == []
    assert notification.result["reply_to_message"]["message_id"] == message_id


def check_messages(world: Outside, kinds: list[str], *, maybe_twice: str = "") -> None:
    """Each message was sent once; the one whose sending was interrupted may be there twice."""
    assert Counter(sent_kinds(world)) in (Counter(kinds), Counter([*kinds, maybe_twice] if maybe_twice else kinds))


async def undisturbed_run(folder: Path, scenario: Scenario) -> tuple[list[str], list[str]]:
    """A run without kills: its calls, and what was sent."""
    async with restarted_service(folder, events=EVENTS) as service:
        await scenario(service)
    check_money(service.world)
    return service.calls, sent_kinds(service.world)


async def play_with_kill(folder: Path, scenario: Scenario, kill: str, kinds: list[str]) -> None:
    """Plays the scenario with a kill at that call; only the message being sent then may be sent again."""
    async with restarted_service(folder, kill=kill, events=EVENTS) as service:
        await scenario(service)
        await service.wait_until_restarted()
    call, number, moment = kill.split(":")
    maybe_twice = kinds[int(number) - 1] if call == "messenger.send" and moment == "after" else ""
    check_money(service.world)
    check_messages(service.world, kinds, maybe_twice=maybe_twice)
    check_attempts(service.world)


def check_attempts(world: Outside) -> None:
    """Each requested attempt was started at Stripe once, with a key of its own."""
    [attempts] = world.stripe.store.attempts.values()
    confirms = [r for r in world.stripe.store.requests if r.path.endswith("/confirm")]
    keys = {confirm.idempotency_key for confirm in confirms}
    executed = [confirm for confirm in confirms if confirm.status == 200 and not confirm.replayed]
    assert len(keys) == len(executed) == len(attempts) - 1 <= 1
    assert [attempt.outcome for attempt in attempts] == ["declined"] * len(executed) + ["approved"]


async def kill_at_every_call(folder: Path, scenario: Scenario, calls: Iterable[str], kinds: list[str]) -> None:
    """Plays the scenario once for each call and moment, with a kill there."""
    await play_each_kill(folder, calls, lambda subfolder, kill: play_with_kill(subfolder, scenario, kill, kinds))


async def play_each_kill(folder: Path, calls: Iterable[str], play: Callable[[Path, str], Awaitable[None]]) -> None:
    """Plays with a kill before and after each of the calls, in parallel; each failure names its call."""
    slots, failures = asyncio.Semaphore(MAX_PARALLEL), {}

    async def play_one(kill: str) -> None:
        async with slots:
            try:
                await play(folder / kill.replace(":", "-"), kill)
            except Exception as error:
                failures[kill] = error

    await asyncio.gather(*(play_one(f"{call}:{moment}") for call in calls for moment in ("before", "after")))
    for kill, error in failures.items():
        error.add_note(f"killed at {kill}")
    if failures:
        raise ExceptionGroup(f"wrong after a kill at {', '.join(failures)}", list(failures.values()))


@pytest.mark.long
async def test_kill_at_any_call_of_a_payment_loses_and_repeats_nothing(tmp_path: Path) -> None:
    calls, kinds = await undisturbed_run(tmp_path / "undisturbed", pay)
    assert calls == [
        "gateway.create:1",
        "messenger.send:1",
        "gateway.retrieve:1",
        "messenger.edit:1",
        "messenger.send:2",
    ]
    assert kinds == ["payment_message", "✅"]
    await kill_at_every_call(tmp_path, pay, calls, kinds)


@pytest.mark.long
async def test_kill_at_any_call_of_a_new_link_starts_one_attempt(tmp_path: Path) -> None:
    calls, kinds = await undisturbed_run(tmp_path / "undisturbed", renew_link)
    assert kinds == ["payment_message", "❌", "✅"]
    confirm = calls.index("gateway.confirm:1")
    assert set(calls[confirm - 1 : confirm + 3]) == {
        "gateway.retrieve:2",
        "gateway.confirm:1",
        "messenger.edit:2",
        "messenger.answer_callback:1",
    }
    await kill_at_every_call(tmp_path, renew_link, calls[confirm - 1 : confirm + 3], kinds)


@pytest.mark.long
async def test_random_kills_repeat_only_interrupted_messages(tmp_path: Path) -> None:
    await asyncio.gather(*(play_with_random_kills(tmp_path / str(seed), random.Random(seed)) for seed in range(3)))


async def play_with_random_kills(folder: Path, rng: random.Random) -> None:
    """Plays with kills around the moments when something changes at a vendor."""
    async with restarted_service(folder, RECONCILE_SECONDS="1") as service, asyncio.TaskGroup() as group:
        killer = group.create_task(kill_at_random(service, rng))
        await renew_link(service)
        killer.cancel()
    assert service.kill_times
    check_money(service.world)
    check_attempts(service.world)
    check_repeats(service)


def check_repeats(service: RestartedService) -> None:
    """A repeated message was sent by another process."""
    times = defaultdict[str, list[datetime]](list)
    for kind, entry in zip(sent_kinds(service.world), service.world.sent(), strict=True):
        times[kind].append(entry.at)
    assert sorted(times) == sorted(["payment_message", "❌", "✅"])
    for first, again in (pair for each in times.values() for pair in pairwise(each)):
        assert any(first <= killed_at <= again for killed_at in service.kill_times)


async def kill_at_random(service: RestartedService, rng: random.Random) -> None:
    """Kills it three times, some milliseconds after a random change.

    Pending work is finished in between, for a payment message whose outcome is unknown twice is given up.
    """
    for _ in range(3):
        changes = service.world.telegram.subscribe()
        for _ in range(rng.randint(2, 20)):
            await anext(changes)
        await asyncio.sleep(rng.uniform(0, 0.02))
        await service.kill()
        await service.world.drained()


async def test_payment_during_downtime_is_found_without_webhooks(tmp_path: Path) -> None:
    async with outside(tmp_path / "kvit", RECONCILE_SECONDS="1") as world:
        process = await world.ready()
        await world.subscribe("*")
        world.stripe.webhooks.mode = "lose"
        world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
        message = await world.message("Waiting for payment")
        await world.drained()
        process.kill()
        await process.wait()
        await world.approve(message)
        process = await world.ready()
        await world.message("✅ Paid:")
        await world.drained()
        await world.stopped(process)
        check_money(world)
        check_messages(world, ["payment_message", "✅"])
        assert world.stripe.store.deliveries == []


async def test_suspended_process_continues_without_loss(tmp_path: Path) -> None:
    async with outside(tmp_path / "kvit", RECONCILE_SECONDS="1") as world:
        process = await world.ready()
        await world.subscribe("*")
        world.stripe.options.webhook_timeout = 0.2
        world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
        message = await world.message("Waiting for payment")
        process.send_signal(signal.SIGSTOP)
        await world.approve(message)
        await world.until(lambda: [d for d in world.stripe.store.deliveries if d.status is None])
        process.send_signal(signal.SIGCONT)
        await world.message("✅ Paid:")
        await world.drained()
        await world.stopped(process)
        check_money(world)
        check_messages(world, ["payment_message", "✅"])
