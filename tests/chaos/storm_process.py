"""Runs Kvit on a fast clock in forks of a program that is loaded once, so that a restart is cheap and real.

Each line on stdin starts a process; `started PID`, the line of readiness and `exited CODE` go to stdout. A process ends
by a signal, or when stdin is closed.
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
from tests.chaos.storm_watchdog import dump_to_stderr_on_signal

START_REFUSED, LAUNCHER_GONE = 2, 3


class FastClock:
    """Time that runs `rate` times as fast as the machine since `origin` (seconds), the same in every process."""

    def __init__(self, origin: float, rate: float) -> None:
        self._origin, self._rate = origin, rate

    def now(self) -> datetime:
        """The time, aware UTC."""
        passed = timedelta(seconds=(time.time() - self._origin) * self._rate)
        return datetime.fromtimestamp(self._origin, UTC) + passed

    async def sleep(self, seconds: float) -> None:
        """Returns once `seconds` of this time have passed."""
        await asyncio.sleep(seconds / self._rate)


class ShortTimeoutAdapters:
    """Adapters that wait only so many real seconds for a vendor response."""

    def __init__(self, settings: Settings, timeout: float) -> None:
        self._settings, self._timeout = settings, timeout
        self.overrides = AdapterOverrides(gateway=self._gateway, messenger=self._messenger)
        self._open_clients: list[StripeGateway | TelegramMessenger] = []

    async def close(self) -> None:
        """Closes the clients."""
        for client in self._open_clients:
            await client.close()

    def _gateway(self, _: PaymentGateway) -> PaymentGateway:
        key = self._settings.stripe_api_key.get_secret_value()
        client = StripeGateway(key, api_base=self._settings.stripe_api_base, timeout=self._timeout)
        self._open_clients.append(client)
        return client

    def _messenger(self, _: Messenger) -> Messenger:
        base, token = self._settings.telegram_api_base, self._settings.telegram_bot_token.get_secret_value()
        assert base is not None
        client = TelegramMessenger(AiohttpRequest(token, base=base, read=self._timeout))
        self._open_clients.append(client)
        return client


async def serve() -> None:
    """Serves until SIGTERM, as `serve` does, or until stdin is closed."""
    settings, environment = load(None), os.environ
    logging_setup.configure(form="json", level=settings.log_level, secrets=settings.secrets())
    adapters = ShortTimeoutAdapters(settings, float(environment["KVIT_VENDOR_TIMEOUT"]))
    clock = FastClock(float(environment["KVIT_CLOCK_ORIGIN"]), float(environment["KVIT_CLOCK_RATE"]))
    service = Service(settings, clock, overrides=adapters.overrides)
    asyncio.get_running_loop().add_reader(0, os._exit, LAUNCHER_GONE)
    with shutdown_event() as shutdown:
        await service.start()
        try:
            print_line(f"Kvit is ready on {service.base}")
            await shutdown.wait()
        finally:
            await service.stop()
            await adapters.close()


def print_line(line: str) -> None:
    """Writes a line and flushes it."""
    print(line, flush=True)  # noqa: T201 - the parent process reads it


def run_process() -> int:
    """Runs one process and returns its exit code."""
    try:
        asyncio.run(serve())
    except StartupError as error:
        print(error, file=sys.stderr, flush=True)  # noqa: T201 - as `serve` does
        return START_REFUSED
    return 0


def main() -> None:
    """Starts a process for each line, one after another; signals make each write its stacks and tasks."""
    dump_to_stderr_on_signal()
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            print_line(f"started {os.getpid()}")
            os._exit(run_process())
        _, status = os.waitpid(child, 0)
        print_line(f"exited {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
