"""What touches many rows takes them a few at a time, so that nobody else waits long, and takes all of them."""

from __future__ import annotations

import gc
import sqlite3
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from storage.at_once import IDLE

from storage import messages, prompts
from storage.database.database import CHUNK_SIZE, Database
from storage.job_queue import JobQueue
from storage.models.job import Done, NewJob
from storage.prompts import PromptRepository
from tests.support.evidence import eventually, rest, rows
from tests.support.people import book
from tests.support.world import World

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
QUESTIONS = (
    "WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < ?)"
    " INSERT INTO prompts (id, key, kind, chat_id, user_id, payload, created_at)"
    " SELECT 'id' || n, 'key' || n, 'kind', -1, 1, '{}', 0 FROM counted"
)


MAILS = (
    "WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < ?)"
    " INSERT INTO jobs (queue, key, ordering_key, kind, payload, created_at, scheduled_at, attempts, state, reason, finished_at)"
    " SELECT 'updates', 'key' || n, 'lane', 'kind', x'', 0, 0, 0, 'done', '', 0 FROM counted"
)


async def ask(db: Database, number: int) -> None:
    """So many questions in the group -1, all of 1970."""
    async with db.transaction() as tx:
        await tx.exec_driver_sql(QUESTIONS, (number,))


async def test_a_group_with_much_in_it_moves_as_a_whole(db: Database) -> None:
    number = CHUNK_SIZE * 2 + 1
    await ask(db, number)
    await db.write(messages.migrate_chat, -1, -100)
    async with db.reading() as tx:
        found = await tx.exec_driver_sql("SELECT chat_id, count(*) FROM prompts GROUP BY 1")
        assert [tuple(row) for row in found] == [(-100, number)]


async def test_what_is_forgotten_is_forgotten_a_few_at_a_time(db: Database) -> None:
    await ask(db, CHUNK_SIZE + 1)
    async with db.transaction() as tx:
        await tx.exec_driver_sql(MAILS, (CHUNK_SIZE + 1,))
    queue, questions = JobQueue(db, "updates"), PromptRepository(db)
    assert [await queue.delete_done(before=NOW) for _ in range(3)] == [CHUNK_SIZE, 1, 0]
    assert [await db.write(prompts.delete_old, before=NOW) for _ in range(3)] == [CHUNK_SIZE, 1, 0]


async def test_the_sweep_forgets_all_that_is_old_however_much_it_is(world: World) -> None:
    await rest(world)
    async with book(world) as db:
        await ask(db, CHUNK_SIZE * 3)
        async with db.transaction() as tx:
            await tx.exec_driver_sql(MAILS, (CHUNK_SIZE * 2 + 1,))
    old = "SELECT (SELECT count(*) FROM prompts) + (SELECT count(*) FROM jobs WHERE queue = 'updates') AS n"
    assert rows(world, old)[0]["n"] == CHUNK_SIZE * 5 + 1
    world.advance(7200)
    await eventually(lambda: rows(world, old)[0]["n"] == 0)


async def test_what_keeps_only_its_key_takes_little_room(db: Database) -> None:
    queue = JobQueue(db, "events")
    before = await pages(db)
    await queue.enqueue(*(NewJob(f"evt_{n}", f"lane {n}", "kind", b"x" * 3_500) for n in range(100)), now=NOW)
    for job in await queue.claim(now=NOW, limit=100, lease_seconds=60):
        await queue.finish(job, Done(), now=NOW)
    assert await queue.enqueue(NewJob("evt_99", "lane", "kind"), now=NOW) == 0
    assert await pages(db) - before < 20


async def pages(db: Database) -> int:
    """How many pages of 4 KB are in use."""
    async with db.reading() as tx:
        used = (await tx.exec_driver_sql("PRAGMA page_count")).scalar_one()
        return int(used - (await tx.exec_driver_sql("PRAGMA freelist_count")).scalar_one())


async def test_only_a_few_of_the_connections_of_a_busy_moment_stay_open(db: Database) -> None:
    before = connections()
    async with AsyncExitStack() as busy:
        for _ in range(IDLE * 3):
            await busy.enter_async_context(db.glance())
        assert connections() - before == IDLE * 3
    assert connections() - before == IDLE
    async with db.glance() as tx:
        assert (await tx.exec_driver_sql("SELECT 1")).scalar_one() == 1


def connections() -> int:
    """How many connections to SQLite this process has; each has a cache of its own."""
    gc.collect()
    return sum(isinstance(one, sqlite3.Connection) for one in gc.get_objects())
