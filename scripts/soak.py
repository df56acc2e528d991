"""Whether memory stays flat: the real service lives through month after month of a market, in minutes.

python scripts/soak.py [--minutes 15] [--warm-up 2200] [--each 60]

The service is a process of its own, on a clock that is turned by a day after each day's requests, between the pretend
vendors; every ending of a payment is among them, with refunds, disputes, open pages and calls that break. After each
day it collects its garbage and is weighed. Prints one line of JSON; exit code 1 if, after the warm-up, memory or the
number of objects grows by more than so much for each thousand payments.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import aiohttp  # noqa: E402

from bot.app import Service  # noqa: E402
from bot.sandbox.fake_services import create_webhook_endpoint, environment  # noqa: E402
from bot.sandbox.fake_stripe import FakeStripe  # noqa: E402
from bot.sandbox.fake_telegram import FakeTelegram  # noqa: E402
from bot.sandbox.shared.fake_clock import FakeClock  # noqa: E402
from bot.settings import make_settings  # noqa: E402
from tests.chaos.soak import Market  # noqa: E402
from tests.chaos.storm_shops import PEOPLE, blank  # noqa: E402
from tests.support.world import OWNER, World, free_port  # noqa: E402

MOST_MEGABYTES, MOST_OBJECTS = 0.5, 1_000
"""For each thousand payments: half a KB and one object for each of them."""


@dataclass
class FarWorld(World):
    """A world whose service is another process, with a clock that began as ours did and is turned along.

    Were it behind, some payment would always be due by ours and not yet by its own, and nobody would ever rest.
    """

    process: Process | None = None
    turns: int = 0

    def advance(self, seconds: float) -> None:
        """Turn both clocks; the other one a moment later."""
        self._write(str(seconds))
        self.turns += 1
        super().advance(seconds)

    async def weigh(self) -> dict[str, Any]:
        """What the service holds."""
        self._write("count")
        for _ in range(self.turns):
            await self._line()
        self.turns = 0
        weight: dict[str, Any] = await self._line()
        return weight

    async def explain(self) -> None:
        """Have it say to stderr what it waits for."""
        self._write("tasks")
        for _ in range(self.turns + 1):
            await self._line()

    def _write(self, line: str) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def _line(self) -> Any:
        assert self.process is not None
        assert self.process.stdout is not None
        return json.loads(await self.process.stdout.readline())


async def main(given: argparse.Namespace) -> int:
    """Live until the time is over, and say whether anything grew."""
    samples: list[dict[str, Any]] = []
    clock = FakeClock()
    stripe, telegram = FakeStripe(clock), FakeTelegram(clock, owner_id=OWNER, flood_control=False)
    for person in (person for people in PEOPLE.values() for person, _, _ in people):
        telegram.users.private_chat(person)
    await stripe.start()
    await telegram.start()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        (Path(folder) / "kvit.db").write_bytes(await asyncio.to_thread(blank))
        settings = environment(stripe, telegram) | {
            "OWNER_IDS": str(OWNER),
            "DATABASE_URL": f"sqlite:///{folder}/kvit.db",
            "PORT": str(port),
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "TELEGRAM_MODE": "polling",
            "REQUEST_HOURS": "20",
            "LOG_LEVEL": "error",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "scripts/soak_service.py"),
            cwd=ROOT,
            env=os.environ | settings | {"PYTHONPATH": str(ROOT)},
            stdin=PIPE,
            stdout=PIPE,
        )
        assert process.stdout is not None
        base = (await process.stdout.readline()).decode().strip()
        await create_webhook_endpoint(stripe, base)
        known = make_settings(**{name.lower(): value for name, value in settings.items()})
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            service = cast("Service", SimpleNamespace(base=base))
            world = FarWorld(stripe, telegram, clock, known, http, service, process=process)
            market = Market(world, streams=True)
            began = time.monotonic()
            while time.monotonic() - began < given.minutes * 60:
                try:
                    await market.day(given.each)
                except TimeoutError:
                    await world.explain()
                    raise
                samples.append({"payments": market.payments, **await world.weigh()})
                if given.talk:
                    print(json.dumps(samples[-1]), file=sys.stderr, flush=True)
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
    await telegram.stop()
    await stripe.stop()
    return judge(samples, given.warm_up, time.monotonic() - began)


def judge(samples: list[dict[str, Any]], warm_up: int, seconds: float) -> int:
    """Print what grew; 1 if that is too much, or if there is too little to tell."""
    warm = [sample for sample in samples if sample["payments"] > warm_up]
    if len(warm) < 3:
        print(json.dumps({"error": "too few days after the warm-up", "days": len(samples)}))
        return 1
    megabytes, objects = slope(warm, "megabytes"), slope(warm, "objects")
    first, last = warm[0], warm[-1]
    grown = {
        kind: number - first["kinds"].get(kind, 0)
        for kind, number in last["kinds"].items()
        if number - first["kinds"].get(kind, number) > 0
    }
    is_flat = megabytes <= MOST_MEGABYTES and objects <= MOST_OBJECTS
    told = {
        "flat": is_flat,
        "days": len(samples),
        "payments": last["payments"],
        "seconds": round(seconds),
        "megabytes": [round(first["megabytes"], 1), round(last["megabytes"], 1)],
        "objects": [first["objects"], last["objects"]],
        "megabytes_per_1000_payments": round(megabytes, 3),
        "objects_per_1000_payments": round(objects),
        "grown": grown,
    }
    print(json.dumps(told))
    return 0 if is_flat else 1


def slope(samples: list[dict[str, Any]], what: str) -> float:
    """By how much it grows for each thousand payments: the median of the slopes between all pairs of samples.

    One sample that is out of line, such as a moment in which something was being worked on, does not move it.
    """
    pairs = [
        (later[what] - earlier[what]) / (later["payments"] - earlier["payments"]) * 1000
        for number, earlier in enumerate(samples)
        for later in samples[number + 1 :]
    ]
    found: float = median(pairs)
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="see whether memory stays flat")
    parser.add_argument("--minutes", type=float, default=15, help="begin no day later than this")
    parser.add_argument("--warm-up", type=int, default=2200, help="payments before growth counts")
    parser.add_argument("--each", type=int, default=60, help="payments of a day")
    parser.add_argument("--talk", action="store_true", help="print each day's weight to stderr")
    return parser.parse_args()


if __name__ == "__main__":
    os.chdir(ROOT)
    random.seed(1)
    sys.exit(asyncio.run(main(_arguments())))
