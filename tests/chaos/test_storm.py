"""Storms of random faults around the real process: every invariant holds once it is quiet.

This is the short form; `scripts/storm.py` runs for as long as wanted (docs/reliability.md).
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

from tests.chaos.storm import PROFILES, FaultProfile, play_round, unexcused_violations
from tests.chaos.storm_rounds import RoundSpec, run_round
from tests.chaos.storm_world import PortTaken, StormWorld, storm_world
from tests.support.people import GROUP, MERCHANT
from tests.support.world import PATIENCE, Json

pytestmark = pytest.mark.timeout(300)

PAYMENTS = 8
PACE = 0.06
SEEDS = {"kills": 5, "everything": 6}
"""Fixed seeds, so that a test result depends on the change under test and not on luck."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StormWorld]:
    async with storm_world(tmp_path) as opened:
        yield opened


async def play_one(folder: Path, profile: FaultProfile) -> None:
    seed = SEEDS[profile.name]
    dump, pages = folder / profile.name, profile.name == "everything"
    report = await play_round(dump, seed, payments=PAYMENTS, profile=profile, pace=PACE, pages=pages)
    assert (report.violations, report.unfinished) == ([], []), f"seed {seed}, {profile.name}: {report}"
    assert report.kills, "nothing was killed"
    assert report.payments == PAYMENTS


@pytest.mark.long
async def test_storm_breaks_no_invariant(tmp_path: Path) -> None:
    await asyncio.gather(*(play_one(tmp_path, profile) for profile in PROFILES if profile.name in SEEDS))


@pytest.mark.long
async def test_full_disk_acknowledges_nothing_and_recovers(world: StormWorld) -> None:
    await request_payment(world, "/pay 149,50 Coffee")
    async with world.full_disk():
        await world.control("stripe", f"intents/{intent(world)['id']}/approve", {})
        world.telegram.send(GROUP, MERCHANT, "/pay 312,07 Cake")
        await wait_for_503(world)
        assert await is_healthy(world)
        assert await not_ready(world) == ["database"]
        assert count_messages(world, "✅ Paid:") == count_messages(world, "312.07") == 0
    await assert_recovered(world)
    assert await not_ready(world) == []


@pytest.mark.long
async def test_locked_database_acknowledges_nothing_and_recovers(world: StormWorld) -> None:
    await request_payment(world, "/pay 149,50 Coffee")
    async with world.locked_database():
        await world.control("stripe", f"intents/{intent(world)['id']}/approve", {})
        world.telegram.send(GROUP, MERCHANT, "/pay 312,07 Cake")
        await world.telegram.wait_until(lambda _: event_statuses(world), timeout=PATIENCE)
        assert event_statuses(world) == [None]
        assert await is_healthy(world)
        assert count_messages(world, "✅ Paid:") == count_messages(world, "312.07") == 0
    await assert_recovered(world)


@pytest.mark.long
def test_hanging_round_is_killed_reported_and_kept(tmp_path: Path) -> None:
    report = run_round(
        RoundSpec(PAYMENTS, PACE, pages=False, keep_folder=tmp_path, limit=0.1, dump_seconds=0.7), seed=5
    )
    assert report.hung
    assert report.problems
    dump = (tmp_path / "5" / "harness").read_text()
    assert "storm_rounds.py" in dump, dump
    assert json.loads((tmp_path / "5" / "report.json").read_text())["hung"]


@pytest.mark.long
async def test_port_stays_reserved_while_process_is_down(world: StormWorld) -> None:
    for _ in range(2):
        await world.terminate()
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", world.port))
        await world.begin()


@pytest.mark.long
async def test_taken_port_is_reported(world: StormWorld) -> None:
    await world.terminate()
    with socket.create_server(("127.0.0.1", world.port)), pytest.raises(PortTaken):
        await world.begin()
    await world.begin()


async def request_payment(world: StormWorld, text: str) -> None:
    """A request whose link is in the chat."""
    world.telegram.send(GROUP, MERCHANT, text)
    await world.telegram.wait_until(lambda _: count_messages(world, "Waiting for payment"), timeout=PATIENCE)


async def wait_for_503(world: StormWorld) -> None:
    """Stripe gets 503 and nothing else."""
    await world.telegram.wait_until(lambda _: event_statuses(world), timeout=PATIENCE)
    assert set(event_statuses(world)) == {503}


def event_statuses(world: StormWorld) -> list[int | None]:
    """The response to each delivery of the event of the payment; None where there was none in time."""
    [paid] = (key for key, event in world.stripe.store.events.items() if event["type"] == "payment_intent.succeeded")
    return [delivery.status for delivery in world.stripe.store.deliveries if delivery.event == paid]


async def is_healthy(world: StormWorld) -> bool:
    async with world.http.get(f"http://127.0.0.1:{world.port}/healthz") as response:
        return response.status == 200


async def not_ready(world: StormWorld) -> list[str]:
    async with world.http.get(f"http://127.0.0.1:{world.port}/readyz") as response:
        body = await response.json()
        assert response.status == (503 if body["not_ready"] else 200)
        return list(body["not_ready"])


async def assert_recovered(world: StormWorld) -> None:
    """The same process has caught up: paid is announced, the request is made, every invariant holds."""
    await world.telegram.wait_until(
        lambda _: count_messages(world, "✅ Paid:") and count_messages(world, "312.07"), timeout=PATIENCE
    )
    assert await world.wait_until_quiet() == []
    assert unexcused_violations(world) == []
    assert world.kills == 0


def intent(world: StormWorld) -> Json:
    return list(world.stripe.store.intents.values())[-1]


def count_messages(world: StormWorld, text: str) -> int:
    """How many messages of the bot contain the text now."""
    chat = world.telegram.state.chats[GROUP]
    return sum(
        text in chat.messages[number].get("text", "") for number in chat.bot_message_ids if number in chat.messages
    )
