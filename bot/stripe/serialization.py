"""Parameters of requests to Stripe, and the parsing of its objects, as plain JSON.

A `parse_…` function raises KeyError, TypeError or ValueError for JSON that is not such an object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from handlers.stripe import event_parsing
from handlers.stripe.gateway import Intent, IntentRequest, IntentStatus, RefundRequest, StripeEventRef
from storage.models.balance import BalanceTransaction, FeeDetail, Payout
from storage.models.dispute import Dispute, FraudWarning
from storage.models.money import any_money
from storage.models.refund import RefundStatus, StripeRefund

EVENT_TYPES = (
    "payment_intent.requires_action",
    "payment_intent.processing",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "charge.refunded",
    "charge.updated",
    "charge.expired",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "radar.early_fraud_warning.created",
)
"""The events about payments, of a webhook endpoint and of the backfill; a list request takes at most 20 types."""

PAYOUT_EVENT_TYPES = (
    "payout.created",
    "payout.updated",
    "payout.paid",
    "payout.failed",
    "payout.canceled",
    "payout.reconciliation_completed",
)
"""Further events of a webhook endpoint. Where they do not arrive, payouts are listed once a day."""

WEBHOOK_EVENT_TYPES = (*EVENT_TYPES, *PAYOUT_EVENT_TYPES)
"""All events of a webhook endpoint."""

_MOBILEPAY = {"type": "mobilepay"}


@dataclass(frozen=True)
class Account:
    """A Stripe account. `mobilepay` is active, inactive or pending; None where the account never requested it."""

    id: str
    country: str | None
    mobilepay: str | None
    charges_enabled: bool


def create_params(request: IntentRequest) -> str:
    """The parameters of create-and-confirm, as JSON with sorted keys: the same request is the same bytes."""
    params: dict[str, Any] = {
        "amount": request.amount,
        "currency": request.currency.lower(),
        "payment_method_data": _MOBILEPAY,
        "capture_method": "manual" if request.manual_capture else "automatic",
        "confirm": True,
        "return_url": request.return_url,
        "metadata": {"kvit_payment": request.payment_id, "kvit_ref": request.reference},
        **_method_params(),
    }
    if request.description:
        # a lone surrogate cannot be encoded
        params["description"] = request.description.encode(errors="replace").decode()
    return json.dumps(params, sort_keys=True)


def confirm_params(request: IntentRequest) -> str:
    """The parameters of a further confirm, with new payment method data: Stripe detached the last payment method."""
    return json.dumps({"payment_method_data": _MOBILEPAY, "return_url": request.return_url}, sort_keys=True)


def _method_params() -> dict[str, Any]:
    """Which payment methods the intent allows; `payment_method_types` is rejected since API version 2026-09-30.endive.

    From Stripe's page on MobilePay. `{"allowed_payment_method_types": ["mobilepay"]}` would be stricter, but whether
    it may be combined with `payment_method_data` and `confirm` is unverified; the two exclude each other.
    """
    return {"automatic_payment_methods": {"enabled": True}}


def parse_intent(body: Mapping[str, Any]) -> Intent:
    """A PaymentIntent. An unknown status is a ValueError."""
    redirect = (body.get("next_action") or {}).get("redirect_to_url") or {}
    failure = body.get("last_payment_error") or {}
    created = body.get("created")
    return Intent(
        id=body["id"],
        status=IntentStatus(body["status"]),
        amount=body["amount"],
        currency=body["currency"].upper(),
        amount_received=body.get("amount_received") or 0,
        livemode=body["livemode"],
        metadata=dict(body.get("metadata") or {}),
        redirect_url=redirect.get("url"),
        error_code=failure.get("code"),
        decline_code=failure.get("decline_code"),
        cancellation_reason=body.get("cancellation_reason"),
        created_at=_timestamp(created),
        charge_id=_id_of(body.get("latest_charge")),
        manual_capture=body.get("capture_method") == "manual",
    )


def refund_params(request: RefundRequest) -> str:
    """The parameters of a refund. The reason `fraudulent` would block the customer's card and email address."""
    params = {
        "payment_intent": request.intent_id,
        "amount": request.amount,
        "reason": "requested_by_customer",
        "metadata": {"kvit_payment": request.payment_id, "kvit_refund": request.refund_id},
    }
    return json.dumps(params, sort_keys=True)


def parse_refund(body: Mapping[str, Any]) -> StripeRefund:
    """A Refund. An unknown status is a ValueError."""
    return StripeRefund(
        stripe_id=body["id"],
        status=RefundStatus(body["status"] or "pending"),
        amount=body["amount"],
        currency=body["currency"].upper(),
        refund_id=(body.get("metadata") or {}).get("kvit_refund"),
        pending_reason=body.get("pending_reason"),
        failure_reason=body.get("failure_reason"),
        created_at=_timestamp(body.get("created")),
    )


@dataclass(frozen=True)
class RefundChange:
    """A refund got this status (Stripe's word), as an event reports it, at this time in UTC."""

    refund_id: str | None
    status: str | None
    at: datetime


def parse_refund_change(event: Mapping[str, Any]) -> RefundChange:
    """An event about a refund; without an id for an object that cannot be parsed."""
    about = event_parsing.event_object(event)
    return RefundChange(about.get("id"), about.get("status"), datetime.fromtimestamp(event["created"], UTC))


def parse_dispute(body: Mapping[str, Any]) -> Dispute:
    """A Dispute. Stripe's `due_by` is 0 where no response is possible."""
    due_by = (body.get("evidence_details") or {}).get("due_by")
    withdrawn_at, reinstated_at = _dispute_times(body)
    return Dispute(
        id=body["id"],
        amount=any_money(body["amount"], body["currency"].upper()),
        status=body["status"],
        reason=body["reason"],
        due_by=_timestamp(due_by or None),
        refundable=bool(body.get("is_charge_refundable")),
        withdrawn_at=withdrawn_at,
        reinstated_at=reinstated_at,
        created_at=_timestamp(body.get("created")),
    )


def _dispute_times(body: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """When the disputed amount left the balance and came back, by the dispute's balance transactions.

    Without them the status tells: an inquiry (`warning_…`) withdraws nothing, and a dispute that is won gives it back.
    """
    moved = body.get("balance_transactions")
    if moved is None:
        since = _timestamp(body.get("created"))
        is_inquiry = str(body["status"]).startswith(("warning", "prevented"))
        return (None if is_inquiry else since), (since if body["status"] == "won" else None)
    out = [each["created"] for each in moved if each["amount"] < 0]
    back = [each["created"] for each in moved if each["amount"] > 0]
    return _timestamp(min(out, default=None)), _timestamp(max(back, default=None))


def parse_balance_transaction(body: Mapping[str, Any]) -> BalanceTransaction:
    """A BalanceTransaction. A list of fees that is missing or cannot be parsed is empty: the sum `fee` counts."""
    rate = body.get("exchange_rate")
    return BalanceTransaction(
        stripe_id=body["id"],
        type=body["type"],
        source=_id_of(body.get("source")),
        amount=body["amount"],
        fee=body["fee"],
        net=body["net"],
        currency=body["currency"].upper(),
        fee_details=_fee_details(body.get("fee_details")),
        exchange_rate=None if rate is None else str(rate),
        created_at=datetime.fromtimestamp(body["created"], UTC),
        available_on=datetime.fromtimestamp(body["available_on"], UTC),
    )


def _fee_details(listed: Any) -> tuple[FeeDetail, ...]:
    try:
        return tuple(FeeDetail(str(each["type"]), int(each["amount"])) for each in listed or ())
    except (KeyError, TypeError, ValueError):
        return ()


def parse_payout(body: Mapping[str, Any]) -> Payout:
    """A Payout."""
    return Payout(
        stripe_id=body["id"],
        amount=body["amount"],
        currency=body["currency"].upper(),
        status=body["status"],
        automatic=bool(body.get("automatic")),
        reconciliation=body.get("reconciliation_status") or "not_applicable",
        created_at=datetime.fromtimestamp(body["created"], UTC),
        arrival_on=datetime.fromtimestamp(body["arrival_date"], UTC),
    )


def parse_fraud_warning(body: Mapping[str, Any]) -> FraudWarning:
    """An early fraud warning."""
    return FraudWarning(body["id"], body["fraud_type"])


def parse_created(body: Mapping[str, Any]) -> datetime:
    """When an object was created, in UTC."""
    return datetime.fromtimestamp(body["created"], UTC)


def _id_of(value: Any) -> str | None:
    """The id of an object that may be expanded."""
    found = value.get("id") if isinstance(value, Mapping) else value
    return found if isinstance(found, str) else None


def _timestamp(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def parse_event(event: Mapping[str, Any]) -> StripeEventRef:
    """An event, with the intent that its object belongs to and the payment that its metadata names.

    Both are None for an object that cannot be parsed: one odd event must not hide those that come after it.
    """
    about = event_parsing.event_object(event)
    return StripeEventRef(
        id=event["id"],
        type=event["type"],
        intent_id=event_parsing.intent_of(about),
        payment_id=event_parsing.payment_of(about),
        livemode=event["livemode"],
        created_at=datetime.fromtimestamp(event["created"], UTC),
    )


def parse_account(body: Mapping[str, Any]) -> Account:
    """An account."""
    capabilities = body.get("capabilities") or {}
    return Account(
        body["id"], body.get("country"), capabilities.get("mobilepay_payments"), bool(body.get("charges_enabled"))
    )


def strip_client_secrets(body: Any) -> Any:
    """The same JSON with every `client_secret` emptied: with one, a program can act as the customer."""
    if isinstance(body, Mapping):
        return {
            key: "" if key == "client_secret" and value else strip_client_secrets(value) for key, value in body.items()
        }
    return [strip_client_secrets(value) for value in body] if isinstance(body, list) else body
