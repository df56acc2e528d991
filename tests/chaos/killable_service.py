"""Runs Kvit as `serve` does, and kills its own process before or after one call to a vendor.

`KVIT_KILL=gateway.create:1:after` names that call, its number in this process, and the moment. Each call is written to
the file `KVIT_CALLS` when it begins, as a line like `gateway.create:1`.
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


class KillTrigger:
    """Counts the calls and kills the process at the chosen one, so that nothing after it is done or logged."""

    def __init__(self, chosen: str, calls: Path) -> None:
        self._chosen = chosen
        self._calls = calls
        self._numbers: Counter[str] = Counter()

    def record(self, name: str) -> str:
        """Records that a call begins; returns its name with its number."""
        self._numbers[name] += 1
        call = f"{name}:{self._numbers[name]}"
        with self._calls.open("a") as file:
            file.write(f"{call}\n")
        return call

    def reach(self, moment: str) -> None:
        """Kills the process if this is the chosen moment."""
        if moment == self._chosen:
            os.kill(os.getpid(), signal.SIGKILL)


class KillableAdapter:
    """Passes calls to the `inner` gateway or messenger; the process may be killed before or after each."""

    def __init__(self, inner: object, name: str, trigger: KillTrigger) -> None:
        self._inner, self._name, self._trigger = inner, name, trigger

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._inner, attribute)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call_inner(*args: Any, **kwargs: Any) -> Any:
            call = self._trigger.record(f"{self._name}.{attribute}")
            self._trigger.reach(f"{call}:before")
            try:
                return await found(*args, **kwargs)
            finally:
                self._trigger.reach(f"{call}:after")

        return call_inner


def killable_adapters(environment: Mapping[str, str]) -> AdapterOverrides:
    """Gateway and messenger with the trigger that the environment names."""
    trigger = KillTrigger(environment.get("KVIT_KILL", ""), Path(environment.get("KVIT_CALLS", os.devnull)))
    return AdapterOverrides(
        gateway=lambda inner: cast("PaymentGateway", KillableAdapter(inner, "gateway", trigger)),
        messenger=lambda inner: cast("Messenger", KillableAdapter(inner, "messenger", trigger)),
    )


async def main() -> None:
    """Serves until SIGTERM, or until the chosen call."""
    settings = load(None)
    logging_setup.configure(form=settings.log_format, level=settings.log_level, secrets=settings.secrets())
    service = Service(settings, SystemClock(), overrides=killable_adapters(os.environ))
    with shutdown_event() as shutdown:
        await service.start()
        try:
            print(f"Kvit is ready on {service.base}", flush=True)  # noqa: T201 - as `serve` does
            await shutdown.wait()
        finally:
            await service.stop()


if __name__ == "__main__":
    asyncio.run(main())
