"""The state of the pay page, its action, and the wallet URL. Nothing is shown before Stripe reported it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from handlers.pay_page.service import PageAction, PageState, page_action, page_state, wallet_url
from storage.errors import StripeUnavailable
from storage.models.money import Money
from storage.models.payment import (
    Attempt,
    AttemptStatus,
    CancellationReason,
    ChatTarget,
    Origin,
    Payment,
    PaymentStatus,
)

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
TOMORROW = NOON + timedelta(hours=24)
LINK_EXPIRES = NOON + timedelta(seconds=300)

ATTEMPT = Attempt(
    number=1,
    status=AttemptStatus.ACTIVE,
    origin=Origin.CHAT,
    requested_at=NOON,
    started_at=NOON,
    expires_at=LINK_EXPIRES,
    redirect_url="https://pm-redirects.stripe.com/1",
)
PAYMENT = Payment(
    id="pay_1",
    shop_id=1,
    reference="K7F3",
    page_token="a-token",
    chat=ChatTarget(1),
    request_key="1:1",
    created_by=7,
    amount=Money(149_50, "DKK"),
    description="Coffee",
    status=PaymentStatus.OPEN,
    attempt=ATTEMPT,
    created_at=NOON,
    expires_at=TOMORROW,
)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def with_attempt(**changes: object) -> Payment:
    return replace(PAYMENT, attempt=replace(ATTEMPT, **changes))  # type: ignore[arg-type]


def test_usable_link_from_the_chat_is_ready_until_the_request_expires() -> None:
    assert page_state(PAYMENT, after(239)) == (PageState.READY, TOMORROW)


def test_unusable_link_is_waiting_until_it_expires() -> None:
    assert page_state(PAYMENT, after(240)) == (PageState.WAITING, LINK_EXPIRES)
    assert page_state(PAYMENT, after(299)) == (PageState.WAITING, LINK_EXPIRES)


def test_expired_link_is_waiting_until_stripe_reports_its_end() -> None:
    assert page_state(PAYMENT, after(300)) == (PageState.WAITING, None)


def test_attempt_started_on_the_page_is_waiting_for_the_approval() -> None:
    assert page_state(with_attempt(origin=Origin.PAGE), after(1)) == (PageState.WAITING, LINK_EXPIRES)


@pytest.mark.parametrize("status", [PaymentStatus.CREATED, PaymentStatus.OPEN])
def test_requested_attempt_is_waiting_without_an_end(status: PaymentStatus) -> None:
    requested = with_attempt(status=AttemptStatus.REQUESTED, started_at=None, expires_at=None, redirect_url=None)
    assert page_state(replace(requested, status=status), NOON) == (PageState.WAITING, None)


@pytest.mark.parametrize(
    ("outcome", "expected"), [(AttemptStatus.FAILED, PageState.FAILED), (AttemptStatus.EXPIRED, PageState.EXPIRED)]
)
def test_finished_attempt_has_its_state_until_the_request_expires(outcome: AttemptStatus, expected: PageState) -> None:
    finished = with_attempt(status=outcome, opened_at=after(1))
    assert page_state(finished, after(1)) == (expected, TOMORROW)
    assert page_state(finished, TOMORROW) == (expected, None)
    assert page_state(replace(finished, cancel_requested=CancellationReason.REQUESTED), after(1)) == (expected, None)


def test_link_that_expired_unseen_is_ready_while_it_can_be_paid() -> None:
    unseen = with_attempt(status=AttemptStatus.EXPIRED)
    assert page_state(unseen, after(301)) == (PageState.READY, TOMORROW)
    assert page_state(unseen, TOMORROW) == (PageState.EXPIRED, None)
    assert page_state(with_attempt(status=AttemptStatus.EXPIRED, number=8), after(301)) == (PageState.EXPIRED, None)


def test_usable_link_that_was_opened_is_waiting_for_the_approval() -> None:
    assert page_state(with_attempt(opened_at=after(1)), after(2)) == (PageState.WAITING, LINK_EXPIRES)


def test_requested_cancellation_is_waiting_until_stripe_confirms_it() -> None:
    canceling = replace(PAYMENT, cancel_requested=CancellationReason.REQUESTED)
    assert page_state(canceling, after(1)) == (PageState.WAITING, LINK_EXPIRES)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (PaymentStatus.PROCESSING, PageState.PROCESSING),
        (PaymentStatus.AUTHORIZED, PageState.RESERVED),
        (PaymentStatus.SUCCEEDED, PageState.PAID),
    ],
)
def test_payment_status_determines_the_state(status: PaymentStatus, expected: PageState) -> None:
    for now in (NOON, TOMORROW + timedelta(days=1)):
        assert page_state(replace(PAYMENT, status=status), now) == (expected, None)


@pytest.mark.parametrize("reason", CancellationReason)
def test_only_an_expired_request_has_ended(reason: CancellationReason) -> None:
    canceled = replace(PAYMENT, status=PaymentStatus.CANCELED, cancellation_reason=reason)
    expected = PageState.ENDED if reason is CancellationReason.EXPIRED else PageState.CANCELED
    assert page_state(canceled, TOMORROW) == (expected, None)


@pytest.mark.parametrize("status", PaymentStatus)
@pytest.mark.parametrize("outcome", AttemptStatus)
def test_every_payment_has_a_state_and_only_a_terminal_status_a_final_one(
    status: PaymentStatus, outcome: AttemptStatus
) -> None:
    payment = replace(PAYMENT, status=status, attempt=replace(ATTEMPT, status=outcome))
    for seconds in (0, 240, 300, 86_400, 864_000):
        state, until = page_state(payment, after(seconds))
        assert (state in {PageState.PAID, PageState.ENDED, PageState.CANCELED}) == payment.is_terminal
        assert until is None or until > after(seconds)
        assert page_action(payment, state, until, after(seconds)) is None or not payment.is_terminal


@pytest.mark.parametrize(
    ("refunded", "expected"),
    [
        (0, PageState.PAID),
        (1, PageState.PARTLY_REFUNDED),
        (149_49, PageState.PARTLY_REFUNDED),
        (149_50, PageState.REFUNDED),
    ],
)
def test_refunded_amount_determines_the_state_and_pending_refunds_do_not(refunded: int, expected: PageState) -> None:
    paid = replace(
        PAYMENT,
        status=PaymentStatus.SUCCEEDED,
        amount_received=149_50,
        amount_refunded=refunded,
        amount_refund_pending=100,
    )
    assert page_state(paid, NOON) == (expected, None)


def action(payment: Payment, now: datetime) -> PageAction | None:
    return page_action(payment, *page_state(payment, now), now)


def test_customer_can_start_after_a_finished_attempt_and_open_a_usable_one() -> None:
    from_page, failed = with_attempt(origin=Origin.PAGE), with_attempt(status=AttemptStatus.FAILED)
    assert action(PAYMENT, after(1)) is PageAction.PAY
    assert action(PAYMENT, after(240)) is None
    assert action(from_page, after(239)) is PageAction.OPEN
    assert action(from_page, after(240)) is None
    assert action(failed, after(1)) is PageAction.PAY
    assert action(failed, TOMORROW) is None
    assert action(replace(from_page, cancel_requested=CancellationReason.REQUESTED), after(1)) is None


def test_last_attempt_is_followed_by_no_other() -> None:
    last = with_attempt(number=8, status=AttemptStatus.EXPIRED)
    assert (page_state(last, after(1)), action(last, after(1))) == ((PageState.EXPIRED, None), None)


def test_wallet_url_is_only_that_of_a_usable_link() -> None:
    assert wallet_url(PAYMENT, after(239)) == ATTEMPT.redirect_url
    assert wallet_url(PAYMENT, after(240)) is None
    for outcome in set(AttemptStatus) - {AttemptStatus.ACTIVE, AttemptStatus.REQUESTED}:
        assert wallet_url(with_attempt(status=outcome), after(1)) is None
    with pytest.raises(StripeUnavailable):
        wallet_url(with_attempt(status=AttemptStatus.REQUESTED), after(1))
