"""What touches many rows takes them a few at a time, so that nobody else waits long, and takes all of them."""

from __future__ import annotations

from datetime import UTC, datetime

from storage import post
from storage.database import Database
from storage.post import Post

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
QUESTIONS = (
    "WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < ?)"
    " INSERT INTO questions (id, key, kind, chat_id, user_id, body, asked_at)"
    " SELECT 'id' || n, 'key' || n, 'kind', -1, 1, '{}', 0 FROM counted"
)


async def ask(db: Database, number: int) -> None:
    """So many questions in the group -1, all of 1970."""
    async with db.transaction() as tx:
        await tx.exec_driver_sql(QUESTIONS, (number,))


async def test_a_group_with_much_in_it_moves_as_a_whole(db: Database) -> None:
    number = post.AT_A_TIME * 2 + 1
    await ask(db, number)
    await Post(db).move(-1, -100)
    async with db.reading() as tx:
        found = await tx.exec_driver_sql("SELECT chat_id, count(*) FROM questions GROUP BY 1")
        assert [tuple(row) for row in found] == [(-100, number)]
