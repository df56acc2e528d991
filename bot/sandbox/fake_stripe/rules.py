"""Stripe's checks of an intent: amounts, currencies, method types, statuses. Each raises ApiError."""

from __future__ import annotations

from bot.sandbox.fake_stripe.api_error import ApiError, Json, missing_param, mutually_exclusive, unexpected_state
from bot.sandbox.fake_stripe.state import FakeStripeState

MIN_AMOUNTS = {"dkk": 250, "eur": 50, "nok": 300, "sek": 300}
MAX_AMOUNT = 99_999_999
CANCELABLE = ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action")
CONFIRMABLE = ("requires_payment_method", "requires_confirmation")
UPDATABLE = (*CONFIRMABLE, "requires_action")


def check_amount(value: int, currency: str) -> None:
    """The amount in minor units, from Stripe's minimum to eight digits, in one of MobilePay's four currencies."""
    if currency not in MIN_AMOUNTS:
        message = f"The currency provided ({currency}) is invalid for one or more payment method types on this"
        raise ApiError(f"{message} PaymentIntent.", code="payment_intent_incompatible_payment_method", param="currency")
    if value < MIN_AMOUNTS[currency]:
        minimum = f"{MIN_AMOUNTS[currency] / 100:.2f} {currency}"
        raise ApiError(f"Amount must be at least {minimum}", code="amount_too_small", param="amount")
    if value > MAX_AMOUNT:
        raise ApiError(f"Amount must be no more than 999,999.99 {currency}", code="amount_too_large", param="amount")


def choose_method_types(state: FakeStripeState, params: Json) -> list[str]:
    """The method types of an intent; types that do not match are left out without an error, as at Stripe."""
    choosers = ("allowed_payment_method_types", "automatic_payment_methods", "excluded_payment_method_types")
    chosen = [name for name in choosers if name in params]
    if "allowed_payment_method_types" in chosen and len(chosen) > 1:
        raise mutually_exclusive(chosen[0], chosen[1])
    offered = ["card", "mobilepay"] if state.options.mobilepay == "active" else ["card"]
    automatic = params.get("automatic_payment_methods", {})
    if automatic.get("allow_redirects") == "never" or automatic.get("enabled") is False:
        offered = ["card"]
    wanted = params.get("allowed_payment_method_types", offered)
    barred = params.get("excluded_payment_method_types", [])
    found = [name for name in offered if name in wanted and name not in barred]
    if not found:
        raise ApiError("No valid payment method types for this PaymentIntent.", code="payment_intent_invalid_parameter")
    return found


def check_payment_method(state: FakeStripeState, intent_types: list[str], params: Json) -> None:
    """The payment method in the request must be possible for the intent and the account."""
    if "payment_method" in params and "payment_method_data" in params:
        raise mutually_exclusive("payment_method", "payment_method_data")
    if "payment_method" in params and params["payment_method"] not in state.store.payment_methods:
        raise ApiError(
            f"No such PaymentMethod: '{params['payment_method']}'", code="resource_missing", param="payment_method"
        )
    if {"payment_method_data", "payment_method"} & params.keys() and "mobilepay" not in intent_types:
        active = state.options.mobilepay == "active"
        code = "payment_intent_incompatible_payment_method" if active else "payment_method_unactivated"
        raise ApiError(
            "The payment method type mobilepay cannot be used here: it is not activated or not allowed.",
            code=code,
            param="payment_method_data[type]",
        )


def check_confirm_params(state: FakeStripeState, params: Json) -> None:
    """A confirm needs a `return_url` (mandatory since 2023-08-16)."""
    if "return_url" not in params:
        raise missing_param("return_url")
    if "allowed_payment_method_types" in params and not state.options.allowed_types_confirm:
        raise mutually_exclusive("allowed_payment_method_types", "payment_method_data")


def check_can_confirm(state: FakeStripeState, intent: Json, params: Json) -> None:
    status = intent["status"]
    is_replaceable = status == "requires_action" and state.options.confirm_while_open == "replace"
    if status == "succeeded":
        message = "You cannot confirm this PaymentIntent because it has already succeeded after being previously"
        raise unexpected_state(f"{message} confirmed.", intent)
    if status not in CONFIRMABLE and not is_replaceable:
        message = f"You cannot confirm this PaymentIntent because it has a status of {status}. Only a PaymentIntent"
        listed = ", ".join(CONFIRMABLE)
        raise unexpected_state(f"{message} with one of the following statuses may be confirmed: {listed}.", intent)
    if not ({"payment_method_data", "payment_method"} & params.keys() or intent["payment_method"]):
        message = "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update"
        raise unexpected_state(f"{message} the PaymentIntent with a payment method or pass one here.", intent)


def check_can_cancel(intent: Json) -> None:
    if intent["status"] not in CANCELABLE:
        message = f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. Only a"
        listed = ", ".join((*CANCELABLE, "processing"))
        raise unexpected_state(
            f"{message} PaymentIntent with one of the following statuses may be canceled: {listed}.", intent
        )


def check_can_capture(intent: Json, params: Json) -> None:
    if intent["status"] == "succeeded":
        raise unexpected_state("This PaymentIntent could not be captured because it has already been captured.", intent)
    if intent["status"] != "requires_capture":
        message = f"This PaymentIntent could not be captured because it has a status of {intent['status']}. Only a"
        raise unexpected_state(f"{message} PaymentIntent with a status of requires_capture may be captured.", intent)
    if params.get("amount_to_capture", intent["amount_capturable"]) != intent["amount_capturable"]:
        raise ApiError(
            "MobilePay payments can only be captured in full.",
            code="payment_intent_invalid_parameter",
            param="amount_to_capture",
        )


def check_can_update(intent: Json) -> None:
    if intent["status"] not in UPDATABLE:
        message = f"This PaymentIntent could not be updated because it has a status of {intent['status']}."
        raise unexpected_state(message, intent)
