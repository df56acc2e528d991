"""The data of the benchmark with a million payments: a few payments of the real program, copied many times."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import aiohttp  # noqa: E402
from bench import running  # noqa: E402

from bot.sandbox.fake_services import create_webhook_endpoint, environment  # noqa: E402
from bot.sandbox.fake_stripe import FakeStripe  # noqa: E402
from bot.sandbox.fake_telegram import FakeTelegram  # noqa: E402
from bot.sandbox.shared.fake_clock import FakeClock  # noqa: E402
from handlers.operations.reconciler import EVENTS_KEPT, JOB_RETENTION  # noqa: E402
from storage.models.hashing import sha256_hex  # noqa: E402

OWNER, SELLER = 90_000_000, 90_000_001
SHOPS, CHATS_PER_SHOP = 100, 3
DAY = 86_400_000_000
REFUNDED = 3
"""Of each ten hundreds of payments, this hundred is partly refunded."""

OPEN = 40
CHUNK = 10_000
Row = dict[str, Any]


@dataclass
class Installation:
    """A database, fake vendors, and the environment of the program."""

    name: str
    database: Path
    stripe: FakeStripe
    telegram: FakeTelegram
    settings: dict[str, str]
    base: str = ""
    reference: str = ""
    page_token: str = ""

    @classmethod
    async def create(cls, folder: Path, name: str) -> Installation:
        """Starts the vendors; the database is empty."""
        clock = FakeClock()
        stripe, telegram = FakeStripe(clock), FakeTelegram(clock, flood_control=False)
        database = folder / f"{name}.db"
        await stripe.start()
        await telegram.start()
        settings = environment(stripe, telegram) | {
            "OWNER_IDS": str(OWNER),
            "DATABASE_URL": f"sqlite:///{database}",
            "PORT": "0",
            "LOG_LEVEL": "error",
            "PUBLIC_URL": "https://pay.example.dk",
            "TELEGRAM_MODE": "polling",
        }
        return cls(name, database, stripe, telegram, settings)

    async def ask(self, text: str) -> None:
        """The seller sends a message; returns once it is answered."""
        before = len(self.answers())
        self.telegram.send(SELLER, SELLER, text)
        await self.telegram.wait_until(lambda _: len(self.answers()) > before)

    def answers(self) -> list[Any]:
        """All messages to the seller."""
        sent = [entry for entry in self.telegram.transcript if entry.method == "sendMessage"]
        return [entry for entry in sent if entry.params["chat_id"] == SELLER]

    def approve_message(self, reference: str) -> Row | None:
        """The message to the owner with the button that approves a refund."""
        chat = self.telegram.state.chats[OWNER]
        messages = [m for m in chat.messages.values() if reference in m.get("text", "") and "reply_markup" in m]
        return next((m for m in messages if "Refund" in str(m["reply_markup"]["inline_keyboard"][0])), None)

    def press(self, message: Row) -> None:
        """The owner presses the first button of a message."""
        data = message["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
        self.telegram.press_button(message["message_id"], OWNER, data, OWNER)

    def rows(self, query: str) -> list[Row]:
        """The rows of a query."""
        with closing(sqlite3.connect(self.database)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(query)]

    async def wait_for(self, query: str) -> None:
        """Returns once the query has a row."""
        async with asyncio.timeout(60):
            while not self.rows(query):  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.1)


async def create_payments(installation: Installation) -> None:
    """Creates a paid, a partly refunded and an open payment."""
    with running(["scripts/bench_service.py"], **installation.settings) as program:
        await create_webhook_endpoint(installation.stripe, await asyncio.to_thread(program.line))
        async with aiohttp.ClientSession() as http:
            for number, text in enumerate(("Coffee", "Buns"), 1):
                installation.telegram.send(OWNER, OWNER, f"/pay 125 DKK {text}")
                await installation.wait_for(
                    f"SELECT 1 FROM payment_messages GROUP BY 1 HAVING count(message_id) = {number}"
                )
                intent = list(installation.stripe.store.intents)[-1]
                await (await http.post(f"{installation.stripe.base}/_control/intents/{intent}/approve", json={})).read()
                await installation.wait_for(
                    f"SELECT 1 FROM payments WHERE status = 'succeeded' GROUP BY 1 HAVING count(*) = {number}"
                )
        [refunded] = installation.rows("SELECT reference FROM payments WHERE description = 'Buns'")
        installation.telegram.send(OWNER, OWNER, f"/refund {refunded['reference']} 25")
        installation.press(
            await installation.telegram.wait_until(lambda _: installation.approve_message(refunded["reference"]))
        )
        await installation.wait_for("SELECT 1 FROM refunds WHERE status = 'succeeded'")
        installation.telegram.send(OWNER, OWNER, "/pay 130 DKK Cake")
        await installation.wait_for("SELECT 1 FROM payments WHERE status = 'open'")
        await installation.wait_for("SELECT 1 FROM jobs GROUP BY 1 HAVING max(state = 'pending') = 0")


def multiply(installation: Installation, number: int) -> None:
    """Inserts copies of the payments until there are so many."""
    [paid] = installation.rows("SELECT * FROM payments WHERE description = 'Coffee'")
    [refunded] = installation.rows("SELECT * FROM payments WHERE description = 'Buns'")
    [unpaid] = installation.rows("SELECT * FROM payments WHERE status = 'open'")
    with closing(sqlite3.connect(installation.database, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        [first] = installation.rows("SELECT * FROM shops")
        insert(db, "shops", ({**first, "id": shop, "name": f"Shop {shop}"} for shop in range(2, SHOPS + 1)))
        members = installation.rows("SELECT * FROM members LIMIT 1")
        seller = {"shop_id": 1, "user_id": SELLER, "role": 2, "name": "Seller"}
        insert(db, "members", [{**(members[0] if members else {"since": paid["created_at"]}), **seller}])
        related = {payment["id"]: related_rows(installation, payment) for payment in (paid, refunded, unpaid)}
        for start in range(0, number, CHUNK):
            copies = []
            for n in range(start, min(start + CHUNK, number)):
                template = unpaid if n >= number - OPEN else refunded if n // SHOPS % 10 == REFUNDED else paid
                copies.append(copy(template, related[template["id"]], n, number))
            for table in ("payments", *RELATED_TABLES, "jobs"):
                insert(db, table, (row for rows in copies for row in rows[table]))
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    [sample] = installation.rows("SELECT reference, page_token FROM payments WHERE id = 'bench00000100'")
    installation.reference, installation.page_token = sample["reference"], sample["page_token"]


def related_rows(installation: Installation, payment: Row) -> dict[str, list[Row]]:
    """The rows of a payment in other tables, by table."""
    condition = f"payment_id = '{payment['id']}'"
    return {table: installation.rows(f"SELECT * FROM {table} WHERE {condition}") for table in RELATED_TABLES}


def copy(template: Row, related: dict[str, list[Row]], n: int, number: int) -> dict[str, list[Row]]:
    """The rows of copy `n` of a payment, by table; `n` decides its shop, chat and times."""
    is_open = template["status"] == "open"
    shop = 1 if is_open else 1 + n % SHOPS
    chat = SELLER if shop == 1 else -1_000_000 - shop * CHATS_PER_SHOP - n % CHATS_PER_SHOP
    age = 0 if is_open else (number - n) * 2 * 365 * DAY // number
    payment_id, token = f"bench{n:08}", f"token{n:017}"
    changes = {
        "id": payment_id,
        "shop_id": shop,
        "chat_id": chat,
        "created_by": SELLER,
        "request_key": f"bench:{n}",
        "reference": f"B{n % 10}{n:06X}",
        "page_token": token,
        "token_hash": sha256_hex(token),
        "intent_id": f"pi_{n}",
        "receipt_number": None if is_open else n + 1_000,
    }
    changes |= {key: template[key] - age for key in PAYMENT_TIMES if template[key] is not None}
    if is_open:  # so that nothing is due during the benchmark
        changes |= {key: template[key] + 30 * DAY for key in ("next_check_at", "expires_at")}
    message = {"payment_id": payment_id, "chat_id": chat, "message_id": 10_000_000 + n}
    entry = {"payment_id": payment_id, "shop_id": shop, "id": None}
    return {
        "payments": [template | changes],
        "attempts": [row | {"payment_id": payment_id, "trigger_key": None} for row in related["attempts"]],
        "payment_messages": [row | message for row in related["payment_messages"]],
        "audit_log": [{**row, **entry, "at": row["at"] - age} for row in related["audit_log"]],
        "refunds": [copy_refund(row, payment_id, shop, age) for row in related["refunds"]],
        "jobs": finished_jobs(n, age, template["created_at"]),
    }


def copy_refund(template: Row, payment_id: str, shop: int, age: int) -> Row:
    """A copy of a refund, without a scheduled check."""
    changes = {
        "id": f"re{payment_id}",
        "payment_id": payment_id,
        "shop_id": shop,
        "request_key": f"re:{payment_id}",
        "stripe_id": f"re_{payment_id}",
        "next_check_at": None,
    }
    return template | changes | {key: template[key] - age for key in REFUND_TIMES if template[key] is not None}


def finished_jobs(n: int, age: int, now: int) -> list[Row]:
    """The jobs of a payment that are not deleted yet: three events, an update, a message and a notification."""
    retention = [("events", EVENTS_KEPT)] * 3 + [("updates", JOB_RETENTION)] + [("outbox", JOB_RETENTION)] * 2
    common = {"kind": "bench", "attempts": 0, "state": "done", "reason": "", "ordering_key": str(n)}
    common |= {"created_at": now - age, "scheduled_at": now - age, "finished_at": now - age}
    return [
        common | {"queue": queue, "key": f"bench:{n}:{number}", "payload": b"" if queue == "events" else b"x" * 1_000}
        for number, (queue, kept) in enumerate(retention)
        if age < kept.total_seconds() * 1_000_000 - DAY
    ]


RELATED_TABLES = ("attempts", "payment_messages", "audit_log", "refunds")
REFUND_TIMES = ("requested_at", "expires_at", "approved_at", "reserved_at", "first_sent_at", "settled_at")
PAYMENT_TIMES = ("created_at", "succeeded_at", "closed_at", "synced_at")


def insert(db: sqlite3.Connection, table: str, rows: Iterable[Row]) -> None:
    """Inserts rows, all with the same columns."""
    remaining = iter(rows)
    first = next(remaining, None)
    if first is None:
        return
    columns = ", ".join(first)
    placeholders = ", ".join(f":{name}" for name in first)
    db.executemany(f"INSERT INTO {table} ({columns}) VALUES ({placeholders})", itertools.chain([first], remaining))
