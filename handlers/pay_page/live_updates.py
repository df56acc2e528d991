"""Pushes changes to open pages: one read per change however many watch, and none while nothing changes."""

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
    """The number of open pages after which one more gets no updates."""


class PageSubscription:
    """One watched payment: its page, and a wake-up for those that wait for the next state."""

    def __init__(self, page: PayPage) -> None:
        self.page = page
        self.watchers = 0
        self.count = 0
        self.over = False
        self._turned = asyncio.Event()

    async def after(self, count: int) -> int:
        """Wait until the page differs from that at `count`, or updates end; returns the new count."""
        while self.count == count and not self.over:
            await self._turned.wait()
        return self.count

    def publish(self, page: PayPage) -> None:
        """Publish this page; subscribers wake if it differs."""
        before, self.page = self.page, page
        if _said(before) != _said(page):
            self.count += 1
            self._ring()

    def end(self) -> None:
        """End all subscriptions."""
        self.over = True
        self._ring()

    def _ring(self) -> None:
        rung, self._turned = self._turned, asyncio.Event()
        rung.set()


class LiveUpdates:
    """The open pages. `notify` is called with each changed payment; `run` has to run beside it."""

    def __init__(
        self, look: Look, clock: Clock, *, total: int = 2000, per_payment: int = 50, per_address: int = 200
    ) -> None:
        """`look` finds the page behind a token; the rest limits how many may watch at once."""
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
        """Watch this page while the context lasts; `address` is the client's network.

        Raises:
            TooManySubscribers: of this payment, from this address, or of all.
        """
        key = page.payment.id
        topic = self._topics.get(key) or PageSubscription(page)
        full = topic.watchers >= self._per_payment or self._addresses[address] >= self._per_address
        if self._over or full or self._addresses.total() >= self._total:
            raise TooManySubscribers
        self._topics[key] = topic
        topic.watchers += 1
        self._addresses[address] += 1
        self._rung.add(key)  # it may have changed since it was read, without a notification
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
        """This payment changed; costs nothing if no page of it is open."""
        if payment_id in self._topics:
            self._rung.add(payment_id)
            self._news.set()

    def close(self) -> None:
        """End all subscriptions and accept no new ones."""
        self._over = True
        for topic in self._topics.values():
            topic.end()

    async def run(self) -> None:
        """Publish what changed, or what changes by time, until cancelled."""
        while True:
            await self.run_once()
            if not self._rung:
                await wait_first(self._news.wait(), self._clock.sleep(self._pause()))

    async def run_once(self) -> int:
        """Read each watched payment that changed or whose time has come, once; returns how many."""
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
        """Seconds until time alone changes a page that is watched."""
        times = [topic.page.changes_at for topic in self._topics.values() if topic.page.changes_at]
        left = (min(times) - self._clock.now()).total_seconds() if times else LONGEST_WAIT
        return max(0.01, min(left, LONGEST_WAIT))


def _said(page: PayPage) -> tuple[object, ...]:
    """What subscribers are told."""
    return (page.state, page.until)


def _turns(topic: PageSubscription, now: datetime) -> bool:
    return topic.page.changes_at is not None and topic.page.changes_at <= now
