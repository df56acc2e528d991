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

from bot.sandbox.shared.fake_clock import TurnedClock
from bot.stripe.gateway import StripeGateway
from handlers.access.authorization import Rights
from handlers.access.membership import Person, Team
from handlers.access.permissions import Action, may
from handlers.amounts.parser import Asked
from handlers.disputes.sync import DisputeAttendant
from handlers.messages.payment_events import announce
from handlers.messages.refund_events import announce_dispute, announce_refund, announce_warning
from handlers.payments import state_machine
from handlers.payments.service import Payments, Terms
from handlers.payments.state_machine import Times
from handlers.payments.sync import Attendant
from handlers.refunds import state_machine as refund_life
from handlers.refunds.service import Refunds, RefundWish
from handlers.refunds.sync import RefundAttendant
from handlers.runtime.concurrency import Errands, Turns
from handlers.stripe.gateway import Gateway, GatewayError, Intent
from storage.database.database import Database
from storage.disputes import DisputeBook
from storage.job_queue import Mailbox
from storage.messages import Posts
from storage.models.money import Money
from storage.models.payment import Payment, Place
from storage.models.refund import Refund, RefundReport
from storage.models.shop import Role, Shop
from storage.payment_queries import Queries
from storage.payments import Ledger
from storage.refunds import RefundBook
from storage.shops import Directory
from tests.crowd import GROUP
from tests.planted import OpenGateway
from tests.world import OWNER

T = TypeVar("T")
AT_A_TIME = 100
TROUBLES: dict[str, Callable[[], Exception]] = {
    "drop": lambda: GatewayError("connection", retryable=True),
    "429": lambda: GatewayError("rate_limit", retryable=True),
    "500": lambda: GatewayError("server", retryable=True),
    "stored 500": lambda: GatewayError("server", retryable=True, stored=True),
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

    def __init__(self, inner: Gateway, ill: Ill) -> None:
        super().__init__(inner)
        self.ill = ill

    async def create(self, params: str, *, key: str) -> Intent:
        return await self._struck(partial(self.inner.create, params, key=key))

    async def cancel(self, intent_id: str, *, key: str) -> Intent:
        return await self._struck(partial(self.inner.cancel, intent_id, key=key))

    async def capture(self, intent_id: str, *, key: str) -> Intent:
        return await self._struck(partial(self.inner.capture, intent_id, key=key))

    async def refund(self, params: str, *, key: str) -> RefundReport:
        return await self._struck(partial(self.inner.refund, params, key=key))

    async def _struck(self, act: Callable[[], Awaitable[T]]) -> T:
        return await self.ill.strike(act)


@dataclass
class Counter:
    """All desks of one life; `begin` makes them anew on the same file."""

    folder: Path
    base: str
    key: str
    clock: TurnedClock
    above: int
    ill: Ill = field(default_factory=Ill)
    numbers: Any = field(default_factory=itertools.count)

    def begin(self) -> None:
        """Another life."""
        self.ill = Ill()
        self.db = Database(f"sqlite:///{self.folder / 'kvit.db'}")
        self.stripe = StripeGateway(self.key, api_base=self.base, timeout=5)
        gateway, outbox, turns = IllGateway(self.stripe, self.ill), Mailbox(self.db, "outbox"), Turns()
        self.queries, self.directory, self.errands = Queries(self.db), Directory(self.db), Errands()
        self.team = Team(self.directory, frozenset({OWNER}), self.clock)
        rights, times = Rights(self.team, self.directory, Posts(self.db)), Times()
        ledger = Ledger(self.db, outbox, announce, partial(_next_look, times=times))
        self.attendant = Attendant(
            ledger, self.queries, gateway, self.clock, times, turns=turns, may_still=rights.stand_behind
        )
        self.book = RefundBook(self.db, outbox, announce_refund, refund_life.next_look)
        self.refunder = RefundAttendant(
            self.book, self.queries, gateway, self.clock, turns=turns, may_still=rights.stand_behind_refund
        )
        contests = DisputeBook(self.db, outbox, announce_dispute, announce_warning)
        self.disputes = DisputeAttendant(contests, self.queries, gateway, self.clock, turns=turns)
        terms = Terms(24, lambda _: "https://example.com/back")
        self.payments = Payments(ledger, self.attendant, gateway, self.clock, terms, self.errands)
        self.refunds = Refunds(self.book, self.refunder, gateway, self.clock, self.errands, approval_above=self.above)

    async def end(self) -> None:
        """Close what this life held."""
        await self.errands.close(5)
        await self.stripe.close()
        await self.db.close()

    async def shop(self) -> Shop:
        """The one shop."""
        return (await self.directory.shops())[0]

    async def request(self, minor: int, *, by: int, hold: bool) -> Payment:
        """`/pay` or `/hold`."""
        asked, source = Asked(Money(minor, "DKK"), "Tea"), f"message:{GROUP}:{next(self.numbers)}"
        return await self.payments.request(await self.shop(), Place(GROUP), by, asked, source=source, manual=hold)

    async def draft(self, payment: Payment, minor: int | None, *, by: int) -> Refund:
        """`/refund`; what a merchant asks for is for others to approve."""
        amount = None if minor is None else Money(minor, "DKK")
        wish = RefundWish(Place(GROUP), by, f"refund:{next(self.numbers)}", amount)
        for_others = not may(await self.role(by), Action.APPROVE_REFUND)
        return await self.refunds.draft(payment, wish, for_others=for_others)

    async def role(self, person: int) -> Role:
        """What somebody may do now."""
        return await self.team.role((await self.shop()).id, Person(person, ""))

    async def sweep(self) -> None:
        """Attend to whatever is due now, once; who dies of it attends to nothing more."""
        with suppress(Death):
            for payment_id in await self.queries.due(self.clock.now(), limit=AT_A_TIME):
                await self.attendant.attend(payment_id, actor="sweep")
            for refund_id in await self.book.due(self.clock.now(), limit=AT_A_TIME):
                await self.refunder.attend(refund_id, actor="sweep", if_due=True)

    async def hear(self, payment_id: str) -> None:
        """As if an event about everything of a payment had come."""
        await self.attendant.look(payment_id, actor="stripe")
        await self.refunder.look(payment_id)
        await self.disputes.look(payment_id, warnings=False)


def _next_look(payment: Payment, now: Any, *, times: Times) -> Any:
    return state_machine.next_look(payment, now=now, times=times)
