"""Lets a command run until Ctrl-C or SIGTERM and then end by its own hand, so that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def shutdown_event() -> Iterator[asyncio.Event]:
    """An event that is set by the first signal; a second one ends the program at once.

    Enter it before anything is started, or a signal in between would leave that behind.
    """
    told, loop = asyncio.Event(), asyncio.get_running_loop()

    def tell() -> None:
        told.set()
        forget()

    def forget() -> None:
        for name in SIGNALS:
            with suppress(NotImplementedError):
                loop.remove_signal_handler(name)

    for name in SIGNALS:
        with suppress(NotImplementedError):  # Windows knows no handlers here; there Ctrl-C cancels the whole
            loop.add_signal_handler(name, tell)
    try:
        yield told
    finally:
        forget()
