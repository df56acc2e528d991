"""The service for the soak: as `serve` runs it, on a clock that is turned from outside, and it counts what it holds.

Each line on stdin is a number of seconds by which its clock is turned, or `count`, or `tasks`, which tells stderr what
everybody waits for; each is answered by a line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from collections import Counter
from pathlib import Path

from bot import logging_setup
from bot.app import Service
from bot.sandbox.shared.fake_clock import FakeClock
from bot.settings import load
from handlers.telegram.rate_limit import TelegramRateLimiter

ENOUGH = 1_000_000
MANY = 12
"""So many kinds of objects are named."""


async def main() -> None:
    """Serve until stdin ends; the first line is where."""
    settings = load(None)
    logging_setup.configure(level=settings.log_level)
    clock = FakeClock()
    service = Service(settings, clock, rate_limiter=TelegramRateLimiter(ENOUGH, ENOUGH, ENOUGH, ENOUGH))
    await service.start()
    print(service.base, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip() == "count":
            print(json.dumps(count()), flush=True)
        elif line.strip() == "tasks":
            for task in asyncio.all_tasks():
                task.print_stack(file=sys.stderr)
            print(json.dumps(len(asyncio.all_tasks())), flush=True)
        else:
            clock.advance(float(line))
            print(json.dumps(clock.now().isoformat()), flush=True)
    await service.stop()


def count() -> dict[str, object]:
    """Resident megabytes, and how many objects there are, of which kinds."""
    gc.collect()
    kinds = Counter(type(one).__qualname__ for one in gc.get_objects())
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return {
        "megabytes": resident,
        "connections": kinds["Connection"],
        "objects": kinds.total(),
        "kinds": dict(kinds.most_common(MANY)),
    }


if __name__ == "__main__":
    asyncio.run(main())
