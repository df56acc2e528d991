"""What a card says and which buttons it has: one message that shows a payment as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from handlers import i18n
from handlers.i18n import Safe, html, text
from handlers.messages.payment_events import Fact
from handlers.messages.refund_text import card_lines, hold_buttons
from handlers.stripe.error_codes import failure_key, refusal_key, trouble_key
from handlers.telegram.messenger import Button, Keyboard, Letter
from storage.models.money import Money
from storage.models.payment import Attempt, AttemptOutcome, CancelReason, Payment, PaymentStatus, Place
from storage.models.refund import Refund
from storage.models.shop import Shop

MARKS = {
    "making": "⏳",
    "trouble": "⚠️",
    "ready": "⏳",
    "ending": "⏳",
    "asked": "⏳",
    "canceling": "⏳",
    "failed": "❌",
    "lapsed": "⌛",
    "processing": "🔄",
    "reserved": "🔒",
    "capturing": "⏳",
    "paid": "✅",
    "partly_refunded": "↩️",
    "refunded": "↩️",
    "ended": "🏁",
    "canceled": "🚫",
    "refused": "❌",
}
"""A mark for each state, of its own shape, so that nobody has to tell colours apart; the words say it as well."""


@dataclass(frozen=True)
class View:
    """What a card needs to know besides the payment; `public_url` is where its page is, if it has one."""

    shop: Shop
    now: datetime
    wallet: str
    refunds: Sequence[Refund] = ()
    public_url: str | None = None


@dataclass(frozen=True)
class Looks:
    """What holds for all cards here: how the wallet is named (auto, MobilePay or Vipps), and where the pages are."""

    wallet_name: str = "auto"
    public_url: str | None = None

    def view(self, shop: Shop, now: datetime, refunds: Sequence[Refund] = ()) -> View:
        """The view of a card of this shop at `now`."""
        return View(shop, now, i18n.wallet(self.wallet_name, now, shop.time_zone), refunds, self.public_url)


def farewell(payment: Payment, shop: Shop) -> Letter:
    """What stays of a card in the private chat of somebody who has no role in the shop any more."""
    return Letter(html(shop.language, "card.farewell", ref=payment.ref, shop=shop.name))


def asked_by(payment: Payment, place: Place) -> int | None:
    """The message that asked for the payment, if it is one of this chat: a group that moved counts anew."""
    kind, chat_id, message_id = [*payment.source.split(":"), "", ""][:3]
    return int(message_id) if kind == "message" and chat_id == str(place.chat_id) else None


def card(payment: Payment, view: View) -> Letter:
    """The card of the payment as it stands at `view.now`."""
    state = card_state(payment, view.now)
    head = html(view.shop.language, f"card.{state}")
    lines = [
        f"{MARKS[state]} <b>{head}</b>" + ("" if payment.livemode else f" · {html(view.shop.language, 'card.test')}")
    ]
    lines.append(f"<b>{i18n.html_money(view.shop.language, payment.amount)}</b>{_dash(payment.text)}")
    lines.append(f"#{payment.ref}")
    lines += _details(payment, state, view)
    if payment.manual_capture and payment.is_payable:
        lines.append(html(view.shop.language, "card.hold"))
    lines += card_lines(payment, view.refunds, view.shop.language)
    return Letter("\n".join(lines), _keyboard(payment, state, view))


def card_state(payment: Payment, now: datetime) -> str:
    """One word for what the card shows, the second half of the key of its headline."""
    match payment.status:
        case PaymentStatus.SUCCEEDED if payment.refunded:
            return "refunded" if payment.refunded >= payment.received else "partly_refunded"
        case PaymentStatus.SUCCEEDED:
            return "paid"
        case PaymentStatus.CANCELED:
            return _end(payment.canceled_because)
        case _ if payment.trouble and payment.waits_for_stripe:
            return "trouble"
        case PaymentStatus.AUTHORIZED if payment.capture_by is not None:
            return "capturing"
        case PaymentStatus.AUTHORIZED if not payment.cancel_asked:
            return "reserved"
        case _ if payment.cancel_asked:
            return "canceling"
        case PaymentStatus.PROCESSING:
            return "processing"
        case PaymentStatus.CREATED:
            return "making"
        case _:
            return _open(payment.attempt, now)


def _open(attempt: Attempt, now: datetime) -> str:
    if attempt.outcome is AttemptOutcome.LIVE:
        return "ready" if attempt.is_fresh(now) else "ending"
    return {AttemptOutcome.FAILED: "failed", AttemptOutcome.ASKED: "asked"}.get(attempt.outcome, "lapsed")


def _end(reason: CancelReason | None) -> str:
    if reason in {CancelReason.ENDED, CancelReason.ATTEMPTS_USED}:
        return "ended"
    return "refused" if reason is CancelReason.REFUSED else "canceled"


def _dash(said: str) -> Safe:
    """The request's text behind the amount, harmless and set apart."""
    return Safe(f" – {i18n.escaped(said)}" if said else "")


def _details(payment: Payment, state: str, view: View) -> list[str]:
    """The lines below the headline: the link, the reason, what to do."""
    language, attempt, zone = view.shop.language, payment.attempt, view.shop.time_zone
    page = page_of(view.public_url, payment)
    if page and (lines := page_lines(payment, state, page, language=language, wallet=view.wallet, time_zone=zone)):
        return lines
    match state:
        case "ready" if attempt.link and attempt.fresh_until:
            until = i18n.clock_time(language, attempt.fresh_until, view.shop.time_zone)
            return [html(language, "card.ready_more", wallet=view.wallet, until=until), i18n.escaped(attempt.link)]
        case "failed":
            why = html(language, failure_key(attempt.code))
            return [html(language, "card.failed_more", why=why)]
        case "trouble":
            nobody_could_pay = payment.status is PaymentStatus.CREATED and payment.intent_id is None
            more = "card.trouble_more" if nobody_could_pay else "card.trouble_unknown"
            return [html(language, trouble_key(payment.trouble)), html(language, more)]
        case "refused":
            return [html(language, refusal_key(payment.trouble)), html(language, "card.refused_more")]
        case "partly_refunded":
            left = Money(payment.received - payment.refunded, payment.amount.currency)
            return [html(language, "card.partly_refunded_more", left=left)]
        case "reserved" if payment.capture_before:
            until = i18n.moment(language, payment.capture_before, view.shop.time_zone)
            return [html(language, "card.reserved_more", wallet=view.wallet, until=until)]
        case "canceled" | "ended":
            return [html(language, f"card.because_{payment.canceled_because}")]
        case "lapsed" | "ending" | "processing" | "canceling" | "capturing":
            return [html(language, f"card.{state}_more", wallet=view.wallet)]
        case _:
            return []


def _keyboard(payment: Payment, state: str, view: View) -> Keyboard:
    """The buttons that make sense now; none once the payment has ended."""
    language, page = view.shop.language, page_of(view.public_url, payment)
    rows = [*(page_rows(payment, state, page, language) if page else link_rows(payment, state, language))]
    if state == "reserved":
        rows += hold_buttons(payment, language)
    if payment.is_payable and not payment.cancel_asked:
        rows.append((Button(text(language, "button.cancel"), data=f"c:{payment.id}"),))
    return tuple(rows)


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


def notice(payment: Payment, fact: Fact, view: View) -> Letter:
    """What a fact says about the payment as it is now."""
    language = view.shop.language
    holes = {"ref": payment.ref, "amount": payment.amount, "wallet": view.wallet}
    if fact.name in {"failed", "lapsed"}:
        key = f"notice.page_{fact.name}" if view.public_url else f"notice.{fact.name}"
        return Letter(html(language, key, why=html(language, failure_key(payment.attempt.code)), **holes))
    if fact.name == "canceled":
        reason = payment.canceled_because or CancelReason.BY_STRIPE
        return Letter(html(language, f"notice.canceled_{reason}", **holes))
    return Letter(html(language, f"notice.{fact.name}", **holes))
