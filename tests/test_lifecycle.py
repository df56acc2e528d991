"""The pure decisions about a payment: Stripe's status decides, sinks are sinks, money stays, attempts are counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.payments import state_machine
from handlers.payments.state_machine import Mismatch, Step, Times, faithful
from handlers.stripe.gateway import LONGEST_CALL, Intent, IntentStatus
from handlers.stripe.retry import KEY_LIFE
from storage.models.money import Money
from storage.models.payment import (
    MAX_ATTEMPTS,
    TRANSITIONS,
    Attempt,
    AttemptOutcome,
    CancelReason,
    Origin,
    Payment,
    PaymentStatus,
    Place,
)

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
TIMES = Times(300, 60)
LAPSE = "payment_intent_payment_attempt_expired"
LINK = "https://stripe.example/link"
S = PaymentStatus
A = AttemptOutcome


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


A_PAYMENT = Payment(
    id="p1",
    shop_id=1,
    ref="K7F3",
    token="token",
    place=Place(1),
    source="message:1:2",
    created_by=1,
    amount=Money(14950, "DKK"),
    text="Coffee",
    status=S.CREATED,
    attempt=Attempt(1, A.ASKED, Origin.CHAT, asked_at=NOON),
    created_at=NOON,
    expires_at=NOON + timedelta(days=1),
)


def a_payment(
    status: PaymentStatus = S.CREATED, outcome: AttemptOutcome = A.ASKED, number: int = 1, **more: Any
) -> Payment:
    attempt = replace(A_PAYMENT.attempt, number=number, outcome=outcome)
    if outcome is not A.ASKED:
        attempt = replace(attempt, started_at=NOON, ends_at=at(300), link=LINK)
    intent_id = None if status is S.CREATED else "pi_1"
    return replace(A_PAYMENT, status=status, attempt=attempt, intent_id=intent_id, **more)


def an_intent(status: IntentStatus, **more: Any) -> Intent:
    received = 14950 if status is IntentStatus.SUCCEEDED else 0
    link = LINK if status is IntentStatus.REQUIRES_ACTION else None
    ours = {"kvit_payment": "p1", "kvit_ref": "K7F3"}
    intent = Intent("pi_1", status, 14950, "DKK", received, metadata=ours, link=link, created_at=NOON)
    return replace(intent, **more)


def look(payment: Payment, status: IntentStatus, now: datetime = NOON, **more: Any) -> Payment:
    return state_machine.observe(payment, intent=an_intent(status, **more), now=now, times=TIMES)


@pytest.mark.parametrize(
    ("said", "status", "outcome"),
    [
        (IntentStatus.REQUIRES_ACTION, S.OPEN, A.LIVE),
        (IntentStatus.REQUIRES_PAYMENT_METHOD, S.OPEN, A.LAPSED),
        (IntentStatus.PROCESSING, S.PROCESSING, A.LIVE),
        (IntentStatus.REQUIRES_CAPTURE, S.AUTHORIZED, A.SUCCEEDED),
        (IntentStatus.SUCCEEDED, S.SUCCEEDED, A.SUCCEEDED),
        (IntentStatus.CANCELED, S.CANCELED, A.CANCELED),
    ],
)
def test_each_of_stripes_words_has_one_meaning(
    said: IntentStatus, status: PaymentStatus, outcome: AttemptOutcome
) -> None:
    after = look(a_payment(S.OPEN, A.LIVE), said)
    assert (after.status, after.attempt.outcome) == (status, outcome)


@pytest.mark.parametrize(
    ("codes", "outcome", "code"),
    [
        ({"error_code": LAPSE}, A.LAPSED, LAPSE),
        ({"error_code": "payment_method_provider_timeout"}, A.LAPSED, "payment_method_provider_timeout"),
        ({}, A.LAPSED, None),
        ({"error_code": "card_declined"}, A.FAILED, "card_declined"),
        ({"error_code": "card_declined", "decline_code": "expired_card"}, A.FAILED, "expired_card"),
        ({"error_code": "a_code_of_tomorrow"}, A.FAILED, "a_code_of_tomorrow"),
    ],
)
def test_an_attempt_lapsed_only_if_stripe_gives_no_other_reason(
    codes: dict[str, Any], outcome: AttemptOutcome, code: str | None
) -> None:
    after = look(a_payment(S.OPEN, A.LIVE), IntentStatus.REQUIRES_PAYMENT_METHOD, **codes)
    assert (after.attempt.outcome, after.attempt.code, after.is_payable) == (outcome, code, True)


@pytest.mark.parametrize("outcome", [A.FAILED, A.LAPSED])
def test_money_that_comes_after_an_attempt_was_over_is_money(outcome: AttemptOutcome) -> None:
    after = look(a_payment(S.OPEN, outcome), IntentStatus.SUCCEEDED, at(900))
    assert (after.status, after.received, after.succeeded_at) == (S.SUCCEEDED, 14950, at(900))
    assert (after.attempt.outcome, after.attempt.code) == (A.SUCCEEDED, None)


def test_a_look_cannot_end_a_later_attempt_before_its_last_request_has_arrived() -> None:
    asked = a_payment(S.OPEN, A.ASKED, 2)
    before, after = NOON + KEY_LIFE + LONGEST_CALL - timedelta(seconds=1), NOON + KEY_LIFE + LONGEST_CALL
    assert look(asked, IntentStatus.REQUIRES_PAYMENT_METHOD, before).attempt == asked.attempt
    assert look(asked, IntentStatus.REQUIRES_PAYMENT_METHOD, after).attempt.outcome is A.CANCELED
    first = look(a_payment(), IntentStatus.REQUIRES_PAYMENT_METHOD, error_code=LAPSE)
    assert (first.attempt.outcome, first.intent_id) == (A.LAPSED, "pi_1")


def test_the_first_attempt_begins_with_the_intent_and_a_later_one_when_it_was_asked_for() -> None:
    made = look(a_payment(), IntentStatus.REQUIRES_ACTION, at(90), created_at=at(2))
    assert (made.attempt.started_at, made.attempt.ends_at, made.attempt.fresh_until) == (at(2), at(302), at(242))
    later = replace(a_payment(S.OPEN, A.ASKED, 2), created_at=at(-900))
    begun = look(later, IntentStatus.REQUIRES_ACTION, at(90), created_at=at(-900))
    assert (begun.attempt.started_at, begun.attempt.ends_at) == (NOON, at(300))


def test_an_answer_to_an_attempt_that_is_not_the_newest_is_a_plain_look() -> None:
    payment, old = a_payment(S.OPEN, A.ASKED, 3), an_intent(IntentStatus.REQUIRES_PAYMENT_METHOD)
    assert (
        state_machine.attempt_answered(payment, number=2, intent=old, now=NOON, times=TIMES).attempt == payment.attempt
    )
    answered = state_machine.attempt_answered(payment, number=3, intent=old, now=NOON, times=TIMES)
    assert answered.attempt.outcome is A.LAPSED


@pytest.mark.parametrize(
    ("payment", "seconds", "step"),
    [
        (a_payment(), 0, Step.MAKE),
        (a_payment(), KEY_LIFE.total_seconds() - 1, Step.MAKE),
        (a_payment(), KEY_LIFE.total_seconds(), Step.LOOK),
        (a_payment(), (KEY_LIFE + LONGEST_CALL).total_seconds(), Step.FIND),
        (a_payment(cancel_asked=CancelReason.BY_MERCHANT), 0, Step.MAKE),
        (a_payment(S.OPEN, A.LIVE), 0, Step.LOOK),
        (a_payment(S.OPEN, A.ASKED, 2), 0, Step.CONFIRM),
        (a_payment(S.OPEN, A.ASKED, 2), KEY_LIFE.total_seconds(), Step.LOOK),
        (a_payment(S.OPEN, A.ASKED, 2, cancel_asked=CancelReason.ENDED), 0, Step.CANCEL),
        (a_payment(S.OPEN, A.FAILED, cancel_asked=CancelReason.ENDED), 0, Step.CANCEL),
        (state_machine.key_refused(a_payment(), code="authentication"), 0, Step.FIND),
        (a_payment(S.CANCELED, A.CANCELED), 0, Step.NOTHING),
        (a_payment(S.SUCCEEDED, A.SUCCEEDED), 0, Step.NOTHING),
    ],
)
def test_the_next_call_to_stripe_follows_from_what_is_known(payment: Payment, seconds: float, step: Step) -> None:
    assert state_machine.next_step(payment, at(seconds)) is step


@pytest.mark.parametrize(
    ("payment", "now", "then"),
    [
        (a_payment(S.OPEN, A.LIVE), 0, 60),
        (a_payment(S.OPEN, A.LIVE), 200, 240),
        (a_payment(S.OPEN, A.LIVE), 239.5, 240.5),
        (a_payment(S.OPEN, A.LIVE), 250, 300),
        (a_payment(S.OPEN, A.LIVE), 400, 460),
        (a_payment(S.OPEN, A.LIVE, expires_at=at(30)), 0, 30),
        (a_payment(S.OPEN, A.LIVE, expires_at=at(30)), 30, 31),
        (a_payment(S.OPEN, A.FAILED), 0, 3600),
        (a_payment(S.OPEN, A.FAILED), 86_000, 86_400),
        (a_payment(S.OPEN, A.FAILED, MAX_ATTEMPTS), 0, 1),
        (a_payment(S.OPEN, A.LIVE, MAX_ATTEMPTS), 0, 60),
        (a_payment(S.PROCESSING, A.LIVE), 400, 460),
        (a_payment(S.AUTHORIZED, A.SUCCEEDED), 0, 3600),
        (a_payment(S.SUCCEEDED, A.SUCCEEDED), 0, None),
    ],
)
def test_a_payment_is_looked_at_when_it_can_change_next(payment: Payment, now: float, then: float | None) -> None:
    assert state_machine.next_look(payment, now=at(now), times=TIMES) == (None if then is None else at(then))


def test_trouble_is_tried_again_later_each_time_but_never_later_than_five_minutes() -> None:
    payment, waits = a_payment(), []
    for _ in range(12):
        payment = state_machine.troubled(payment, code="connection")
        due = state_machine.next_look(payment, now=NOON, times=TIMES)
        waits.append((due - NOON).total_seconds() if due else 0)
    assert min(waits) >= 2
    assert max(waits) <= 300
    assert waits[-1] > 10 * waits[0]
    assert look(payment, IntentStatus.REQUIRES_ACTION).trouble_count == 0


@pytest.mark.parametrize(
    ("lie", "field"),
    [
        ({"amount": 1}, "amount"),
        ({"currency": "SEK"}, "currency"),
        ({"livemode": True}, "livemode"),
        ({"metadata": {}}, "kvit_payment"),
        ({"id": "pi_2"}, "id"),
    ],
)
def test_an_intent_that_differs_in_one_thing_is_refused_by_name(lie: dict[str, object], field: str) -> None:
    payment = a_payment(S.OPEN, A.LIVE)
    faithful(payment, an_intent(IntentStatus.SUCCEEDED))
    with pytest.raises(Mismatch, match=f"differs in {field}$"):
        faithful(payment, an_intent(IntentStatus.SUCCEEDED, **lie))


def test_the_first_wish_to_end_stays_and_why_it_ended_is_told_by_it() -> None:
    wished = state_machine.cancel_asked(a_payment(S.OPEN, A.LIVE), reason=CancelReason.BY_MERCHANT)
    wished = state_machine.cancel_asked(wished, reason=CancelReason.ENDED)
    assert look(wished, IntentStatus.CANCELED).canceled_because is CancelReason.BY_MERCHANT
    assert look(a_payment(S.OPEN, A.LIVE), IntentStatus.CANCELED).canceled_because is CancelReason.BY_STRIPE
    held = replace(a_payment(S.AUTHORIZED, A.SUCCEEDED), capture_before=NOON + timedelta(days=6))
    for reason, now, because in (
        ("automatic", NOON, CancelReason.HOLD_LAPSED),
        (None, NOON + timedelta(days=6), CancelReason.HOLD_LAPSED),
        (None, NOON, CancelReason.BY_STRIPE),
        ("requested_by_customer", NOON + timedelta(days=6), CancelReason.BY_STRIPE),
    ):
        found = look(held, IntentStatus.CANCELED, now, cancellation_reason=reason)
        assert found.canceled_because is because


@pytest.mark.parametrize(
    ("reason", "step"),
    [
        (CancelReason.ENDED, Step.LOOK),
        (CancelReason.ATTEMPTS_USED, Step.LOOK),
        (CancelReason.BY_MERCHANT, Step.LOOK),
        (CancelReason.RELEASED, Step.CANCEL),
    ],
)
def test_a_hold_that_came_while_the_wish_was_written_is_let_go_by_a_release_alone(
    reason: CancelReason, step: Step
) -> None:
    held = a_payment(S.AUTHORIZED, A.SUCCEEDED)
    assert state_machine.next_step(state_machine.cancel_asked(held, reason=reason), NOON) is step


Decision = Callable[[Payment, datetime], Payment]
looks = st.builds(
    an_intent,
    st.sampled_from(IntentStatus),
    error_code=st.sampled_from([None, LAPSE, "card_declined"]),
    link=st.sampled_from([None, LINK, "https://stripe.example/another"]),
)
numbers = st.integers(1, MAX_ATTEMPTS)


def observing(intent: Intent) -> Decision:
    return lambda p, now: state_machine.observe(p, intent=intent, now=now, times=TIMES)


def answering(intent: Intent, number: int) -> Decision:
    return lambda p, now: state_machine.attempt_answered(p, number=number, intent=intent, now=now, times=TIMES)


decisions = st.one_of(
    st.builds(observing, looks),
    st.builds(answering, looks, numbers),
    st.sampled_from(
        [
            lambda p, now: state_machine.next_attempt(p, origin=Origin.CHAT, now=now),
            lambda p, now: state_machine.cancel_asked(p, reason=CancelReason.BY_MERCHANT),
            lambda p, now: state_machine.waiting(p, code="slow"),
            lambda p, now: state_machine.key_refused(p, code="authentication"),
            lambda p, now: state_machine.refused(p, code="amount_too_small", now=now),
            lambda p, now: state_machine.not_found(p, number=p.create_number, now=now),
        ]
    ),
    st.builds(lambda n: lambda p, now: state_machine.attempt_refused(p, number=n, code="card_declined"), numbers),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(decisions, st.integers(0, 30_000)), max_size=25))
def test_no_sequence_of_decisions_leaves_a_sink_loses_money_or_takes_an_attempt_back(
    steps: list[tuple[Decision, int]],
) -> None:
    payment, now = a_payment(), NOON
    for decide, seconds in steps:
        now += timedelta(seconds=seconds)
        after = decide(payment, now)
        assert not payment.is_final or after == payment
        if after.status is not payment.status and after.status not in TRANSITIONS[payment.status]:
            assert payment.status is S.AUTHORIZED  # Stripe has no way back from there; the ledger refuses to write it
            continue
        assert after.received >= payment.received
        assert payment.attempt.number <= after.attempt.number <= min(payment.attempt.number + 1, MAX_ATTEMPTS)
        assert after.create_number >= payment.create_number
        assert payment.intent_id in {None, after.intent_id}
        assert payment.cancel_asked in {None, after.cancel_asked} or after.status is S.AUTHORIZED
        assert (after.status is S.SUCCEEDED) == (after.received > 0) == (after.succeeded_at is not None)
        assert (after.status is S.CANCELED) == (after.canceled_because is not None)
        assert after.is_final == (state_machine.next_step(after, now) is Step.NOTHING) == (after.ended_at is not None)
        due = state_machine.next_look(after, now=now, times=TIMES)
        assert after.is_final if due is None else due > now
        payment = after


@given(looks, st.sampled_from([S.CREATED, S.OPEN, S.PROCESSING]), st.sampled_from([A.ASKED, A.LIVE, A.LAPSED]))
def test_the_same_look_twice_is_the_same_as_once(
    intent: Intent, status: PaymentStatus, outcome: AttemptOutcome
) -> None:
    once = observing(intent)(a_payment(status, outcome), NOON)
    assert observing(intent)(once, at(60)) == once
