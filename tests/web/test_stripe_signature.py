"""Our signature check agrees with the SDK's."""

from __future__ import annotations

from datetime import UTC, datetime

import stripe
from hypothesis import given
from hypothesis import strategies as st

from handlers.web.stripe_signature import InvalidSignature, verify_signature

SECRETS = st.sampled_from(["whsec_a", "whsec_b", "whsec_ø"])
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@st.composite
def headers(draw: st.DrawFn) -> tuple[str, bytes, str]:
    """A valid or invalid header, the received body, and the configured secret."""
    body = draw(st.text(st.characters(codec="utf-8"), max_size=20))
    at = int(NOW.timestamp()) + draw(st.sampled_from([0, -1, -299, -300, -301, 10, 300]))
    good = stripe.WebhookSignature._compute_signature(f"{at}.{body}", draw(SECRETS))
    odd = st.sampled_from(
        ["v1", "t", "", "v1=", f"v0={good}", " v1=" + good, f"v1={good}=x", f"v1={good.upper()}", "t=1"]
    )
    parts = draw(st.permutations([f"t={draw(st.sampled_from([str(at), f' {at}', f'+{at}', 'x', '']))}", f"v1={good}"]))
    parts = parts + draw(st.lists(odd, max_size=2))
    received = draw(st.sampled_from([body, body + " "]))
    return ",".join(draw(st.permutations(parts))), received.encode(), draw(SECRETS)


@given(headers())
def test_signature_check_agrees_with_the_sdk(given: tuple[str, bytes, str]) -> None:
    header, body, secret = given
    assert _is_valid(header, body, secret) == _is_valid_for_sdk(header, body, secret)


@given(st.text(max_size=40), st.binary(max_size=10))
def test_signature_check_rejects_any_other_header_or_body(header: str, body: bytes) -> None:
    assert _is_valid(header, body, "whsec_a") is False


def _is_valid(header: str, body: bytes, secret: str) -> bool:
    try:
        verify_signature(body, header, [secret.encode()], now=NOW)
    except InvalidSignature:
        return False
    return True


def _is_valid_for_sdk(header: str, body: bytes, secret: str) -> bool:
    """The SDK's result. It would check the time against the machine's clock, so the time is checked here."""
    try:
        stripe.WebhookSignature.verify_header(body, header, secret)
    except stripe.SignatureVerificationError:
        return False
    sent_at, _ = stripe.WebhookSignature._get_timestamp_and_signatures(header, "v1")
    return bool(sent_at >= NOW.timestamp() - 300)
