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
from handlers.payments.state_machine import IntentMismatch, Step, Timing, verify_intent
from handlers.stripe.gateway import MAX_CALL_DURATION, Intent, IntentStatus
from handlers.stripe.retry import IDEMPOTENCY_KEY_TTL
from storage.models.money import Money
from storage.models.payment import (
    MAX_ATTEMPTS,
    TRANSITIONS,
    Attempt,
    AttemptStatus,
    CancellationReason,
    ChatTarget,
    Origin,
    Payment,
    PaymentStatus,
)

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
TIMES = Timing(300, 60)
LAPSE = "payment_intent_payment_attempt_expired"
LINK = "https://stripe.example/link"
S = PaymentStatus
A = AttemptStatus


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


A_PAYMENT = Payment(
    id="p1",
    shop_id=1,
    reference="K7F3",
    page_token="token",
    chat=ChatTarget(1),
    request_key="message:1:2",
    created_by=1,
    amount=Money(14950, "DKK"),
    description="Coffee",
    status=S.CREATED,
    attempt=Attempt(1, A.REQUESTED, Origin.CHAT, requested_at=NOON),
    created_at=NOON,
    expires_at=NOON + timedelta(days=1),
)


def a_payment(
    status: PaymentStatus = S.CREATED, outcome: AttemptStatus = A.REQUESTED, number: int = 1, **more: Any
) -> Payment:
    attempt = replace(A_PAYMENT.attempt, number=number, status=outcome)
    if outcome is not A.REQUESTED:
        attempt = replace(attempt, started_at=NOON, expires_at=at(300), redirect_url=LINK)
    intent_id = None if status is S.CREATED else "pi_1"
    return replace(A_PAYMENT, status=status, attempt=attempt, intent_id=intent_id, **more)


def an_intent(status: IntentStatus, **more: Any) -> Intent:
    received = 14950 if status is IntentStatus.SUCCEEDED else 0
    link = LINK if status is IntentStatus.REQUIRES_ACTION else None
    ours = {"kvit_payment": "p1", "kvit_ref": "K7F3"}
    intent = Intent("pi_1", status, 14950, "DKK", received, metadata=ours, redirect_url=link, created_at=NOON)
    return replace(intent, **more)


def look(payment: Payment, status: IntentStatus, now: datetime = NOON, **more: Any) -> Payment:
    return state_machine.apply_intent(payment, intent=an_intent(status, **more), now=now, timing=TIMES)


@pytest.mark.parametrize(
    ("said", "status", "outcome"),
    [
        (IntentStatus.REQUIRES_ACTION, S.OPEN, A.ACTIVE),
        (IntentStatus.REQUIRES_PAYMENT_METHOD, S.OPEN, A.EXPIRED),
        (IntentStatus.PROCESSING, S.PROCESSING, A.ACTIVE),
        (IntentStatus.REQUIRES_CAPTURE, S.AUTHORIZED, A.SUCCEEDED),
        (IntentStatus.SUCCEEDED, S.SUCCEEDED, A.SUCCEEDED),
        (IntentStatus.CANCELED, S.CANCELED, A.CANCELED),
    ],
)
def test_each_stripe_status_has_one_meaning(said: IntentStatus, status: PaymentStatus, outcome: AttemptStatus) -> None:
    after = look(a_payment(S.OPEN, A.ACTIVE), said)
    assert (after.status, after.attempt.status) == (status, outcome)


@pytest.mark.parametrize(
    ("codes", "outcome", "code"),
    [
        ({"error_code": LAPSE}, A.EXPIRED, LAPSE),
        ({"error_code": "payment_method_provider_timeout"}, A.EXPIRED, "payment_method_provider_timeout"),
        ({}, A.EXPIRED, None),
        ({"error_code": "card_declined"}, A.FAILED, "card_declined"),
        ({"error_code": "card_declined", "decline_code": "expired_card"}, A.FAILED, "expired_card"),
        ({"error_code": "a_code_of_tomorrow"}, A.FAILED, "a_code_of_tomorrow"),
    ],
)
def test_an_attempt_lapsed_only_if_stripe_gives_no_other_reason(
    codes: dict[str, Any], outcome: AttemptStatus, code: str | None
) -> None:
    after = look(a_payment(S.OPEN, A.ACTIVE), IntentStatus.REQUIRES_PAYMENT_METHOD, **codes)
    assert (after.attempt.status, after.attempt.failure_code, after.is_payable) == (outcome, code, True)


@pytest.mark.parametrize("outcome", [A.FAILED, A.EXPIRED])
def test_money_that_comes_after_an_attempt_was_over_is_money(outcome: AttemptStatus) -> None:
    after = look(a_payment(S.OPEN, outcome), IntentStatus.SUCCEEDED, at(900))
    assert (after.status, after.amount_received, after.succeeded_at) == (S.SUCCEEDED, 14950, at(900))
    assert (after.attempt.status, after.attempt.failure_code) == (A.SUCCEEDED, None)


def test_retrieve_cannot_end_a_later_attempt_before_its_request_arrived() -> None:
    asked = a_payment(S.OPEN, A.REQUESTED, 2)
    before, after = (
        NOON + IDEMPOTENCY_KEY_TTL + MAX_CALL_DURATION - timedelta(seconds=1),
        NOON + IDEMPOTENCY_KEY_TTL + MAX_CALL_DURATION,
    )
    assert look(asked, IntentStatus.REQUIRES_PAYMENT_METHOD, before).attempt == asked.attempt
    assert look(asked, IntentStatus.REQUIRES_PAYMENT_METHOD, after).attempt.status is A.CANCELED
    first = look(a_payment(), IntentStatus.REQUIRES_PAYMENT_METHOD, error_code=LAPSE)
    assert (first.attempt.status, first.intent_id) == (A.EXPIRED, "pi_1")


def test_the_first_attempt_begins_with_the_intent_and_a_later_one_when_it_was_asked_for() -> None:
    made = look(a_payment(), IntentStatus.REQUIRES_ACTION, at(90), created_at=at(2))
    assert (made.attempt.started_at, made.attempt.expires_at, made.attempt.link_usable_until) == (
        at(2),
        at(302),
        at(242),
    )
    later = replace(a_payment(S.OPEN, A.REQUESTED, 2), created_at=at(-900))
    begun = look(later, IntentStatus.REQUIRES_ACTION, at(90), created_at=at(-900))
    assert (begun.attempt.started_at, begun.attempt.expires_at) == (NOON, at(300))


def test_response_to_an_older_attempt_is_a_retrieve() -> None:
    payment, old = a_payment(S.OPEN, A.REQUESTED, 3), an_intent(IntentStatus.REQUIRES_PAYMENT_METHOD)
    assert (
        state_machine.apply_attempt_response(payment, number=2, intent=old, now=NOON, timing=TIMES).attempt
        == payment.attempt
    )
    answered = state_machine.apply_attempt_response(payment, number=3, intent=old, now=NOON, timing=TIMES)
    assert answered.attempt.status is A.EXPIRED


@pytest.mark.parametrize(
    ("payment", "seconds", "step"),
    [
        (a_payment(), 0, Step.CREATE),
        (a_payment(), IDEMPOTENCY_KEY_TTL.total_seconds() - 1, Step.CREATE),
        (a_payment(), IDEMPOTENCY_KEY_TTL.total_seconds(), Step.RETRIEVE),
        (a_payment(), (IDEMPOTENCY_KEY_TTL + MAX_CALL_DURATION).total_seconds(), Step.SEARCH),
        (a_payment(cancel_requested=CancellationReason.REQUESTED), 0, Step.CREATE),
        (a_payment(S.OPEN, A.ACTIVE), 0, Step.RETRIEVE),
        (a_payment(S.OPEN, A.REQUESTED, 2), 0, Step.CONFIRM),
        (a_payment(S.OPEN, A.REQUESTED, 2), IDEMPOTENCY_KEY_TTL.total_seconds(), Step.RETRIEVE),
        (a_payment(S.OPEN, A.REQUESTED, 2, cancel_requested=CancellationReason.EXPIRED), 0, Step.CANCEL),
        (a_payment(S.OPEN, A.FAILED, cancel_requested=CancellationReason.EXPIRED), 0, Step.CANCEL),
        (state_machine.invalidate_key(a_payment(), code="authentication"), 0, Step.SEARCH),
        (a_payment(S.CANCELED, A.CANCELED), 0, Step.NOTHING),
        (a_payment(S.SUCCEEDED, A.SUCCEEDED), 0, Step.NOTHING),
    ],
)
def test_the_next_call_to_stripe_follows_from_what_is_known(payment: Payment, seconds: float, step: Step) -> None:
    assert state_machine.next_step(payment, at(seconds)) is step


@pytest.mark.parametrize(
    ("payment", "now", "then"),
    [
        (a_payment(S.OPEN, A.ACTIVE), 0, 60),
        (a_payment(S.OPEN, A.ACTIVE), 200, 240),
        (a_payment(S.OPEN, A.ACTIVE), 239.5, 240.5),
        (a_payment(S.OPEN, A.ACTIVE), 250, 300),
        (a_payment(S.OPEN, A.ACTIVE), 400, 460),
        (a_payment(S.OPEN, A.ACTIVE, expires_at=at(30)), 0, 30),
        (a_payment(S.OPEN, A.ACTIVE, expires_at=at(30)), 30, 31),
        (a_payment(S.OPEN, A.FAILED), 0, 3600),
        (a_payment(S.OPEN, A.FAILED), 86_000, 86_400),
        (a_payment(S.OPEN, A.FAILED, MAX_ATTEMPTS), 0, 1),
        (a_payment(S.OPEN, A.ACTIVE, MAX_ATTEMPTS), 0, 60),
        (a_payment(S.PROCESSING, A.ACTIVE), 400, 460),
        (a_payment(S.AUTHORIZED, A.SUCCEEDED), 0, 3600),
        (a_payment(S.SUCCEEDED, A.SUCCEEDED), 0, None),
    ],
)
def test_next_check_is_when_the_payment_can_change(payment: Payment, now: float, then: float | None) -> None:
    assert state_machine.next_check_at(payment, now=at(now), timing=TIMES) == (None if then is None else at(then))


def test_backoff_grows_up_to_five_minutes() -> None:
    payment, waits = a_payment(), []
    for _ in range(12):
        payment = state_machine.record_error(payment, code="connection")
        due = state_machine.next_check_at(payment, now=NOON, timing=TIMES)
        waits.append((due - NOON).total_seconds() if due else 0)
    assert min(waits) >= 2
    assert max(waits) <= 300
    assert waits[-1] > 10 * waits[0]
    assert look(payment, IntentStatus.REQUIRES_ACTION).error_count == 0


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
    payment = a_payment(S.OPEN, A.ACTIVE)
    verify_intent(payment, an_intent(IntentStatus.SUCCEEDED))
    with pytest.raises(IntentMismatch, match=f"differs in {field}$"):
        verify_intent(payment, an_intent(IntentStatus.SUCCEEDED, **lie))


def test_first_request_to_end_decides_the_reason() -> None:
    wished = state_machine.request_cancel(a_payment(S.OPEN, A.ACTIVE), reason=CancellationReason.REQUESTED)
    wished = state_machine.request_cancel(wished, reason=CancellationReason.EXPIRED)
    assert look(wished, IntentStatus.CANCELED).cancellation_reason is CancellationReason.REQUESTED
    assert look(a_payment(S.OPEN, A.ACTIVE), IntentStatus.CANCELED).cancellation_reason is CancellationReason.BY_STRIPE
    held = replace(a_payment(S.AUTHORIZED, A.SUCCEEDED), capture_before=NOON + timedelta(days=6))
    for reason, now, because in (
        ("automatic", NOON, CancellationReason.HOLD_EXPIRED),
        (None, NOON + timedelta(days=6), CancellationReason.HOLD_EXPIRED),
        (None, NOON, CancellationReason.BY_STRIPE),
        ("requested_by_customer", NOON + timedelta(days=6), CancellationReason.BY_STRIPE),
    ):
        found = look(held, IntentStatus.CANCELED, now, cancellation_reason=reason)
        assert found.cancellation_reason is because


@pytest.mark.parametrize(
    ("reason", "step"),
    [
        (CancellationReason.EXPIRED, Step.RETRIEVE),
        (CancellationReason.ATTEMPTS_EXHAUSTED, Step.RETRIEVE),
        (CancellationReason.REQUESTED, Step.RETRIEVE),
        (CancellationReason.RELEASED, Step.CANCEL),
    ],
)
def test_hold_that_arrived_during_a_cancel_ends_only_by_release(reason: CancellationReason, step: Step) -> None:
    held = a_payment(S.AUTHORIZED, A.SUCCEEDED)
    assert state_machine.next_step(state_machine.request_cancel(held, reason=reason), NOON) is step


Decision = Callable[[Payment, datetime], Payment]
looks = st.builds(
    an_intent,
    st.sampled_from(IntentStatus),
    error_code=st.sampled_from([None, LAPSE, "card_declined"]),
    redirect_url=st.sampled_from([None, LINK, "https://stripe.example/another"]),
)
numbers = st.integers(1, MAX_ATTEMPTS)


def observing(intent: Intent) -> Decision:
    return lambda p, now: state_machine.apply_intent(p, intent=intent, now=now, timing=TIMES)


def answering(intent: Intent, number: int) -> Decision:
    return lambda p, now: state_machine.apply_attempt_response(p, number=number, intent=intent, now=now, timing=TIMES)


decisions = st.one_of(
    st.builds(observing, looks),
    st.builds(answering, looks, numbers),
    st.sampled_from(
        [
            lambda p, now: state_machine.start_attempt(p, origin=Origin.CHAT, now=now),
            lambda p, now: state_machine.request_cancel(p, reason=CancellationReason.REQUESTED),
            lambda p, now: state_machine.mark_waiting(p, code="slow"),
            lambda p, now: state_machine.invalidate_key(p, code="authentication"),
            lambda p, now: state_machine.reject(p, code="amount_too_small", now=now),
            lambda p, now: state_machine.handle_not_found(p, number=p.create_key_version, now=now),
        ]
    ),
    st.builds(lambda n: lambda p, now: state_machine.reject_attempt(p, number=n, code="card_declined"), numbers),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(decisions, st.integers(0, 30_000)), max_size=25))
def test_no_sequence_leaves_a_terminal_state_or_loses_money(
    steps: list[tuple[Decision, int]],
) -> None:
    payment, now = a_payment(), NOON
    for decide, seconds in steps:
        now += timedelta(seconds=seconds)
        after = decide(payment, now)
        assert not payment.is_terminal or after == payment
        if after.status is not payment.status and after.status not in TRANSITIONS[payment.status]:
            assert payment.status is S.AUTHORIZED  # Stripe has no way back from there; the ledger refuses to write it
            continue
        assert after.amount_received >= payment.amount_received
        assert payment.attempt.number <= after.attempt.number <= min(payment.attempt.number + 1, MAX_ATTEMPTS)
        assert after.create_key_version >= payment.create_key_version
        assert payment.intent_id in {None, after.intent_id}
        assert payment.cancel_requested in {None, after.cancel_requested} or after.status is S.AUTHORIZED
        assert (after.status is S.SUCCEEDED) == (after.amount_received > 0) == (after.succeeded_at is not None)
        assert (after.status is S.CANCELED) == (after.cancellation_reason is not None)
        assert (
            after.is_terminal == (state_machine.next_step(after, now) is Step.NOTHING) == (after.closed_at is not None)
        )
        due = state_machine.next_check_at(after, now=now, timing=TIMES)
        assert after.is_terminal if due is None else due > now
        payment = after


@given(looks, st.sampled_from([S.CREATED, S.OPEN, S.PROCESSING]), st.sampled_from([A.REQUESTED, A.ACTIVE, A.EXPIRED]))
def test_same_retrieve_twice_is_idempotent(intent: Intent, status: PaymentStatus, outcome: AttemptStatus) -> None:
    once = observing(intent)(a_payment(status, outcome), NOON)
    assert observing(intent)(once, at(60)) == once


@pytest.mark.parametrize(
    ("server", "began", "now", "ahead"),
    [
        (0, 0, 600, 0),  # a response that a suspended process applied ten minutes later
        (1, 0, 2, 0),
        (0, 3600, 3601, 3600),
        (600, 0, 1, -599),
    ],
)
def test_clock_difference_is_what_the_time_of_the_request_cannot_explain(
    server: int, began: int, now: int, ahead: int
) -> None:
    times = [NOON + timedelta(seconds=seconds) for seconds in (server, began, now)]
    assert state_machine.clock_ahead(*times) == timedelta(seconds=ahead)
