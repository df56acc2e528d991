"""The desks by which money comes and goes, over a real file and the pretend Stripe, for one who plays all doors.

Nothing runs by itself here: whoever holds the desks sweeps, hears events and restarts when he likes.
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
from handlers.messages.payment_events import jobs_for_change
from handlers.messages.refund_events import jobs_for_dispute, jobs_for_fraud_warning, jobs_for_refund
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
from tests.invariants.mutations import OpenGateway
from tests.support.people import GROUP
from tests.support.world import OWNER

T = TypeVar("T")
AT_A_TIME = 100
TROUBLES: dict[str, Callable[[], Exception]] = {
    "drop": lambda: GatewayError("connection", retryable=True),
    "429": lambda: GatewayError("rate_limit", retryable=True),
    "500": lambda: GatewayError("server", retryable=True),
    "stored 500": lambda: GatewayError("server", retryable=True, replayed=True),
}


class Death(Exception):
    """The process is gone at this call."""


@dataclass
class Ill:
    """What goes wrong with the next call that changes something: `how`, before or after it was carried out."""

    how: str = ""
    when: str = "before"
    dead: bool = False

    async def strike(self, act: Callable[[], Awaitable[T]]) -> T:
        """Make the call, and have it go wrong if it is to."""
        if self.dead:
            raise Death
        how, self.how = self.how, ""
        if how and self.when == "before":
            self._fail(how)
        answer = await act()
        if how:
            self._fail(how)
        return answer

    def _fail(self, how: str) -> None:
        if how == "death":
            self.dead = True
            raise Death
        raise TROUBLES[how]()


class IllGateway(OpenGateway):
    """Stripe's door; one call that changes something may go wrong, and the process may die of it."""

    def __init__(self, inner: PaymentGateway, ill: Ill) -> None:
        super().__init__(inner)
        self.ill = ill

    async def create(self, params: str, *, key: str) -> Intent:
        return await self._struck(partial(self.inner.create, params, key=key))

    async def cancel(self, intent_id: str, *, key: str) -> Intent:
        return await self._struck(partial(self.inner.cancel, intent_id, key=key))

    async def capture(self, intent_id: str, *, key: str) -> Intent:
        return await self._struck(partial(self.inner.capture, intent_id, key=key))

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        return await self._struck(partial(self.inner.refund, params, key=key))

    async def _struck(self, act: Callable[[], Awaitable[T]]) -> T:
        return await self.ill.strike(act)


@dataclass
class Counter:
    """All desks of one life; `begin` makes them anew on the same file."""

    folder: Path
    base: str
    key: str
    clock: FakeClock
    above: int
    ill: Ill = field(default_factory=Ill)
    numbers: Any = field(default_factory=itertools.count)

    def begin(self) -> None:
        """Another life."""
        self.ill = Ill()
        self.db = Database(f"sqlite:///{self.folder / 'kvit.db'}")
        self.stripe = StripeGateway(self.key, api_base=self.base, timeout=5)
        gateway, outbox, locks = IllGateway(self.stripe, self.ill), JobQueue(self.db, "outbox"), KeyedLocks()
        self.errands = BackgroundTasks()
        self.team = MembershipService(self.db, frozenset({OWNER}), self.clock)
        authorization, timing = Authorization(self.db, self.team), Timing()
        payments = PaymentRepository(self.db, outbox, jobs_for_change, partial(_next_look, timing=timing))
        self.attendant = PaymentSync(
            self.db,
            payments,
            gateway,
            self.clock,
            timing,
            locks=locks,
            is_authorized=authorization.is_request_authorized,
        )
        self.book = RefundRepository(self.db, outbox, jobs_for_refund, refund_life.next_look)
        self.refunder = RefundSync(
            self.db, self.book, gateway, self.clock, locks=locks, is_authorized=authorization.is_refund_authorized
        )
        contests = DisputeRepository(self.db, outbox, jobs_for_dispute, jobs_for_fraud_warning)
        self.disputes = DisputeSync(self.db, contests, gateway, self.clock, locks=locks)
        terms = PaymentDefaults(24, lambda _: "https://example.com/back")
        self.payments = PaymentService(self.db, payments, self.attendant, gateway, self.clock, terms, self.errands)
        self.refunds = RefundService(
            self.db, self.book, self.refunder, gateway, self.clock, self.errands, approval_above=self.above
        )

    async def end(self) -> None:
        """Close what this life held."""
        await self.errands.close(5)
        await self.stripe.close()
        await self.db.close()

    async def shop(self) -> Shop:
        """The one shop."""
        return (await self.db.read(shops.list_shops))[0]

    async def request(self, minor: int, *, by: int, hold: bool) -> Payment:
        """`/pay` or `/hold`."""
        asked, source = RequestedAmount(Money(minor, "DKK"), "Tea"), f"message:{GROUP}:{next(self.numbers)}"
        return await self.payments.request(await self.shop(), ChatTarget(GROUP), by, asked, source=source, manual=hold)

    async def draft(self, payment: Payment, minor: int | None, *, by: int) -> Refund:
        """`/refund`; what a merchant asks for is for others to approve."""
        amount = None if minor is None else Money(minor, "DKK")
        wanted = RefundRequestInput(ChatTarget(GROUP), by, f"refund:{next(self.numbers)}", amount)
        for_others = not is_allowed(await self.role(by), Action.APPROVE_REFUND)
        return await self.refunds.draft(payment, wanted, for_others=for_others)

    async def role(self, person: int) -> Role:
        """What somebody may do now."""
        return await self.team.role((await self.shop()).id, Actor(person, ""))

    async def sweep(self) -> None:
        """Attend to whatever is due now, once; who dies of it attends to nothing more."""
        with suppress(Death):
            for payment_id in await self.db.read(payment_queries.due, self.clock.now(), limit=AT_A_TIME):
                await self.attendant.advance(payment_id, actor="reconciler")
            for refund_id in await self.db.read(self.book.due, self.clock.now(), limit=AT_A_TIME):
                await self.refunder.advance(refund_id, actor="reconciler", if_due=True)

    async def hear(self, payment_id: str) -> None:
        """As if an event about everything of a payment had come."""
        await self.attendant.sync(payment_id, actor="stripe")
        await self.refunder.sync(payment_id)
        await self.disputes.sync(payment_id, warnings=False)


def _next_look(payment: Payment, now: Any, *, timing: Timing) -> Any:
    return state_machine.next_check_at(payment, now=now, timing=timing)
