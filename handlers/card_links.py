"""Which link a card carries: Stripe's while it is fresh, and the page's, which is right whenever it is opened."""

from __future__ import annotations

from urllib.parse import urlencode

from handlers import i18n
from handlers.i18n import html, text
from handlers.stripe.error_codes import failure_key
from handlers.telegram.messenger import Button, Keyboard
from storage.models.payment import Payment

LONGEST_COPY = 256
"""Characters that Telegram lets a button copy."""

ON_THE_PAGE = {
    "ready": "card.page_more",
    "ending": "card.page_ending_more",
    "failed": "card.page_failed_more",
    "lapsed": "card.page_lapsed_more",
}
"""States in which a customer may be sent to the page, and what the card says of it."""


def page_of(public_url: str | None, payment: Payment) -> str | None:
    """The stable address of the payment's page; None where nobody can reach one."""
    return f"{public_url}/p/{payment.token}" if public_url else None


def page_lines(payment: Payment, state: str, page: str, *, language: str, wallet: str, time_zone: str) -> list[str]:
    """What to do with the page's link, and the link; nothing where it leads to no payment any more."""
    if state not in ON_THE_PAGE:
        return []
    until = i18n.moment(language, payment.expires_at, time_zone)
    why = html(language, failure_key(payment.attempt.code)) if state == "failed" else ""
    return [html(language, ON_THE_PAGE[state], wallet=wallet, until=until, why=why), i18n.escaped(page)]


def page_rows(payment: Payment, state: str, page: str, language: str) -> Keyboard:
    """*Pay* by the shortest way that works now; everything that is passed on carries the page's link."""
    if state not in ON_THE_PAGE:
        return ()
    direct = payment.attempt.link if state == "ready" else None
    code = () if payment.place.inline_id else (Button(text(language, "button.qr"), data=f"qr:{payment.id}"),)
    return _rows(payment, direct or page, page, language, code)


def link_rows(payment: Payment, state: str, language: str) -> Keyboard:
    """The same without a page: Stripe's link while it is fresh, then a button that asks for another."""
    link = payment.attempt.link
    if state == "ready" and link:
        return _rows(payment, link, link, language)
    if state in ON_THE_PAGE:
        return ((Button(text(language, "button.new_link"), data=f"n:{payment.id}", style="primary"),),)
    return ()


def share_url(link: str, payment: Payment, language: str) -> str:
    """Telegram's own way to pass a link on into another chat (core.telegram.org/widgets/share)."""
    said = text(language, "card.share", amount=i18n.money(language, payment.amount), text=payment.text).strip()
    return "https://t.me/share/url?" + urlencode({"url": link, "text": said})


def _rows(payment: Payment, pay: str, link: str, language: str, more: tuple[Button, ...] = ()) -> Keyboard:
    amount = i18n.money(language, payment.amount)
    copy = (Button(text(language, "button.copy"), copy=link),) if len(link) <= LONGEST_COPY else ()
    share = Button(text(language, "button.share"), url=share_url(link, payment, language))
    return ((Button(text(language, "button.pay", amount=amount), url=pay, style="success"),), (*copy, share, *more))
