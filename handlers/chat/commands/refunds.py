"""`/refund`: the refund is shown first, and only an authorized press of its button makes it."""

from __future__ import annotations

from handlers import i18n
from handlers.access.membership import ChatAccess, display_name
from handlers.access.permissions import Action, is_allowed
from handlers.amounts.parser import RequestedAmount, amount_within, parse_refund
from handlers.amounts.refund_words import may_name_amount
from handlers.chat import arguments
from handlers.chat.commands.payment_list import get_payment
from handlers.chat.context import Context, prompt_button
from handlers.chat.suggestions import suggest_payments
from handlers.i18n import SafeHtml, html, text
from handlers.messages.outbox_message import OutboxMessage, to_job
from handlers.messages.question_jobs import refund_subject
from handlers.refunds.service import RefundRequestInput
from handlers.telegram.messenger import Button, Keyboard, Message
from storage import payment_queries, shops
from storage.errors import PermissionDenied, RefundAlreadyDecided, UnknownPayment, UserError
from storage.models.money import MAX_AMOUNT, Money
from storage.models.payment import ChatTarget, Payment
from storage.models.refund import Refund, RefundStatus
from storage.prompts import Prompt

MAX_SEARCHED = 25
"""Paid requests among which those that can be refunded are looked for."""


class NotYourDraft(UserError):
    """The draft is another person's, who alone can confirm it."""

    message_key = "error.not_your_draft"


async def refund(context: Context) -> None:
    """Show what is refunded and what remains, or send the request to the admins; alone, ask which payment."""
    if arguments.names_no_payment(context):
        paid = await context.db.read(payment_queries.last_paid, context.shop.id, limit=MAX_SEARCHED)
        if refundable := [payment for payment in paid if payment.refundable]:
            await suggest_payments(context, "refund.which", "refund", refundable)
            return
    payment, rest = await arguments.resolve_payment(context, words=True)
    found, reason = parse_refund(rest, currency=payment.amount.currency, limit=MAX_AMOUNT)
    if len(found) > 1:
        await _ask_which(context, payment, found)
        return
    if not found and may_name_amount(reason):
        await _ask_how_much(context, payment, reason)
        return
    amount, reason = (found[0].money, found[0].description) if found else (None, reason)
    await _create_draft(context, payment, amount, reason, context.key)


async def on_refund_some(context: Context, payment_id: str) -> None:
    """The *Refund…* button of an opened payment: as `/refund` with its reference alone."""
    await _create_draft(context, await get_payment(context, payment_id), None, "", context.key)


async def on_amount_chosen(context: Context, prompt: Prompt, choice: int) -> None:
    """One of two readings of an amount was chosen."""
    context.require(Action.REQUEST_REFUND)
    payment = await context.db.read(payment_queries.by_id, prompt.payload["payment"])
    if payment is None or payment.shop_id != context.shop.id:
        raise UnknownPayment
    asked = prompt.payload["choices"][await context.record_answer(prompt, choice)]
    amount = Money(asked["minor"], asked["currency"])
    await _create_draft(context, payment, amount, asked["text"], prompt.id)
    await context.edit(context.html("refund.chosen", amount=amount, ref=payment.reference))


async def on_approve(context: Context, refund_id: str) -> None:
    """The *Refund* button: with the last approval needed the refund is made."""
    refund, payment = await _load_refund(context, refund_id)
    context.require(Action.APPROVE_REFUND)
    if refund.status is RefundStatus.DRAFT and refund.requested_by != context.actor.id:
        raise NotYourDraft
    service, user_id = context.services.refunds, context.actor.id
    if refund.status is RefundStatus.AWAITING_APPROVAL and user_id in refund.approvers:
        await _request_approval(context, refund, payment)  # a crash after the approval may have lost the request
    if refund.is_pending_decision or refund.status is RefundStatus.EXPIRED or user_id not in refund.approvers:
        refund = await service.approve(refund, payment, context.shop, user_id=user_id)
    if refund.status is RefundStatus.AWAITING_APPROVAL and not await _request_approval(context, refund, payment):
        await context.edit(context.html("refund.no_approver", amount=refund.amount, ref=payment.reference))
    else:
        await context.edit(*await context.services.questions.refund_answer(refund, context.language))
    await context.answer_callback("refund.recorded")


async def on_decline(context: Context, refund_id: str) -> None:
    """The *Decline* button, for approvers and for the requester."""
    refund, payment = await _load_refund(context, refund_id)
    if refund.requested_by != context.actor.id:
        context.require(Action.APPROVE_REFUND)
    if refund.status is not RefundStatus.DECLINED:
        refund = await context.services.refunds.decline(refund, user_id=context.actor.id)
    await context.edit(*await context.services.questions.refund_answer(refund, context.language))
    if refund.requested_by not in (None, context.actor.id) and refund.chat is not None:
        words = html(context.shop.language, "refund.was_declined", amount=refund.amount, ref=payment.reference)
        is_ours = await context.services.authorization.chat_belongs_to_shop(refund.shop_id, refund.chat)
        chat = refund.chat if is_ours else ChatTarget(refund.requested_by)
        if chat.chat_id != context.chat.chat_id:  # whether they may still read it is checked at sending
            await _put(context, chat, Message(words), f"refund:{refund.id}:declined")
    await context.answer_callback("refund.recorded")


async def on_retry(context: Context, refund_id: str) -> None:
    """The *Try again* button, after Stripe rejected the refund for insufficient balance."""
    refund, _ = await _load_refund(context, refund_id)
    context.require(Action.APPROVE_REFUND)
    if refund.status is RefundStatus.APPROVED and refund.retry_until is None:
        raise RefundAlreadyDecided  # the call to Stripe is running
    refund = await context.services.refunds.retry(refund, user_id=context.actor.id)
    await context.edit(*await context.services.questions.refund_answer(refund, context.language))
    await context.answer_callback("refund.recorded")


async def _create_draft(context: Context, payment: Payment, amount: Money | None, reason: str, source: str) -> None:
    for_others = not is_allowed(context.role, Action.APPROVE_REFUND)
    chat = ChatTarget(context.chat.chat_id, context.chat.thread_id)
    wanted = RefundRequestInput(chat, context.actor.id, f"refund:{source}", amount, reason)
    refund = await context.services.refunds.draft(payment, wanted, for_others=for_others)
    if for_others:
        asked = await _request_approval(context, refund, payment)
        if context.is_private:
            key = "refund.sent_for_approval" if asked else "refund.no_approver"
            said = context.html(key, amount=refund.amount, ref=payment.reference)
            keyboard = _buttons(refund, context.language)[1:]  # the author may withdraw it
            await context.send(said, keyboard, question=refund_subject(refund.id, 0))
        return
    key = "refund.draft" if refund.approvals_needed < 2 else "refund.draft_of_two"
    said = context.html(key, **_text_values(refund, payment), reason=_reason(refund))
    await context.send(said, _buttons(refund, context.language), question=refund_subject(refund.id, 0))


async def _request_approval(context: Context, refund: Refund, payment: Payment) -> bool:
    """Ask the approvers, in the group where it was requested or each in private; False if there is no approver."""
    language, step = context.shop.language, len(refund.approvers)
    name = display_name(context.actor.name, context.actor.id)
    said = html(language, "refund.requested", **_text_values(refund, payment), name=name, reason=_reason(refund))
    message, key = Message(said, _buttons(refund, language)), f"refund:{refund.id}:asked:{step}"
    question = (refund_subject(refund.id, step), language)
    people = await context.services.authorization.approvers(refund.shop_id)
    others = [person for person in people if person not in (context.actor.id, *refund.approvers)]
    others = [person for person in others if await context.services.refunds.is_second_person(refund, person)]
    chat = refund.chat
    if (
        chat is not None
        and chat.chat_id < 0
        and await context.services.authorization.chat_belongs_to_shop(refund.shop_id, chat)
    ):
        await _put(context, chat, message, key, question=question)
    else:
        for person in others:
            await _put(context, ChatTarget(person), message, f"{key}:{person}", question=question)
    return bool(others)


async def _load_refund(context: Context, refund_id: str) -> tuple[Refund, Payment]:
    """The refund of a button, if it is one of a shop of this chat and this person.

    In a private chat the refund says which shop it is of, for admins of several shops are asked there.
    """
    refund = await context.services.refunds.find(refund_id)
    payment = None if refund is None else await context.db.read(payment_queries.by_id, refund.payment_id)
    if refund is None or payment is None:
        context.require(Action.VIEW)  # a guest does not learn whether it exists
        raise RefundAlreadyDecided
    shop = context.access.shop
    if context.is_private:
        shop = await context.db.read(shops.get_shop, refund.shop_id)
        context.access = ChatAccess(shop, await context.services.membership.role(refund.shop_id, context.actor))
    foreign = shop is None or shop.id != refund.shop_id
    if foreign or not is_allowed(context.role, Action.REQUEST_REFUND):
        context.denied_payment = payment
        raise PermissionDenied(id=context.actor.id)
    return refund, payment


async def _ask_how_much(context: Context, payment: Payment, reason: str) -> None:
    """Ask back where a reason may name an amount, with a button if it names just one; the whole is not offered."""
    currency, refundable = payment.amount.currency, payment.refundable
    found = amount_within(reason, currency=currency, limit=refundable)
    example = found[0].money if found else Money(max(1, refundable // 2), currency)
    keyboard = await _amount_buttons(context, payment, found) if found else ()
    shown = i18n.plain_amount(context.language, example)
    await context.reply("refund.how_much", keyboard=keyboard, ref=payment.reference, example=shown)


async def _ask_which(context: Context, payment: Payment, found: tuple[RequestedAmount, ...]) -> None:
    await context.reply("pay.which", keyboard=await _amount_buttons(context, payment, found))


async def _amount_buttons(context: Context, payment: Payment, found: tuple[RequestedAmount, ...]) -> Keyboard:
    """A prompt with one button per reading; a press shows the refund of that amount."""
    choices = [{"minor": one.money.minor, "currency": one.money.currency, "text": one.description} for one in found]
    prompt = await context.prompt("refund", "refund", {"payment": payment.id, "choices": choices})
    return tuple(
        (prompt_button(prompt, number, i18n.money(context.language, one.money)),) for number, one in enumerate(found)
    )


def _buttons(refund: Refund, language: str) -> Keyboard:
    amount = i18n.money(language, refund.amount)
    return (
        (Button(text(language, "button.refund", amount=amount), data=f"y:{refund.id}", style="danger"),),
        (Button(text(language, "button.decline"), data=f"x:{refund.id}"),),
    )


def _text_values(refund: Refund, payment: Payment) -> dict[str, object]:
    currency = payment.amount.currency
    stays = Money(max(0, refund.refundable_at_request - refund.amount.minor), currency)
    return {
        "amount": refund.amount,
        "ref": payment.reference,
        "stays": stays,
        "received": Money(payment.amount_received, currency),
    }


def _reason(refund: Refund) -> SafeHtml:
    return SafeHtml(f"\n<i>{i18n.escaped(refund.reason)}</i>" if refund.reason else "")


async def _put(
    context: Context, chat: ChatTarget, message: Message, key: str, *, question: tuple[str, str] | None = None
) -> None:
    outgoing = OutboxMessage(chat, message, shop=context.shop.id, question=question)
    await context.services.outbox.enqueue(to_job(outgoing, key=key), now=context.now)
