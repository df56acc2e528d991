"""The real process in a market, killed, starved and lied to by chance: every invariant holds once it is quiet.

This is the short form; `scripts/torture.py` goes on for as long as one likes (docs/reliability.md).
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("only Linux lets one program set the limits of another", allow_module_level=True)

from tests.chaos.storm import CLIMATES, Climate, play, wrong
from tests.chaos.storm_rounds import Order, played
from tests.chaos.storm_world import PortTaken, TortureWorld, torture_world
from tests.support.people import GROUP, MERCHANT
from tests.support.world import PATIENCE, Json

pytestmark = pytest.mark.timeout(300)

PAYMENTS = 8
PACE = 0.06
SEEDS = {"massacre": 5, "everything": 6}
"""One of each: a change is to be judged by itself, not by luck."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[TortureWorld]:
    async with torture_world(tmp_path) as around:
        yield around


async def stormy(folder: Path, climate: Climate) -> None:
    seed = SEEDS[climate.name]
    where, pages = folder / climate.name, climate.name == "everything"
    report = await play(where, seed, payments=PAYMENTS, climate=climate, pace=PACE, pages=pages)
    assert (report.violations, report.unrest) == ([], []), f"seed {seed}, {climate.name}: {report}"
    assert report.kills, "nothing befell it"
    assert report.payments == PAYMENTS


@pytest.mark.long
async def test_a_market_in_a_storm_leaves_every_invariant_whole(tmp_path: Path) -> None:
    await asyncio.gather(*(stormy(tmp_path, climate) for climate in CLIMATES if climate.name in SEEDS))


async def test_on_a_full_disk_nothing_is_acknowledged_and_it_goes_on_by_itself(world: TortureWorld) -> None:
    await asked(world, "/pay 149,50 Coffee")
    async with world.full_disk():
        await world.control("stripe", f"intents/{intent(world)['id']}/approve", {})
        world.telegram.send(GROUP, MERCHANT, "/pay 312,07 Cake")
        await refused_with_503(world)
        assert await alive(world)
        assert await not_ready(world) == ["database"]
        assert posted(world, "✅ Paid:") == posted(world, "312.07") == 0
    await went_on(world)
    assert await not_ready(world) == []


@pytest.mark.long
async def test_while_another_program_holds_the_file_nothing_is_acknowledged_either(world: TortureWorld) -> None:
    await asked(world, "/pay 149,50 Coffee")
    async with world.locked():
        await world.control("stripe", f"intents/{intent(world)['id']}/approve", {})
        world.telegram.send(GROUP, MERCHANT, "/pay 312,07 Cake")
        await world.telegram.wait_until(lambda _: statuses(world), timeout=PATIENCE)
        assert statuses(world) == [None]
        assert await alive(world)
        assert posted(world, "✅ Paid:") == posted(world, "312.07") == 0
    await went_on(world)


@pytest.mark.long
def test_a_round_without_an_end_is_ended_told_and_kept(tmp_path: Path) -> None:
    report = played(Order(PAYMENTS, PACE, pages=False, kept=tmp_path, limit=0.1, telling=0.7), seed=5)
    assert report.hung
    assert report.wrong
    where = (tmp_path / "5" / "harness").read_text()
    assert "torture_rounds.py" in where, where
    assert json.loads((tmp_path / "5" / "report.json").read_text())["hung"]


@pytest.mark.long
async def test_nobody_is_given_the_port_while_the_process_is_dead(world: TortureWorld) -> None:
    for _ in range(2):
        await world.end_life()
        with socket.socket() as another, pytest.raises(OSError, match="in use"):
            another.bind(("127.0.0.1", world.port))
        await world.begin()


@pytest.mark.long
async def test_a_port_that_was_taken_all_the_same_is_told_as_that(world: TortureWorld) -> None:
    await world.end_life()
    with socket.create_server(("127.0.0.1", world.port)), pytest.raises(PortTaken):
        await world.begin()
    await world.begin()


async def asked(world: TortureWorld, text: str) -> None:
    """A request whose link stands in the chat."""
    world.telegram.send(GROUP, MERCHANT, text)
    await world.telegram.wait_until(lambda _: posted(world, "Waiting for payment"), timeout=PATIENCE)


async def refused_with_503(world: TortureWorld) -> None:
    """Stripe was told to come again, and nothing else."""
    await world.telegram.wait_until(lambda _: statuses(world), timeout=PATIENCE)
    assert set(statuses(world)) == {503}


def statuses(world: TortureWorld) -> list[int | None]:
    """What each delivery of the news of the payment was answered with; None where nobody answered in time."""
    [paid] = (key for key, event in world.stripe.store.events.items() if event["type"] == "payment_intent.succeeded")
    return [delivery.status for delivery in world.stripe.store.deliveries if delivery.event == paid]


async def alive(world: TortureWorld) -> bool:
    async with world.http.get(f"http://127.0.0.1:{world.port}/healthz") as answer:
        return answer.status == 200


async def not_ready(world: TortureWorld) -> list[str]:
    async with world.http.get(f"http://127.0.0.1:{world.port}/readyz") as answer:
        said = await answer.json()
        assert answer.status == (503 if said["not_ready"] else 200)
        return list(said["not_ready"])


async def went_on(world: TortureWorld) -> None:
    """The same life has caught up with everything: told as paid, asked for, and every invariant whole."""
    await world.telegram.wait_until(lambda _: posted(world, "✅ Paid:") and posted(world, "312.07"), timeout=PATIENCE)
    assert await world.quiet() == []
    assert wrong(world) == []
    assert world.kills == 0


def intent(world: TortureWorld) -> Json:
    return list(world.stripe.store.intents.values())[-1]


def posted(world: TortureWorld, words: str) -> int:
    """How many messages of the bot say so now."""
    chat = world.telegram.state.chats[GROUP]
    return sum(
        words in chat.messages[number].get("text", "") for number in chat.bot_message_ids if number in chat.messages
    )
