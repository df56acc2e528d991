"""The service for benchmarks: runs as `serve` does, without Telegram's rate limits."""

from __future__ import annotations

import asyncio

from bot import logging_setup
from bot.app import Service
from bot.clock import SystemClock
from bot.settings import load
from handlers.telegram.rate_limit import TelegramRateLimiter

UNLIMITED = 1_000_000


async def main() -> None:
    """Serves until it is terminated; the first line is the base URL."""
    settings = load(None)
    logging_setup.configure(level=settings.log_level)
    service = Service(
        settings, SystemClock(), rate_limiter=TelegramRateLimiter(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED)
    )
    await service.start()
    print(service.base, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
