"""What changes or deletes many rows takes a limited number at a time, and takes all of them in the end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from storage import messages, prompts
from storage.database.database import CHUNK_SIZE, Database
from storage.job_queue import JobQueue
from storage.models.job import Done, NewJob
from tests.storage.units_of_work import add_done_jobs
from tests.support.evidence import eventually, idle, rows
from tests.support.people import open_database
from tests.support.world import World

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def add_prompts(tx: sa.Connection, number: int) -> None:
    """Insert so many prompts of 1970 in the group -1."""
    insert = sa.text("""
        WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < CAST(:number AS bigint))
        INSERT INTO prompts (id, key, kind, chat_id, user_id, payload, created_at)
        SELECT 'id' || n, 'key' || n, 'kind', -1, 1, '{}', 0 FROM counted
    """)
    tx.execute(insert, {"number": number})


async def test_group_with_many_prompts_migrates_as_a_whole(db: Database) -> None:
    number = CHUNK_SIZE * 2 + 1
    await db.write(add_prompts, number)
    await db.write(messages.migrate_chat, -1, -100)
    query = "SELECT chat_id, count(*) FROM prompts GROUP BY 1"
    assert await db.read(lambda tx: [tuple(row) for row in tx.exec_driver_sql(query)]) == [(-100, number)]


async def test_old_rows_are_deleted_a_chunk_at_a_time(db: Database) -> None:
    await db.write(add_prompts, CHUNK_SIZE + 1)
    await db.write(add_done_jobs, "updates", CHUNK_SIZE + 1)
    queue = JobQueue(db, "updates")
    assert [await queue.delete_done(before=NOW) for _ in range(3)] == [CHUNK_SIZE, 1, 0]
    assert [await db.write(prompts.delete_old, before=NOW) for _ in range(3)] == [CHUNK_SIZE, 1, 0]


async def test_reconciler_deletes_all_old_rows_however_many(world: World) -> None:
    await idle(world)
    async with open_database(world) as db:
        await db.write(add_prompts, CHUNK_SIZE * 3)
        await db.write(add_done_jobs, "updates", CHUNK_SIZE * 2 + 1)
    old = "SELECT (SELECT count(*) FROM prompts) + (SELECT count(*) FROM jobs WHERE queue = 'updates') AS n"
    assert rows(world, old)[0]["n"] == CHUNK_SIZE * 5 + 1
    world.advance(7200)
    await eventually(lambda: rows(world, old)[0]["n"] == 0)


@pytest.mark.sqlite
async def test_finished_jobs_keep_their_keys_in_few_pages(db: Database) -> None:
    queue = JobQueue(db, "events")
    before = await db.read(used_pages)
    await queue.enqueue(*(NewJob(f"evt_{n}", f"chat {n}", "kind", b"x" * 3_500) for n in range(100)), now=NOW)
    for job in await queue.claim(now=NOW, limit=100, lease_seconds=60):
        await queue.finish(job, Done(), now=NOW)
    assert await queue.enqueue(NewJob("evt_99", "chat", "kind"), now=NOW) == 0
    assert await db.read(used_pages) - before < 20


def used_pages(tx: sa.Connection) -> int:
    """How many pages of 4 KB are in use."""
    pages: int = tx.exec_driver_sql("PRAGMA page_count").scalar_one()
    free: int = tx.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    return pages - free
