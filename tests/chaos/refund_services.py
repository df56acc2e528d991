"""The services that move money, on a real file and the fake Stripe.

Nothing runs by itself: the caller reconciles, syncs after events and restarts.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bot.sandbox.shared.fake_clock import FakeClock
from bot.stripe.gateway import StripeGateway
from handlers.access.authorization import Authorization
from handlers.access.membership import Actor, MembershipService
from handlers.access.permissions import Action, is_allowed
from handlers.amounts.parser import RequestedAmount
from handlers.disputes.sync import DisputeSync
from handlers.messages.payment_change_jobs import jobs_for_change
from handlers.messages.refund_change_jobs import jobs_for_dispute, jobs_for_fraud_warning, jobs_for_refund
from handlers.payments import state_machine
from handlers.payments.service import PaymentDefaults, PaymentService
from handlers.payments.state_machine import Timing
from handlers.payments.sync import PaymentSync
from handlers.refunds import state_machine as refund_life
from handlers.refunds.service import RefundRequestInput, RefundService
from handlers.refunds.sync import RefundSync
from handlers.runtime.concurrency import BackgroundTasks, KeyedLocks
from handlers.stripe.gateway import GatewayError, Intent, PaymentGateway
from storage import payment_queries, shops
from storage.database.database import Database
from storage.disputes import DisputeRepository
from storage.job_queue import JobQueue
from storage.models.money import Money
from storage.models.payment import ChatTarget, Payment
from storage.models.refund import Refund, StripeRefund
from storage.models.shop import Role, Shop
from storage.payments import PaymentRepository
from storage.refunds import RefundRepository
from tests.invariants.mutations import GatewayWrapper
from tests.support.people import GROUP
from tests.support.world import OWNER

T = TypeVar("T")
BATCH = 100
GATEWAY_ERRORS: dict[str, Callable[[], Exception]] = {
    "drop": lambda: GatewayError("connection", retryable=True),
    "429": lambda: GatewayError("rate_limit", retryable=True),
    "500": lambda: GatewayError("server", retryable=True),
    "stored 500": lambda: GatewayError("server", retryable=True, replayed=True),
}


class ProcessCrashed(Exception):
    """The simulated process crashed at this call."""


@dataclass
class NextCallFault:
    """How the next changing call to Stripe fails, before or after its execution; `crash` ends the process."""

    how: str = ""
    when: str = "before"
    has_crashed: bool = False

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Runs the call, with the fault if one is set."""
        if self.has_crashed:
            raise ProcessCrashed
        how, self.how = self.how, ""
        if how and self.when == "before":
            self._fail(how)
        result = await call()
        if how:
            self._fail(how)
        return result

    def _fail(self, how: str) -> None:
        if how == "crash":
            self.has_crashed = True
            raise ProcessCrashed
        raise GATEWAY_ERRORS[how]()


class FaultyGateway(GatewayWrapper):
    """A gateway whose next changing call may fail or crash the process."""

    def __init__(self, inner: PaymentGateway, next_fault: NextCallFault) -> None:
        super().__init__(inner)
        self.next_fault = next_fault

    async def create(self, params: str, *, key: str) -> Intent:
        return await self._run(partial(self.inner.create, params, key=key))

    async def cancel(self, intent_id: str, *, key: str) -> Intent:
        return await self._run(partial(self.inner.cancel, intent_id, key=key))

    async def capture(self, intent_id: str, *, key: str) -> Intent:
        return await self._run(partial(self.inner.capture, intent_id, key=key))

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        return await self._run(partial(self.inner.refund, params, key=key))

    async def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        return await self.next_fault.run(call)


@dataclass
class ServiceStack:
    """The services of one process; `begin` creates them again on the same file."""

    folder: Path
    base: str
    key: str
    clock: FakeClock
    above: int
    next_fault: NextCallFault = field(default_factory=NextCallFault)
    numbers: Any = field(default_factory=itertools.count)

    def begin(self) -> None:
        """Starts another process."""
        self.next_fault = NextCallFault()
        self.db = Database(f"sqlite:///{self.folder / 'kvit.db'}")
        self.stripe = StripeGateway(self.key, api_base=self.base, timeout=5)
        gateway, outbox, locks = FaultyGateway(self.stripe, self.next_fault), JobQueue(self.db, "outbox"), KeyedLocks()
        self.background_tasks = BackgroundTasks()
        self.membership = MembershipService(self.db, frozenset({OWNER}), self.clock)
        authorization, timing = Authorization(self.db, self.membership), Timing()
        payment_repository = PaymentRepository(self.db, outbox, jobs_for_change, partial(_next_check_at, timing=timing))
        self.payment_sync = PaymentSync(
            self.db,
            payment_repository,
            gateway,
            self.clock,
            timing,
            locks=locks,
            is_authorized=authorization.is_request_authorized,
        )
        self.refund_repository = RefundRepository(self.db, outbox, jobs_for_refund, refund_life.next_look)
        self.refund_sync = RefundSync(
            self.db,
            self.refund_repository,
            gateway,
            self.clock,
            locks=locks,
            is_authorized=authorization.is_refund_authorized,
        )
        dispute_repository = DisputeRepository(self.db, outbox, jobs_for_dispute, jobs_for_fraud_warning)
        self.dispute_sync = DisputeSync(self.db, dispute_repository, gateway, self.clock, locks=locks)
        defaults = PaymentDefaults(24, lambda _: "https://example.com/back")
        self.payments = PaymentService(
            self.db, payment_repository, self.payment_sync, gateway, self.clock, defaults, self.background_tasks
        )
        self.refunds = RefundService(
            self.db,
            self.refund_repository,
            self.refund_sync,
            gateway,
            self.clock,
            self.background_tasks,
            owners=self.membership.owners,
            approval_above=self.above,
        )

    async def close(self) -> None:
        """Closes what this process opened."""
        await self.background_tasks.close(5)
        await self.stripe.close()
        await self.db.close()

    async def shop(self) -> Shop:
        """The only shop."""
        return (await self.db.read(shops.list_shops))[0]

    async def request(self, minor: int, *, by: int, hold: bool) -> Payment:
        """Runs `/pay` or `/hold`."""
        amount, request_key = RequestedAmount(Money(minor, "DKK"), "Tea"), f"message:{GROUP}:{next(self.numbers)}"
        return await self.payments.request(
            await self.shop(), ChatTarget(GROUP), by, amount, source=request_key, manual=hold
        )

    async def draft(self, payment: Payment, minor: int | None, *, by: int) -> Refund:
        """Runs `/refund`; the request of a merchant awaits the approval of others."""
        amount = None if minor is None else Money(minor, "DKK")
        request = RefundRequestInput(ChatTarget(GROUP), by, f"refund:{next(self.numbers)}", amount)
        for_others = not is_allowed(await self.role(by), Action.APPROVE_REFUND)
        return await self.refunds.draft(payment, request, for_others=for_others)

    async def role(self, user_id: int) -> Role:
        """The current role of a user."""
        return await self.membership.role((await self.shop()).id, Actor(user_id, ""))

    async def reconcile(self) -> None:
        """Advances all that is due, once; a crash ends it."""
        with suppress(ProcessCrashed):
            for payment_id in await self.db.read(payment_queries.due, self.clock.now(), limit=BATCH):
                await self.payment_sync.advance(payment_id, actor="reconciler")
            for refund_id in await self.db.read(self.refund_repository.due, self.clock.now(), limit=BATCH):
                await self.refund_sync.advance(refund_id, actor="reconciler", if_due=True)

    async def sync_all(self, payment_id: str) -> None:
        """Syncs payment, refunds and disputes, as after an event."""
        await self.payment_sync.sync(payment_id, actor="stripe")
        await self.refund_sync.sync(payment_id)
        await self.dispute_sync.sync(payment_id, warnings=False)


def _next_check_at(payment: Payment, now: Any, *, timing: Timing) -> Any:
    return state_machine.next_check_at(payment, now=now, timing=timing)
