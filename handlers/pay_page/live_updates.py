"""Tells open pages that their payment changed: one look per change, however many watch, and none while nothing does."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from handlers.clock import Clock
from handlers.pay_page.service import PayPage
from handlers.runtime.concurrency import wait_first
from storage.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

Look = Callable[[str], Awaitable[PayPage | None]]
LONGEST_WAIT = 3600.0
PAUSE_SECONDS = 1.0


class TooManySubscribers(Exception):
    """So many pages are open that one more is not kept up to date."""


class PageSubscription:
    """One payment that somebody watches: how its page stands, and a bell for those who want the next."""

    def __init__(self, page: PayPage) -> None:
        self.page = page
        self.watchers = 0
        self.count = 0
        self.over = False
        self._turned = asyncio.Event()

    async def after(self, count: int) -> int:
        """Wait until the page says something else than it did at `count`, or all is over; returns the new count."""
        while self.count == count and not self.over:
            await self._turned.wait()
        return self.count

    def publish(self, page: PayPage) -> None:
        """Show this page; those who watch hear of it if it says something else."""
        before, self.page = self.page, page
        if _said(before) != _said(page):
            self.count += 1
            self._ring()

    def end(self) -> None:
        """Let everybody go."""
        self.over = True
        self._ring()

    def _ring(self) -> None:
        rung, self._turned = self._turned, asyncio.Event()
        rung.set()


class LiveUpdates:
    """The desk of open pages. `tell` is called with each payment that changed; `forever` has to run beside it."""

    def __init__(
        self, look: Look, clock: Clock, *, total: int = 2000, per_payment: int = 50, per_address: int = 200
    ) -> None:
        """`look` finds the page behind a token; the rest is how many may watch at once."""
        self._look = look
        self._clock = clock
        self._total = total
        self._per_payment = per_payment
        self._per_address = per_address
        self._topics: dict[str, PageSubscription] = {}
        self._addresses: Counter[str] = Counter()
        self._rung: set[str] = set()
        self._news = asyncio.Event()
        self._over = False

    @contextmanager
    def subscribe(self, page: PayPage, address: str) -> Iterator[PageSubscription]:
        """Watch this page for as long as the context lasts; `address` is where the watcher is.

        Raises:
            TooManyWatchers: of this payment, from this address, or of all.
        """
        key = page.payment.id
        topic = self._topics.get(key) or PageSubscription(page)
        full = topic.watchers >= self._per_payment or self._addresses[address] >= self._per_address
        if self._over or full or self._addresses.total() >= self._total:
            raise TooManySubscribers
        self._topics[key] = topic
        topic.watchers += 1
        self._addresses[address] += 1
        self._rung.add(key)  # it may have changed since it was looked at, and nobody was told
        self._news.set()
        try:
            yield topic
        finally:
            topic.watchers -= 1
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
            if not topic.watchers:
                self._topics.pop(key, None)

    def notify(self, payment_id: str) -> None:
        """This payment changed; costs nothing where nobody watches it."""
        if payment_id in self._topics:
            self._rung.add(payment_id)
            self._news.set()

    def close(self) -> None:
        """Let every watcher go, and take no new ones."""
        self._over = True
        for topic in self._topics.values():
            topic.end()

    async def run(self) -> None:
        """Look at what changed, or turned by time, until this is canceled."""
        while True:
            await self.run_once()
            if not self._rung:
                await wait_first(self._news.wait(), self._clock.sleep(self._pause()))

    async def run_once(self) -> int:
        """Look once at each watched payment that changed or whose time has come; returns how many that were."""
        self._news.clear()
        now = self._clock.now()
        rung, self._rung = self._rung, set()
        due = rung | {key for key, topic in self._topics.items() if _turns(topic, now)}
        for key in due:
            try:
                await self._turn(key)
            except DatabaseUnavailable as error:
                log.warning("open pages wait for the database: %s", error)
                self._rung |= due
                await asyncio.sleep(PAUSE_SECONDS)
                break
        return len(due)

    async def _turn(self, key: str) -> None:
        topic = self._topics.get(key)
        page = await self._look(topic.page.payment.page_token) if topic else None
        if topic and page:
            topic.publish(page)

    def _pause(self) -> float:
        """Seconds until time alone turns a page that is watched."""
        times = [topic.page.changes_at for topic in self._topics.values() if topic.page.changes_at]
        left = (min(times) - self._clock.now()).total_seconds() if times else LONGEST_WAIT
        return max(0.01, min(left, LONGEST_WAIT))


def _said(page: PayPage) -> tuple[object, ...]:
    """What those who watch are told."""
    return (page.state, page.until)


def _turns(topic: PageSubscription, now: datetime) -> bool:
    return topic.page.changes_at is not None and topic.page.changes_at <= now
