"""The page's word for a payment: never ahead of Stripe, and never two words for one thing."""

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
DIES = NOON + timedelta(seconds=300)

ATTEMPT = Attempt(
    number=1,
    status=AttemptStatus.ACTIVE,
    origin=Origin.CHAT,
    requested_at=NOON,
    started_at=NOON,
    expires_at=DIES,
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


def test_a_fresh_link_of_the_chat_is_ready_until_the_request_ends() -> None:
    assert page_state(PAYMENT, after(239)) == (PageState.READY, TOMORROW)


def test_a_stale_link_has_to_be_waited_for_until_it_dies() -> None:
    assert page_state(PAYMENT, after(240)) == (PageState.WAITING, DIES)
    assert page_state(PAYMENT, after(299)) == (PageState.WAITING, DIES)


def test_a_link_past_its_end_is_waited_for_until_stripe_says_so() -> None:
    assert page_state(PAYMENT, after(300)) == (PageState.WAITING, None)


def test_whoever_began_on_the_page_is_waited_for_while_he_approves() -> None:
    assert page_state(with_attempt(origin=Origin.PAGE), after(1)) == (PageState.WAITING, DIES)


@pytest.mark.parametrize("status", [PaymentStatus.CREATED, PaymentStatus.OPEN])
def test_while_stripe_has_not_answered_there_is_nothing_to_be_ready_for(status: PaymentStatus) -> None:
    asked = with_attempt(status=AttemptStatus.REQUESTED, started_at=None, expires_at=None, redirect_url=None)
    assert page_state(replace(asked, status=status), NOON) == (PageState.WAITING, None)


@pytest.mark.parametrize(
    ("outcome", "word"), [(AttemptStatus.FAILED, PageState.FAILED), (AttemptStatus.EXPIRED, PageState.EXPIRED)]
)
def test_an_attempt_that_is_over_can_be_begun_anew_while_the_request_lives(
    outcome: AttemptStatus, word: PageState
) -> None:
    over = with_attempt(status=outcome)
    assert page_state(over, after(1)) == (word, TOMORROW)
    assert page_state(over, TOMORROW) == (word, None)
    assert page_state(replace(over, cancel_requested=CancellationReason.REQUESTED), after(1)) == (word, None)


def test_what_is_being_canceled_is_no_longer_ready_and_not_yet_canceled() -> None:
    canceling = replace(PAYMENT, cancel_requested=CancellationReason.REQUESTED)
    assert page_state(canceling, after(1)) == (PageState.WAITING, DIES)


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (PaymentStatus.PROCESSING, PageState.PROCESSING),
        (PaymentStatus.AUTHORIZED, PageState.RESERVED),
        (PaymentStatus.SUCCEEDED, PageState.PAID),
    ],
)
def test_the_states_of_the_payment_that_speak_for_themselves(status: PaymentStatus, word: PageState) -> None:
    for now in (NOON, TOMORROW + timedelta(days=1)):
        assert page_state(replace(PAYMENT, status=status), now) == (word, None)


@pytest.mark.parametrize("reason", CancellationReason)
def test_only_a_request_whose_own_time_was_over_has_ended(reason: CancellationReason) -> None:
    canceled = replace(PAYMENT, status=PaymentStatus.CANCELED, cancellation_reason=reason)
    word = PageState.ENDED if reason is CancellationReason.EXPIRED else PageState.CANCELED
    assert page_state(canceled, TOMORROW) == (word, None)


@pytest.mark.parametrize("status", PaymentStatus)
@pytest.mark.parametrize("outcome", AttemptStatus)
def test_every_payment_has_a_word_and_only_stripe_ends_it(status: PaymentStatus, outcome: AttemptStatus) -> None:
    payment = replace(PAYMENT, status=status, attempt=replace(ATTEMPT, status=outcome))
    for seconds in (0, 240, 300, 86_400, 864_000):
        word, until = page_state(payment, after(seconds))
        assert (word in {PageState.PAID, PageState.ENDED, PageState.CANCELED}) == payment.is_terminal
        assert until is None or until > after(seconds)
        assert page_action(payment, word, until, after(seconds)) is None or not payment.is_terminal


@pytest.mark.parametrize(
    ("refunded", "word"),
    [
        (0, PageState.PAID),
        (1, PageState.PARTLY_REFUNDED),
        (149_49, PageState.PARTLY_REFUNDED),
        (149_50, PageState.REFUNDED),
    ],
)
def test_what_went_back_is_said_and_what_is_on_its_way_is_not(refunded: int, word: PageState) -> None:
    paid = replace(
        PAYMENT,
        status=PaymentStatus.SUCCEEDED,
        amount_received=149_50,
        amount_refunded=refunded,
        amount_refund_pending=100,
    )
    assert page_state(paid, NOON) == (word, None)


def act(payment: Payment, now: datetime) -> PageAction | None:
    return page_action(payment, *page_state(payment, now), now)


def test_the_customer_can_begin_what_is_over_and_open_what_is_fresh_and_nothing_else() -> None:
    mine, failed = with_attempt(origin=Origin.PAGE), with_attempt(status=AttemptStatus.FAILED)
    assert act(PAYMENT, after(1)) is PageAction.PAY
    assert act(PAYMENT, after(240)) is None
    assert act(mine, after(239)) is PageAction.OPEN
    assert act(mine, after(240)) is None
    assert act(failed, after(1)) is PageAction.PAY
    assert act(failed, TOMORROW) is None
    assert act(replace(mine, cancel_requested=CancellationReason.REQUESTED), after(1)) is None


def test_the_last_attempt_is_followed_by_no_other() -> None:
    last = with_attempt(number=8, status=AttemptStatus.EXPIRED)
    assert (page_state(last, after(1)), act(last, after(1))) == ((PageState.EXPIRED, None), None)


def test_only_a_link_that_still_opens_something_is_handed_out() -> None:
    assert wallet_url(PAYMENT, after(239)) == ATTEMPT.redirect_url
    assert wallet_url(PAYMENT, after(240)) is None
    for outcome in set(AttemptStatus) - {AttemptStatus.ACTIVE, AttemptStatus.REQUESTED}:
        assert wallet_url(with_attempt(status=outcome), after(1)) is None
    with pytest.raises(StripeUnavailable):
        wallet_url(with_attempt(status=AttemptStatus.REQUESTED), after(1))
