"""The service for the benchmarks: as `serve` runs it, but with Telegram's limits raised by value."""

from __future__ import annotations

import asyncio

from bot import logging_setup
from bot.app import Service
from bot.clock import SystemClock
from bot.settings import load
from handlers.telegram.rate_limit import TelegramRateLimiter

ENOUGH = 1_000_000


async def main() -> None:
    """Serve until terminated; the first line is where."""
    settings = load(None)
    logging_setup.configure(level=settings.log_level)
    service = Service(settings, SystemClock(), rate_limiter=TelegramRateLimiter(ENOUGH, ENOUGH, ENOUGH, ENOUGH))
    await service.start()
    print(service.base, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
