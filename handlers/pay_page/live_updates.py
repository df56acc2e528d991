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

FindPage = Callable[[str], Awaitable[PayPage | None]]
MAX_WAIT_SECONDS = 3600.0
PAUSE_SECONDS = 1.0


class TooManySubscribers(Exception):
    """The number of open pages after which one more gets no updates."""


class PageSubscription:
    """One watched payment: its page, and a wake-up for those that wait for the next state."""

    def __init__(self, page: PayPage) -> None:
        self.page = page
        self.subscribers = 0
        self.version = 0
        self.is_over = False
        self._has_changed = asyncio.Event()

    async def after(self, version: int) -> int:
        """Wait until the page differs from that at `version`, or updates end; returns the new version."""
        while self.version == version and not self.is_over:
            await self._has_changed.wait()
        return self.version

    def publish(self, page: PayPage) -> None:
        """Publish this page; subscribers wake if it differs."""
        before, self.page = self.page, page
        if _visible_state(before) != _visible_state(page):
            self.version += 1
            self._wake_subscribers()

    def end(self) -> None:
        """End all subscriptions."""
        self.is_over = True
        self._wake_subscribers()

    def _wake_subscribers(self) -> None:
        changed, self._has_changed = self._has_changed, asyncio.Event()
        changed.set()


class LiveUpdates:
    """The open pages. `notify` is called with each changed payment; `run` has to run beside it."""

    def __init__(
        self, find_page: FindPage, clock: Clock, *, total: int = 2000, per_payment: int = 50, per_address: int = 200
    ) -> None:
        """`find_page` finds the page behind a token; the rest limits how many may watch at once."""
        self._find_page = find_page
        self._clock = clock
        self._total = total
        self._per_payment = per_payment
        self._per_address = per_address
        self._subscriptions: dict[str, PageSubscription] = {}
        self._addresses: Counter[str] = Counter()
        self._changed: set[str] = set()
        self._wake_up = asyncio.Event()
        self._is_closed = False

    @contextmanager
    def subscribe(self, page: PayPage, address: str) -> Iterator[PageSubscription]:
        """Watch this page while the context lasts; `address` is the client's network.

        Raises:
            TooManySubscribers: of this payment, from this address, or of all.
        """
        key = page.payment.id
        subscription = self._subscriptions.get(key) or PageSubscription(page)
        full = subscription.subscribers >= self._per_payment or self._addresses[address] >= self._per_address
        if self._is_closed or full or self._addresses.total() >= self._total:
            raise TooManySubscribers
        self._subscriptions[key] = subscription
        subscription.subscribers += 1
        self._addresses[address] += 1
        self._changed.add(key)  # it may have changed since it was read, without a notification
        self._wake_up.set()
        try:
            yield subscription
        finally:
            subscription.subscribers -= 1
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
            if not subscription.subscribers:
                self._subscriptions.pop(key, None)

    def notify(self, payment_id: str) -> None:
        """This payment changed; costs nothing if no page of it is open."""
        if payment_id in self._subscriptions:
            self._changed.add(payment_id)
            self._wake_up.set()

    def notify_all(self) -> None:
        """Any payment may have changed; each watched page is read once."""
        self._changed |= self._subscriptions.keys()
        self._wake_up.set()

    def close(self) -> None:
        """End all subscriptions and accept no new ones."""
        self._is_closed = True
        for subscription in self._subscriptions.values():
            subscription.end()

    async def run(self) -> None:
        """Publish what changed, or what changes by time, until cancelled."""
        while True:
            await self.run_once()
            if not self._changed:
                await wait_first(self._wake_up.wait(), self._clock.sleep(self._pause()))

    async def run_once(self) -> int:
        """Read each watched payment that changed or whose time has come, once; returns how many."""
        self._wake_up.clear()
        now = self._clock.now()
        changed, self._changed = self._changed, set()
        due = changed | {key for key, subscription in self._subscriptions.items() if _is_due(subscription, now)}
        for key in due:
            try:
                await self._publish_current(key)
            except DatabaseUnavailable as error:
                log.warning("open pages wait for the database: %s", error)
                self._changed |= due
                await asyncio.sleep(PAUSE_SECONDS)
                break
        return len(due)

    async def _publish_current(self, key: str) -> None:
        subscription = self._subscriptions.get(key)
        page = await self._find_page(subscription.page.payment.page_token) if subscription else None
        if subscription and page:
            subscription.publish(page)

    def _pause(self) -> float:
        """Seconds until time alone changes a page that is watched."""
        times = [
            subscription.page.changes_at
            for subscription in self._subscriptions.values()
            if subscription.page.changes_at
        ]
        left = (min(times) - self._clock.now()).total_seconds() if times else MAX_WAIT_SECONDS
        return max(0.01, min(left, MAX_WAIT_SECONDS))


def _visible_state(page: PayPage) -> tuple[object, ...]:
    """What subscribers are told."""
    return (page.state, page.until)


def _is_due(subscription: PageSubscription, now: datetime) -> bool:
    return subscription.page.changes_at is not None and subscription.page.changes_at <= now
