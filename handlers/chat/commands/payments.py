"""`/pay`, `/status`, `/again`, `/cancel` and the buttons of a payment message."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from handlers import i18n
from handlers.access.membership import ChatAccess
from handlers.access.permissions import Action, is_allowed
from handlers.amounts.errors import AmountError, UnreadableAmount
from handlers.amounts.parser import AmbiguousAmount, RequestedAmount, amount_at_end, check_amount, parse_request
from handlers.amounts.tokens import has_amount_ahead
from handlers.chat import arguments
from handlers.chat.audit_text import state_message_key
from handlers.chat.commands.payment_list import details_keyboard, get_payment
from handlers.chat.context import Context, prompt_button
from handlers.chat.suggestions import suggest_payments
from handlers.chat.updates import CallbackQuery
from handlers.i18n import SafeHtml
from handlers.messages.payment_message import page_url, payment_message
from handlers.messages.qr_message import qr_message_job
from handlers.reports.periods import parse_period
from storage import payment_queries, shops
from storage.audit_log import AuditEntry
from storage.errors import AttemptStillActive, UnknownPayment, UserError
from storage.models.hashing import sha256_hex
from storage.models.money import Money
from storage.models.movement import Totals
from storage.models.payment import AttemptStatus, ChatTarget, Payment, PaymentStatus, SentCommand
from storage.prompts import Prompt
from storage.scheduled_reports import read_sums

MAX_SEARCHED = 50
"""Open requests among which those that a person may cancel are looked for."""

EXAMPLES = (14950, 8000)
"""Minor units of the two examples that are shown if no amount was typed."""


MAX_HISTORY = 20
"""Changes that `/status` lists, the newest: a message has at most 4,096 characters."""


async def pay(context: Context) -> None:
    """Request a payment, or show what to type."""
    shop = context.shop
    if not context.message.args:
        first, second = (i18n.plain_amount(context.language, Money(minor, shop.currency)) for minor in EXAMPLES)
        await context.reply("pay.how", first=first, second=second, currency=shop.currency)
        return
    await request(context)


async def request(context: Context, *, manual: bool = False) -> None:
    """Request the typed amount if it has one reading; with `manual` it is only reserved."""
    shop = context.shop
    try:
        reading = parse_request(context.message.args, default=shop.currency, limit=shop.request_limit)
    except UnreadableAmount:
        last = amount_at_end(context.message.args, default=shop.currency, limit=shop.request_limit)
        if last is None:
            raise
        await _ask(context, (last,), "pay.offer", manual=manual)
        return
    if isinstance(reading, AmbiguousAmount):
        await ask_which_amount(context, reading, manual=manual)
        return
    await _request_or_ask(context, _Wanted.of_message(context, reading, manual=manual))


async def offer_request(context: Context, words: str, *, manual: bool = False) -> bool:
    """Words such as `125 coffee` or `coffee 125`: offer the request by a button, and do nothing yet.

    False if they are no amount with a text.

    Raises:
        AmountError: they start with an amount that cannot be requested.
    """
    default, limit = context.shop.currency, context.shop.request_limit
    try:
        reading = parse_request(words, default=default, limit=limit)
    except AmountError:
        last = amount_at_end(words, default=default, limit=limit)
        if last is None and has_amount_ahead(words):
            raise
        if last is None:
            return False
        reading = last
    choices = reading.choices if isinstance(reading, AmbiguousAmount) else (reading,)
    await _ask(context, choices, "pay.offer", manual=manual)
    return True


async def ask_which_amount(context: Context, reading: AmbiguousAmount, *, manual: bool = False) -> None:
    """Ask which of two amounts is meant."""
    await _ask(context, reading.choices, "pay.which", manual=manual)


async def on_amount_chosen(context: Context, prompt: Prompt, choice: int) -> None:
    """Request the chosen amount. One question leads to at most one payment.

    Raises:
        AmountError: the amount cannot be requested.
    """
    context.require(Action.REQUEST_PAYMENT)
    limit = context.shop.request_limit
    first = choice if prompt.answer is None else prompt.answer
    choice_from_prompt(prompt, first, limit=limit)  # if rejected, the other button still works
    amount = choice_from_prompt(prompt, await context.record_answer(prompt, first), limit=limit)
    await _request_or_ask(context, _Wanted.of_prompt(prompt, amount))


def choices_payload(choices: Sequence[RequestedAmount]) -> dict[str, Any]:
    """The readings of an amount as a prompt's payload."""
    return {"choices": [{"minor": c.money.minor, "currency": c.money.currency, "text": c.description} for c in choices]}


def choice_from_prompt(prompt: Prompt, choice: int, *, limit: int) -> RequestedAmount:
    """The chosen reading.

    Raises:
        AmountError: it cannot be requested.
    """
    said: dict[str, Any] = prompt.payload["choices"][choice]
    amount = RequestedAmount(Money(said["minor"], said["currency"]), said["text"])
    check_amount(amount.money, limit=limit)
    return amount


async def _ask(context: Context, choices: tuple[RequestedAmount, ...], key: str, *, manual: bool = False) -> None:
    body = {**_stored(_command(context, *choices, manual=manual), manual=manual), **choices_payload(choices)}
    prompt = await context.prompt("which", "pay", body)
    keyboard = tuple((prompt_button(prompt, number, _label(context, amount)),) for number, amount in enumerate(choices))
    await context.reply(key, keyboard=keyboard)


def _label(context: Context, requested: RequestedAmount) -> str:
    amount, description = i18n.money(context.language, requested.money), requested.description
    shortened = description if len(description) <= 24 else description[:23] + "…"
    return f"{amount} – {shortened}" if shortened else amount


async def status(context: Context) -> None:
    """Show a payment's state and history; without a reference, the shop's summary."""
    if not context.message.args and context.message.reply_to_message_id is None:
        await context.send(await _health(context))
        return
    payment, _ = await arguments.resolve_payment(context)
    await _show(context, payment)


async def on_open(context: Context, payment_id: str) -> None:
    """A payment of a list was tapped: show its state and history in a new message."""
    await _show(context, await get_payment(context, payment_id))


async def _show(context: Context, payment: Payment) -> None:
    shop = replace(context.shop, language=context.language)
    refunds = await context.services.refunds.of_payment(payment.id)
    shown = payment_message(payment, context.services.display.view(shop, context.now, refunds)).html
    entries = await context.db.read(payment_queries.audit_entries, payment.id)
    history = _history(context, entries)
    if (left_out := len(history) - MAX_HISTORY) > 0:
        earlier = context.html("status.earlier", number=left_out, ref=payment.reference)
        history = [earlier, *history[-MAX_HISTORY:]]
    note = [context.html("note.line", note=payment.note)] if payment.note else []
    said = SafeHtml("\n".join([shown, *note, "", *history]))
    await context.send(said, details_keyboard(context, payment))


async def repeat(context: Context) -> None:
    """Request the same once more, as a payment of its own."""
    before, _ = await arguments.resolve_payment(context)
    check_amount(before.amount, limit=context.shop.request_limit)
    wanted = _Wanted.of_message(
        context, RequestedAmount(before.amount, before.description), manual=before.manual_capture
    )
    if (
        not _is_open(before)
        or await context.db.read(payment_queries.by_request_key, wanted.command.request_key) is not None
    ):
        await _request_or_ask(context, wanted)
        return
    prompt = await context.prompt("again", "again", wanted.payload(before))
    keyboard = (
        (prompt_button(prompt, 0, context.text("button.replace")),),
        (prompt_button(prompt, 1, context.text("button.another")),),
    )
    link = _link(context, before)
    key = "again.open" if link else "again.open_without_link"
    params = {"ref": before.reference, "amount": before.amount, "link": link}
    await context.reply(key, keyboard=keyboard, **params)


async def on_again_chosen(context: Context, prompt: Prompt, choice: int) -> None:
    """Replace the open request by a new one, or make another one beside it.

    Raises:
        AlreadyPaid, PaymentIsAuthorized: the customer was faster; nothing was requested.
    """
    context.require(Action.REPEAT_PAYMENT)
    before, wanted = await _first_of(context, prompt), _Wanted.of_prompt(prompt)
    check_amount(wanted.amount.money, limit=context.shop.request_limit)
    if not choice and before.created_by != context.actor.id:
        context.require(Action.CANCEL_ANY)
    if not await context.record_answer(prompt, choice):
        if before.status is not PaymentStatus.CANCELED:
            before = await _cancel(context, before)
        if before.status is not PaymentStatus.CANCELED:
            await context.edit(context.html("again.replace_pending", ref=before.reference))
            return
    await _request(context, wanted)


async def on_another_chosen(context: Context, prompt: Prompt, choice: int) -> None:
    """Request what the same command requested a moment ago once more, or leave it at the first."""
    context.require(Action.REQUEST_PAYMENT)
    before, wanted = await _first_of(context, prompt), _Wanted.of_prompt(prompt)
    if await context.record_answer(prompt, choice):
        await context.edit(context.html("again.one_is_enough", ref=before.reference))
        return
    check_amount(wanted.amount.money, limit=context.shop.request_limit)
    await _request(context, wanted)


@dataclass(frozen=True)
class _Wanted:
    """A request that a person asked for by a command, now or before a prompt."""

    command: SentCommand
    amount: RequestedAmount
    manual: bool

    @classmethod
    def of_message(cls, context: Context, amount: RequestedAmount, *, manual: bool) -> _Wanted:
        return cls(_command(context, amount, manual=manual), amount, manual)

    @classmethod
    def of_prompt(cls, prompt: Prompt, amount: RequestedAmount | None = None) -> _Wanted:
        """With the chosen amount, or with the one that `payload` stored."""
        kept, digest = prompt.payload, prompt.payload["hash"]
        if amount is None:
            amount = RequestedAmount(Money(kept["minor"], kept["currency"]), kept["text"])
        else:  # another choice is not the same request
            digest = sha256_hex(f"{digest} {amount.money.minor} {amount.money.currency}")
        sent_at = datetime.fromisoformat(kept["sent_at"])
        command = SentCommand(prompt.chat, prompt.user_id, kept["source"], sent_at, digest)
        return cls(command, amount, kept["manual"])

    def payload(self, first: Payment) -> dict[str, Any]:
        """What a prompt about this request and an earlier one stores."""
        money = self.amount.money
        body = {"minor": money.minor, "currency": money.currency, "text": self.amount.description}
        return body | _stored(self.command, manual=self.manual) | {"payment": first.id}


def _stored(command: SentCommand, *, manual: bool) -> dict[str, Any]:
    """A command as part of a prompt's payload."""
    sent_at = command.sent_at.isoformat()
    return {"source": command.request_key, "sent_at": sent_at, "hash": command.hash, "manual": manual}


def _command(context: Context, *amounts: RequestedAmount, manual: bool) -> SentCommand:
    said = context.message
    meant = [[one.money.minor, one.money.currency, one.description] for one in amounts]
    digest = sha256_hex(json.dumps([context.shop.id, said.command, said.args, meant, manual]))
    return SentCommand(said.chat, said.actor.id, said.request_key, said.sent_at, digest)


async def _request_or_ask(context: Context, wanted: _Wanted) -> None:
    """Request it; if the same command was sent a moment before, ask first, for a second request can be paid too."""
    same = await context.services.payments.find_same(wanted.command)
    if same is None:
        await _request(context, wanted)
        return
    prompt = await context.prompt("another", "another", wanted.payload(same))
    keyboard = (
        (prompt_button(prompt, 0, context.text("button.another")),),
        (prompt_button(prompt, 1, context.text("button.one_is_enough")),),
    )
    said = context.html("again.same", ref=same.reference, amount=same.amount)
    if isinstance(context.update, CallbackQuery):
        await context.edit(said, keyboard)
    else:
        await context.send(said, keyboard)


async def _request(context: Context, wanted: _Wanted) -> None:
    command = wanted.command
    await context.services.payments.request(
        context.shop,
        command.chat,
        command.user_id,
        wanted.amount,
        source=command.request_key,
        manual=wanted.manual,
        command=command,
    )
    if isinstance(context.update, CallbackQuery):
        await context.edit(context.html("pay.chosen", amount=wanted.amount.money))


async def _first_of(context: Context, prompt: Prompt) -> Payment:
    """The earlier payment that the prompt is about.

    Raises:
        UnknownPayment: it is not one of this chat's shop.
    """
    payment = await context.db.read(payment_queries.by_id, prompt.payload["payment"])
    if payment is None or payment.shop_id != context.shop.id:
        raise UnknownPayment
    return payment


def _is_open(payment: Payment) -> bool:
    """Whether the customer may still pay it, or has just approved it."""
    return payment.is_payable or payment.status is PaymentStatus.PROCESSING


def _link(context: Context, payment: Payment) -> str:
    """The link under which the request can be paid now; empty if there is none at the moment."""
    page = page_url(context.services.display.public_url, payment)
    if page is None and payment.attempt.has_usable_link(context.now):
        return payment.attempt.redirect_url or ""
    return page or ""


async def repeat_tapped(context: Context, before: Payment) -> None:
    """The *Ask again* button under a request that has ended: the same once more; a second press makes no other."""
    check_amount(before.amount, limit=context.shop.request_limit)
    amount, manual = RequestedAmount(before.amount, before.description), before.manual_capture
    chat = ChatTarget(context.chat.chat_id, context.chat.thread_id)
    service, source = context.services.payments, f"again:{before.id}"
    payment = await service.request(context.shop, chat, context.actor.id, amount, source=source, manual=manual)
    await context.answer_callback("again.done", ref=payment.reference)


async def cancel(context: Context) -> None:
    """Cancel an open request; alone, ask which of the last ones."""
    if arguments.names_no_payment(context) and (choices := await _cancelable(context)):
        await suggest_payments(context, "cancel.which", "cancel", choices)
        return
    payment, _ = await arguments.resolve_payment(context)
    payment = await _cancel(context, payment)
    await context.reply("cancel.done" if payment.is_terminal else "cancel.pending", ref=payment.reference)


async def on_cancel(context: Context, payment: Payment) -> None:
    """The *Cancel* button: it asks once, in the person's private chat if it stands under an inline message."""
    _require_cancel(context, payment)
    if not payment.is_payable or payment.cancel_requested or payment.status is PaymentStatus.AUTHORIZED:
        payment = await _cancel(context, payment)  # says why not
        await context.answer_callback("cancel.done" if payment.is_terminal else "cancel.pending", ref=payment.reference)
        return
    prompt = await context.prompt("cancel", "cancel", {"payment": payment.id})
    keyboard = (
        (prompt_button(prompt, 0, context.text("button.cancel_request"), style="danger"),),
        (prompt_button(prompt, 1, context.text("button.keep_open")),),
    )
    said = context.html("cancel.ask", amount=payment.amount, ref=payment.reference)
    inline = context.chat.inline_message_id is not None
    await context.send(said, keyboard, chat=ChatTarget(context.actor.id) if inline else None)
    await context.answer_callback("cancel.asked_in_private" if inline else "cancel.asked")


async def cancel_answered(context: Context, prompt: Prompt, choice: int) -> None:
    """Cancel, or leave the request open."""
    payment = await context.db.read(payment_queries.by_id, prompt.payload["payment"])
    if payment is None or payment.shop_id != prompt.payload["shop"]:
        raise UnknownPayment
    if context.is_private:  # a person of several shops has none selected there
        role = await context.services.membership.role(payment.shop_id, context.actor)
        context.access = ChatAccess(await context.db.read(shops.get_shop, payment.shop_id), role)
    _require_cancel(context, payment)
    if await context.record_answer(prompt, choice):
        await context.edit(context.html("cancel.kept", ref=payment.reference))
        return
    try:
        payment = await _cancel(context, payment)
    except UserError as refusal:
        await context.edit(context.html(refusal.message_key, **refusal.params))
        raise
    key = "cancel.done" if payment.is_terminal else "cancel.pending"
    await context.edit(context.html(key, ref=payment.reference))
    await context.answer_callback(key, ref=payment.reference)


async def on_new_link(context: Context, payment: Payment) -> None:
    """The *New link* button: another attempt of the same intent, or when to try again."""
    try:
        payment = await context.services.payments.renew_link(payment.id, user_id=context.actor.id, cause=context.key)
    except AttemptStillActive:
        ends_at = payment.attempt.expires_at
        if ends_at is None or ends_at <= context.now:
            raise
        until = i18n.format_time(context.language, ends_at, context.shop.time_zone)
        await context.answer_callback("error.attempt_still_active_until", alert=True, until=until)
        return
    is_made = payment.attempt.status is AttemptStatus.ACTIVE
    await context.answer_callback("renew.done" if is_made else "renew.pending")


async def on_qr(context: Context, payment: Payment) -> None:
    """The *QR code* button: the code is sent below the payment message."""
    await context.services.outbox.enqueue(qr_message_job(payment, key=f"{context.key}:picture"), now=context.now)
    await context.answer_callback("qr.coming")


async def _cancelable(context: Context) -> list[Payment]:
    """The newest open requests of the shop that this person may cancel."""
    found = await context.db.read(payment_queries.open_payments, context.shop.id, limit=MAX_SEARCHED)
    may_cancel_any = is_allowed(context.role, Action.CANCEL_ANY)
    return [
        payment
        for payment in found
        if payment.is_payable
        and not payment.cancel_requested
        and (may_cancel_any or payment.created_by == context.actor.id)
    ]


def _require_cancel(context: Context, payment: Payment) -> None:
    own = payment.created_by == context.actor.id
    context.require(Action.CANCEL_OWN if own else Action.CANCEL_ANY)


async def _cancel(context: Context, payment: Payment) -> Payment:
    """Cancel; a merchant their own requests, an admin any."""
    _require_cancel(context, payment)
    return await context.services.payments.cancel(payment.id, user_id=context.actor.id)


def _history(context: Context, entries: Sequence[AuditEntry]) -> list[str]:
    """One line per change, not per check."""
    lines: list[str] = []
    before: tuple[object, ...] = ()
    for entry in entries:
        said = entry.detail
        now = tuple(said.get(name) for name in ("status", "attempt", "attempt_status", "refund", "refund_status"))
        if now != before:
            at = i18n.format_datetime(context.language, entry.happened_at, context.shop.time_zone)
            lines.append(f"{at} · {_line(context, said)}")
        before = now
    return lines


def _line(context: Context, said: dict[str, Any]) -> SafeHtml:
    """A line about a refund with its amount, about anything else with the payment's state."""
    if "refund" not in said:
        return context.html(state_message_key(said))
    return context.html(f"history.refund_{said['refund_status']}", amount=Money(said["amount"], said["currency"]))


def _net(context: Context, day: Totals) -> str:
    """What is left of today's payments in one currency, and how many there were; with refunds and disputes, if any."""
    said = f"{i18n.money(context.language, day.received)} ({day.payments})"
    if not (day.refunded.minor or day.disputed.minor):
        return said
    for amount, out, back in (
        (day.refunded, "status.refunded", "status.refund_came_back"),
        (day.disputed, "status.disputed", "status.dispute_came_back"),
    ):
        if amount.minor > 0:
            said += f" − {context.text(out, amount=amount)}"
        elif amount.minor < 0:
            said += f" + {context.text(back, amount=Money(-amount.minor, amount.currency))}"
    return f"{i18n.money(context.language, day.net)} = {said}"


async def _health(context: Context) -> SafeHtml:
    """Three lines: open requests, what `/today` counts as paid less what left again, and whether everything works."""
    shop, today = context.shop, parse_period("today", context.now, context.shop.time_zone)
    sums = await context.db.read(read_sums, shop.id, today.period, livemode=context.services.livemode)
    paid = ", ".join(_net(context, one) for one in sums.totals)
    parts = ", ".join(context.text(f"part.{name}") for name in context.services.heartbeats.stale(context.now))
    lines = [
        context.html("status.open", count=sum(one.requests + one.holds for one in sums.outstanding)),
        context.html("status.paid", sums=paid) if paid else context.html("status.paid_nothing"),
        context.html("status.unhealthy", parts=parts) if parts else context.html("status.healthy"),
    ]
    return SafeHtml("\n".join(lines))
