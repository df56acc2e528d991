"""The payment message and its buttons: one message that shows a payment as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from handlers import i18n
from handlers.i18n import SafeHtml, html, text
from handlers.messages.customer_text import asks, customer_lines
from handlers.messages.payment_change_jobs import PaymentEvent
from handlers.messages.refund_text import (
    BALANCE,
    dashboard_button,
    dated_if_earlier,
    hold_buttons,
    refund_lines,
    waits_for_balance,
)
from handlers.stripe.error_codes import error_message_key, failure_message_key, rejection_message_key
from handlers.telegram.messenger import Button, Keyboard, Message
from storage.models.money import Money
from storage.models.payment import Attempt, AttemptStatus, CancellationReason, ChatTarget, Payment, PaymentStatus
from storage.models.refund import Refund
from storage.models.shop import Shop

STATE_ICONS = {
    "creating": "⏳",
    "error": "⚠️",
    "ready": "⏳",
    "waiting": "⏳",
    "ending": "⏳",
    "requested": "⏳",
    "canceling": "⏳",
    "failed": "❌",
    "expired": "⌛",
    "processing": "🔄",
    "reserved": "🔒",
    "capturing": "⏳",
    "paid": "✅",
    "disputed": "⚖️",
    "partly_refunded": "↩️",
    "refunded": "↩️",
    "ended": "🏁",
    "canceled": "🚫",
    "settled": "💵",
    "rejected": "❌",
}
"""An icon for each state, each of its own shape, so that colours need not be told apart; the text says it as well."""


@dataclass(frozen=True)
class MessageContext:
    """What the payment message shows besides the payment. `public_url` is where its page is, None without pages."""

    shop: Shop
    now: datetime
    wallet: str
    refunds: Sequence[Refund] = ()
    public_url: str | None = None


@dataclass(frozen=True)
class DisplaySettings:
    """Settings of all payment messages: the wallet's name (auto, MobilePay or Vipps), and where the pages are."""

    wallet_name: str = "auto"
    public_url: str | None = None

    def view(self, shop: Shop, now: datetime, refunds: Sequence[Refund] = ()) -> MessageContext:
        """The context of a payment message of this shop at `now`."""
        return MessageContext(shop, now, self.wallet(now, shop), refunds, self.public_url)

    def wallet(self, now: datetime, shop: Shop | None) -> str:
        """The wallet's name at `now` in the shop's time zone, or in the default one if there is no shop."""
        return i18n.wallet_name(self.wallet_name, now, shop.time_zone if shop else i18n.DEFAULT_TIME_ZONE)


def access_removed_message(payment: Payment, shop: Shop) -> Message:
    """What remains of a payment message in the private chat of a person who lost their role in the shop."""
    return Message(html(shop.language, "message.access_removed", ref=payment.reference, shop=shop.name))


def request_message_id(payment: Payment, chat: ChatTarget) -> int | None:
    """The message that requested the payment, if it is in this chat; in a migrated group ids mean other messages."""
    kind, chat_id, message_id = [*payment.request_key.split(":"), "", ""][:3]
    return int(message_id) if kind == "message" and chat_id == str(chat.chat_id) else None


def payment_message(payment: Payment, view: MessageContext) -> Message:
    """The payment message as of `view.now`."""
    state = display_state(payment, view.now, has_pages=view.public_url is not None)
    head = html(view.shop.language, f"message.{state}")
    lines = [
        f"{STATE_ICONS[state]} <b>{head}</b>"
        + ("" if payment.livemode else f" · {html(view.shop.language, 'message.test')}")
    ]
    for_customer = payment.chat.inline_message_id is not None  # the message is in the chat with the customer
    amount = SafeHtml(f"<b>{i18n.html_money(view.shop.language, payment.amount)}</b>")
    lines.append(f"{asks(view.shop, payment) if for_customer else amount}{_dash(payment.description)}")
    lines.append(f"#{payment.reference}")
    if payment.succeeded_at is not None:
        at = i18n.format_datetime(view.shop.language, payment.succeeded_at, view.shop.time_zone)
        lines.append(html(view.shop.language, "message.paid_at", at=at))
    page = page_url(view.public_url, payment)
    own_lines = customer_lines(payment, state, shop=view.shop, wallet=view.wallet, page=page) if for_customer else None
    lines += _details(payment, state, view) if own_lines is None else own_lines
    if payment.manual_capture and payment.is_payable:
        lines.append(html(view.shop.language, "message.hold"))
    lines += refund_lines(payment, view.refunds, view.shop)
    return Message("\n".join(lines), _keyboard(payment, state, view))


def display_state(payment: Payment, now: datetime, *, has_pages: bool = False) -> str:
    """The state that the message shows: the second half of its headline's message id.

    If the message has the page's link (`has_pages`), an attempt that expired unseen is not shown as expired: the page
    starts another one.
    """
    match payment.status:
        case PaymentStatus.SUCCEEDED:
            return _received(payment)
        case PaymentStatus.CANCELED:
            return _end(payment.cancellation_reason)
        case _ if payment.last_error and payment.awaits_stripe:
            return "error"
        case PaymentStatus.AUTHORIZED if payment.capture_requested_by is not None:
            return "capturing"
        case PaymentStatus.AUTHORIZED if not payment.cancel_requested:
            return "reserved"
        case _ if payment.cancel_requested:
            return "canceling"
        case PaymentStatus.PROCESSING:
            return "processing"
        case PaymentStatus.CREATED:
            return "creating"
        case _:
            return _open(payment.attempt, now, has_pages=has_pages)


def _received(payment: Payment) -> str:
    """Paid, unless a dispute took the money or may take it, or it was refunded."""
    if payment.dispute_status in {"open", "lost"}:
        return "disputed"
    if payment.amount_refunded:
        return "refunded" if payment.amount_refunded >= payment.amount_received else "partly_refunded"
    return "paid"


def _open(attempt: Attempt, now: datetime, *, has_pages: bool) -> str:
    if attempt.has_usable_link(now):
        return "ready"
    is_over = attempt.status in {AttemptStatus.ACTIVE, AttemptStatus.EXPIRED}
    if is_over and has_pages and not attempt.seen_by_customer:
        return "waiting"
    if attempt.status is AttemptStatus.ACTIVE:
        return "ending"
    return {AttemptStatus.FAILED: "failed", AttemptStatus.REQUESTED: "requested"}.get(attempt.status, "expired")


def _end(reason: CancellationReason | None) -> str:
    if reason in {CancellationReason.EXPIRED, CancellationReason.ATTEMPTS_EXHAUSTED}:
        return "ended"
    if reason is CancellationReason.SETTLED:
        return "settled"
    return "rejected" if reason is CancellationReason.REJECTED else "canceled"


def _dash(said: str) -> SafeHtml:
    """The request's description behind the amount, escaped."""
    return SafeHtml(f" – {i18n.escaped(said)}" if said else "")


def _details(payment: Payment, state: str, view: MessageContext) -> list[str]:
    """The lines below the headline: the link, the reason, what to do."""
    language, attempt, zone = view.shop.language, payment.attempt, view.shop.time_zone
    page = page_url(view.public_url, payment)
    if page and (lines := page_lines(payment, state, page, language=language, wallet=view.wallet, time_zone=zone)):
        return lines
    match state:
        case "ready" if attempt.redirect_url and attempt.link_usable_until:
            until = i18n.format_time(language, attempt.link_usable_until, view.shop.time_zone)
            return [
                html(language, "message.ready_more", wallet=view.wallet, until=until),
                i18n.escaped(attempt.redirect_url),
            ]
        case "failed":
            why = html(language, failure_message_key(attempt.failure_code))
            return [html(language, "message.failed_more", why=why)]
        case "error":
            nobody_could_pay = payment.status is PaymentStatus.CREATED and payment.intent_id is None
            more = "message.error_more" if nobody_could_pay else "message.error_outcome_unknown"
            return [html(language, error_message_key(payment.last_error)), html(language, more)]
        case "rejected":
            return [html(language, rejection_message_key(payment.last_error)), html(language, "message.rejected_more")]
        case "partly_refunded" | "disputed" if 0 < payment.amount_refunded < payment.amount_received:
            left = Money(payment.amount_received - payment.amount_refunded, payment.amount.currency)
            return [html(language, "message.partly_refunded_more", left=left)]
        case "reserved" if payment.capture_before:
            until = i18n.format_datetime(language, payment.capture_before, view.shop.time_zone)
            return [html(language, "message.reserved_more", wallet=view.wallet, until=until)]
        case "canceled" | "ended" | "settled":
            return [html(language, f"message.because_{payment.cancellation_reason}", how=payment.settled_as)]
        case "expired" | "ending" | "processing" | "canceling" | "capturing":
            return [html(language, f"message.{state}_more", wallet=view.wallet)]
        case _:
            return []


def _keyboard(payment: Payment, state: str, view: MessageContext) -> Keyboard:
    """The buttons that make sense now; of a closed payment its receipt, what a refund needs, or *Ask again*."""
    language, page = view.shop.language, page_url(view.public_url, payment)
    rows = [*(page_buttons(payment, state, page, language) if page else link_buttons(payment, state, language))]
    if page and payment.amount_received:
        rows.append((Button(text(language, "button.receipt"), url=receipt_url(page)),))
    if any(waits_for_balance(refund) for refund in view.refunds):
        rows += dashboard_button(payment, language, BALANCE)
    if state == "reserved":
        rows += hold_buttons(payment, language)
    if payment.is_payable and not payment.cancel_requested:
        rows.append((Button(text(language, "button.cancel"), data=f"c:{payment.id}"),))
    if state in {"ended", "canceled"} and payment.chat.inline_message_id is None:
        rows.append((Button(text(language, "button.ask_again"), data=f"a:{payment.id}"),))
    return tuple(rows)


LONGEST_COPY = 256
"""Characters that Telegram lets a copy button copy."""


PAYABLE_STATES = {
    "ready": "message.page_more",
    "waiting": "message.page_more",
    "ending": "message.page_ending_more",
    "failed": "message.page_failed_more",
    "expired": "message.page_expired_more",
}
"""States in which a customer can be sent to the page, and the line that goes with it."""


def page_url(public_url: str | None, payment: Payment) -> str | None:
    """The stable URL of the payment's page; None if no customer can reach it."""
    return f"{public_url}/p/{payment.page_token}" if public_url else None


def receipt_url(page: str) -> str:
    """The URL of the receipt of a payment with this page."""
    return f"{page}/receipt"


def page_lines(payment: Payment, state: str, page: str, *, language: str, wallet: str, time_zone: str) -> list[str]:
    """The page's URL and what to do with it; nothing if the payment cannot be paid any more."""
    if state not in PAYABLE_STATES:
        return []
    until = i18n.format_datetime(language, payment.expires_at, time_zone)
    why = html(language, failure_message_key(payment.attempt.failure_code)) if state == "failed" else ""
    return [html(language, PAYABLE_STATES[state], wallet=wallet, until=until, why=why), i18n.escaped(page)]


def page_buttons(payment: Payment, state: str, page: str, language: str) -> Keyboard:
    """*Pay* by the shortest way that works now; the buttons that pass the link on carry the page's URL."""
    if state not in PAYABLE_STATES:
        return ()
    direct = payment.attempt.redirect_url if state == "ready" else None
    code = () if payment.chat.inline_message_id else (Button(text(language, "button.qr"), data=f"qr:{payment.id}"),)
    return _rows(payment, direct or page, page, language, code)


def link_buttons(payment: Payment, state: str, language: str) -> Keyboard:
    """The same without a page: Stripe's link while it is usable, then a button for another one."""
    link = payment.attempt.redirect_url
    if state == "ready" and link:
        return _rows(payment, link, link, language)
    if state in PAYABLE_STATES:
        return ((Button(text(language, "button.new_link"), data=f"n:{payment.id}", style="primary"),),)
    return ()


def share_url(link: str, payment: Payment, language: str) -> str:
    """Telegram's link for sharing a URL (core.telegram.org/widgets/share)."""
    said = text(
        language, "message.share", amount=i18n.money(language, payment.amount), text=payment.description
    ).strip()
    return "https://t.me/share/url?" + urlencode({"url": link, "text": said})


def _rows(payment: Payment, pay: str, link: str, language: str, more: tuple[Button, ...] = ()) -> Keyboard:
    """*Pay* and the buttons that pass the link on; these first in a private chat, where the reader is the shop."""
    amount = i18n.money(language, payment.amount)
    copy = (Button(text(language, "button.copy"), copy=link),) if len(link) <= LONGEST_COPY else ()
    share = Button(text(language, "button.share"), url=share_url(link, payment, language))
    label = "button.reserve" if payment.manual_capture else "button.pay"
    open_link = Button(text(language, label, amount=amount), url=pay, style="success")
    if payment.chat.chat_id > 0 and payment.chat.inline_message_id is None:
        return ((share, *more, *copy), (open_link,))
    return ((open_link,), (*copy, share, *more))


def payment_notification(payment: Payment, event: PaymentEvent, view: MessageContext) -> Message:
    """The text of an event, about the payment as it is now."""
    language = view.shop.language
    params = {"ref": payment.reference, "amount": payment.amount, "wallet": view.wallet}
    if event.name in {"failed", "expired"}:
        key = f"notification.page_{event.name}" if view.public_url else f"notification.{event.name}"
        return Message(
            html(language, key, why=html(language, failure_message_key(payment.attempt.failure_code)), **params)
        )
    if event.name == "canceled":
        reason = payment.cancellation_reason or CancellationReason.BY_STRIPE
        return Message(html(language, f"notification.canceled_{reason}", **params))
    said = html(language, f"notification.{event.name}", **params)
    at = payment.succeeded_at if event.name == "succeeded" else None
    return Message(dated_if_earlier(said, at, view.now, view.shop))
