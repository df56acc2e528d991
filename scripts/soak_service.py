"""The service for the soak test: runs as `serve` does, on a clock that the parent process advances, and measures
itself.

Each line on stdin is a number of seconds to advance the clock, `count` to measure, or `tasks` to write the stacks of
all tasks to stderr; each is answered by a line of JSON.
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

UNLIMITED = 1_000_000
MAX_TYPES = 12
"""How many types of objects are listed."""


async def main() -> None:
    """Serves until stdin is closed; the first line is the base URL."""
    settings = load(None)
    logging_setup.configure(level=settings.log_level)
    clock = FakeClock()
    service = Service(settings, clock, rate_limiter=TelegramRateLimiter(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED))
    await service.start()
    print(service.base, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip() == "count":
            print(json.dumps(measure()), flush=True)
        elif line.strip() == "tasks":
            for task in asyncio.all_tasks():
                task.print_stack(file=sys.stderr)
            print(json.dumps(len(asyncio.all_tasks())), flush=True)
        else:
            clock.advance(float(line))
            print(json.dumps(clock.now().isoformat()), flush=True)
    await service.stop()


def measure() -> dict[str, object]:
    """Resident megabytes, and the number of objects by type."""
    gc.collect()
    kinds = Counter(type(each).__qualname__ for each in gc.get_objects())
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return {
        "megabytes": resident,
        "connections": kinds["Connection"],
        "objects": kinds.total(),
        "kinds": dict(kinds.most_common(MAX_TYPES)),
    }


if __name__ == "__main__":
    asyncio.run(main())
