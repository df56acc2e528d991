"""Compares Kvit with a million payments in its database with Kvit with a thousand: commands, pages, starts, backups.

python scripts/bench_million.py [PAYMENTS] [ROUNDS]

The real program creates a few payments; their rows are then copied, over a hundred shops, three hundred chats and two
years, with a refund of every tenth payment and as many finished jobs as are retained, so that both databases have the
same few open requests. Both programs run at the same time, each with a fake Telegram of its own, and take turns; what
counts is their CPU. The reconciler, which finds nothing due and nothing to delete, runs in this process.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import aiohttp  # noqa: E402
from bench import Program, running, spread  # noqa: E402
from bench_dataset import Installation, create_payments, multiply  # noqa: E402

from bot.app import Service  # noqa: E402
from bot.clock import SystemClock  # noqa: E402
from bot.settings import make_settings  # noqa: E402
from handlers.operations.reconciler import EVENTS_KEPT, JOB_RETENTION  # noqa: E402
from storage import messages  # noqa: E402

SMALL_NUMBER = 1_000
NAMES = ("small", "large")
REPETITIONS = 20
"""How often each action runs in a round."""


async def main(payments: int, rounds: int) -> None:
    """Prints the cost of each action with both databases, and the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = [await Installation.create(Path(folder), name) for name in NAMES]
        for installation, number in ((small, SMALL_NUMBER), (large, payments)):
            started = time.monotonic()
            await create_payments(installation)
            multiply(installation, number)
            size = installation.database.stat().st_size / 1e6
            print(f"{number} payments: {size:.0f} MB, made in {time.monotonic() - started:.0f} s", flush=True)
        starts: dict[str, list[float]] = {name: [] for name in NAMES}
        for _ in range(rounds + 1):
            for installation in (small, large):
                with running(["scripts/bench_service.py"], **installation.settings) as program:
                    await asyncio.to_thread(program.line)
                    starts[installation.name].append(program.cpu)
        report("start", starts)
        await measure_reconciler(small, large, rounds)
        await measure_migration(small, large)
        await measure_backup(small, large, rounds)
        with (
            running(["scripts/bench_service.py"], **small.settings) as small_program,
            running(["scripts/bench_service.py"], **large.settings) as large_program,
        ):
            small.base, large.base = [await asyncio.to_thread(each.line) for each in (small_program, large_program)]
            for installation in (small, large):
                await installation.ask("/status")
                await installation.ask(f"/refund {installation.reference} 5")
                assert "Refund" in installation.answers()[-1].params["text"], installation.answers()[-1].params["text"]
            await compare_commands({small_program: small, large_program: large}, rounds)
        for installation in (small, large):
            await installation.telegram.stop()
            await installation.stripe.stop()


async def measure_reconciler(small: Installation, large: Installation, rounds: int) -> None:
    """The CPU of a reconciliation that finds nothing due and nothing to delete."""
    costs: dict[str, list[float]] = {name: [] for name in NAMES}
    services = [
        Service(make_settings(**lower_names(installation.settings)), SystemClock()) for installation in (small, large)
    ]
    try:
        for _ in range(rounds + 1):
            for installation, service in zip((small, large), services, strict=True):
                components, before, now = service._components, time.process_time(), SystemClock().now()
                for _ in range(REPETITIONS * 5):
                    assert await components.reconciler.run_once() == 0
                    for queue in components.queues:
                        kept = EVENTS_KEPT if queue.queue == "events" else JOB_RETENTION
                        assert await queue.delete_done(before=now - kept) == 0
                costs[installation.name].append((time.process_time() - before) / REPETITIONS / 5)
    finally:
        for service in services:
            await service.stop()
    report("one reconciliation", costs, ".2f")


async def measure_migration(small: Installation, large: Installation) -> None:
    """How long the migration of a group takes, and the longest time for which the event loop is blocked."""
    for installation in (small, large):
        service = Service(make_settings(**lower_names(installation.settings)), SystemClock())
        group = installation.rows("SELECT chat_id FROM payments WHERE shop_id = 2 LIMIT 1")[0]["chat_id"]
        [count] = installation.rows(f"SELECT count(*) AS n FROM payments WHERE chat_id = {group}")
        started = time.monotonic()
        migration = asyncio.create_task(service._db.write(messages.migrate_chat, group, group - 10_000_000))
        longest_gap, last = 0.0, started
        while not migration.done():
            await asyncio.sleep(0)
            longest_gap, last = max(longest_gap, time.monotonic() - last), time.monotonic()
        duration = time.monotonic() - started
        await service.stop()
        blocked = f"the event loop is blocked for at most {longest_gap * 1000:.0f} ms"
        print(f"migration of a group with {count['n']} payments: {duration * 1000:.0f} ms, {blocked}", flush=True)


async def measure_backup(small: Installation, large: Installation, rounds: int) -> None:
    """How long a backup takes; it copies everything, so it is quoted by size."""
    for installation in (small, large):
        durations = []
        for number in range(min(rounds, 2)):
            copy_path = installation.database.with_name(f"{installation.name}-{number}.backup")
            started = time.monotonic()
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bot", "backup", str(copy_path)),
                env=os.environ | installation.settings,
                stdout=asyncio.subprocess.DEVNULL,
            )
            assert await program.wait() == 0
            durations.append(time.monotonic() - started)
            copy_path.unlink()
        print(
            f"backup of {installation.database.stat().st_size / 1e6:.0f} MB: {spread(durations, '.1f')} s", flush=True
        )


def lower_names(settings: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in settings.items()}


async def compare_commands(programs: dict[Program, Installation], rounds: int) -> None:
    """Runs each action in each round, one program after the other; the first round does not count."""
    async with aiohttp.ClientSession() as http:

        async def page(installation: Installation) -> None:
            async with http.get(f"{installation.base}/p/{installation.page_token}") as response:
                assert response.status == 200, response.status
                await response.read()

        numbers = count()  # the same command twice within five seconds is asked about
        actions: dict[str, Callable[[Installation], Any]] = {
            "/open": lambda installation: installation.ask("/open"),
            "/status": lambda installation: installation.ask("/status"),
            "/status REF": lambda installation: installation.ask(f"/status {installation.reference}"),
            "/log": lambda installation: installation.ask("/log"),
            "/team": lambda installation: installation.ask("/team"),
            "/refund REF 5": lambda installation: installation.ask(f"/refund {installation.reference} 5"),
            "/pay": lambda installation: installation.ask(f"/pay 125 DKK Tea {next(numbers)}"),
            "page of an old payment": page,
        }
        for name, action in actions.items():
            costs: dict[str, list[float]] = {name: [] for name in NAMES}
            for _ in range(rounds + 1):
                for program, installation in programs.items():
                    before = program.cpu
                    for _ in range(REPETITIONS):
                        await action(installation)
                    costs[installation.name].append((program.cpu - before) / REPETITIONS)
            report(name, costs)


def report(name: str, costs: dict[str, list[float]], format_spec: str = ".1f") -> None:
    """Prints one line: milliseconds of CPU with both databases, and the ratio of each round."""
    small, large = ([cost * 1000 for cost in costs[installation][1:]] for installation in NAMES)
    ratio = [of_large / of_small for of_small, of_large in zip(small, large, strict=True)]
    print(
        f"{name:24} {spread(small, format_spec)} ms   {spread(large, format_spec)} ms   ratio {spread(ratio)}",
        flush=True,
    )


if __name__ == "__main__":
    os.chdir(ROOT)
    numbers = [int(word) for word in sys.argv[1:]]
    asyncio.run(main(numbers[0] if numbers else 1_000_000, numbers[1] if len(numbers) > 1 else 5))
