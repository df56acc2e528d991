"""Kvit with a million payments in its book against Kvit with a thousand: the same commands, looks and starts in turn.

python scripts/bench_million.py [PAYMENTS] [ROUNDS]

A small life is lived first by the real program; its rows are then multiplied, over a hundred shops, three hundred chats
and two years, so that each book has the same few open requests. Both programs run at the same time, each with a
pretend Telegram of its own, and are asked in turn; what counts is their CPU.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import aiohttp  # noqa: E402
from bench import Program, running, spread  # noqa: E402

from bot.sandbox.clock import TurnedClock  # noqa: E402
from bot.sandbox.fake_stripe import FakeStripe  # noqa: E402
from bot.sandbox.fake_telegram import FakeTelegram  # noqa: E402
from bot.sandbox.vendors import environment, subscribe  # noqa: E402
from storage.payment import hash_of  # noqa: E402

OWNER, SELLER = 90_000_000, 90_000_001
SHOPS, CHATS_OF_A_SHOP = 100, 3
FEW, DAY = 1_000, 86_400_000_000
OPEN = 40
TIMES = 20
"""So often each thing is done in a round."""

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
        clock = TurnedClock()
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
        self.telegram.say(SELLER, SELLER, text)
        await self.telegram.until(lambda _: len(self.answers()) > before)

    def answers(self) -> list[Any]:
        """Every message that the seller was sent."""
        sent = [entry for entry in self.telegram.transcript if entry.method == "sendMessage"]
        return [entry for entry in sent if entry.params["chat_id"] == SELLER]

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


async def main(most: int, rounds: int) -> None:
    """Print what each thing costs with either book, and the ratio."""
    with tempfile.TemporaryDirectory() as name:
        few, many = [await Side.made(Path(name), side) for side in ("few", "many")]
        for side, number in ((few, FEW), (many, most)):
            began = time.monotonic()
            await live(side)
            multiply(side, number)
            size = side.book.stat().st_size / 1e6
            print(f"{number} payments: {size:.0f} MB, made in {time.monotonic() - began:.0f} s", flush=True)
        starts: dict[str, list[float]] = {"few": [], "many": []}
        for _ in range(rounds + 1):
            for side in (few, many):
                with running(["scripts/bench_service.py"], **side.settings) as program:
                    await asyncio.to_thread(program.line)
                    starts[side.name].append(program.cpu)
        tell("start until ready", starts)
        with (
            running(["scripts/bench_service.py"], **few.settings) as small,
            running(["scripts/bench_service.py"], **many.settings) as large,
        ):
            few.base, many.base = [await asyncio.to_thread(each.line) for each in (small, large)]
            for side in (few, many):
                await side.asks("/status")
            await compare({small: few, large: many}, rounds)
        for side in (few, many):
            await side.telegram.stop()
            await side.stripe.stop()


async def live(side: Side) -> None:
    """One request that is paid and one that stands, in the shop of the seller."""
    with running(["scripts/bench_service.py"], **side.settings) as program:
        await subscribe(side.stripe, await asyncio.to_thread(program.line))
        side.telegram.say(OWNER, OWNER, "/pay 125 DKK Coffee")
        await side.has("SELECT 1 FROM cards WHERE message_id IS NOT NULL")
        intent = next(iter(side.stripe.ledger.intents))
        async with aiohttp.ClientSession() as http:
            await (await http.post(f"{side.stripe.base}/_control/intents/{intent}/approve", json={})).read()
        await side.has("SELECT 1 FROM payments WHERE status = 'succeeded'")
        side.telegram.say(OWNER, OWNER, "/pay 130 DKK Cake")
        await side.has("SELECT 1 FROM payments WHERE status = 'open'")
        await side.has("SELECT 1 FROM mail GROUP BY 1 HAVING max(state = 'waiting') = 0")


def multiply(side: Side, number: int) -> None:
    """Write the rows of the two requests again and again, until there are so many payments."""
    [paid] = side.rows("SELECT * FROM payments WHERE status = 'succeeded'")
    [stands] = side.rows("SELECT * FROM payments WHERE status = 'open'")
    with closing(sqlite3.connect(side.book, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        [first] = side.rows("SELECT * FROM shops")
        put(db, "shops", ({**first, "id": shop, "name": f"Shop {shop}"} for shop in range(2, SHOPS + 1)))
        person = {"shop_id": 1, "user_id": SELLER, "role": 2, "name": "Seller"}
        like = side.rows("SELECT * FROM members LIMIT 1")
        put(db, "members", [{**(like[0] if like else {"since": paid["created_at"]}), **person}])
        parts = {like["id"]: parts_of(side, like) for like in (paid, stands)}
        for begin in range(0, number, CHUNK):
            likes = ((n, stands if n >= number - OPEN else paid) for n in range(begin, min(begin + CHUNK, number)))
            made = [copy(like, parts[like["id"]], n, number) for n, like in likes]
            for table in ("payments", *PARTS):
                put(db, table, (row for copied in made for row in copied[table]))
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    [known] = side.rows("SELECT ref, token FROM payments WHERE id = 'bench00000100'")
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
        "ref": f"B{n % 10}{n:07X}"[:10],
        "token": f"token{n:017}",
        "token_hash": hash_of(f"token{n:017}"),
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
    return made


PARTS = ("attempts", "cards", "history")
TIMES_OF_A_PAYMENT = ("created_at", "succeeded_at", "ended_at", "looked_at")


def put(db: sqlite3.Connection, table: str, rows: Iterable[Row]) -> None:
    """Insert them, all alike."""
    rest = iter(rows)
    first = next(rest)
    columns = ", ".join(first)
    marks = ", ".join(f":{name}" for name in first)
    db.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", itertools.chain([first], rest))


async def compare(programs: dict[Program, Side], rounds: int) -> None:
    """Do each thing so often in each round, with one program after the other; the first round does not count."""
    async with aiohttp.ClientSession() as http:

        async def page(side: Side) -> None:
            async with http.get(f"{side.base}/p/{side.token}") as answer:
                assert answer.status == 200, answer.status
                await answer.read()

        things: dict[str, Callable[[Side], Any]] = {
            "/open": lambda side: side.asks("/open"),
            "/status": lambda side: side.asks("/status"),
            "/status REF": lambda side: side.asks(f"/status {side.ref}"),
            "/log": lambda side: side.asks("/log"),
            "/pay": lambda side: side.asks("/pay 125 DKK Tea"),
            "page of an old payment": page,
        }
        for name, do in things.items():
            costs: dict[str, list[float]] = {"few": [], "many": []}
            for _ in range(rounds + 1):
                for program, side in programs.items():
                    before = program.cpu
                    for _ in range(TIMES):
                        await do(side)
                    costs[side.name].append((program.cpu - before) / TIMES)
            tell(name, costs)


def tell(name: str, costs: dict[str, list[float]]) -> None:
    """One line: milliseconds of CPU with either book, and the ratio of each round."""
    few, many = ([cost * 1000 for cost in costs[side][1:]] for side in ("few", "many"))
    ratio = [large / small for small, large in zip(few, many, strict=True)]
    print(f"{name:24} {spread(few, '.1f')} ms   {spread(many, '.1f')} ms   ratio {spread(ratio)}", flush=True)


if __name__ == "__main__":
    os.chdir(ROOT)
    given = [int(word) for word in sys.argv[1:]]
    asyncio.run(main(given[0] if given else 1_000_000, given[1] if len(given) > 1 else 5))
