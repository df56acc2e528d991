"""Checks that memory does not grow: the real service handles month after month of simulated traffic in minutes.

python scripts/soak.py [--minutes 15] [--warm-up 2200] [--each 60]

The service is a process of its own between the fake vendors. Its clock advances by a day after each day's requests,
which include every course of a payment, refunds, disputes, open pages and failing calls. After each day it collects
garbage and is measured. Prints one line of JSON; the exit code is 1 if memory or the number of objects grows after the
warm-up by more than the limits per thousand payments.
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
from tests.chaos.soak import SoakTraffic  # noqa: E402
from tests.chaos.storm_shops import SHOP_MEMBERS, seeded_database  # noqa: E402
from tests.support.world import OWNER, World, free_port  # noqa: E402

MAX_MEGABYTES, MAX_OBJECTS = 0.5, 1_000
"""Per thousand payments: half a KB and one object for each."""


@dataclass
class RemoteWorld(World):
    """A world whose service is another process, with a clock that starts and advances with ours.

    With a slower clock, some payment would be due by our clock and not by its own, and the world would never be idle.
    """

    process: Process | None = None
    advances: int = 0

    def advance(self, seconds: float) -> None:
        """Advances both clocks, the remote one a moment later."""
        self._write(str(seconds))
        self.advances += 1
        super().advance(seconds)

    async def measure(self) -> dict[str, Any]:
        """Memory and objects of the service."""
        self._write("count")
        for _ in range(self.advances):
            await self._line()
        self.advances = 0
        measured: dict[str, Any] = await self._line()
        return measured

    async def dump_tasks(self) -> None:
        """Makes the service write its tasks to stderr."""
        self._write("tasks")
        for _ in range(self.advances + 1):
            await self._line()

    def _write(self, line: str) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def _line(self) -> Any:
        assert self.process is not None
        assert self.process.stdout is not None
        return json.loads(await self.process.stdout.readline())


async def main(arguments: argparse.Namespace) -> int:
    """Runs until the time is over; returns the exit code."""
    samples: list[dict[str, Any]] = []
    clock = FakeClock()
    stripe, telegram = FakeStripe(clock), FakeTelegram(clock, owner_id=OWNER, flood_control=False)
    for user_id in (user_id for people in SHOP_MEMBERS.values() for user_id, _, _ in people):
        telegram.users.private_chat(user_id)
    await stripe.start()
    await telegram.start()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        (Path(folder) / "kvit.db").write_bytes(await asyncio.to_thread(seeded_database))
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
        configured = make_settings(**{name.lower(): value for name, value in settings.items()})
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            service = cast("Service", SimpleNamespace(base=base))
            world = RemoteWorld(stripe, telegram, clock, configured, http, service, process=process)
            traffic = SoakTraffic(world, streams=True)
            started = time.monotonic()
            while time.monotonic() - started < arguments.minutes * 60:
                try:
                    await traffic.day(arguments.each)
                except TimeoutError:
                    await world.dump_tasks()
                    raise
                samples.append({"payments": traffic.payments, **await world.measure()})
                if arguments.verbose:
                    print(json.dumps(samples[-1]), file=sys.stderr, flush=True)
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
    await telegram.stop()
    await stripe.stop()
    return report(samples, arguments.warm_up, time.monotonic() - started)


def report(samples: list[dict[str, Any]], warm_up: int, seconds: float) -> int:
    """Prints what grew; returns 1 if that is too much or if there are too few samples."""
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
    is_flat = megabytes <= MAX_MEGABYTES and objects <= MAX_OBJECTS
    result = {
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
    print(json.dumps(result))
    return 0 if is_flat else 1


def slope(samples: list[dict[str, Any]], quantity: str) -> float:
    """The growth per thousand payments: the median slope of all pairs of samples.

    A single outlier, such as a sample during work, does not change it.
    """
    pairs = [
        (later[quantity] - earlier[quantity]) / (later["payments"] - earlier["payments"]) * 1000
        for number, earlier in enumerate(samples)
        for later in samples[number + 1 :]
    ]
    found: float = median(pairs)
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="check that memory does not grow")
    parser.add_argument("--minutes", type=float, default=15, help="start no day later than this")
    parser.add_argument("--warm-up", type=int, default=2200, help="payments before growth counts")
    parser.add_argument("--each", type=int, default=60, help="payments per day")
    parser.add_argument("--verbose", action="store_true", help="print each day's sample to stderr")
    return parser.parse_args()


if __name__ == "__main__":
    os.chdir(ROOT)
    random.seed(1)
    sys.exit(asyncio.run(main(_arguments())))
