"""Kvit on a clock that runs fast, begun by a fork of a program that is loaded already: a life costs little and is real.

Each line on stdin begins a life; `born PID`, the line of readiness, and `dead CODE` go to stdout. A life ends by a
signal, or when whoever began it has gone.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import UTC, datetime, timedelta

from bot import logging_setup
from bot.app import AdapterOverrides, Service, StartupError
from bot.settings import Settings, load
from bot.signals import shutdown_event
from bot.stripe.gateway import StripeGateway
from bot.telegram.http_client import AiohttpRequest
from bot.telegram.messenger import TelegramMessenger
from handlers.stripe.gateway import PaymentGateway
from handlers.telegram.messenger import Messenger
from tests.chaos.storm_watchdog import tell_on_stderr

REFUSED, BROKEN = 2, 3


class FastClock:
    """Time that runs `rate` times as fast as the machine's since `origin` (seconds), in every process alike."""

    def __init__(self, origin: float, rate: float) -> None:
        self._origin, self._rate = origin, rate

    def now(self) -> datetime:
        """The time, aware UTC."""
        passed = timedelta(seconds=(time.time() - self._origin) * self._rate)
        return datetime.fromtimestamp(self._origin, UTC) + passed

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` of this time have passed."""
        await asyncio.sleep(seconds / self._rate)


class Impatient:
    """Doors to the vendors that give up a silent one after some real seconds, as the real ones do after more."""

    def __init__(self, settings: Settings, patience: float) -> None:
        self._settings, self._patience = settings, patience
        self.seams = AdapterOverrides(gateway=self._gateway, messenger=self._messenger)
        self._doors: list[StripeGateway | TelegramMessenger] = []

    async def close(self) -> None:
        """Close what was opened."""
        for door in self._doors:
            await door.close()

    def _gateway(self, _: PaymentGateway) -> PaymentGateway:
        key = self._settings.stripe_api_key.get_secret_value()
        door = StripeGateway(key, api_base=self._settings.stripe_api_base, timeout=self._patience)
        self._doors.append(door)
        return door

    def _messenger(self, _: Messenger) -> Messenger:
        base, token = self._settings.telegram_api_base, self._settings.telegram_bot_token.get_secret_value()
        assert base is not None
        door = TelegramMessenger(AiohttpRequest(token, base=base, read=self._patience))
        self._doors.append(door)
        return door


async def live() -> None:
    """Serve until SIGTERM, as `serve` does, or until stdin ends."""
    settings, given = load(None), os.environ
    logging_setup.configure(form="json", level=settings.log_level, secrets=settings.secrets())
    doors = Impatient(settings, float(given["KVIT_PATIENCE"]))
    clock = FastClock(float(given["KVIT_ORIGIN"]), float(given["KVIT_RATE"]))
    service = Service(settings, clock, overrides=doors.seams)
    asyncio.get_running_loop().add_reader(0, os._exit, BROKEN)
    with shutdown_event() as told:
        await service.start()
        try:
            tell(f"Kvit is ready on {service.base}")
            await told.wait()
        finally:
            await service.stop()
            await doors.close()


def tell(line: str) -> None:
    """Write a line that is read at once."""
    print(line, flush=True)  # noqa: T201 - whoever began this reads it


def life() -> int:
    """One life from its beginning to its end; returns the exit code."""
    try:
        asyncio.run(live())
    except StartupError as refused:
        print(refused, file=sys.stderr, flush=True)  # noqa: T201 - as `serve` says it
        return REFUSED
    return 0


def main() -> None:
    """Begin a life for each line, one after the other; each can be asked where it is."""
    tell_on_stderr()
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            tell(f"born {os.getpid()}")
            os._exit(life())
        _, status = os.waitpid(child, 0)
        tell(f"dead {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
