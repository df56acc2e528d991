"""Every statement that a day of a shop brings finds its rows by an index, however much was sold before."""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import storage.driver

from bot.app import Service
from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import pass_time, rest
from tests.support.page_world import page_of
from tests.support.people import ADMIN, GROUP, MERCHANT, STRANGER, hear, open_shop, reply
from tests.support.refund_steps import held, move, paid, ref_of, refunded, told
from tests.support.world import OWNER, World, free_port, opened

SMALL = frozenset(
    {
        "shops",
        "owners",
        "members",
        "shop_chats",
        "installation_settings",
        "invitations",
        "alembic_version",
        "sqlite_schema",
    }
)
"""Tables with a row for each shop, person or chat: they do not grow with what is sold."""

SHORT = frozenset(
    {
        "ix_payments_next_check_at",
        "ix_payments_open",
        "uq_attempts_one_running",
        "ix_refunds_look_at",
        "ix_jobs_pending",
        "ix_jobs_dead",
    }
)
"""Indexes that hold only what is under way; one of all that was ever paid is not among them."""

BOUNDED = frozenset({"heads", "anon_1"})
"""What a LIMIT, or the number of lanes in which something waits, keeps short."""

COUNTED = {
    "SELECT payments.status, payments.currency, count(*) AS count_1 FROM payments GROUP BY": "metrics, once a minute",
}
"""Statements that may read an index from end to end, and why."""

LITERAL = re.compile(r"'(?:[^']|'')*'|\b\d+\b")
SCAN = re.compile(r"SCAN (?!\d+ CONSTANT)(?P<table>\w+)(?: USING (?:COVERING )?INDEX (?P<index>\w+))?")


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """All that Kvit asks of SQLite by connections that it makes meanwhile, with the values that were bound."""
    heard: set[str] = set()
    connect = sqlite3.connect

    def listening(*arguments: Any, **more: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **more)
        if sys._getframe(1).f_globals["__name__"] == storage.driver.__name__:
            connection.set_trace_callback(heard.add)
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", listening)
        yield heard


async def test_no_statement_reads_a_growing_table_from_end_to_end(
    clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with statements(monkeypatch) as heard:
        async with opened(clock, tmp_path, port=port, public_url=f"http://127.0.0.1:{port}") as world:
            heard.clear()  # the migrations read whole tables, and may
            await a_day(world)
    asked = {said for said in heard if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)", said, re.IGNORECASE)}
    assert len({LITERAL.sub("?", said) for said in asked}) > 100
    assert slow(world.database, asked) == {}


async def a_day(world: World) -> None:
    """Most of what can happen to a shop: sales, money that goes back, people, pages, troubles and lists."""
    await open_shop(world)
    await sales(world)
    await money_back(world)
    for said in ("/open", "/status", "/log", "/log tea", "/team", "/settings", "/again", "/help", "/id"):
        await reply(world, world.say(said, by=ADMIN, chat=GROUP), chat=GROUP)
    world.say("/pay 12", by=STRANGER, chat=GROUP)
    world.say("/invite merchant", by=ADMIN, chat=ADMIN)
    query = (await world.control("telegram", "inline", {"from_id": MERCHANT, "query": "125 Tea"}))["inline_query_id"]
    await world.telegram.wait_until(lambda t: t.state.inline_queries[query].answer)
    hear(world, "/start", by=OWNER, entities="nonsense")
    for address in (page_of(world), f"{page_of(world)}/state", f"{page_of(world)}/receipt", "/metrics", "/readyz"):
        async with world.http.get(address if "://" in address else f"{world.service.base}{address}") as answer:
            await answer.read()
    await reply(world, world.say("/setup NEW Other", chat=GROUP), "Nothing was changed", chat=GROUP)
    await world.control("telegram", "migrate", {"chat_id": GROUP})
    await rest(world)
    await pass_time(world, 90_000)
    await world.stop()
    await Service(world.settings, world.clock).reconcile(retry_dead=True)
    await world.begin()
    await rest(world)


async def sales(world: World) -> None:
    """A request that is canceled, one that lapses, one whose name is misread, and a hold that is taken."""
    card = await reply(world, world.say("/pay 125 Tea", by=MERCHANT, chat=GROUP), "Waiting for payment", chat=GROUP)
    await reply(world, world.say(f"/status {ref_of(card)}", by=MERCHANT, chat=GROUP), chat=GROUP)
    world.say(f"/cancel {ref_of(card)}", by=MERCHANT, chat=GROUP)
    await told(world, "Canceled", GROUP)
    await reply(world, world.say("/pay 1.234 Lamp", by=MERCHANT, chat=GROUP), chat=GROUP)
    await reply(world, world.say("/pay 40 Tea", by=MERCHANT, chat=GROUP), "Waiting for payment", chat=GROUP)
    await world.decide("expire")
    ref = ref_of(await held(world))
    world.say(f"/capture {ref}")
    await told(world, "Take")


async def money_back(world: World) -> None:
    """A sale that is refunded by hand and in part, fails later, and is disputed."""
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    world.say(f"/refund {ref} 5", by=MERCHANT, chat=GROUP)
    await told(world, "asks to refund", GROUP)
    ref = ref_of(await paid(world))
    await refunded(world, f"/refund {ref} 25")
    await told(world, "↩️ Refunded:")
    await move(world, "fail")
    await told(world, "the refund of")
    intent = world.intent()["id"]
    await world.control("stripe", f"intents/{intent}/refund", {"amount": 500})
    await world.control("stripe", f"intents/{intent}/dispute", {})
    await told(world, "the customer disputes")


def slow(database: Path, asked: set[str]) -> dict[str, str]:
    """The statements that read too much, each with how SQLite goes about it."""
    found: dict[str, str] = {}
    with closing(sqlite3.connect(database)) as db:
        for said in asked:
            shape = " ".join(LITERAL.sub("?", said).split())
            for *_, step in db.execute(f"EXPLAIN QUERY PLAN {said}"):
                scan = SCAN.match(step)
                is_fine = scan is None or scan["table"] in SMALL | BOUNDED or scan["index"] in SHORT
                if not is_fine and not any(shape.startswith(one) for one in COUNTED):
                    found[shape] = step
    return found
