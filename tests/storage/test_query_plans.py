"""Every statement of a day in a shop finds its rows by an index, however many payments there are."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot.app import Service
from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import idle, pass_time
from tests.support.page_world import page_of
from tests.support.people import ADMIN, GROUP, MERCHANT, STRANGER, deliver_raw, open_shop, reply
from tests.support.refund_steps import held, move, paid, ref_of, refunded, wait_for_text
from tests.support.world import OWNER, World, free_port, opened

pytestmark = pytest.mark.sqlite

SMALL = frozenset(
    {
        "shops",
        "owners",
        "members",
        "shop_chats",
        "installation_settings",
        "invitations",
        "alembic_version",
        "sqlite_master",
        "sqlite_schema",
    }
)
"""Tables with a row for each shop, person or chat: they do not grow with the payments."""

SHORT = frozenset(
    {
        "ix_payments_next_check_at",
        "ix_payments_open",
        "uq_attempts_one_running",
        "ix_refunds_next_check_at",
        "ix_jobs_pending",
        "ix_jobs_dead",
    }
)
"""Indexes that hold only what is in progress; none of them holds every payment."""

BOUNDED = frozenset({"heads", "anon_1"})
"""Sets of rows that a LIMIT, or the number of ordering keys with pending jobs, keeps short."""

COUNTED = {
    "SELECT payments.status, payments.currency, count(*) AS count_1 FROM payments GROUP BY": "metrics, once a minute",
}
"""Statements that may read an index from end to end, and why."""

LITERAL = re.compile(r"'(?:[^']|'')*'|\b\d+\b")
SCAN = re.compile(r"SCAN (?!\d+ CONSTANT|CONSTANT ROW)(?P<table>\w+)(?: USING (?:COVERING )?INDEX (?P<index>\w+))?")


@contextmanager
def recorded_statements() -> Iterator[dict[str, Any]]:
    """Every statement that SQLAlchemy gives to SQLite within the block, with parameters it was run with."""
    statements: dict[str, Any] = {}

    def record(
        connection: object, cursor: object, statement: str, parameters: Any, context: object, many: bool
    ) -> None:
        statements[statement] = parameters[0] if many else parameters

    sa.event.listen(sa.Engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", record)


async def test_no_statement_scans_a_table_that_grows_with_the_payments(clock: FakeClock, tmp_path: Path) -> None:
    port = free_port()
    with recorded_statements() as recorded:
        async with opened(
            clock, tmp_path, port=port, public_url=f"http://127.0.0.1:{port}", metrics_token="scraper"
        ) as world:
            recorded.clear()  # the migrations scan whole tables, and may
            await day_in_a_shop(world)
    statements = {
        statement: parameters
        for statement, parameters in recorded.items()
        if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)", statement, re.IGNORECASE)
    }
    assert len({LITERAL.sub("?", statement) for statement in statements}) > 100
    assert scans(world.database, statements) == {}


async def day_in_a_shop(world: World) -> None:
    """Most of what can happen to a shop: payments, refunds, people, pages, faults and lists."""
    await open_shop(world)
    await request_payments(world)
    await refund_payments(world)
    for text in (
        "/open",
        "/today",
        "/find tea",
        "/find 125 paid",
        "/find refunded",
        "/status",
        "/log",
        "/log tea",
        "/team",
        "/settings",
        "/again",
        "/help",
        "/id",
    ):
        await reply(world, world.say(text, by=ADMIN, chat=GROUP), chat=GROUP)
    world.say("/pay 12", by=STRANGER, chat=GROUP)
    world.say("/invite merchant", by=ADMIN, chat=ADMIN)
    query = (await world.control("telegram", "inline", {"from_id": MERCHANT, "query": "125 Tea"}))["inline_query_id"]
    await world.telegram.wait_until(lambda t: t.state.inline_queries[query].answer)
    deliver_raw(world, "/start", by=OWNER, entities="nonsense")
    for address in (
        page_of(world),
        f"{page_of(world)}/state",
        f"{page_of(world)}/receipt",
        f"{page_of(world)}/credit-note/1",
        "/metrics",
        "/readyz",
    ):
        url = address if "://" in address else f"{world.service.base}{address}"
        async with world.http.get(url, headers={"Authorization": "Bearer scraper"}) as answer:
            assert answer.status in (200, 404), address
            await answer.read()
    await reply(world, world.say("/setup NEW Other", chat=GROUP), "Nothing was changed", chat=GROUP)
    await world.control("telegram", "migrate", {"chat_id": GROUP})
    await idle(world)
    await pass_time(world, 90_000)
    await world.stop()
    await Service(world.settings, world.clock).reconcile(retry_dead=True)
    await world.begin()
    await idle(world)


async def request_payments(world: World) -> None:
    """A payment that is cancelled, one that expires, one whose amount is ambiguous, and a hold that is captured."""
    payment_message = await reply(
        world, world.say("/pay 125 Tea", by=MERCHANT, chat=GROUP), "Waiting for payment", chat=GROUP
    )
    await reply(world, world.say(f"/status {ref_of(payment_message)}", by=MERCHANT, chat=GROUP), chat=GROUP)
    world.say(f"/cancel {ref_of(payment_message)}", by=MERCHANT, chat=GROUP)
    await wait_for_text(world, "Cancelled", GROUP)
    await reply(world, world.say("/pay 1.234 Lamp", by=MERCHANT, chat=GROUP), chat=GROUP)
    await reply(world, world.say("/pay 40 Tea", by=MERCHANT, chat=GROUP), "Waiting for payment", chat=GROUP)
    await world.decide("lapse")
    ref = ref_of(await held(world))
    world.say(f"/capture {ref}")
    await wait_for_text(world, "Charge")


async def refund_payments(world: World) -> None:
    """A payment that is refunded in part and in the Dashboard, whose refund fails later, and that is disputed."""
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    world.say(f"/refund {ref} 5", by=MERCHANT, chat=GROUP)
    await wait_for_text(world, "asks to refund", GROUP)
    ref = ref_of(await paid(world))
    await refunded(world, f"/refund {ref} 25")
    await wait_for_text(world, "↩️ Refunded:")
    await move(world, "fail")
    await wait_for_text(world, "the refund of")
    intent = world.intent()["id"]
    await world.control("stripe", f"intents/{intent}/refund", {"amount": 500})
    await world.control("stripe", f"intents/{intent}/dispute", {})
    await wait_for_text(world, "the customer has disputed")


def scans(database: Path, statements: dict[str, Any]) -> dict[str, str]:
    """The statements that read too much, each with the step of its plan that does."""
    found: dict[str, str] = {}
    with closing(sqlite3.connect(database)) as db:
        for statement, parameters in statements.items():
            shape = " ".join(LITERAL.sub("?", statement).split())
            for *_, step in db.execute(f"EXPLAIN QUERY PLAN {statement}", parameters):
                scan = SCAN.match(step)
                is_fine = scan is None or scan["table"] in SMALL | BOUNDED or scan["index"] in SHORT
                if not is_fine and not any(shape.startswith(counted) for counted in COUNTED):
                    found[shape] = step
    return found
