"""A cancelled caller leaves nothing half done: its unit of work did not begin, or it is finished whole."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from storage.database.database import Database, after_commit
from storage.database.sqlite import READERS
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from tests.storage.units_of_work import TIMEOUT, Pause, add_setting, held, increment, number, setting_names

pytestmark = pytest.mark.sqlite

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize("others", [0, 2], ids=["alone", "in a batch"])
async def test_write_cancelled_before_its_unit_began_does_not_run(db: Database, others: int) -> None:
    async with held(db.write):
        waiting = asyncio.create_task(db.write(add_setting, "cancelled"))
        staying = [asyncio.create_task(db.write(increment)) for _ in range(others)]
        await asyncio.sleep(0)  # all wait for the writer
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await asyncio.gather(*staying) == list(range(1, others + 1))
    await db.write(increment)
    assert await db.read(setting_names) == ["number"]


async def test_write_cancelled_while_its_unit_runs_is_finished_and_its_calls_happen(db: Database) -> None:
    called = asyncio.Event()
    with Pause() as pause:

        def unit(tx: sa.Connection) -> None:
            add_setting(tx, "first half")
            pause()
            add_setting(tx, "second half")
            after_commit(tx, called.set)

        writing = asyncio.create_task(db.write(unit))
        await pause.reached()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await db.read(setting_names) == []
        assert not called.is_set()
    async with asyncio.timeout(TIMEOUT):
        await called.wait()
    assert await db.read(setting_names) == ["first half", "second half"]


async def test_unit_that_raises_after_its_caller_was_cancelled_is_rolled_back(db: Database) -> None:
    with Pause() as pause:

        def unit(tx: sa.Connection) -> None:
            add_setting(tx, "half")
            pause()
            raise KeyError

        writing = asyncio.create_task(db.write(unit))
        await pause.reached()
        writing.cancel()
    assert await db.write(increment) == 1
    assert writing.cancelled()
    assert await db.read(setting_names) == ["number"]


async def test_worker_wakes_for_a_job_whose_enqueuing_was_cancelled_half_way(db: Database) -> None:
    queue = JobQueue(db, "inbox")
    with Pause() as pause:

        def unit(tx: sa.Connection) -> None:
            queue.enqueue_in(tx, NewJob("a", "lane", "kind"), now=NOW)
            pause()

        enqueuing = asyncio.create_task(db.write(unit))
        waiting = asyncio.create_task(queue.wait())
        await pause.reached()
        enqueuing.cancel()
    await asyncio.wait_for(waiting, TIMEOUT)
    assert enqueuing.cancelled()
    assert [job.key for job in await queue.claim(now=NOW, limit=1, lease_seconds=60)] == ["a"]


async def test_cancelled_reads_leave_all_readers_in_order(db: Database) -> None:
    await db.write(increment)
    with Pause() as pause:

        def unit(tx: sa.Connection) -> None:
            pause()
            raise KeyError

        reading = [asyncio.create_task(db.read(unit)) for _ in range(READERS * 2)]
        await pause.reached()
        for task in reading:
            task.cancel()
        await asyncio.wait(reading)
        assert all(task.cancelled() for task in reading)
    assert await asyncio.gather(*(db.read(number) for _ in range(READERS * 2))) == [1] * READERS * 2
    await db.write(increment)
    assert await asyncio.gather(*(db.read(number) for _ in range(READERS * 2))) == [2] * READERS * 2


@pytest.mark.parametrize("seed", range(8))
async def test_random_cancellations_leave_nothing_half_done(db: Database, seed: int) -> None:
    """Each unit increments the counter and writes a pair of settings, or raises between the two."""
    chance = random.Random(seed)
    called: list[int] = []

    def unit(tx: sa.Connection, index: int, raises: bool) -> None:
        after_commit(tx, lambda: called.append(index))
        increment(tx)
        add_setting(tx, f"{index:03} a")
        if raises:
            raise KeyError
        add_setting(tx, f"{index:03} b")

    def check(tx: sa.Connection) -> None:
        pairs, halves = divmod(len(setting_names(tx)) - bool(number(tx)), 2)
        assert (pairs, halves) == (number(tx), 0)

    async def some_turns_of_the_loop() -> None:
        for _ in range(chance.randrange(40)):
            await asyncio.sleep(0)

    raising = {index for index in range(120) if chance.random() < 0.2}
    writing = {index: asyncio.create_task(db.write(unit, index, index in raising)) for index in range(120)}
    reading = [asyncio.create_task(db.read(check)) for _ in range(40)]
    for index in chance.sample(range(120), 80):
        await some_turns_of_the_loop()
        writing[index].cancel()
        chance.choice(reading).cancel()
    outcomes = dict(zip(writing, await asyncio.gather(*writing.values(), return_exceptions=True), strict=True))
    read = await asyncio.gather(*reading, return_exceptions=True)
    await db.write(check)  # every unit that began is finished now

    assert {type(outcome) for outcome in read} <= {type(None), asyncio.CancelledError}
    assert {type(outcome) for outcome in outcomes.values()} <= {type(None), KeyError, asyncio.CancelledError}
    written = {int(name.split()[0]) for name in await db.read(setting_names) if name != "number"}
    assert {index for index, outcome in outcomes.items() if outcome is None} <= written
    assert not written & raising
    assert sorted(called) == sorted(written)
    assert await db.write(increment) == len(written) + 1
