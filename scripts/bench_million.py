"""Kvit with a million payments in its book against Kvit with a thousand: the same commands, looks and starts in turn.

python scripts/bench_million.py [PAYMENTS] [ROUNDS]

A small life is lived first by the real program; its rows are then multiplied, over a hundred shops, three hundred chats
and two years, a refund with every tenth payment, and as much mail as is kept, so that each book has the same few open
requests. Both programs run at the same time, each with a pretend Telegram of its own, and are asked in turn; what
counts is their CPU. The sweep finds nothing due and nothing to forget, and is run in this process by itself.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage import messages

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import aiohttp  # noqa: E402
from bench import Program, running, spread  # noqa: E402
from bench_book import Side, live, multiply  # noqa: E402

from bot.app import Service  # noqa: E402
from bot.clock import SystemClock  # noqa: E402
from bot.settings import make_settings  # noqa: E402
from handlers.operations.reconciler import EVENTS_KEPT, JOB_RETENTION  # noqa: E402

FEW = 1_000
TIMES = 20
"""So often each thing is done in a round."""


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
        await sweep(few, many, rounds)
        await move(few, many)
        await back_up(few, many, rounds)
        with (
            running(["scripts/bench_service.py"], **few.settings) as small,
            running(["scripts/bench_service.py"], **many.settings) as large,
        ):
            few.base, many.base = [await asyncio.to_thread(each.line) for each in (small, large)]
            for side in (few, many):
                await side.asks("/status")
                await side.asks(f"/refund {side.ref} 5")
                assert "Refund" in side.answers()[-1].params["text"], side.answers()[-1].params["text"]
            await compare({small: few, large: many}, rounds)
        for side in (few, many):
            await side.telegram.stop()
            await side.stripe.stop()


async def sweep(few: Side, many: Side, rounds: int) -> None:
    """What it costs to look for what is due, and for what is to be forgotten."""
    costs: dict[str, list[float]] = {"few": [], "many": []}
    services = [Service(make_settings(**lower(side.settings)), SystemClock()) for side in (few, many)]
    try:
        for _ in range(rounds + 1):
            for side, service in zip((few, many), services, strict=True):
                house, before, now = service._components, time.process_time(), SystemClock().now()
                for _ in range(TIMES * 5):
                    assert await house.reconciler.run_once() == 0
                    for queue in house.queues:
                        assert (
                            await queue.delete_done(
                                before=now - (EVENTS_KEPT if queue.queue == "events" else JOB_RETENTION)
                            )
                            == 0
                        )
                costs[side.name].append((time.process_time() - before) / TIMES / 5)
    finally:
        for service in services:
            await service.stop()
    tell("a sweep", costs, ".2f")


async def move(few: Side, many: Side) -> None:
    """How long a group takes to become a supergroup, and for how long nobody else had a turn meanwhile."""
    for side in (few, many):
        service = Service(make_settings(**lower(side.settings)), SystemClock())
        group = side.rows("SELECT chat_id FROM payments WHERE shop_id = 2 LIMIT 1")[0]["chat_id"]
        [known] = side.rows(f"SELECT count(*) AS n FROM payments WHERE chat_id = {group}")
        began = time.monotonic()
        moving = asyncio.create_task(service._db.write(messages.migrate_chat, group, group - 10_000_000))
        longest, last = 0.0, began
        while not moving.done():
            await asyncio.sleep(0)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        took = time.monotonic() - began
        await service.stop()
        print(f"a group of {known['n']} payments moves: {took * 1000:.0f} ms, {longest * 1000:.0f} at once", flush=True)


async def back_up(few: Side, many: Side, rounds: int) -> None:
    """How long a backup takes; it copies everything, so it is quoted by size."""
    for side in (few, many):
        took = []
        for number in range(min(rounds, 2)):
            copy_of = side.book.with_name(f"{side.name}-{number}.backup")
            began = time.monotonic()
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bot", "backup", str(copy_of)),
                env=os.environ | side.settings,
                stdout=asyncio.subprocess.DEVNULL,
            )
            assert await program.wait() == 0
            took.append(time.monotonic() - began)
            copy_of.unlink()
        print(f"backup of {side.book.stat().st_size / 1e6:.0f} MB: {spread(took, '.1f')} s", flush=True)


def lower(settings: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in settings.items()}


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
            "/team": lambda side: side.asks("/team"),
            "/refund REF 5": lambda side: side.asks(f"/refund {side.ref} 5"),
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


def tell(name: str, costs: dict[str, list[float]], form: str = ".1f") -> None:
    """One line: milliseconds of CPU with either book, and the ratio of each round."""
    few, many = ([cost * 1000 for cost in costs[side][1:]] for side in ("few", "many"))
    ratio = [large / small for small, large in zip(few, many, strict=True)]
    print(f"{name:24} {spread(few, form)} ms   {spread(many, form)} ms   ratio {spread(ratio)}", flush=True)


if __name__ == "__main__":
    os.chdir(ROOT)
    given = [int(word) for word in sys.argv[1:]]
    asyncio.run(main(given[0] if given else 1_000_000, given[1] if len(given) > 1 else 5))
