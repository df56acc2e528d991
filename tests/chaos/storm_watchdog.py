"""Watches a round: whether the machine stood still, and where everybody is if it does not come to its end."""

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

OFTEN = 0.1
"""Real seconds between two looks at the machine's clock."""

STACKS, TASKS = signal.SIGUSR1, signal.SIGUSR2
"""What makes a program write the stacks of its threads, even if it answers nothing any more, and of its tasks."""


async def standstills(found: list[tuple[datetime, datetime]], now: Callable[[], datetime], patience: float) -> None:
    """Note from when to when this program was not woken for half of the `patience` (real seconds), and ask no one.

    A standstill ends when what was waited for meanwhile can seem broken no more; `now` is the pretend time.
    """
    while True:
        began, looked = time.time(), now()
        await asyncio.sleep(OFTEN)
        if (lasted := time.time() - began) > OFTEN + patience / 2:
            rate = (now() - looked).total_seconds() / lasted
            found.append((looked, now() + timedelta(seconds=patience * rate)))


def on_signal(where: TextIO, also: Callable[[], None] = lambda: None) -> None:
    """From now on write all stacks into a file when told to, and do what is to be done `also`."""
    faulthandler.register(STACKS, file=where, all_threads=True)

    def tell(*_: object) -> None:
        _tell_tasks(where)
        also()

    signal.signal(TASKS, tell)


def tell_on_stderr() -> None:
    """The same for a program whose stderr is kept."""
    on_signal(sys.stderr)


def _tell_tasks(where: TextIO) -> None:
    """What each task waits for, from its beginning inwards; nothing moves while a signal is handled."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    for task in asyncio.all_tasks(loop):
        where.write(f"task {task.get_name()}\n")
        waits: Any = task.get_coro()
        while frame := getattr(waits, "cr_frame", None):
            where.write(f"  {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}\n")
            waits = waits.cr_await
    where.flush()


def states(pid: int) -> Iterator[str]:
    """What the system says that a process does, and each that it began."""
    for each in descendants(pid):
        with suppress(OSError):
            said = Path(f"/proc/{each}/status").read_text().splitlines()
            yield " ".join([str(each), *(line for line in said if line.startswith(("State:", "SigPnd:", "ShdPnd:")))])


def descendants(pid: int) -> Iterator[int]:
    """A process and all that it began, itself or by others; what has gone meanwhile is left out."""
    yield pid
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from descendants(int(child))
