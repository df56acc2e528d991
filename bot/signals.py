"""An event for Ctrl-C and SIGTERM, so that a command can shut down cleanly."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def shutdown_event() -> Iterator[asyncio.Event]:
    """The event is set by the first signal; a second one ends the program at once.

    Enter the context before anything is started that has to be shut down.
    """
    received, loop = asyncio.Event(), asyncio.get_running_loop()

    def on_signal() -> None:
        received.set()
        remove_handlers()

    def remove_handlers() -> None:
        for name in SIGNALS:
            with suppress(NotImplementedError):
                loop.remove_signal_handler(name)

    for name in SIGNALS:
        with suppress(NotImplementedError):  # on Windows, where Ctrl-C cancels the main task instead
            loop.add_signal_handler(name, on_signal)
    try:
        yield received
    finally:
        remove_handlers()
