"""`reconcile` beside a running `serve`: two processes share a database, and each call to Stripe takes effect once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bot.app import AdapterOverrides, Service
from bot.sandbox.shared.fake_clock import FakeClock
from handlers.stripe.gateway import GatewayError, Intent
from handlers.stripe.retry import IDEMPOTENCY_KEY_TTL
from storage.models.refund import StripeRefund
from tests.invariants.mutations import GatewayWrapper
from tests.support.evidence import fault, money, rows, work_done
from tests.support.people import advance_until, open_shop
from tests.support.refund_steps import drafted, paid, ref_of, refund_states, set_next_refund, texts, wait_for_text
from tests.support.world import World, opened

AFTER_KEY_EXPIRY = 21 * 3600
MANY = 8


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path, request_hours="72") as running:
        await open_shop(running)
        yield running


class MeetingGateway(GatewayWrapper):
    """Returns from its first search or list only when the other process has made one as well."""

    def __init__(self, inner: Any, meet: Callable[[], Awaitable[object]]) -> None:
        super().__init__(inner)
        self._wait_for_other = meet
        self._met = False

    async def find_intent(self, payment_id: str, *, since: datetime, until: datetime) -> Intent | None:
        found = await self.inner.find_intent(payment_id, since=since, until=until)
        await self._meet()
        return found

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        found = await self.inner.list_refunds(intent_id)
        await self._meet()
        return found

    async def _meet(self) -> None:
        if not self._met:
            self._met = True
            await self._wait_for_other()


@dataclass
class Events:
    """What one process waits for in the other: a finished list, a request about to be sent, a request sent."""

    listed: asyncio.Event = field(default_factory=asyncio.Event)
    sending: asyncio.Event = field(default_factory=asyncio.Event)
    sent: asyncio.Event = field(default_factory=asyncio.Event)


class HeldGateway(GatewayWrapper):
    """Its creates and refunds are held until `sent` is set."""

    def __init__(self, inner: Any, events: Events) -> None:
        super().__init__(inner)
        self._events = events

    async def create(self, params: str, *, key: str) -> Intent:
        await self._hold()
        return await self.inner.create(params, key=key)

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        await self._hold()
        return await self.inner.refund(params, key=key)

    async def _hold(self) -> None:
        self._events.sending.set()
        await self._events.sent.wait()


class StaleListGateway(GatewayWrapper):
    """Its list of refunds is stale when it is used: the other process is about to send a request by then."""

    def __init__(self, inner: Any, events: Events) -> None:
        super().__init__(inner)
        self._events = events

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        found = await self.inner.list_refunds(intent_id)
        self._events.listed.set()
        await self._events.sending.wait()
        return found

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        self._events.sent.set()
        return await self.inner.refund(params, key=key)


async def side_by_side(world: World, ours: AdapterOverrides, theirs: AdapterOverrides, begin: asyncio.Event) -> None:
    """Reconciles once Stripe has forgotten its keys, with `theirs`; starts the service, with `ours`, after `begin`."""
    world.advance(AFTER_KEY_EXPIRY)
    await world.control("stripe", "down", {"down": False})
    world.overrides = ours
    reconciling = asyncio.create_task(
        Service(world.settings, world.clock, overrides=theirs).reconcile(retry_dead=False)
    )
    await begin.wait()
    await world.begin()
    await reconciling
    world.advance(10)  # another process does not wake the service up
    await advance_until(world, lambda: not rows(world, "SELECT 1 FROM jobs WHERE state = 'pending'"), step=10)


def immediately() -> asyncio.Event:
    """An event that is set already."""
    event = asyncio.Event()
    event.set()
    return event


def meeting_overrides() -> AdapterOverrides:
    """Gateways of two processes that wait for each other's first search or list."""
    barrier = asyncio.Barrier(2)
    return AdapterOverrides(gateway=lambda inner: MeetingGateway(inner, barrier.wait))


async def requests_without_response(world: World, requests: int) -> None:
    """Makes requests to which Stripe does not respond, and stops the service."""
    await world.control("stripe", "down", {"down": True})
    for number in range(requests):
        world.say(f"/pay {100 + number} DKK Tea")
    with_error = "SELECT 1 FROM payments WHERE last_error IS NOT NULL"
    await advance_until(world, lambda: len(rows(world, with_error)) == requests, step=1)
    await world.stop()


async def refund_without_response(world: World) -> None:
    """Sends a refund to which Stripe does not respond, and stops the service."""
    draft = await drafted(world, f"/refund {ref_of(await paid(world))} 40")
    await fault(world, "refund", "drop", times=3)
    world.tap(draft, "Refund")
    await advance_until(
        world, lambda: rows(world, "SELECT 1 FROM refunds WHERE last_error IS NOT NULL AND first_sent_at IS NOT NULL")
    )
    await world.stop()


@pytest.mark.long
@pytest.mark.parametrize(("meet", "requests"), [(True, 1), (False, MANY)])
async def test_request_without_response_is_created_once_by_two_processes(
    world: World, meet: bool, requests: int
) -> None:
    await requests_without_response(world, requests)
    overrides = meeting_overrides() if meet else AdapterOverrides()
    await side_by_side(world, overrides, overrides, immediately())
    assert money(world) == (requests, 0)
    known = {row["intent_id"] for row in rows(world, "SELECT intent_id FROM payments")}
    assert known == set(world.stripe.store.intents)
    assert sum("Waiting for payment" in text for text in texts(world)) == requests


@pytest.mark.parametrize("late", [False, True])
async def test_approved_refund_without_response_is_made_once_by_two_processes(world: World, late: bool) -> None:
    await refund_without_response(world)
    if late:
        events = Events()
        held = AdapterOverrides(gateway=lambda inner: HeldGateway(inner, events))
        await side_by_side(
            world, held, AdapterOverrides(gateway=lambda inner: StaleListGateway(inner, events)), events.listed
        )
    else:
        overrides = meeting_overrides()
        await side_by_side(world, overrides, overrides, immediately())
    assert refund_states(world) == [(4000, "succeeded")]


async def overlap(world: World) -> None:
    """`reconcile` sends just before the key is too old to be trusted, and the service starts just after."""
    world.advance(IDEMPOTENCY_KEY_TTL.total_seconds() - 60)
    await world.control("stripe", "down", {"down": False})
    events = Events()
    theirs = AdapterOverrides(gateway=lambda inner: HeldGateway(inner, events))
    reconciling = asyncio.create_task(
        Service(world.settings, world.clock, overrides=theirs).reconcile(retry_dead=False)
    )
    await events.sending.wait()
    world.advance(90)
    await world.begin()
    await work_done(world)
    events.sent.set()
    await reconciling


async def test_create_uses_no_new_key_while_an_earlier_request_may_still_arrive(world: World) -> None:
    await requests_without_response(world, 1)
    await overlap(world)
    assert money(world) == (1, 0)


async def test_refund_uses_no_new_key_while_an_earlier_request_may_still_arrive(world: World) -> None:
    await refund_without_response(world)
    await overlap(world)
    assert refund_states(world) == [(4000, "succeeded")]


class StaleErrorGateway(GatewayWrapper):
    """Its refund is rejected; the list that follows the rejection is held until `sent` is set."""

    def __init__(self, inner: Any, events: Events) -> None:
        super().__init__(inner)
        self._events = events
        self._rejected = False

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        try:
            return await self.inner.refund(params, key=key)
        except GatewayError:
            self._rejected = True
            raise

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        found = await self.inner.list_refunds(intent_id)
        if self._rejected:
            self._events.listed.set()
            await self._events.sent.wait()
        return found


class SlowRefundGateway(GatewayWrapper):
    """The response to its refund is held until `release` is set."""

    def __init__(self, inner: Any, events: Events, release: asyncio.Event) -> None:
        super().__init__(inner)
        self._events = events
        self._release = release

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        report = await self.inner.refund(params, key=key)
        self._events.sent.set()
        await self._release.wait()
        return report


@pytest.mark.long
async def test_late_rejection_of_an_earlier_refund_request_does_not_affect_the_retry(world: World) -> None:
    await refund_without_response(world)
    await set_next_refund(world, "refused", code="balance_insufficient")
    world.advance(60)
    events, release = Events(), asyncio.Event()
    theirs = AdapterOverrides(gateway=lambda inner: StaleErrorGateway(inner, events))
    reconciling = asyncio.create_task(
        Service(world.settings, world.clock, overrides=theirs).reconcile(retry_dead=False)
    )
    await events.listed.wait()
    world.overrides = AdapterOverrides(gateway=lambda inner: SlowRefundGateway(inner, events, release))
    await world.begin()
    await advance_until(world, lambda: any("top up the balance" in text for text in texts(world)))
    world.tap(await world.message("top up the balance"), "Try again")
    await reconciling
    assert refund_states(world) == [(4000, "succeeded")]
    assert rows(world, "SELECT key_version, retry_until FROM refunds") == [{"key_version": 2, "retry_until": None}]
    release.set()
    await wait_for_text(world, "↩️ Refunded:")
