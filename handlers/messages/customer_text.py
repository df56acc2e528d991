"""The payment message of inline mode: it is in the chat with the customer, so its text addresses the customer."""

from __future__ import annotations

from handlers import i18n
from handlers.i18n import SafeHtml, html
from storage.models.payment import Payment
from storage.models.shop import Shop


def asks(shop: Shop, payment: Payment) -> SafeHtml:
    """The shop and the amount it asks for; the amount alone once it cannot be paid any more."""
    if not payment.is_payable or payment.cancel_requested:
        return SafeHtml(f"<b>{i18n.html_money(shop.language, payment.amount)}</b>")
    return SafeHtml(f"<b>{html(shop.language, 'message.asks', shop=shop.name, amount=payment.amount)}</b>")


def customer_lines(payment: Payment, state: str, *, shop: Shop, wallet: str, page: str | None) -> list[str] | None:
    """What the customer can do, with the link; None where the shop's text fits the customer too."""
    language, zone, attempt = shop.language, shop.time_zone, payment.attempt
    link = page or (attempt.redirect_url if state == "ready" else None)
    lines = [i18n.escaped(link)] if link else []
    match state:
        case "ready":
            ends = payment.expires_at if page else attempt.link_usable_until or payment.expires_at
            until = i18n.format_datetime(language, ends, zone)
            return [html(language, "message.customer_ready", wallet=wallet, until=until), *lines]
        case "ending":
            return [html(language, "message.customer_ending", wallet=wallet), *lines]
        case "failed" | "expired":
            key = f"page.{state}_more" if page else "message.customer_new_link"
            return [html(language, key, shop=shop.name), *lines]
        case "processing" | "canceling":
            return [html(language, f"message.customer_{state}", wallet=wallet)]
        case "reserved" | "capturing":
            return [html(language, "page.reserved_more")]
        case "ended":
            return [html(language, "page.ended_more")]
        case _:
            return None
