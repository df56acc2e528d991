"""The parameters of the PaymentIntent endpoints in API version 2026-10-28.endive."""

from __future__ import annotations

from typing import Any

from bot.sandbox.fake_stripe import form_params
from bot.sandbox.fake_stripe.api_error import ApiError

BILLING = form_params.hash_of(
    {
        "address": form_params.hash_of(
            dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), form_params.text()),
        ),
        **dict.fromkeys(("email", "name", "phone", "tax_id"), form_params.text()),
    }
)


def removed_param(value: Any, name: str) -> None:
    """Since 2026-09-30.endive create, update and confirm reject the parameter."""
    message = f"The parameter `{name}` is no longer supported. Use `automatic_payment_methods` or"
    raise ApiError(
        f"{message} `allowed_payment_method_types` instead.",
        code="payment_method_types_no_longer_supported",
        param=name,
    )


def only_mobilepay(value: Any, name: str) -> str:
    if value != "mobilepay":
        raise ApiError(f"This fake Stripe supports only the payment method type mobilepay, not {value}", param=name)
    return "mobilepay"


def return_url(value: Any, name: str) -> str:
    found = form_params.text()(value, name)
    if not found or "://" not in found:
        raise ApiError("Not a valid URL", code="url_invalid", param=name)
    return str(found)


METHOD_DATA = form_params.hash_of(
    {
        "type": only_mobilepay,
        "billing_details": BILLING,
        "metadata": form_params.metadata,
        "mobilepay": form_params.hash_of({}),
        "allow_redisplay": form_params.one_of("always", "limited", "unspecified"),
        "radar_options": form_params.any_hash,
    },
    ("type",),
)
METHOD_OPTIONS = form_params.hash_of(
    {
        "mobilepay": form_params.hash_of(
            {"capture_method": form_params.one_of("manual", ""), "setup_future_usage": form_params.one_of("none")},
        ),
        "card": form_params.any_hash,
    }
)
CAPTURE_METHOD = form_params.one_of("automatic", "automatic_async", "manual")
METHOD_TYPES = form_params.list_of(form_params.text(100))

PAYMENT: form_params.Fields = {
    "allowed_payment_method_types": METHOD_TYPES,
    "excluded_payment_method_types": METHOD_TYPES,
    "payment_method_types": removed_param,
    "payment_method": form_params.text(),
    "payment_method_data": METHOD_DATA,
    "payment_method_options": METHOD_OPTIONS,
    "capture_method": CAPTURE_METHOD,
    "receipt_email": form_params.text(800),
    "setup_future_usage": None,
    "shipping": form_params.any_hash,
    "hooks": None,
    "amount_details": form_params.any_hash,
    "payment_details": form_params.any_hash,
}
CONFIRMATION: form_params.Fields = {
    "return_url": return_url,
    "confirmation_token": None,
    "error_on_requires_action": None,
    "mandate": None,
    "mandate_data": None,
    "off_session": form_params.boolean,
    "radar_options": form_params.any_hash,
    "use_stripe_sdk": form_params.boolean,
}
DESCRIPTION: form_params.Fields = {
    "amount": form_params.integer,
    "currency": form_params.text(3),
    "description": form_params.text(1000),
    "metadata": form_params.metadata,
    "statement_descriptor": form_params.text(22),
    "statement_descriptor_suffix": form_params.text(22),
    "customer": None,
    "customer_account": None,
    "application_fee_amount": None,
    "transfer_data": None,
    "transfer_group": form_params.text(),
    "payment_method_configuration": None,
}
CREATE: form_params.Fields = {
    **PAYMENT,
    **CONFIRMATION,
    **DESCRIPTION,
    "automatic_payment_methods": form_params.hash_of(
        {"enabled": form_params.boolean, "allow_redirects": form_params.one_of("always", "never")}, ("enabled",)
    ),
    "confirm": form_params.boolean,
    "confirmation_method": form_params.one_of("automatic"),
    "on_behalf_of": None,
}
UPDATE: form_params.Fields = {**PAYMENT, **DESCRIPTION}
CONFIRM: form_params.Fields = {**PAYMENT, **CONFIRMATION, "amount_to_confirm": form_params.integer}
CANCEL: form_params.Fields = {
    "cancellation_reason": form_params.one_of("abandoned", "duplicate", "fraudulent", "requested_by_customer"),
}
CAPTURE: form_params.Fields = {
    "amount_to_capture": form_params.integer,
    "metadata": form_params.metadata,
    "final_capture": form_params.boolean,
    **dict.fromkeys(("amount_details", "payment_details"), form_params.any_hash),
    **dict.fromkeys(("statement_descriptor", "statement_descriptor_suffix"), form_params.text(22)),
    **dict.fromkeys(("application_fee_amount", "hooks", "transfer_data")),
}
