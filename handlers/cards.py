"""What a card says and which buttons it has: one message that shows a payment as it is now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from handlers import i18n
from handlers.i18n import Safe, html, text
from handlers.ports import Button, Keyboard, Letter
from handlers.reasons import failure_key, refusal_key, trouble_key
from storage.payment import Attempt, AttemptOutcome, CancelReason, Payment, PaymentStatus
from storage.people import Shop

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
    "paid": "✅",
    "ended": "🏁",
    "canceled": "🚫",
    "refused": "❌",
}
"""A mark for each state, of its own shape, so that nobody has to tell colours apart; the words say it as well."""

LONGEST_COPY = 256
"""Characters that Telegram lets a button copy."""


@dataclass(frozen=True)
class View:
    """What a card needs to know besides the payment: the shop, the time, the wallet's name, the bot's."""

    shop: Shop
    now: datetime
    wallet: str


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
    return Letter("\n".join(lines), _keyboard(payment, state, view.shop.language))


def card_state(payment: Payment, now: datetime) -> str:
    """One word for what the card shows, the second half of the key of its headline."""
    match payment.status:
        case PaymentStatus.SUCCEEDED:
            return "paid"
        case PaymentStatus.AUTHORIZED:
            return "reserved"
        case PaymentStatus.CANCELED:
            return _end(payment.canceled_because)
        case _ if payment.trouble and payment.waits_for_stripe:
            return "trouble"
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
    language, attempt = view.shop.language, payment.attempt
    match state:
        case "ready" if attempt.link and attempt.fresh_until:
            until = i18n.clock_time(language, attempt.fresh_until, view.shop.time_zone)
            return [html(language, "card.ready_more", wallet=view.wallet, until=until), i18n.escaped(attempt.link)]
        case "failed":
            why = html(language, failure_key(attempt.code))
            return [html(language, "card.failed_more", why=why)]
        case "trouble":
            return [html(language, trouble_key(payment.trouble)), html(language, "card.trouble_more")]
        case "refused":
            return [html(language, refusal_key(payment.trouble)), html(language, "card.refused_more")]
        case "canceled" | "ended":
            return [html(language, f"card.because_{payment.canceled_because}")]
        case "lapsed" | "ending" | "processing" | "reserved" | "canceling":
            return [html(language, f"card.{state}_more", wallet=view.wallet)]
        case _:
            return []


def _keyboard(payment: Payment, state: str, language: str) -> Keyboard:
    """The buttons that make sense now; none once the payment has ended."""
    link = payment.attempt.link
    rows: list[tuple[Button, ...]] = []
    if state == "ready" and link:
        amount = i18n.money(language, payment.amount)
        rows.append((Button(text(language, "button.pay", amount=amount), url=link, style="success"),))
        copy = (Button(text(language, "button.copy"), copy=link),) if len(link) <= LONGEST_COPY else ()
        rows.append((*copy, Button(text(language, "button.share"), url=share_url(link, payment, language))))
    if state in {"failed", "lapsed", "ending"}:
        rows.append((Button(text(language, "button.new_link"), data=f"n:{payment.id}", style="primary"),))
    if payment.is_payable and not payment.cancel_asked:
        rows.append((Button(text(language, "button.cancel"), data=f"c:{payment.id}"),))
    return tuple(rows)


def share_url(link: str, payment: Payment, language: str) -> str:
    """Telegram's own way to pass a link on into another chat (core.telegram.org/widgets/share)."""
    said = text(language, "card.share", amount=i18n.money(language, payment.amount), text=payment.text).strip()
    return "https://t.me/share/url?" + urlencode({"url": link, "text": said})
