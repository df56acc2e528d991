"""Whatever people, Stripe and bad luck do, in whatever order: each approved refund happens once, and no other does."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections import Counter as Tally
from collections.abc import Awaitable
from contextlib import closing, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import aiohttp
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from bot.sandbox.fake_stripe import FakeStripe
from bot.sandbox.shared.fake_clock import FakeClock
from handlers.access.permissions import Action, is_allowed
from storage import payment_queries, shops
from storage.errors import UserError
from storage.models.payment import Payment
from storage.models.refund import Refund
from storage.models.shop import Role
from tests.chaos.crash_world import NOON, seeded_database
from tests.chaos.refund_services import GATEWAY_ERRORS, ProcessCrashed, ServiceStack
from tests.invariants.stripe_ledger import amount_in_refunds, refund_changes
from tests.support.people import ADMIN, COLLEAGUE, MERCHANT
from tests.support.world import OWNER

FULL = os.environ.get("KVIT_STORM") == "full"
ABOVE = 5_000
AMOUNT, MOST_PAYMENTS = 12_500, 3
PEOPLE = (OWNER, ADMIN, MERCHANT, COLLEAGUE)
HEALING = (1, 61, 301, 601, 3_601, 75_000, 90_000)
"""Turns of the clock after which all that was cut short is done: also where a key is trusted no more."""

ORDERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("intents/INTENT/approve", {}),
    ("intents/INTENT/refund", {"amount": None}),
    ("intents/INTENT/refund", {"amount": 2_500}),
    ("intents/INTENT/dispute", {"refundable": False}),
    ("refunds/next", {"status": "pending"}),
    ("refunds/next", {"status": "failed"}),
    ("refunds/next", {"status": "refused"}),
    ("refunds/REFUND/succeed", {}),
    ("refunds/REFUND/fail", {}),
    ("refunds/REFUND/cancel", {}),
    ("balance", {"available": 0, "refuse": True}),
    ("balance", {"available": None}),
)
ON_THE_WIRE = ("drop", "500", "429")
DISMISSED = -1
THEN = (0, 0, DISMISSED, 61, 73_000)
"""What comes next, in seconds."""

Trouble = tuple[str, str, bool]
T = TypeVar("T")
person, which = st.sampled_from(PEOPLE), st.integers(0, 20)
fault = st.tuples(
    st.sampled_from(("", *GATEWAY_ERRORS, "crash")),
    st.sampled_from(("before", "after")),
    st.sampled_from((False, False, True)),
).filter(lambda fault: fault[:2] != ("429", "after"))  # a vendor who is too busy has done nothing
parts = st.sampled_from((None, 1, 2_500, 4_000, 6_000, 12_000, 12_500))


class MoneyOut(RuleBasedStateMachine):
    """Users, the services and Stripe. `yes` holds who approved and was allowed to, by refund id."""

    @initialize()
    def open(self) -> None:
        self.loop, self.folder = asyncio.Runner(), Path(mkdtemp())
        (self.folder / "kvit.db").write_bytes(seeded_database())
        self.clock = FakeClock(NOON, frozen=True)
        self.stripe = FakeStripe(self.clock)
        self.base = self.loop.run(self.stripe.start())
        self.services = ServiceStack(self.folder, self.base, self.stripe.key, self.clock, ABOVE)
        self.services.begin()
        self.admins = {OWNER, ADMIN}
        self.drafts: list[str] = []
        self.yes: dict[str, set[int]] = {}
        self.taken: dict[str, int] = {}
        self.seen: set[str] = set()
        for hold in (False, True):
            self.asks_for_money(OWNER, hold=hold, pays=True)

    def do(self, work: Awaitable[T]) -> T | None:
        """Somebody does something; a refusal is an answer, and a crashed process is started again."""

        async def tried() -> T | None:
            with suppress(UserError, ProcessCrashed):
                return await work
            return None

        done = self.loop.run(tried())
        if self.services.next_fault.has_crashed:
            self.restart()
        return done

    @rule(by=person, hold=st.booleans(), pays=st.booleans())
    def asks_for_money(self, by: int, hold: bool, pays: bool) -> None:
        if (number := len(self._payments())) < MOST_PAYMENTS:
            self.do(self.services.request(AMOUNT, by=by, hold=hold))
            if pays:
                self.customer_approves(number)

    def customer_approves(self, number: int) -> None:
        if payment := self._one(number):
            self._control(f"intents/{payment.intent_id}/approve")
            self.do(self.services.sync_all(payment.id))

    @rule(number=which, minor=parts, by=person, yes=st.lists(person, max_size=2))
    def drafts_a_refund(self, number: int, minor: int | None, by: int, yes: list[int]) -> None:
        payment = self._one(number)
        drafted = payment and self.do(self.services.draft(payment, minor, by=by))
        if drafted:
            self.drafts.append(drafted.id)
            for one in yes:
                self.do(self._tap(drafted.id, one))

    @rule(number=which, minor=parts, by=st.sampled_from((OWNER, ADMIN)), fault=fault, then=st.sampled_from(THEN))
    def refunds_by_himself(self, number: int, minor: int | None, by: int, fault: Trouble, then: int) -> None:
        """He asks and says yes, something goes wrong with that, and he may lose his role or a day go by over it."""
        self.drafts_a_refund(number, minor, by, [])
        if self.drafts:
            self.taps_yes(len(self.drafts) - 1, by, fault)
        self.each_refund_once_and_by_the_authority_it_needed()  # what was sent while he had the role
        if then == DISMISSED:
            self.a_role_changes(by, Role.MERCHANT)
        elif then:
            self.time_passes(then)

    @rule(number=which, by=person, fault=fault)
    def taps_yes(self, number: int, by: int, fault: Trouble) -> None:
        if self.drafts:
            self._set_fault(fault)
            self.do(self._tap(self.drafts[number % len(self.drafts)], by))

    @rule(first=which, second=which, one=person, other=person)
    def two_tap_at_once(self, first: int, second: int, one: int, other: int) -> None:
        if self.drafts:
            taps = [(self.drafts[number % len(self.drafts)], by) for number, by in ((first, one), (second, other))]
            self.do(asyncio.gather(*(self._tap(*tap) for tap in taps), return_exceptions=True))

    @rule(number=which, by=person, again=st.booleans())
    def taps_something_else(self, number: int, by: int, again: bool) -> None:
        if refund := self._draft(number):
            service = self.services.refunds
            self.do(service.retry(refund, user_id=OWNER) if again else service.decline(refund, user_id=by))

    @rule(number=which, by=person, takes=st.booleans())
    def ends_a_hold(self, number: int, by: int, takes: bool) -> None:
        if (payment := self._one(number)) and by in self.admins:
            if takes:
                self.taken.setdefault(payment.intent_id or "", by)
            service = self.services.payments
            self.do((service.capture if takes else service.release)(payment.id, user_id=by))

    @rule(number=which, order=st.sampled_from(ORDERS), heard=st.booleans())
    def stripe_does_something(self, number: int, order: tuple[str, dict[str, Any]], heard: bool) -> None:
        """Somebody in the Dashboard, a bank or the balance, which an event tells or not."""
        payment, refunds = self._one(number), list(self.ledger.refunds)
        if payment and (refunds or "REFUND" not in order[0]):  # a refund moves only where there is one
            path = order[0].replace("INTENT", payment.intent_id or "")
            self._control(path.replace("REFUND", refunds[number % len(refunds)] if refunds else ""), **order[1])
            if heard:
                self.do(self.services.sync_all(payment.id))

    @rule(who=st.sampled_from((ADMIN, MERCHANT)), role=st.sampled_from((Role.MERCHANT, Role.ADMIN)))
    def a_role_changes(self, who: int, role: Role) -> None:
        if who == OWNER:
            return  # his role stands in the settings
        shop = self.loop.run(self.services.shop())
        self.loop.run(self.services.db.write(shops.set_member, shop.id, who, role, name="", now=self.clock.now()))
        self.admins = self.admins | {who} if role is Role.ADMIN else self.admins - {who}

    @rule(fault=fault)
    def the_next_call_goes_wrong(self, fault: Trouble) -> None:
        self._set_fault(fault)

    @rule()
    def restart(self) -> None:
        self.loop.run(self.services.close())
        self.services.begin()

    @rule(seconds=st.sampled_from((5, 61, 601, 3_700, 73_000)))
    def time_passes(self, seconds: int) -> None:
        self.loop.run(self._turn(seconds))
        self.do(self.services.reconcile())

    @invariant()
    def never_more_out_than_in(self) -> None:
        for key, intent in self.ledger.intents.items():
            moves = refund_changes(self.ledger, key)
            for move in moves:
                assert amount_in_refunds(moves, move.at) <= intent["amount_received"]
        for payment in self._payments():
            assert payment.amount_refunded + payment.amount_refund_pending >= 0
            assert payment.amount_refunded <= payment.amount_received

    @invariant()
    def each_refund_once_and_by_the_authority_it_needed(self) -> None:
        ours = [(key, r["metadata"].get("kvit_refund"), r["amount"]) for key, r in self.ledger.refunds.items()]
        assert all(number == 1 for named, number in Tally(named for _, named, _ in ours).items() if named)
        for key, named, amount in ours:
            if named and key not in self.seen:
                assert len(self.yes.get(named, set()) & self.admins) >= (2 if amount > ABOVE else 1)
            self.seen.add(key)

    @invariant()
    def a_hold_is_taken_by_an_admin(self) -> None:
        for key, intent in self.ledger.intents.items():
            if intent["capture_method"] == "manual" and intent["amount_received"]:
                assert key in self.taken

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.heal()
            self.all_is_as_it_was_wanted()
        finally:
            self.loop.run(self.services.close())
            self.loop.run(self.stripe.stop())
            self.loop.close()
            shutil.rmtree(self.folder)

    def heal(self) -> None:
        """No more trouble, and time enough for everything that waits."""
        self.services.next_fault.how = ""
        for seconds in HEALING:
            self.loop.run(self._turn(seconds))
            self.loop.run(self.services.reconcile())
        for payment in self._payments():
            if payment.intent_id:
                self.loop.run(self.services.sync_all(payment.id))
        self.each_refund_once_and_by_the_authority_it_needed()

    def all_is_as_it_was_wanted(self) -> None:
        """Exactly the refunds that were approved are at Stripe, but for those that Stripe or lost authority refused."""
        theirs = {r["metadata"]["kvit_refund"]: r for r in self.ledger.refunds.values() if r["metadata"]}
        found = [
            self.loop.run(self.services.db.read(self.services.refund_repository.find, each)) for each in self.drafts
        ]
        for refund in (each for each in found if each is not None):
            assert refund.status != "approved"
            wanted = refund.reserved_at is not None and refund.status != "rejected"
            assert (refund.id in theirs) == wanted, (refund, theirs)
            if wanted:
                said = theirs[refund.id]
                assert (refund.status, refund.amount.minor) == (said["status"], said["amount"])
        for payment in self._payments():
            self._adds_up(payment)

    def _adds_up(self, payment: Payment) -> None:
        mine = [r for r in self.ledger.refunds.values() if r["payment_intent"] == payment.intent_id]
        assert payment.amount_refunded == sum(r["amount"] for r in mine if r["status"] == "succeeded")
        assert payment.amount_refund_pending == sum(
            r["amount"] for r in mine if r["status"] in {"pending", "requires_action"}
        )

    @property
    def ledger(self) -> Any:
        """Stripe's own."""
        return self.stripe.store

    async def _turn(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.stripe.state.timers.run_due()

    async def _tap(self, refund_id: str, by: int) -> None:
        """Presses the button: the permission is checked here, the rest by the service."""
        refund = await self.services.db.read(self.services.refund_repository.find, refund_id)
        assert refund is not None
        payment = await self.services.db.read(payment_queries.by_id, refund.payment_id)
        if payment is None or not is_allowed(await self.services.role(by), Action.APPROVE_REFUND):
            return
        if refund.is_pending_decision and refund.status == "draft" and refund.requested_by != by:
            return
        self.yes.setdefault(refund_id, set()).add(by)
        await self.services.refunds.approve(refund, payment, await self.services.shop(), user_id=by)

    def _one(self, number: int) -> Payment | None:
        """One of the payments that Stripe knows of."""
        known = [payment for payment in self._payments() if payment.intent_id]
        return known[number % len(known)] if known else None

    def _payments(self) -> list[Payment]:
        with closing(sqlite3.connect(f"file:{self.folder / 'kvit.db'}?mode=ro", uri=True)) as db:
            known = [row[0] for row in db.execute("SELECT id FROM payments ORDER BY rowid")]
        found = [self.loop.run(self.services.db.read(payment_queries.by_id, each)) for each in known]
        return [payment for payment in found if payment is not None]

    def _draft(self, number: int) -> Refund | None:
        return (
            self.loop.run(
                self.services.db.read(self.services.refund_repository.find, self.drafts[number % len(self.drafts)])
            )
            if self.drafts
            else None
        )

    def _set_fault(self, fault: Trouble) -> None:
        """Makes the next call fail: in the gateway, or between it and Stripe, where the SDK tries again by itself."""
        how, when, wire = fault
        if wire and how in ON_THE_WIRE:
            self._control("faults", method="POST /v1/refunds", nth=1, when=when, how=how)
        else:
            self.services.next_fault.how, self.services.next_fault.when = how, when

    def _control(self, path: str, **body: Any) -> None:
        """Order something of Stripe, who may say that it cannot be."""
        given = {name: value for name, value in body.items() if value is not None or name == "available"}

        async def ask() -> int:
            async with aiohttp.ClientSession() as http, http.post(f"{self.base}/_control/{path}", json=given) as answer:
                return answer.status

        assert self.loop.run(ask()) in {200, 409}


@pytest.mark.timeout(3600 if FULL else 180)
@pytest.mark.parametrize(
    "examples", [3, pytest.param(400 if FULL else 15, marks=pytest.mark.long)], ids=["few", "many"]
)
def test_each_approved_refund_happens_once_and_nothing_else_does(examples: int) -> None:
    run_state_machine_as_test(
        MoneyOut,
        settings=settings(
            max_examples=examples,
            stateful_step_count=60 if FULL else 30,
            deadline=None,
            derandomize=not FULL,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
