"""A request that goes unheard may arrive minutes later: nobody says before that it came to nothing, or asks anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.app import AdapterOverrides
from bot.sandbox.shared.fake_clock import FakeClock
from bot.stripe.gateway import StripeGateway
from handlers.stripe.gateway import GatewayError
from tests.invariants.mutations import GatewayWrapper
from tests.support.evidence import idle, pass_time, rows
from tests.support.people import ADMIN, GROUP, advance_until, open_shop, remove_roles, reply
from tests.support.refund_steps import dashboard_refund, drafted, held, paid, ref_of, refund_states, texts
from tests.support.world import World, opened

SOON = 240
"""Seconds; a request may take five minutes to arrive."""


class Late(GatewayWrapper):
    """The first request that moves money back or takes it is not answered, and reaches Stripe once it `may_arrive`."""

    def __init__(self, inner: StripeGateway) -> None:
        super().__init__(inner)
        self.close = inner.close
        self.may_arrive = asyncio.Event()
        self.sent = asyncio.Event()
        self.number = 0
        self._on_its_way: asyncio.Task[Any] | None = None

    async def refund(self, params: str, *, key: str) -> Any:
        return await self._late(lambda: self.inner.refund(params, key=key))

    async def capture(self, intent_id: str, *, key: str) -> Any:
        return await self._late(lambda: self.inner.capture(intent_id, key=key))

    async def arrive(self) -> None:
        """Let it reach Stripe now."""
        self.may_arrive.set()
        assert self._on_its_way is not None
        await self._on_its_way

    async def _late(self, call: Callable[[], Awaitable[Any]]) -> Any:
        self.number += 1
        if self.number > 1:
            return await call()

        async def later() -> Any:
            await self.may_arrive.wait()
            return await call()

        self._on_its_way = asyncio.create_task(later())
        self.sent.set()
        raise GatewayError("timeout", retryable=True, message="no answer")

    async def end(self) -> None:
        if self._on_its_way is not None:
            self._on_its_way.cancel()
            await asyncio.gather(self._on_its_way, return_exceptions=True)
        await self.close()


@asynccontextmanager
async def late_world(clock: FakeClock, tmp_path: Path, kind: type[Late] = Late) -> AsyncIterator[tuple[World, Late]]:
    async with opened(clock, tmp_path) as world:
        await open_shop(world)
        await world.stop()
        key = world.settings.stripe_api_key.get_secret_value()
        gateway = kind(StripeGateway(key, api_base=world.stripe.base))
        world.overrides = AdapterOverrides(gateway=lambda _: gateway)
        await world.begin()
        try:
            yield world, gateway
        finally:
            await world.stop()
            await gateway.end()


async def unheard_refund(world: World, gateway: Late) -> str:
    """An admin's refund of 50 is on its way; returns the reference of the payment."""
    ref = ref_of(await paid(world, chat=GROUP))
    draft = await drafted(world, f"/refund {ref} 50", by=ADMIN, chat=GROUP)
    world.tap(draft, "Refund", by=ADMIN)
    await gateway.sent.wait()
    return ref


def refused(world: World) -> list[str]:
    return [one for one in texts(world, GROUP) if "was not refunded" in one]


@pytest.mark.parametrize("why", ["role", "by hand"])
async def test_a_refund_on_its_way_is_not_said_to_have_come_to_nothing(
    clock: FakeClock, tmp_path: Path, why: str
) -> None:
    async with late_world(clock, tmp_path) as (world, gateway):
        ref = await unheard_refund(world, gateway)
        await (dashboard_refund(world, 3000) if why == "by hand" else remove_roles(world, ADMIN))
        for _ in range(SOON // 30):
            await pass_time(world, 30)
        assert refused(world) == []
        left = "75.00" if why == "role" else "45.00"
        await reply(world, world.say(f"/refund {ref} 100", chat=GROUP), f"At most DKK\u00a0{left}", chat=GROUP)
        await gateway.arrive()
        await advance_until(world, lambda: not rows(world, "SELECT 1 FROM refunds WHERE status = 'approved'"))
        await idle(world)
        assert refused(world) == []
        assert refund_states(world) == [(3000, "succeeded"), (5000, "succeeded")][why == "role" :]


@pytest.mark.parametrize("why", ["role", "by hand"])
async def test_one_that_never_arrives_is_dropped_then_and_is_asked_for_no_more(
    clock: FakeClock, tmp_path: Path, why: str
) -> None:
    async with late_world(clock, tmp_path) as (world, gateway):
        await unheard_refund(world, gateway)
        await (dashboard_refund(world, 3000) if why == "by hand" else remove_roles(world, ADMIN))
        for _ in range(24):
            await pass_time(world, 30)
        assert len(refused(world)) == 1
        assert gateway.number == 1
        assert rows(world, "SELECT amount_refund_pending FROM payments") == [{"amount_refund_pending": 0}]


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_capture_on_its_way_is_not_said_to_be_undone(clock: FakeClock, tmp_path: Path, arrives: bool) -> None:
    async with late_world(clock, tmp_path) as (world, gateway):
        ref = ref_of(await held(world, by=ADMIN, chat=GROUP))
        question = await reply(world, world.say(f"/capture {ref}", by=ADMIN, chat=GROUP), "Charge DKK", chat=GROUP)
        world.tap(question, "Charge", by=ADMIN)
        await gateway.sent.wait()
        await remove_roles(world, ADMIN)
        for _ in range(SOON // 30):
            await pass_time(world, 30)
        assert not [one for one in texts(world, GROUP) if "nothing was done" in one]
        if arrives:
            await gateway.arrive()
        for _ in range(16):
            await pass_time(world, 30)
        status = "succeeded" if arrives else "authorized"
        assert rows(world, "SELECT status, capture_requested_by FROM payments")[0]["status"] == status
        undone = [one for one in texts(world, GROUP) if "nothing was done" in one]
        assert len(undone) == (0 if arrives else 1)
        assert gateway.number == 1


class Refusing(Late):
    """The tries after the first are refused at once, by an answer that is not kept for it."""

    async def _late(self, call: Callable[[], Awaitable[Any]]) -> Any:
        if self.number:
            self.number += 1
            raise GatewayError("charge_disputed", retryable=False, message="no")
        return await super()._late(call)


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_refusal_does_not_speak_for_the_try_before_that_is_on_its_way(
    clock: FakeClock, tmp_path: Path, arrives: bool
) -> None:
    async with late_world(clock, tmp_path, Refusing) as (world, gateway):
        await unheard_refund(world, gateway)
        for _ in range(SOON // 30):
            await pass_time(world, 30)
        assert gateway.number > 1
        assert refused(world) == []
        if arrives:
            await gateway.arrive()
        for _ in range(24):
            await pass_time(world, 30)
        assert len(refused(world)) == (0 if arrives else 1)
        assert refund_states(world) == ([(5000, "succeeded")] if arrives else [])
