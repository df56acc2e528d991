"""The book of the benchmark of a million payments: a small life of the real program, and its rows again and again."""

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
SHOPS, CHATS_OF_A_SHOP = 100, 3
DAY = 86_400_000_000
REFUNDED = 3
"""Of ten hundreds of payments, the payments of this one went back in part."""

OPEN = 40
CHUNK = 10_000
Row = dict[str, Any]


@dataclass
class Side:
    """One of the two: its book, its vendors, and the environment of its program."""

    name: str
    book: Path
    stripe: FakeStripe
    telegram: FakeTelegram
    settings: dict[str, str]
    base: str = ""
    ref: str = ""
    token: str = ""

    @classmethod
    async def made(cls, folder: Path, name: str) -> Side:
        """Its vendors, and an empty book."""
        clock = FakeClock()
        stripe, telegram = FakeStripe(clock), FakeTelegram(clock, flood_control=False)
        book = folder / f"{name}.db"
        await stripe.start()
        await telegram.start()
        settings = environment(stripe, telegram) | {
            "OWNER_IDS": str(OWNER),
            "DATABASE_URL": f"sqlite:///{book}",
            "PORT": "0",
            "LOG_LEVEL": "error",
            "PUBLIC_URL": "https://pay.example.dk",
            "TELEGRAM_MODE": "polling",
        }
        return cls(name, book, stripe, telegram, settings)

    async def asks(self, text: str) -> None:
        """The seller writes it, and has his answer."""
        before = len(self.answers())
        self.telegram.send(SELLER, SELLER, text)
        await self.telegram.wait_until(lambda _: len(self.answers()) > before)

    def answers(self) -> list[Any]:
        """Every message that the seller was sent."""
        sent = [entry for entry in self.telegram.transcript if entry.method == "sendMessage"]
        return [entry for entry in sent if entry.params["chat_id"] == SELLER]

    def offer(self, ref: str) -> Row | None:
        """The message to the owner with the button that lets money go back."""
        chat = self.telegram.state.chats[OWNER]
        said = [m for m in chat.messages.values() if ref in m.get("text", "") and "reply_markup" in m]
        return next((m for m in said if "Refund" in str(m["reply_markup"]["inline_keyboard"][0])), None)

    def tap(self, message: Row) -> None:
        """The owner presses its first button."""
        data = message["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
        self.telegram.press_button(message["message_id"], OWNER, data, OWNER)

    def rows(self, query: str) -> list[Row]:
        """What the book says."""
        with closing(sqlite3.connect(self.book)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(query)]

    async def has(self, query: str) -> None:
        """Return once the book says something to that."""
        async with asyncio.timeout(60):
            while not self.rows(query):  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.1)


async def live(side: Side) -> None:
    """One request that is paid, one that goes back in part, and one that stands, in the shop of the seller."""
    with running(["scripts/bench_service.py"], **side.settings) as program:
        await create_webhook_endpoint(side.stripe, await asyncio.to_thread(program.line))
        async with aiohttp.ClientSession() as http:
            for number, text in enumerate(("Coffee", "Buns"), 1):
                side.telegram.send(OWNER, OWNER, f"/pay 125 DKK {text}")
                await side.has(f"SELECT 1 FROM payment_messages GROUP BY 1 HAVING count(message_id) = {number}")
                intent = list(side.stripe.store.intents)[-1]
                await (await http.post(f"{side.stripe.base}/_control/intents/{intent}/approve", json={})).read()
                await side.has(
                    f"SELECT 1 FROM payments WHERE status = 'succeeded' GROUP BY 1 HAVING count(*) = {number}"
                )
        [back] = side.rows("SELECT reference FROM payments WHERE description = 'Buns'")
        side.telegram.send(OWNER, OWNER, f"/refund {back['ref']} 25")
        side.tap(await side.telegram.wait_until(lambda _: side.offer(back["ref"])))
        await side.has("SELECT 1 FROM refunds WHERE status = 'succeeded'")
        side.telegram.send(OWNER, OWNER, "/pay 130 DKK Cake")
        await side.has("SELECT 1 FROM payments WHERE status = 'open'")
        await side.has("SELECT 1 FROM jobs GROUP BY 1 HAVING max(state = 'pending') = 0")


def multiply(side: Side, number: int) -> None:
    """Write the rows of the two requests again and again, until there are so many payments."""
    [paid] = side.rows("SELECT * FROM payments WHERE description = 'Coffee'")
    [went_back] = side.rows("SELECT * FROM payments WHERE description = 'Buns'")
    [stands] = side.rows("SELECT * FROM payments WHERE status = 'open'")
    with closing(sqlite3.connect(side.book, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        [first] = side.rows("SELECT * FROM shops")
        put(db, "shops", ({**first, "id": shop, "name": f"Shop {shop}"} for shop in range(2, SHOPS + 1)))
        person = {"shop_id": 1, "user_id": SELLER, "role": 2, "name": "Seller"}
        like = side.rows("SELECT * FROM members LIMIT 1")
        put(db, "members", [{**(like[0] if like else {"since": paid["created_at"]}), **person}])
        parts = {like["id"]: parts_of(side, like) for like in (paid, went_back, stands)}
        for begin in range(0, number, CHUNK):
            numbers = range(begin, min(begin + CHUNK, number))
            usual = {n: went_back if n // SHOPS % 10 == REFUNDED else paid for n in numbers}
            likes = ((n, stands if n >= number - OPEN else like) for n, like in usual.items())
            made = [copy(like, parts[like["id"]], n, number) for n, like in likes]
            for table in ("payments", *PARTS, "mail"):
                put(db, table, (row for copied in made for row in copied[table]))
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    [known] = side.rows("SELECT reference, page_token FROM payments WHERE id = 'bench00000100'")
    side.ref, side.token = known["ref"], known["token"]


def parts_of(side: Side, payment: Row) -> dict[str, list[Row]]:
    """What belongs to a payment, by table."""
    return {table: side.rows(f"SELECT * FROM {table} WHERE payment_id = '{payment['id']}'") for table in PARTS}


def copy(like: Row, parts: dict[str, list[Row]], n: int, number: int) -> dict[str, list[Row]]:
    """The rows of another payment like this one: its shop, chat and time are told by its number."""
    is_open = like["status"] == "open"
    shop = 1 if is_open else 1 + n % SHOPS
    chat = SELLER if shop == 1 else -1_000_000 - shop * CHATS_OF_A_SHOP - n % CHATS_OF_A_SHOP
    back = 0 if is_open else (number - n) * 2 * 365 * DAY // number
    own = {"id": f"bench{n:08}", "shop_id": shop, "chat_id": chat, "created_by": SELLER, "source": f"bench:{n}"}
    own |= {
        "ref": f"B{n % 10}{n:06X}",
        "token": f"token{n:017}",
        "token_hash": sha256_hex(f"token{n:017}"),
        "intent_id": f"pi_{n}",
    }
    moved = {key: like[key] - back for key in TIMES_OF_A_PAYMENT if like[key] is not None}
    later = {"look_at": like["look_at"] + 30 * DAY, "expires_at": like["expires_at"] + 30 * DAY} if is_open else {}
    receipt = {"receipt_number": None if is_open else n + 1_000}
    made = {"payments": [like | own | moved | later | receipt]}
    made["attempts"] = [row | {"payment_id": own["id"], "cause": None} for row in parts["attempts"]]
    made["cards"] = [
        row | {"payment_id": own["id"], "chat_id": chat, "message_id": 10_000_000 + n} for row in parts["cards"]
    ]
    dated = {"payment_id": own["id"], "shop_id": shop}
    made["history"] = [{**row, **dated, "id": None, "at": row["at"] - back} for row in parts["history"]]
    made["refunds"] = [refund(row, f"bench{n:08}", shop, back) for row in parts["refunds"]]
    made["mail"] = mails(n, back, like["created_at"])
    return made


def refund(like: Row, payment: str, shop: int, back: int) -> Row:
    """Another one like this; nobody has to look at it any more."""
    own = {"id": f"re{payment}", "payment_id": payment, "shop_id": shop, "source": f"re:{payment}", "look_at": None}
    moved = {key: like[key] - back for key in TIMES_OF_A_REFUND if like[key] is not None}
    return like | own | moved | {"stripe_id": f"re_{payment}"}


def mails(n: int, back: int, now: int) -> list[Row]:
    """The mail that is still kept of a payment: three events, the update, a card and a notice."""
    kept = [("events", EVENTS_KEPT)] * 3 + [("updates", JOB_RETENTION)] + [("outbox", JOB_RETENTION)] * 2
    made = {"kind": "bench", "tries": 0, "state": "done", "note": "", "lane": str(n)}
    made |= {"put_at": now - back, "due_at": now - back, "settled_at": now - back}
    return [
        made | {"box": box, "key": f"bench:{n}:{number}", "body": b"" if box == "events" else b"x" * 1_000}
        for number, (box, long) in enumerate(kept)
        if back < long.total_seconds() * 1_000_000 - DAY
    ]


PARTS = ("attempts", "cards", "history", "refunds")
TIMES_OF_A_REFUND = ("asked_at", "expires_at", "approved_at", "reserved_at", "sent_at", "settled_at")
TIMES_OF_A_PAYMENT = ("created_at", "succeeded_at", "ended_at", "looked_at")


def put(db: sqlite3.Connection, table: str, rows: Iterable[Row]) -> None:
    """Insert them, all alike."""
    rest = iter(rows)
    first = next(rest, None)
    if first is None:
        return
    columns = ", ".join(first)
    marks = ", ".join(f":{name}" for name in first)
    db.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", itertools.chain([first], rest))
