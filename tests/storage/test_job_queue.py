"""A job is stored once, runs in order within its ordering key, and can be finished by the holder of its lease alone."""

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
from storage.job_queue import JobQueue, move_ordering_key
from storage.models.job import DeadLetter, Done, Job, NewJob, Outcome, Retry, Snooze
from tests.storage.units_of_work import TIMEOUT, Pause, add_done_jobs, add_setting, setting_names

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def queue(any_db: Database) -> JobQueue:
    return JobQueue(any_db, "inbox")


def new_job(key: str, ordering_key: str = "chat", scheduled_at: datetime | None = None) -> NewJob:
    return NewJob(key, ordering_key, "kind", b"payload of " + key.encode(), scheduled_at)


async def claim(queue: JobQueue, clock: FakeClock, limit: int = 10) -> list[Job]:
    return await queue.claim(now=clock.now(), limit=limit, lease_seconds=60)


async def pass_time(db: Database, clock: FakeClock, seconds: float) -> None:
    """Let time pass for the program and for the leases, which on PostgreSQL end by the server's clock."""
    clock.advance(seconds)
    if db.has_replicas:
        micros = round(seconds * 1_000_000)
        await db.write(lambda tx: tx.exec_driver_sql(f"UPDATE jobs SET lease_until = lease_until - {micros}").rowcount)


def keys(jobs: list[Job]) -> list[str]:
    return [job.key for job in jobs]


async def test_claim_returns_the_job_as_it_was_enqueued(queue: JobQueue, clock: FakeClock) -> None:
    assert await queue.enqueue(new_job("a"), now=NOW) == 1
    [job] = await claim(queue, clock)
    assert job == Job(job.id, "inbox", "a", "chat", "kind", b"payload of a", NOW, 0, job.lease)
    assert len(job.lease) == 32


async def test_key_is_stored_once_whatever_the_outcome_of_its_job(queue: JobQueue, clock: FakeClock) -> None:
    outcomes: dict[str, Outcome] = {
        "done": Done(),
        "dead": DeadLetter("odd"),
        "retry": Retry("no", 5),
        "snooze": Snooze(5),
    }
    for key, outcome in outcomes.items():
        assert await queue.enqueue(new_job(key, ordering_key=key), new_job(key, ordering_key="other"), now=NOW) == 1
        [job] = await claim(queue, clock)
        assert await queue.enqueue(new_job(key), now=NOW) == 0
        assert await queue.finish(job, outcome, now=NOW)
        assert await queue.enqueue(new_job(key), now=NOW) == 0


async def test_same_key_may_be_in_two_queues(any_db: Database, queue: JobQueue, clock: FakeClock) -> None:
    other = JobQueue(any_db, "outbox")
    assert [await queue.enqueue(new_job("a"), now=NOW), await other.enqueue(new_job("a"), now=NOW)] == [1, 1]
    assert [keys(await claim(queue, clock)), keys(await claim(other, clock))] == [["a"], ["a"]]


async def test_jobs_of_an_ordering_key_are_claimed_one_at_a_time_in_order(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(new_job("a1", "a"), new_job("b1", "b"), new_job("a2", "a"), new_job("c1", "c"), now=NOW)
    first = await claim(queue, clock)
    assert keys(first) == ["a1", "b1", "c1"]
    assert await claim(queue, clock) == []
    assert await queue.finish(first[0], Done(), now=NOW)
    assert keys(await claim(queue, clock)) == ["a2"]


async def test_job_that_is_not_yet_due_holds_back_later_ones_of_its_ordering_key(
    queue: JobQueue, clock: FakeClock
) -> None:
    await queue.enqueue(
        new_job("a1", "a", scheduled_at=NOW + timedelta(seconds=30)), new_job("a2", "a"), new_job("b", "b"), now=NOW
    )
    [only] = await claim(queue, clock)
    assert only.key == "b"
    await queue.finish(only, Done(), now=NOW)
    assert await queue.next_due(clock.now()) == NOW + timedelta(seconds=30)
    clock.advance(30)
    assert keys(await claim(queue, clock)) == ["a1"]


async def test_claim_with_a_limit_returns_the_oldest_jobs(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(*(new_job(f"k{number}", f"chat {9 - number}") for number in range(10)), now=NOW)
    assert keys(await claim(queue, clock, limit=3)) == ["k0", "k1", "k2"]
    assert keys(await claim(queue, clock, limit=3)) == ["k3", "k4", "k5"]


async def test_job_whose_lease_was_taken_over_cannot_be_finished_by_the_former_holder(
    any_db: Database, queue: JobQueue, clock: FakeClock
) -> None:
    await queue.enqueue(new_job("a"), now=NOW)
    [slow] = await claim(queue, clock)
    await pass_time(any_db, clock, 40)
    assert await claim(queue, clock) == []
    await pass_time(any_db, clock, 20)
    [quick] = await claim(queue, clock)
    assert (quick.id, quick.lease != slow.lease) == (slow.id, True)
    for outcome in (Done(), Retry("x", 1), Snooze(1), DeadLetter("x")):
        assert not await queue.finish(slow, outcome, now=clock.now())
    assert await queue.finish(quick, Done(), now=clock.now())
    assert not await queue.finish(quick, Done(), now=clock.now())


async def test_job_finished_after_lease_expiry_counts_if_no_other_claim_was_made(
    any_db: Database, queue: JobQueue, clock: FakeClock
) -> None:
    await queue.enqueue(new_job("a"), now=NOW)
    [job] = await claim(queue, clock)
    await pass_time(any_db, clock, 3600)
    assert await queue.finish(job, Done(), now=clock.now())


async def test_retry_counts_as_an_attempt_and_snooze_does_not(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(new_job("a"), now=NOW)
    attempts = []
    for outcome in (Retry("no answer", 10), Snooze(10), Retry("no answer", 10), Done()):
        [job] = await claim(queue, clock)
        attempts.append(job.attempts)
        assert await queue.finish(job, outcome, now=clock.now())
        assert await claim(queue, clock) == []
        clock.advance(10)
    assert attempts == [0, 1, 1, 2]
    assert (await queue.depth(), await queue.next_due(clock.now())) == (0, None)


async def test_dead_job_stays_for_an_operator_and_frees_its_ordering_key(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(new_job("a"), new_job("b"), new_job("c"), now=NOW)
    for reason in ("chat is gone", "too long"):
        [job] = await claim(queue, clock)
        clock.advance(1)
        await queue.finish(job, DeadLetter(reason), now=clock.now())
    [last] = await claim(queue, clock)
    assert (last.key, await queue.finish(last, Done(), now=clock.now() - timedelta(days=1))) == ("c", True)
    newest, oldest = await queue.dead_jobs()
    assert (newest.key, newest.reason, newest.finished_at) == ("b", "too long", NOW + timedelta(seconds=2))
    assert await queue.dead_jobs(before=newest.id) == [oldest]
    assert await queue.delete_done(before=clock.now() - timedelta(days=2)) == 0
    assert await queue.delete_dead(before=newest.finished_at) == 1
    assert await queue.retry_dead(now=clock.now()) == 1
    assert await queue.retry_dead(now=clock.now()) == 0
    assert await queue.dead_jobs() == []
    assert keys(await claim(queue, clock)) == ["b"]


async def test_next_due_is_the_end_of_a_lease_or_the_scheduled_time_of_the_oldest_job(
    queue: JobQueue, clock: FakeClock
) -> None:
    assert await queue.next_due(clock.now()) is None
    await queue.enqueue(new_job("a"), new_job("behind a"), now=NOW)
    assert await queue.next_due(clock.now()) == NOW
    await claim(queue, clock)
    due = await queue.next_due(clock.now())
    assert due is not None
    assert NOW + timedelta(seconds=20) < due <= NOW + timedelta(seconds=60)  # PostgreSQL's clock goes on
    await queue.enqueue(new_job("b", "other", scheduled_at=NOW + timedelta(seconds=20)), now=NOW)
    assert await queue.next_due(clock.now()) == NOW + timedelta(seconds=20)


async def test_depth_and_oldest_age_count_pending_jobs(queue: JobQueue, clock: FakeClock) -> None:
    assert (await queue.depth(), await queue.oldest_age(clock.now())) == (0, 0.0)
    await queue.enqueue(new_job("a"), new_job("b", "other"), now=NOW)
    clock.advance(90)
    assert (await queue.depth(), await queue.oldest_age(clock.now())) == (2, 90.0)
    for job in await claim(queue, clock):
        await queue.finish(job, Done(), now=clock.now())
    assert (await queue.depth(), await queue.oldest_age(clock.now())) == (0, 0.0)


async def test_delete_done_deletes_only_jobs_done_before_that_time(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(new_job("old", "1"), new_job("dead", "2"), new_job("pending", "3"), now=NOW)
    old, dead, _ = await claim(queue, clock)
    await queue.finish(old, Done(), now=clock.now())
    await queue.finish(dead, DeadLetter("odd"), now=clock.now())
    assert await queue.delete_done(before=clock.now()) == 0
    clock.advance(1)
    assert await queue.delete_done(before=clock.now()) == 1
    assert await queue.enqueue(new_job("old"), new_job("dead"), new_job("pending"), now=NOW) == 1


@pytest.mark.sqlite  # it stops the thread of a unit of work; on PostgreSQL that is the event loop's
async def test_wait_returns_after_each_commit_that_enqueued_or_finished_a_job(db: Database, clock: FakeClock) -> None:
    queue = JobQueue(db, "inbox")
    await queue.enqueue(new_job("a"), now=NOW)
    await asyncio.wait_for(queue.wait(), TIMEOUT)
    [job] = await claim(queue, clock)
    waiting = asyncio.create_task(queue.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    with Pause() as pause:

        def enqueue(tx: sa.Connection) -> None:
            JobQueue(db, "inbox").enqueue_in(tx, new_job("b"), now=NOW)
            pause()

        enqueuing = asyncio.create_task(db.write(enqueue))
        await pause.reached()
        assert not waiting.done()  # it is not committed
    await asyncio.wait_for(waiting, TIMEOUT)
    await enqueuing
    assert await claim(queue, clock) == []
    await queue.finish(job, Done(), now=NOW)
    await asyncio.wait_for(queue.wait(), TIMEOUT)
    assert keys(await claim(queue, clock)) == ["b"]


async def test_wait_returns_after_release_leases_and_retry_dead(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(new_job("a"), now=NOW)
    [job] = await claim(queue, clock)
    await queue.release_leases()
    await asyncio.wait_for(queue.wait(), TIMEOUT)
    [job] = await claim(queue, clock)
    await queue.finish(job, DeadLetter("odd"), now=NOW)
    assert await claim(queue, clock) == []
    await queue.retry_dead(now=NOW)
    await asyncio.wait_for(queue.wait(), TIMEOUT)
    assert keys(await claim(queue, clock)) == ["a"]


async def test_wait_does_not_return_after_an_enqueue_of_known_keys(queue: JobQueue, clock: FakeClock) -> None:
    await queue.enqueue(new_job("a"), now=NOW)
    await claim(queue, clock)
    waiting = asyncio.create_task(queue.wait())
    assert await queue.enqueue(new_job("a"), now=NOW) == 0
    assert not waiting.done()
    waiting.cancel()


async def test_job_enqueued_in_a_transaction_is_stored_with_it(
    any_db: Database, queue: JobQueue, clock: FakeClock
) -> None:
    def fail(tx: sa.Connection) -> None:
        assert queue.enqueue_in(tx, new_job("a"), now=NOW) == 1
        raise KeyError

    with pytest.raises(KeyError):
        await any_db.write(fail)
    assert await claim(queue, clock) == []

    def enqueue(tx: sa.Connection) -> list[int]:
        return [queue.enqueue_in(tx, new_job("a"), new_job("a"), now=NOW), queue.enqueue_in(tx, now=NOW)]

    assert await any_db.write(enqueue) == [1, 0]
    assert keys(await claim(queue, clock)) == ["a"]


async def test_finish_writes_in_the_same_transaction_what_its_caller_adds(
    any_db: Database, queue: JobQueue, clock: FakeClock
) -> None:
    await queue.enqueue(new_job("a"), now=NOW)
    [former] = await claim(queue, clock)
    await pass_time(any_db, clock, 60)
    [job] = await claim(queue, clock)

    def fail(tx: sa.Connection) -> None:
        add_setting(tx, "half")
        raise KeyError

    with pytest.raises(KeyError):
        await queue.finish(job, Done(), now=clock.now(), in_transaction=fail)
    assert not await queue.finish(former, Done(), now=clock.now(), in_transaction=lambda tx: add_setting(tx, "former"))
    assert (await queue.depth(), await any_db.read(setting_names)) == (1, [])
    assert await queue.finish(job, Done(), now=clock.now(), in_transaction=lambda tx: add_setting(tx, "whole"))
    assert (await queue.depth(), await any_db.read(setting_names)) == (0, ["whole"])


async def test_moved_jobs_keep_their_order_in_the_other_ordering_key(
    any_db: Database, queue: JobQueue, clock: FakeClock
) -> None:
    await queue.enqueue(new_job("a1", "a"), new_job("b1", "b"), new_job("a2", "a"), new_job("b2", "b"), now=NOW)
    await JobQueue(any_db, "outbox").enqueue(new_job("a3", "a"), now=NOW)
    await any_db.write(move_ordering_key, "inbox", "a", "b")
    ended = []
    while jobs := await claim(queue, clock):
        ended.append(keys(jobs))
        await queue.finish(jobs[0], Done(), now=NOW)
    assert ended == [["a1"], ["b1"], ["a2"], ["b2"]]
    assert [job.ordering_key for job in await claim(JobQueue(any_db, "outbox"), clock)] == ["a"]


async def test_oldest_created_at_is_the_time_of_the_oldest_pending_job_of_an_ordering_key(
    queue: JobQueue, clock: FakeClock
) -> None:
    later = NOW + timedelta(seconds=5)
    await queue.enqueue(new_job("a1", "a"), now=NOW)
    await queue.enqueue(new_job("a2", "a"), now=later)
    assert await queue.oldest_created_at("a") == NOW
    clock.advance(5)
    for expected in (later, None):
        [job] = await claim(queue, clock)
        await queue.finish(job, Done(), now=NOW)
        assert await queue.oldest_created_at("a") == expected


@pytest.mark.sqlite
async def test_every_statement_of_the_queue_uses_an_index(db: Database) -> None:
    for statement in (sqlite.CLAIM, sqlite.NEXT_DUE, sqlite.OLDEST_PENDING):
        plan = await query_plan(db, statement)
        assert "ix_jobs_pending (queue=? AND ordering_key>?)" in plan
        assert "SCAN jobs" not in plan
    plan = await query_plan(db, "SELECT * FROM jobs WHERE queue = :queue AND state = 'dead' ORDER BY id DESC")
    assert "ix_jobs_dead" in plan


async def test_claim_takes_no_more_steps_when_thousands_of_jobs_are_done_or_wait_behind(tmp_path: Path) -> None:
    steps = {}
    for size in (10, 10_000):
        db = Database(f"sqlite:///{tmp_path}/{size}.db")
        await db.migrate()
        queue = JobQueue(db, "inbox")
        await db.write(add_done_jobs, "inbox", size)
        await queue.enqueue(*(new_job(f"{number}") for number in range(size)), now=NOW)
        steps[size] = vm_steps(db.path, sqlite.CLAIM) + vm_steps(db.path, sqlite.NEXT_DUE)
        await db.close()
    assert steps[10_000] <= steps[10] + 20


OUTCOMES = st.sampled_from([Done(), Retry("again", 7), Snooze(7), DeadLetter("odd")])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), outcomes=st.lists(OUTCOMES, min_size=5, max_size=25))
async def test_jobs_of_each_ordering_key_end_in_order_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, seed: int, outcomes: list[Outcome]
) -> None:
    chance = random.Random(seed)
    clock = FakeClock(NOW, frozen=True)
    db = Database(f"sqlite:///{tmp_path_factory.mktemp('queue')}/kvit.db")
    await db.migrate()
    queue = JobQueue(db, "inbox")
    await queue.enqueue(*(new_job(f"{number:03}", chance.choice("abc")) for number in range(20)), now=NOW)
    ended: dict[str, list[str]] = {"a": [], "b": [], "c": []}
    for outcome in [*outcomes, *[Done()] * 60]:
        for job in await claim(queue, clock, limit=chance.randint(1, 4)):
            is_abandoned = chance.random() < 0.2
            is_final = isinstance(outcome, Done | DeadLetter)
            if not is_abandoned and await queue.finish(job, outcome, now=clock.now()) and is_final:
                ended[job.ordering_key].append(job.key)
        clock.advance(61)
    await db.close()
    assert sum(map(len, ended.values())) == 20
    assert all(order == sorted(order) for order in ended.values())


async def test_release_leases_frees_the_jobs_of_a_process_that_died(any_db: Database) -> None:
    queue, other = JobQueue(any_db, "inbox"), JobQueue(any_db, "outbox")
    await queue.enqueue(new_job("a"), now=NOW)
    await other.enqueue(new_job("b"), now=NOW)
    [lost] = await queue.claim(now=NOW, limit=1, lease_seconds=60)
    [kept] = await other.claim(now=NOW, limit=1, lease_seconds=60)
    await queue.release_leases()
    [again] = await queue.claim(now=NOW, limit=1, lease_seconds=60)
    assert (again.id, again.attempts) == (lost.id, 0)
    assert not await queue.finish(lost, Done(), now=NOW)
    assert await other.finish(kept, Done(), now=NOW)


VALUES = {"queue": "inbox", "now": 2**60, "lease_micros": 0, "limit": 1, "lease": ""}


async def query_plan(db: Database, statement: str) -> str:
    def explain(tx: sa.Connection) -> str:
        found = tx.execute(sa.text("EXPLAIN QUERY PLAN " + statement), VALUES)
        return "\n".join(row["detail"] for row in found.mappings())

    return await db.write(explain)


def vm_steps(path: Path, statement: str) -> int:
    """How many instructions of SQLite's virtual machine a statement takes."""
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
