"""Kvit as `serve` runs it, but for one call to a vendor before or after which it kills itself.

`KVIT_KILL=gateway.create:1:after` names that call, its number in this process, and the moment. Every call that is
begun is written into the file `KVIT_CALLS`, a line like `gateway.create:1` each.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from bot import logging_setup
from bot.app import AdapterOverrides, Service
from bot.clock import SystemClock
from bot.settings import load
from bot.signals import shutdown_event
from handlers.stripe.gateway import PaymentGateway
from handlers.telegram.messenger import Messenger


class Death:
    """Counts the calls, and ends the process at the one that was chosen: nothing after it is done, not even a log."""

    def __init__(self, chosen: str, calls: Path) -> None:
        self._chosen = chosen
        self._calls = calls
        self._numbers: Counter[str] = Counter()

    def begun(self, name: str) -> str:
        """Write down that a call begins; returns its name with its number."""
        self._numbers[name] += 1
        call = f"{name}:{self._numbers[name]}"
        with self._calls.open("a") as book:
            book.write(f"{call}\n")
        return call

    def strike(self, moment: str) -> None:
        """Die, if this is the moment."""
        if moment == self._chosen:
            os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """The `inner` gateway or messenger; each of its calls may be the last thing that this process does."""

    def __init__(self, inner: object, name: str, death: Death) -> None:
        self._inner, self._name, self._death = inner, name, death

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._inner, attribute)
        if not inspect.iscoroutinefunction(found):
            return found

        async def called(*args: Any, **kwargs: Any) -> Any:
            call = self._death.begun(f"{self._name}.{attribute}")
            self._death.strike(f"{call}:before")
            try:
                return await found(*args, **kwargs)
            finally:
                self._death.strike(f"{call}:after")

        return called


def seams(environment: Mapping[str, str]) -> AdapterOverrides:
    """The two doors as the environment wants them."""
    death = Death(environment.get("KVIT_KILL", ""), Path(environment.get("KVIT_CALLS", os.devnull)))
    return AdapterOverrides(
        gateway=lambda inner: cast("PaymentGateway", Mortal(inner, "gateway", death)),
        messenger=lambda inner: cast("Messenger", Mortal(inner, "messenger", death)),
    )


async def main() -> None:
    """Serve until SIGTERM, or until the chosen call."""
    settings = load(None)
    logging_setup.configure(form=settings.log_format, level=settings.log_level, secrets=settings.secrets())
    service = Service(settings, SystemClock(), overrides=seams(os.environ))
    with shutdown_event() as told:
        await service.start()
        try:
            print(f"Kvit is ready on {service.base}", flush=True)  # noqa: T201 - as `serve` does
            await told.wait()
        finally:
            await service.stop()


if __name__ == "__main__":
    asyncio.run(main())
