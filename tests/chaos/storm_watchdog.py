"""Watches a round: records when the machine stood still, and dumps stacks and tasks of a round that hangs."""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

POLL_SECONDS = 0.1
"""Real seconds between two polls of the clock."""

STACKS, TASKS = signal.SIGUSR1, signal.SIGUSR2
"""Signals that make a program write the stacks of its threads, even if it does not respond, and its tasks."""


async def watch_standstills(
    found: list[tuple[datetime, datetime]], now: Callable[[], datetime], vendor_timeout: float
) -> None:
    """Records the intervals in which this program was not woken for half of `vendor_timeout` (real seconds).

    An interval ends when calls that were pending meanwhile have failed or succeeded; `now` is the simulated time.
    """
    while True:
        started, simulated_start = time.time(), now()
        await asyncio.sleep(POLL_SECONDS)
        if (elapsed := time.time() - started) > POLL_SECONDS + vendor_timeout / 2:
            rate = (now() - simulated_start).total_seconds() / elapsed
            found.append((simulated_start, now() + timedelta(seconds=vendor_timeout * rate)))


def dump_on_signal(file: TextIO, then: Callable[[], None] = lambda: None) -> None:
    """From now on writes stacks or tasks to a file on a signal, and then calls `then`."""
    faulthandler.register(STACKS, file=file, all_threads=True)

    def dump(*_: object) -> None:
        _dump_tasks(file)
        then()

    signal.signal(TASKS, dump)


def dump_to_stderr_on_signal() -> None:
    dump_on_signal(sys.stderr)


def _dump_tasks(file: TextIO) -> None:
    """Writes what each task awaits, from the outermost coroutine inwards."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    for task in asyncio.all_tasks(loop):
        file.write(f"task {task.get_name()}\n")
        coroutine: Any = task.get_coro()
        while frame := getattr(coroutine, "cr_frame", None):
            file.write(f"  {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}\n")
            coroutine = coroutine.cr_await
    file.flush()


def process_states(pid: int) -> Iterator[str]:
    """The state of a process and of its descendants, from /proc."""
    for process_id in descendants(pid):
        with suppress(OSError):
            status = Path(f"/proc/{process_id}/status").read_text().splitlines()
            yield " ".join(
                [str(process_id), *(line for line in status if line.startswith(("State:", "SigPnd:", "ShdPnd:")))]
            )


def descendants(pid: int) -> Iterator[int]:
    """A process and all its descendants that still run."""
    yield pid
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from descendants(int(child))
