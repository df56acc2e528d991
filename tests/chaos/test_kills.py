"""Killed at any call and begun again: one intent, one charge, a true card, and each word once."""

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

from tests.chaos.process_killer import Lives, lives
from tests.support.process_world import Outside, outside
from tests.support.world import OWNER, labels

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL and no SIGSTOP"),
    pytest.mark.timeout(300),
]

AT_A_TIME = 3
"""Stories side by side: each waits for the others' processes more than it computes."""

OUTCOMES = ("payment_intent.succeeded", "payment_intent.payment_failed")
"""So that each event is news, and a clean run always makes the same calls."""

Story = Callable[[Lives], Awaitable[None]]


async def paid(living: Lives) -> None:
    """The merchant asks, the customer pays by the first link that he sees."""
    world = living.world
    world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
    await world.approve(await world.message("Waiting for payment"))
    await world.message("Paid · TEST")
    await world.message("✅ Paid:")


async def renewed(living: Lives) -> None:
    """The customer breaks off, the merchant takes a new link, the customer pays by that one."""
    world = living.world
    world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
    await world.approve(await world.message("Waiting for payment"), "fail")
    await world.message("❌ #")
    card = await world.message("Payment attempt failed")
    tap = world.tap(card, "New link")
    await world.until(lambda: world.telegram.state.callback_queries[tap].answer)
    await world.approve(await world.message("Waiting for payment", which=card["message_id"]))
    await world.message("Paid · TEST")
    await world.message("✅ Paid:")


def said(world: Outside) -> list[str]:
    """What was posted, in order: a card, or the mark of a notice."""
    return ["card" if "TEST" in entry.params["text"] else entry.params["text"][0] for entry in world.sent()]


def check_money(world: Outside) -> None:
    """One payment is at Stripe, in the database and in the chat, and all three say the same of it."""
    ledger = world.stripe.store
    [intent] = ledger.intents.values()
    assert [charge["status"] for charge in ledger.charges.values()].count("succeeded") == 1
    keys = {r.idempotency_key for r in ledger.requests if r.method == "POST" and r.path == "/v1/payment_intents"}
    assert len(keys) == 1
    assert world.rows("SELECT status, amount, amount_received, intent_id FROM payments") == [
        ("succeeded", 14950, 14950, intent["id"])
    ]
    [(card_id,)] = world.rows("SELECT message_id FROM payment_messages")
    card, notice = world.telegram.state.chats[OWNER].messages[card_id], world.sent("✅ Paid:")[-1]
    assert card["text"].startswith("✅ Paid · TEST")
    assert "149.50 – Coffee" in card["text"].replace("\u00a0", " ")
    assert labels(card) == []
    assert notice.result["reply_to_message"]["message_id"] == card_id


def check_words(world: Outside, once: list[str], *, perhaps_twice: str = "") -> None:
    """Everything was said once; what the process died of saying perhaps a second time."""
    assert Counter(said(world)) in (Counter(once), Counter([*once, perhaps_twice] if perhaps_twice else once))


async def recorded(folder: Path, story: Story) -> tuple[list[str], list[str]]:
    """A clean run: the calls that it made, and what was posted."""
    async with lives(folder, events=OUTCOMES) as living:
        await story(living)
    check_money(living.world)
    return living.calls, said(living.world)


async def killed(folder: Path, story: Story, kill: str, words: list[str]) -> None:
    """The story with a death at that call; only what was just being posted may be posted again."""
    async with lives(folder, kill=kill, events=OUTCOMES) as living:
        await story(living)
        await living.died()
    call, number, moment = kill.split(":")
    in_doubt = words[int(number) - 1] if call == "messenger.send" and moment == "after" else ""
    check_money(living.world)
    check_words(living.world, words, perhaps_twice=in_doubt)
    check_attempts(living.world)


def check_attempts(world: Outside) -> None:
    """Each attempt that a human asked for was begun at Stripe once, and asked for under one key of its own."""
    [attempts] = world.stripe.store.attempts.values()
    confirms = [r for r in world.stripe.store.requests if r.path.endswith("/confirm")]
    keys = {confirm.idempotency_key for confirm in confirms}
    begun = [confirm for confirm in confirms if confirm.status == 200 and not confirm.replayed]
    assert len(keys) == len(begun) == len(attempts) - 1 <= 1
    assert [attempt.outcome for attempt in attempts] == ["declined"] * len(begun) + ["approved"]


async def at_every(folder: Path, story: Story, calls: Iterable[str], words: list[str]) -> None:
    """Kill before and after each of the calls, in a story each."""
    await each_of(folder, calls, lambda within, kill: killed(within, story, kill, words))


async def each_of(folder: Path, calls: Iterable[str], play: Callable[[Path, str], Awaitable[None]]) -> None:
    """Play with a kill before and after each of the calls, some at a time; every failure is told by its call."""
    turns, failures = asyncio.Semaphore(AT_A_TIME), {}

    async def one(kill: str) -> None:
        async with turns:
            try:
                await play(folder / kill.replace(":", "-"), kill)
            except Exception as error:
                failures[kill] = error

    await asyncio.gather(*(one(f"{call}:{moment}") for call in calls for moment in ("before", "after")))
    for kill, error in failures.items():
        error.add_note(f"killed at {kill}")
    if failures:
        raise ExceptionGroup(f"wrong after a kill at {', '.join(failures)}", list(failures.values()))


@pytest.mark.long
async def test_a_kill_at_any_call_from_the_command_to_the_paid_card_costs_nothing(tmp_path: Path) -> None:
    calls, words = await recorded(tmp_path / "clean", paid)
    assert calls == [
        "gateway.create:1",
        "messenger.send:1",
        "gateway.retrieve:1",
        "messenger.edit:1",
        "messenger.send:2",
    ]
    assert words == ["card", "✅"]
    await at_every(tmp_path, paid, calls, words)


@pytest.mark.long
async def test_a_kill_at_any_call_of_a_new_link_begins_one_attempt(tmp_path: Path) -> None:
    calls, words = await recorded(tmp_path / "clean", renewed)
    assert words == ["card", "❌", "✅"]
    confirm = calls.index("gateway.confirm:1")
    assert set(calls[confirm - 1 : confirm + 3]) == {
        "gateway.retrieve:2",
        "gateway.confirm:1",
        "messenger.edit:2",
        "messenger.answer_callback:1",
    }
    await at_every(tmp_path, renewed, calls[confirm - 1 : confirm + 3], words)


@pytest.mark.long
async def test_kills_at_random_moments_cost_nothing_and_repeat_only_what_they_cut_short(tmp_path: Path) -> None:
    await asyncio.gather(*(torn(tmp_path / str(seed), random.Random(seed)) for seed in range(3)))


async def torn(folder: Path, chance: random.Random) -> None:
    """Both stories' life under a killer who strikes around the moments when something happens at a vendor."""
    async with lives(folder, RECONCILE_SECONDS="1") as living, asyncio.TaskGroup() as group:
        killer = group.create_task(killing(living, chance))
        await renewed(living)
        killer.cancel()
    assert living.deaths
    check_money(living.world)
    check_attempts(living.world)
    check_repeats(living)


def check_repeats(living: Lives) -> None:
    """What was said again was said again by another process."""
    times = defaultdict[str, list[datetime]](list)
    for kind, entry in zip(said(living.world), living.world.sent(), strict=True):
        times[kind].append(entry.at)
    assert sorted(times) == sorted(["card", "❌", "✅"])
    for first, again in (pair for each in times.values() for pair in pairwise(each)):
        assert any(first <= death <= again for death in living.deaths)


async def killing(living: Lives, chance: random.Random) -> None:
    """Kill it now and then, some milliseconds after a change that is chosen by chance.

    What is under way is finished in between, for a card that two deaths leave in doubt is given up.
    """
    for _ in range(3):
        watch = living.world.telegram.subscribe()
        for _ in range(chance.randint(2, 20)):
            await anext(watch)
        await asyncio.sleep(chance.uniform(0, 0.02))
        await living.kill()
        await living.world.drained()


async def test_money_that_came_while_it_was_dead_is_found_though_every_webhook_is_lost(tmp_path: Path) -> None:
    async with outside(tmp_path / "kvit", RECONCILE_SECONDS="1") as world:
        process = await world.ready()
        await world.subscribe("*")
        world.stripe.webhooks.mode = "lose"
        world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
        card = await world.message("Waiting for payment")
        await world.drained()
        process.kill()
        await process.wait()
        await world.approve(card)
        process = await world.ready()
        await world.message("✅ Paid:")
        await world.drained()
        await world.stopped(process)
        check_money(world)
        check_words(world, ["card", "✅"])
        assert world.stripe.store.deliveries == []


async def test_a_process_that_was_stopped_and_goes_on_has_lost_nothing(tmp_path: Path) -> None:
    async with outside(tmp_path / "kvit", RECONCILE_SECONDS="1") as world:
        process = await world.ready()
        await world.subscribe("*")
        world.stripe.options.webhook_timeout = 0.2
        world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
        card = await world.message("Waiting for payment")
        process.send_signal(signal.SIGSTOP)
        await world.approve(card)
        await world.until(lambda: [d for d in world.stripe.store.deliveries if d.status is None])
        process.send_signal(signal.SIGCONT)
        await world.message("✅ Paid:")
        await world.drained()
        await world.stopped(process)
        check_money(world)
        check_words(world, ["card", "✅"])
