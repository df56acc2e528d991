"""Which parameters each PaymentIntent endpoint takes in API version 2026-10-28.endive, and their forms."""

from __future__ import annotations

from typing import Any

from bot.sandbox.fake_stripe import form
from bot.sandbox.fake_stripe.refusal import Refusal

BILLING = form.table(
    {
        "address": form.table(
            dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), form.text()),
        ),
        **dict.fromkeys(("email", "name", "phone", "tax_id"), form.text()),
    }
)


def no_longer(value: Any, name: str) -> None:
    """Since 2026-09-30.endive the parameter is refused by create, update and confirm."""
    message = f"The parameter `{name}` is no longer supported. Use `automatic_payment_methods` or"
    raise Refusal(
        f"{message} `allowed_payment_method_types` instead.",
        code="payment_method_types_no_longer_supported",
        param=name,
    )


def only_mobilepay(value: Any, name: str) -> str:
    if value != "mobilepay":
        raise Refusal(f"This pretend Stripe knows the payment method type mobilepay only, not {value}", param=name)
    return "mobilepay"


def return_url(value: Any, name: str) -> str:
    found = form.text()(value, name)
    if not found or "://" not in found:
        raise Refusal("Not a valid URL", code="url_invalid", param=name)
    return str(found)


METHOD_DATA = form.table(
    {
        "type": only_mobilepay,
        "billing_details": BILLING,
        "metadata": form.metadata,
        "mobilepay": form.table({}),
        "allow_redisplay": form.one_of("always", "limited", "unspecified"),
        "radar_options": None,
    },
    ("type",),
)
METHOD_OPTIONS = form.table(
    {
        "mobilepay": form.table(
            {"capture_method": form.one_of("manual", ""), "setup_future_usage": form.one_of("none")},
        ),
        "card": None,
    }
)
CAPTURE = form.one_of("automatic", "automatic_async", "manual")
TYPES = form.each(form.text(100))

PAYING: form.Fields = {
    "allowed_payment_method_types": TYPES,
    "excluded_payment_method_types": TYPES,
    "payment_method_types": no_longer,
    "payment_method": form.text(),
    "payment_method_data": METHOD_DATA,
    "payment_method_options": METHOD_OPTIONS,
    "capture_method": CAPTURE,
    "receipt_email": form.text(800),
    "setup_future_usage": None,
    "shipping": None,
    "hooks": None,
    "amount_details": None,
    "payment_details": None,
}
ATTEMPTING: form.Fields = {
    "return_url": return_url,
    "confirmation_token": None,
    "error_on_requires_action": None,
    "mandate": None,
    "mandate_data": None,
    "off_session": None,
    "radar_options": None,
    "use_stripe_sdk": None,
}
DESCRIBING: form.Fields = {
    "amount": form.integer,
    "currency": form.text(3),
    "description": form.text(1000),
    "metadata": form.metadata,
    "statement_descriptor": form.text(22),
    "statement_descriptor_suffix": form.text(22),
    "customer": None,
    "customer_account": None,
    "application_fee_amount": None,
    "transfer_data": None,
    "transfer_group": form.text(),
    "payment_method_configuration": None,
}
CREATE: form.Fields = {
    **PAYING,
    **ATTEMPTING,
    **DESCRIBING,
    "automatic_payment_methods": form.table(
        {"enabled": form.boolean, "allow_redirects": form.one_of("always", "never")}, ("enabled",)
    ),
    "confirm": form.boolean,
    "confirmation_method": form.one_of("automatic"),
    "on_behalf_of": None,
}
UPDATE: form.Fields = {**PAYING, **DESCRIBING}
CONFIRM: form.Fields = {**PAYING, **ATTEMPTING, "amount_to_confirm": form.integer}
CANCEL: form.Fields = {
    "cancellation_reason": form.one_of("abandoned", "duplicate", "fraudulent", "requested_by_customer"),
}
CAPTURING: form.Fields = {
    "amount_to_capture": form.integer,
    "metadata": form.metadata,
    **dict.fromkeys(("final_capture", "amount_details", "application_fee_amount", "hooks", "payment_details")),
    **dict.fromkeys(("statement_descriptor", "statement_descriptor_suffix", "transfer_data")),
}
