"""`/refund`: what will go back is shown first, and only a tap by somebody who may lets it go."""

from __future__ import annotations

from handlers import i18n
from handlers.access.membership import LONGEST_NAME, Standing
from handlers.access.permissions import Action, may
from handlers.amounts.parser import Asked, parse_refund
from handlers.chat import arguments
from handlers.chat.context import Context
from handlers.i18n import Safe, html, text
from handlers.messages.outbox_message import Post, draft_of
from handlers.messages.refund_text import retry_button, retry_until
from handlers.refunds.service import RefundWish
from handlers.telegram.messenger import Button, Keyboard, Letter
from storage.errors import NotAllowed, PaymentError, RefundDecided, UnknownPayment
from storage.models.money import LARGEST, Money
from storage.models.payment import Payment, Place
from storage.models.refund import Refund, RefundStatus
from storage.prompts import Question


class NotYourDraft(PaymentError):
    """The draft is another person's; he alone can let it go."""

    code = "error.not_your_draft"


async def refund(context: Context) -> None:
    """Show what goes back and what stays, or pass the wish on to the admins."""
    payment, rest = await arguments.payment(context, words=True)
    found, reason = parse_refund(rest, currency=payment.amount.currency, limit=LARGEST)
    if len(found) > 1:
        await _ask_which(context, payment, found)
        return
    amount, reason = (found[0].money, found[0].text) if found else (None, reason)
    await _draft(context, payment, amount, reason, context.key)


async def amount_chosen(context: Context, question: Question, choice: int) -> None:
    """One of two readings of an amount was chosen."""
    context.require(Action.ASK_REFUND)
    payment = await context.desks.queries.payment(question.body["payment"])
    if payment is None or payment.shop_id != context.shop.id:
        raise UnknownPayment
    asked = question.body["choices"][await context.decided(question, choice)]
    amount = Money(asked["minor"], asked["currency"])
    await _draft(context, payment, amount, asked["text"], question.id)
    await context.replace(context.html("refund.chosen", amount=amount, ref=payment.ref))


async def approve_tapped(context: Context, refund_id: str) -> None:
    """Yes: with the last yes that is needed the money goes back."""
    refund, payment = await _found(context, refund_id)
    context.require(Action.APPROVE_REFUND)
    if refund.status is RefundStatus.DRAFT and refund.asked_by != context.person.id:
        raise NotYourDraft
    desk, person = context.desks.refunds, context.person.id
    if refund.status is RefundStatus.ASKED and person in refund.approvers:
        await _pass_on(context, refund, payment)  # whoever was cut short after his yes has asked nobody yet
    if refund.is_open or refund.status is RefundStatus.EXPIRED or person not in refund.approvers:
        refund = await desk.approve(refund, payment, context.shop, user_id=person)
    if refund.status is RefundStatus.ASKED and not await _pass_on(context, refund, payment):
        await context.replace(context.html("refund.nobody_may", amount=refund.amount, ref=payment.ref))
    else:
        await context.replace(*_outcome(context, refund, payment))
    await context.toast("refund.noted")


async def decline_tapped(context: Context, refund_id: str) -> None:
    """No: by whoever may approve, or by whoever asked."""
    refund, payment = await _found(context, refund_id)
    if refund.asked_by != context.person.id:
        context.require(Action.APPROVE_REFUND)
    if refund.status is not RefundStatus.DECLINED:
        refund = await context.desks.refunds.decline(refund, user_id=context.person.id)
    await context.replace(context.html("refund.now_declined", amount=refund.amount, ref=payment.ref))
    if refund.asked_by not in (None, context.person.id) and refund.place is not None:
        words = html(context.shop.language, "refund.was_declined", amount=refund.amount, ref=payment.ref)
        is_ours = await context.desks.rights.is_ours(refund.shop_id, refund.place)
        place = refund.place if is_ours else Place(refund.asked_by)
        if place.chat_id != context.place.chat_id:  # and if he may still hear of it, as is seen when it is sent
            await _put(context, place, Letter(words), f"refund:{refund.id}:declined")
    await context.toast("refund.noted")


async def retry_tapped(context: Context, refund_id: str) -> None:
    """Once more, after Stripe refused it for want of balance."""
    refund, payment = await _found(context, refund_id)
    context.require(Action.APPROVE_REFUND)
    if refund.status is RefundStatus.APPROVED and refund.retry_until is None:
        raise RefundDecided  # it is being asked at this moment
    refund = await context.desks.refunds.retry(refund, user_id=context.person.id)
    await context.replace(*_outcome(context, refund, payment))
    await context.toast("refund.noted")


def _outcome(context: Context, refund: Refund, payment: Payment) -> tuple[Safe, Keyboard]:
    """How it stands after a tap; whoever tapped may be in another chat than the card and not see what that says."""
    holes = {"amount": refund.amount, "ref": payment.ref}
    if refund.status is RefundStatus.APPROVED and refund.retry_until is not None:
        until = retry_until(refund, context.language, context.shop)
        return context.html("refund.now_short", until=until, **holes), retry_button(refund, context.language)
    return context.html(f"refund.now_{refund.status}", **holes), ()


async def _draft(context: Context, payment: Payment, amount: Money | None, reason: str, source: str) -> None:
    for_others = not may(context.role, Action.APPROVE_REFUND)
    place = Place(context.place.chat_id, context.place.thread_id)
    wish = RefundWish(place, context.person.id, f"refund:{source}", amount, reason)
    refund = await context.desks.refunds.draft(payment, wish, for_others=for_others)
    if for_others:
        asked = await _pass_on(context, refund, payment)
        if context.is_private:
            key = "refund.passed_on" if asked else "refund.nobody_may"
            said = context.html(key, amount=refund.amount, ref=payment.ref)
            await context.send(said, _buttons(refund, context.language)[1:])  # he may take it back
        return
    key = "refund.draft" if refund.approvals_needed < 2 else "refund.draft_of_two"
    said = context.html(key, **_holes(refund, payment), reason=_reason(refund))
    await context.send(said, _buttons(refund, context.language))


async def _pass_on(context: Context, refund: Refund, payment: Payment) -> bool:
    """Ask those who may approve, in the group where it was asked or each in private; False: there is nobody."""
    language, step = context.shop.language, len(refund.approvers)
    name = context.person.name[:LONGEST_NAME]
    said = html(language, "refund.asked", **_holes(refund, payment), name=name, reason=_reason(refund))
    letter, key = Letter(said, _buttons(refund, language)), f"refund:{refund.id}:asked:{step}"
    people = await context.desks.rights.approvers(refund.shop_id)
    others = [person for person in people if person not in (context.person.id, *refund.approvers)]
    place = refund.place
    if place is not None and place.chat_id < 0 and await context.desks.rights.is_ours(refund.shop_id, place):
        await _put(context, place, letter, key)
    else:
        for person in others:
            await _put(context, Place(person), letter, f"{key}:{person}")
    return bool(others)


async def _found(context: Context, refund_id: str) -> tuple[Refund, Payment]:
    """The refund of a button, if it is one of a shop that this chat and this person have to do with.

    In a private chat the refund itself says which shop it is about, for admins of several are asked there.
    """
    refund = await context.desks.refunds.find(refund_id)
    payment = None if refund is None else await context.desks.queries.payment(refund.payment_id)
    if refund is None or payment is None:
        context.require(Action.LOOK)  # a stranger does not even learn that there is none
        raise RefundDecided
    shop = context.standing.shop
    if context.is_private:
        shop = await context.desks.directory.shop(refund.shop_id)
        context.standing = Standing(shop, await context.desks.team.role(refund.shop_id, context.person))
    foreign = shop is None or shop.id != refund.shop_id
    if foreign or not may(context.role, Action.ASK_REFUND):
        context.reached_for = payment
        raise NotAllowed(id=context.person.id)
    return refund, payment


async def _ask_which(context: Context, payment: Payment, found: tuple[Asked, ...]) -> None:
    choices = [{"minor": one.money.minor, "currency": one.money.currency, "text": one.text} for one in found]
    question = await context.ask("refund", "refund", {"payment": payment.id, "choices": choices})
    keyboard = tuple(
        (Button(i18n.money(context.language, one.money), data=f"q:{question.id}:{number}"),)
        for number, one in enumerate(found)
    )
    await context.reply("pay.which", keyboard=keyboard)


def _buttons(refund: Refund, language: str) -> Keyboard:
    amount = i18n.money(language, refund.amount)
    return (
        (Button(text(language, "button.refund", amount=amount), data=f"y:{refund.id}", style="danger"),),
        (Button(text(language, "button.decline"), data=f"x:{refund.id}"),),
    )


def _holes(refund: Refund, payment: Payment) -> dict[str, object]:
    currency = payment.amount.currency
    stays = Money(max(0, refund.refundable_then - refund.amount.minor), currency)
    return {"amount": refund.amount, "ref": payment.ref, "stays": stays, "received": Money(payment.received, currency)}


def _reason(refund: Refund) -> Safe:
    return Safe(f"\n<i>{i18n.escaped(refund.reason)}</i>" if refund.reason else "")


async def _put(context: Context, place: Place, letter: Letter, key: str) -> None:
    post = Post(place, letter, shop=context.shop.id)
    await context.desks.outbox.put(draft_of(post, key=key), now=context.now)
