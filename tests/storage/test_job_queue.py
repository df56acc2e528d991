"""Mail is kept once, leaves its lane in order, and belongs to whoever holds its lease."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.sandbox.shared.fake_clock import FakeClock
from storage.database import sqlite
from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.models.job import DeadLetter, Done, Job, NewJob, Outcome, Retry, Snooze

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def queue(db: Database) -> JobQueue:
    return JobQueue(db, "inbox")


def draft(key: str, ordering_key: str = "lane", due_at: datetime | None = None) -> NewJob:
    return NewJob(key, ordering_key, "kind", b"body of " + key.encode(), due_at)


async def claim(queue: JobQueue, clock: FakeClock, limit: int = 10) -> list[Job]:
    return await queue.claim(now=clock.now(), limit=limit, lease_seconds=60)


def keys(jobs: list[Job]) -> list[str]:
    return [job.key for job in jobs]


async def test_a_claimed_mail_is_what_was_put(queue: JobQueue, clock: FakeClock) -> None:
    assert await queue.enqueue(draft("a"), now=NOW) == 1
    [job] = await claim(queue, clock)
    assert job == Job(job.id, "inbox", "a", "lane", "kind", b"body of a", NOW, 0, job.lease)
    assert len(job.lease) == 32


async def test_a_key_is_put_once_whatever_became_of_it(queue: JobQueue, clock: FakeClock) -> None:
    verdicts: dict[str, Outcome] = {
        "done": Done(),
        "aside": DeadLetter("odd"),
        "retry": Retry("no", 5),
        "nap": Snooze(5),
    }
    for key, verdict in verdicts.items():
        assert await queue.enqueue(draft(key, ordering_key=key), draft(key, ordering_key="other"), now=NOW) == 1
        [job] = await claim(queue, clock)
        assert await queue.enqueue(draft(key), now=NOW) == 0
        assert await queue.finish(job, verdict, now=NOW)
        assert await queue.enqueue(draft(key), now=NOW) == 0


async def test_the_same_key_may_be_in_two_boxes(db: Database, queue: JobQueue, clock: FakeClock) -> None:
    other = JobQueue(db, "outbox")
    assert [await queue.enqueue(draft("a"), now=NOW), await other.enqueue(draft("a"), now=NOW)] == [1, 1]
    assert [keys(await claim(queue, clock)), keys(await claim(other, clock))] == [["a"], ["a"]]


async def test_a_lane_gives_one_mail_at_a_time_in_the_order_they_were_put(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(draft("a1", "a"), draft("b1", "b"), draft("a2", "a"), draft("c1", "c"), now=NOW)
    first = await claim(queue, clock)
    assert keys(first) == ["a1", "b1", "c1"]
    assert await claim(queue, clock) == []
    assert await queue.finish(first[0], Done(), now=NOW)
    assert keys(await claim(queue, clock)) == ["a2"]


async def test_a_head_that_is_not_yet_due_holds_its_lane_back(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(
        draft("a1", "a", due_at=NOW + timedelta(seconds=30)), draft("a2", "a"), draft("b", "b"), now=NOW
    )
    [only] = await claim(queue, clock)
    assert only.key == "b"
    await queue.finish(only, Done(), now=NOW)
    assert await queue.next_due() == NOW + timedelta(seconds=30)
    clock.advance(30)
    assert keys(await claim(queue, clock)) == ["a1"]


async def test_the_oldest_mails_come_first_when_there_are_more_than_wanted(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(*(draft(f"k{number}", f"lane {9 - number}") for number in range(10)), now=NOW)
    assert keys(await claim(queue, clock, limit=3)) == ["k0", "k1", "k2"]
    assert keys(await claim(queue, clock, limit=3)) == ["k3", "k4", "k5"]


async def test_a_lost_lease_settles_nothing(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(draft("a"), now=NOW)
    [slow] = await claim(queue, clock)
    clock.advance(59.9)
    assert await claim(queue, clock) == []
    clock.advance(0.1)
    [quick] = await claim(queue, clock)
    assert (quick.id, quick.lease != slow.lease) == (slow.id, True)
    for verdict in (Done(), Retry("x", 1), Snooze(1), DeadLetter("x")):
        assert not await queue.finish(slow, verdict, now=clock.now())
    assert not await queue.release(slow)
    assert await queue.finish(quick, Done(), now=clock.now())
    assert not await queue.finish(quick, Done(), now=clock.now())


async def test_a_lease_that_nobody_took_over_still_settles(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(draft("a"), now=NOW)
    [job] = await claim(queue, clock)
    clock.advance(3600)
    assert await queue.finish(job, Done(), now=clock.now())


async def test_a_retry_costs_a_try_and_a_snooze_does_not(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(draft("a"), now=NOW)
    tries = []
    for verdict in (Retry("no answer", 10), Snooze(10), Retry("no answer", 10), Done()):
        [job] = await claim(queue, clock)
        tries.append(job.attempts)
        assert await queue.finish(job, verdict, now=clock.now())
        assert await claim(queue, clock) == []
        clock.advance(10)
    assert tries == [0, 1, 1, 2]
    assert (await queue.depth(), await queue.next_due()) == (0, None)


async def test_a_released_mail_can_be_claimed_at_once(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(draft("a"), now=NOW)
    [job] = await claim(queue, clock)
    assert await queue.release(job)
    [again] = await claim(queue, clock)
    assert again.attempts == 0
    assert not await queue.finish(job, Done(), now=NOW)


async def test_a_discarded_mail_waits_for_a_human_and_frees_its_lane(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(draft("a"), draft("b"), draft("c"), now=NOW)
    for reason in ("chat is gone", "too long"):
        [job] = await claim(queue, clock)
        clock.advance(1)
        await queue.finish(job, DeadLetter(reason), now=clock.now())
    assert keys(await claim(queue, clock)) == ["c"]
    newest, oldest = await queue.dead_jobs()
    assert (newest.key, newest.reason, newest.finished_at) == ("b", "too long", NOW + timedelta(seconds=2))
    assert await queue.dead_jobs(before=newest.id) == [oldest]
    assert await queue.delete_done(before=clock.now()) == 0
    assert await queue.delete_dead(before=newest.finished_at) == 1
    assert await queue.retry_dead(now=clock.now()) == 1
    assert await queue.retry_dead(now=clock.now()) == 0
    assert await queue.dead_jobs() == []
    assert keys(await claim(queue, clock)) == ["b"]


async def test_next_due_is_the_end_of_a_lease_or_the_due_time_of_a_head(queue: JobQueue, clock: FakeClock) -> None:
    assert await queue.next_due() is None
    await queue.enqueue(draft("a"), draft("behind a"), now=NOW)
    assert await queue.next_due() == NOW
    await claim(queue, clock)
    assert await queue.next_due() == NOW + timedelta(seconds=60)
    await queue.enqueue(draft("b", "other", due_at=NOW + timedelta(seconds=20)), now=NOW)
    assert await queue.next_due() == NOW + timedelta(seconds=20)


async def test_depth_and_age_count_what_waits(queue: JobQueue, clock: FakeClock) -> None:
    assert (await queue.depth(), await queue.oldest_age(clock.now())) == (0, 0.0)
    await queue.enqueue(draft("a"), draft("b", "other"), now=NOW)
    clock.advance(90)
    assert (await queue.depth(), await queue.oldest_age(clock.now())) == (2, 90.0)
    for job in await claim(queue, clock):
        await queue.finish(job, Done(), now=clock.now())
    assert (await queue.depth(), await queue.oldest_age(clock.now())) == (0, 0.0)


async def test_prune_forgets_only_what_was_done_before(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(draft("old", "1"), draft("aside", "2"), draft("waiting", "3"), now=NOW)
    old, aside, _ = await claim(queue, clock)
    await queue.finish(old, Done(), now=clock.now())
    await queue.finish(aside, DeadLetter("odd"), now=clock.now())
    assert await queue.delete_done(before=clock.now()) == 0
    clock.advance(1)
    assert await queue.delete_done(before=clock.now()) == 1
    assert await queue.enqueue(draft("old"), draft("aside"), draft("waiting"), now=NOW) == 1


async def test_nobody_sleeps_through_what_was_put(db: Database, queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(draft("a"), now=NOW)
    await asyncio.wait_for(queue.wait(), 5)
    [job] = await claim(queue, clock)
    waiting = asyncio.create_task(queue.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    async with db.transaction() as tx:
        await JobQueue(db, "inbox").enqueue_in(tx, draft("b"), now=NOW)
        await asyncio.sleep(0)
        assert not waiting.done()
    await asyncio.wait_for(waiting, 5)
    assert await claim(queue, clock) == []
    await queue.finish(job, Done(), now=NOW)
    await asyncio.wait_for(queue.wait(), 5)
    assert keys(await claim(queue, clock)) == ["b"]


async def test_mail_put_within_a_transaction_goes_with_it(db: Database, queue: JobQueue, clock: FakeClock) -> None:
    async def fail() -> None:
        async with db.transaction() as tx:
            await queue.enqueue_in(tx, draft("a"), now=NOW)
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert await claim(queue, clock) == []
    async with db.transaction() as tx:
        await queue.enqueue_in(tx, draft("a"), draft("a"), now=NOW)
        await queue.enqueue_in(tx, now=NOW)
    assert keys(await claim(queue, clock)) == ["a"]


async def test_every_question_of_a_belt_has_its_index(db: Database, queue: JobQueue) -> None:
    for statement in (sqlite.CLAIM, sqlite.NEXT_DUE, sqlite.OLDEST):
        plan = await _plan(db, statement)
        assert "ix_jobs_pending (queue=? AND ordering_key>?)" in plan
        assert "SCAN mail" not in plan
    plan = await _plan(db, "SELECT * FROM jobs WHERE queue = :box AND state = 'dead' ORDER BY id DESC")
    assert "ix_jobs_dead" in plan


async def test_a_claim_takes_no_more_steps_when_thousands_are_done_or_wait_behind(tmp_path: Path) -> None:
    steps = {}
    for size in (10, 10_000):
        db = Database(f"sqlite:///{tmp_path}/{size}.db")
        await db.migrate()
        queue = JobQueue(db, "inbox")
        async with db.transaction() as tx:
            await tx.exec_driver_sql(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
                " INSERT INTO jobs (queue, key, ordering_key, kind, payload, created_at, scheduled_at, attempts, state, reason, finished_at)"
                " SELECT 'inbox', 'old' || i, 'lane' || i, 'k', x'', 1, 1, 0, 'done', '', 1 FROM n",
                (size,),
            )
        await queue.enqueue(*(draft(f"{number}") for number in range(size)), now=NOW)
        steps[size] = _steps(db.path, sqlite.CLAIM) + _steps(db.path, sqlite.NEXT_DUE)
        await db.close()
    assert steps[10_000] <= steps[10] + 20


VERDICTS = st.sampled_from([Done(), Retry("again", 7), Snooze(7), DeadLetter("odd")])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), verdicts=st.lists(VERDICTS, min_size=5, max_size=25))
async def test_whatever_happens_each_lane_is_worked_off_in_order(
    tmp_path_factory: pytest.TempPathFactory, seed: int, verdicts: list[Outcome]
) -> None:
    chance = random.Random(seed)
    clock = FakeClock(NOW, frozen=True)
    db = Database(f"sqlite:///{tmp_path_factory.mktemp('belt')}/kvit.db")
    await db.migrate()
    queue = JobQueue(db, "inbox")
    await queue.enqueue(*(draft(f"{number:03}", chance.choice("abc")) for number in range(20)), now=NOW)
    ended: dict[str, list[str]] = {"a": [], "b": [], "c": []}
    for verdict in [*verdicts, *[Done()] * 60]:
        for job in await claim(queue, clock, limit=chance.randint(1, 4)):
            given_up = chance.random() < 0.2
            if (
                not given_up
                and await queue.finish(job, verdict, now=clock.now())
                and type(verdict) in (Done, DeadLetter)
            ):
                ended[job.ordering_key].append(job.key)
        clock.advance(61)
    await db.close()
    assert sum(map(len, ended.values())) == 20
    assert all(lane == sorted(lane) for lane in ended.values())


VALUES = {"box": "inbox", "now": 2**60, "until": 0, "limit": 1, "lease": ""}


async def _plan(db: Database, statement: str) -> str:
    async with db.transaction() as tx:
        found = await tx.execute(sa.text("EXPLAIN QUERY PLAN " + statement), VALUES)
        return "\n".join(row["detail"] for row in found.mappings())


def _steps(path: Path, statement: str) -> int:
    """How many instructions of SQLite's machine a statement takes."""
    taken = 0

    def step() -> None:
        nonlocal taken
        taken += 1

    connection = sqlite3.connect(path)
    connection.set_progress_handler(step, 1)
    connection.execute(statement, VALUES).fetchall()
    connection.rollback()
    connection.close()
    return taken


async def test_leases_of_a_process_that_died_can_be_voided(db: Database) -> None:
    queue, other = JobQueue(db, "inbox"), JobQueue(db, "outbox")
    await queue.enqueue(draft("a"), now=NOW)
    await other.enqueue(draft("b"), now=NOW)
    lost = await queue.claim(now=NOW, limit=1, lease_seconds=60)
    kept = await other.claim(now=NOW, limit=1, lease_seconds=60)
    await queue.release_leases()
    assert [job.key for job in await queue.claim(now=NOW, limit=1, lease_seconds=60)] == ["a"]
    assert not await queue.finish(lost[0], Done(), now=NOW)
    assert await other.finish(kept[0], Done(), now=NOW)
