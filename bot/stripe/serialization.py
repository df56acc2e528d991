"""What Kvit says to Stripe and how it reads the answer, as plain JSON that needs no vendor and no network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from handlers.stripe import events
from handlers.stripe.gateway import Intent, IntentRequest, IntentStatus, RefundRequest, StripeEventRef
from storage.models.dispute import Dispute, FraudWarning
from storage.models.money import Money
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
"""What a webhook endpoint is subscribed to and what is asked for after an outage; the list takes at most 20."""

_MOBILEPAY = {"type": "mobilepay"}


@dataclass(frozen=True)
class Account:
    """Whose key it is; `mobilepay` is active, inactive or pending, None where the account never asked for it."""

    id: str
    country: str | None
    mobilepay: str | None
    charges_enabled: bool


def create_params(request: IntentRequest) -> str:
    """The parameters of create-and-confirm as JSON with sorted keys, so that the same request is the same bytes."""
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
        # half of a surrogate pair cannot be sent at all
        params["description"] = request.description.encode(errors="replace").decode()
    return json.dumps(params, sort_keys=True)


def confirm_params(request: IntentRequest) -> str:
    """The parameters of a further confirm: the last attempt's payment method is detached, so a new one is given."""
    return json.dumps({"payment_method_data": _MOBILEPAY, "return_url": request.return_url}, sort_keys=True)


def _method_params() -> dict[str, Any]:
    """How the intent is bound to a payment method; `payment_method_types` is refused since 2026-09-30.endive.

    Stripe's page for MobilePay sends this. `{"allowed_payment_method_types": ["mobilepay"]}` would be tighter, but
    nobody has seen it accepted together with `payment_method_data` and `confirm`; the two exclude each other.
    """
    return {"automatic_payment_methods": {"enabled": True}}


def parse_intent(said: Mapping[str, Any]) -> Intent:
    """Read a PaymentIntent's JSON.

    Raises:
        KeyError, TypeError, ValueError: it is not one, or its status is a word that we do not know.
    """
    redirect = (said.get("next_action") or {}).get("redirect_to_url") or {}
    failure = said.get("last_payment_error") or {}
    created = said.get("created")
    return Intent(
        id=said["id"],
        status=IntentStatus(said["status"]),
        amount=said["amount"],
        currency=said["currency"].upper(),
        amount_received=said.get("amount_received") or 0,
        livemode=said["livemode"],
        metadata=dict(said.get("metadata") or {}),
        redirect_url=redirect.get("url"),
        error_code=failure.get("code"),
        decline_code=failure.get("decline_code"),
        cancellation_reason=said.get("cancellation_reason"),
        created_at=_timestamp(created),
    )


def refund_params(request: RefundRequest) -> str:
    """The parameters of a refund; `fraudulent` as a reason would block the customer's card and mail for ever."""
    params = {
        "payment_intent": request.intent_id,
        "amount": request.amount,
        "reason": "requested_by_customer",
        "metadata": {"kvit_payment": request.payment_id, "kvit_refund": request.refund_id},
    }
    return json.dumps(params, sort_keys=True)


def parse_refund(said: Mapping[str, Any]) -> StripeRefund:
    """Read a Refund's JSON.

    Raises:
        KeyError, TypeError, ValueError: it is not one, or its status is a word that we do not know.
    """
    return StripeRefund(
        stripe_id=said["id"],
        status=RefundStatus(said["status"] or "pending"),
        amount=said["amount"],
        currency=said["currency"].upper(),
        refund_id=(said.get("metadata") or {}).get("kvit_refund"),
        pending_reason=said.get("pending_reason"),
        failure_reason=said.get("failure_reason"),
        created_at=_timestamp(said.get("created")),
    )


def parse_dispute(said: Mapping[str, Any]) -> Dispute:
    """Read a Dispute's JSON; `due_by` is 0 where no answer is possible.

    Raises:
        KeyError, TypeError, ValueError: it is not one.
    """
    due_by = (said.get("evidence_details") or {}).get("due_by")
    return Dispute(
        id=said["id"],
        amount=Money(said["amount"], said["currency"].upper()),
        status=said["status"],
        reason=said["reason"],
        due_by=_timestamp(due_by or None),
        refundable=bool(said.get("is_charge_refundable")),
    )


def parse_fraud_warning(said: Mapping[str, Any]) -> FraudWarning:
    """Read an early fraud warning's JSON."""
    return FraudWarning(said["id"], said["fraud_type"])


def _timestamp(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def parse_event(event: Mapping[str, Any]) -> StripeEventRef:
    """Read an event's JSON as a pointer: the intent it is about, and our payment where its object names one.

    An object that cannot be read names neither: one odd event must not hide those that come after it.

    Raises:
        KeyError, TypeError, ValueError: it is not an event.
    """
    thing = events.event_object(event)
    return StripeEventRef(
        id=event["id"],
        type=event["type"],
        intent_id=events.intent_of(thing),
        payment_id=events.payment_of(thing),
        livemode=event["livemode"],
        created_at=datetime.fromtimestamp(event["created"], UTC),
    )


def parse_account(said: Mapping[str, Any]) -> Account:
    """Read an account's JSON."""
    capabilities = said.get("capabilities") or {}
    return Account(
        said["id"], said.get("country"), capabilities.get("mobilepay_payments"), bool(said.get("charges_enabled"))
    )


def strip_client_secrets(said: Any) -> Any:
    """The same JSON with every `client_secret` blanked: whoever holds one may act as the customer."""
    if isinstance(said, Mapping):
        return {
            key: "" if key == "client_secret" and value else strip_client_secrets(value) for key, value in said.items()
        }
    return [strip_client_secrets(value) for value in said] if isinstance(said, list) else said
