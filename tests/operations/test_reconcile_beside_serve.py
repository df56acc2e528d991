"""`python -m bot sweep` beside the running service: two processes, one book, and each thing is done once."""

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
from tests.support.evidence import fault, money, rows, worked_off
from tests.support.people import in_time, open_shop
from tests.support.refund_steps import back, drafted, fate, paid, ref_of, texts, told
from tests.support.world import World, opened

PAST_THE_KEY = 21 * 3600
MANY = 8


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path, request_hours="72") as running:
        await open_shop(running)
        yield running


class Together(GatewayWrapper):
    """Whoever has looked at Stripe goes on when the other process has looked as well."""

    def __init__(self, inner: Any, meeting: Callable[[], Awaitable[object]]) -> None:
        super().__init__(inner)
        self._meeting = meeting
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
            await self._meeting()


@dataclass
class Moments:
    """What one process waits for from the other: that it has looked, is about to ask, and has asked."""

    looked: asyncio.Event = field(default_factory=asyncio.Event)
    asking: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)


class Hung(GatewayWrapper):
    """Its requests are on their way until they are let go."""

    def __init__(self, inner: Any, moments: Moments) -> None:
        super().__init__(inner)
        self._moments = moments

    async def create(self, params: str, *, key: str) -> Intent:
        await self._hang()
        return await self.inner.create(params, key=key)

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        await self._hang()
        return await self.inner.refund(params, key=key)

    async def _hang(self) -> None:
        self._moments.asking.set()
        await self._moments.asked.wait()


class Late(GatewayWrapper):
    """What it looked at is old by the time it decides."""

    def __init__(self, inner: Any, moments: Moments) -> None:
        super().__init__(inner)
        self._moments = moments

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        found = await self.inner.list_refunds(intent_id)
        self._moments.looked.set()
        await self._moments.asking.wait()
        return found

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        self._moments.asked.set()
        return await self.inner.refund(params, key=key)


async def side_by_side(world: World, ours: AdapterOverrides, theirs: AdapterOverrides, begin: asyncio.Event) -> None:
    """Stripe is back after its keys are forgotten: a sweep, and beside it the service, which waits for its `begin`."""
    world.advance(PAST_THE_KEY)
    await world.control("stripe", "down", {"down": False})
    world.seams = ours
    sweeping = asyncio.create_task(Service(world.settings, world.clock, overrides=theirs).reconcile(retry_dead=False))
    await begin.wait()
    await world.begin()
    await sweeping
    world.advance(10)  # nobody rings a bell in another process
    await in_time(world, lambda: not rows(world, "SELECT 1 FROM jobs WHERE state = 'pending'"), step=10)


def at_once() -> asyncio.Event:
    """Nothing has to happen before."""
    event = asyncio.Event()
    event.set()
    return event


def together() -> AdapterOverrides:
    """Two processes that have looked before one of them goes on."""
    meeting = asyncio.Barrier(2)
    return AdapterOverrides(gateway=lambda inner: Together(inner, meeting.wait))


async def unheard(world: World, requests: int) -> None:
    """So many requests of which Stripe said nothing, and the service is stopped."""
    await world.control("stripe", "down", {"down": True})
    for number in range(requests):
        world.say(f"/pay {100 + number} DKK Tea")
    in_trouble = "SELECT 1 FROM payments WHERE last_error IS NOT NULL"
    await in_time(world, lambda: len(rows(world, in_trouble)) == requests, step=1)
    await world.stop()


async def refund_unheard(world: World) -> None:
    """A refund that was sent and of which Stripe said nothing, and the service is stopped."""
    draft = await drafted(world, f"/refund {ref_of(await paid(world))} 40")
    await fault(world, "refund", "drop", times=3)
    world.tap(draft, "Refund")
    await in_time(
        world, lambda: rows(world, "SELECT 1 FROM refunds WHERE last_error IS NOT NULL AND first_sent_at IS NOT NULL")
    )
    await world.stop()


@pytest.mark.parametrize(("meet", "requests"), [(True, 1), (False, MANY)])
async def test_each_request_is_made_once_at_stripe(world: World, meet: bool, requests: int) -> None:
    await unheard(world, requests)
    seams = together() if meet else AdapterOverrides()
    await side_by_side(world, seams, seams, at_once())
    assert money(world) == (requests, 0)
    known = {row["intent_id"] for row in rows(world, "SELECT intent_id FROM payments")}
    assert known == set(world.stripe.store.intents)
    assert sum("Waiting for payment" in one for one in texts(world)) == requests


@pytest.mark.parametrize("late", [False, True])
async def test_one_yes_is_one_refund(world: World, late: bool) -> None:
    await refund_unheard(world)
    if late:
        moments = Moments()
        hung = AdapterOverrides(gateway=lambda inner: Hung(inner, moments))
        await side_by_side(world, hung, AdapterOverrides(gateway=lambda inner: Late(inner, moments)), moments.looked)
    else:
        seams = together()
        await side_by_side(world, seams, seams, at_once())
    assert back(world) == [(4000, "succeeded")]


async def overlap(world: World) -> None:
    """A sweep sends with a key that is just good enough; the service begins when it no longer is."""
    world.advance(IDEMPOTENCY_KEY_TTL.total_seconds() - 60)
    await world.control("stripe", "down", {"down": False})
    moments = Moments()
    theirs = AdapterOverrides(gateway=lambda inner: Hung(inner, moments))
    sweeping = asyncio.create_task(Service(world.settings, world.clock, overrides=theirs).reconcile(retry_dead=False))
    await moments.asking.wait()
    world.advance(90)
    await world.begin()
    await worked_off(world)
    moments.asked.set()
    await sweeping


async def test_no_other_key_is_used_while_the_last_request_may_be_on_its_way(world: World) -> None:
    await unheard(world, 1)
    await overlap(world)
    assert money(world) == (1, 0)


async def test_nor_one_of_a_refund(world: World) -> None:
    await refund_unheard(world)
    await overlap(world)
    assert back(world) == [(4000, "succeeded")]


class LateWord(GatewayWrapper):
    """It has heard that Stripe refuses, and takes its time to look whether that is all."""

    def __init__(self, inner: Any, moments: Moments) -> None:
        super().__init__(inner)
        self._moments = moments
        self._refused = False

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        try:
            return await self.inner.refund(params, key=key)
        except GatewayError:
            self._refused = True
            raise

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        found = await self.inner.list_refunds(intent_id)
        if self._refused:
            self._moments.looked.set()
            await self._moments.asked.wait()
        return found


class Unheard(GatewayWrapper):
    """What Stripe has made of another try is heard late."""

    def __init__(self, inner: Any, moments: Moments, heard: asyncio.Event) -> None:
        super().__init__(inner)
        self._moments = moments
        self._heard = heard

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        report = await self.inner.refund(params, key=key)
        self._moments.asked.set()
        await self._heard.wait()
        return report


async def test_a_late_word_about_an_earlier_try_says_nothing_about_the_next_one(world: World) -> None:
    await refund_unheard(world)
    await fate(world, "refused", code="balance_insufficient")
    world.advance(60)
    moments, heard = Moments(), asyncio.Event()
    theirs = AdapterOverrides(gateway=lambda inner: LateWord(inner, moments))
    sweeping = asyncio.create_task(Service(world.settings, world.clock, overrides=theirs).reconcile(retry_dead=False))
    await moments.looked.wait()
    world.seams = AdapterOverrides(gateway=lambda inner: Unheard(inner, moments, heard))
    await world.begin()
    await in_time(world, lambda: any("top up the balance" in one for one in texts(world)))
    world.tap(await world.card("top up the balance"), "Try again")
    await sweeping
    assert back(world) == [(4000, "succeeded")]
    assert rows(world, "SELECT key_version, retry_until FROM refunds") == [{"key_version": 2, "retry_until": None}]
    heard.set()
    await told(world, "↩️ Refunded:")
