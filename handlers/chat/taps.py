"""Takes a tap up: the button's data can be forged, so everything is checked against what we know, at the tap."""

from __future__ import annotations

import logging
from datetime import timedelta

from handlers.chat import inline
from handlers.chat.commands import late_answered
from handlers.chat.context import Context
from handlers.chat.table import ANSWERS, PAYMENT_BUTTONS, SHOP_BUTTONS
from handlers.team import Standing
from storage.errors import NotAllowed, PaymentError
from storage.payment import Payment
from storage.people import Role

log = logging.getLogger(__name__)

QUESTION_LIFE = timedelta(hours=24)


class OldButton(PaymentError):
    """The button belongs to nothing that stands here, or its time is over."""

    code = "error.old_button"


class NotYours(PaymentError):
    """The question was put to somebody else."""

    code = "error.not_yours"


async def take_up(context: Context) -> None:
    """Do what a button stands for.

    Raises:
        PaymentError: the person is told why not, in an alert.
    """
    letter, _, rest = context.tapped.data.partition(":")
    if context.person.is_shared:
        raise NotAllowed(id=context.person.id)
    if letter in PAYMENT_BUTTONS:
        await PAYMENT_BUTTONS[letter](context, await _payment(context, rest))
    elif context.role is Role.STRANGER:
        raise NotAllowed(id=context.person.id)
    elif letter in SHOP_BUTTONS:
        await SHOP_BUTTONS[letter](context, rest)
    elif letter == "g":
        await inline.link_tapped(context, rest)
    elif letter == "q":
        await _answer(context, rest)
    else:
        raise OldButton


async def _payment(context: Context, payment_id: str) -> Payment:
    """The payment of a card's button, if it is one of this chat's shop and the person may touch it."""
    payment = await context.desks.queries.payment(payment_id)
    if payment is not None and context.place.inline_id is not None:
        await _stand_beside(context, payment)
    shop = context.standing.shop
    foreign = payment is None or shop is None or payment.shop_id != shop.id
    if payment is not None and (foreign or context.role < Role.MERCHANT):
        await context.desks.payments.note_refusal(payment, context.person.id, context.tapped.data[:1])
    if context.role < Role.MERCHANT:
        raise NotAllowed(id=context.person.id)
    if payment is None or foreign:
        raise OldButton
    if context.tapped.message_id is not None:
        await context.desks.posts.adopt(payment.id, context.place, context.tapped.message_id, now=context.now)
    return payment


async def _stand_beside(context: Context, payment: Payment) -> None:
    """Under a card of inline mode the chat says nothing of the shop: the card's own payment does."""
    if payment.place.inline_id != context.place.inline_id:
        raise OldButton
    shop = await context.desks.directory.shop(payment.shop_id)
    context.standing = Standing(shop, await context.desks.team.role(payment.shop_id, context.person))


async def _answer(context: Context, rest: str) -> None:
    """The answer to a question, from the person it was put to; of two answers the first counts."""
    question_id, _, number = rest.partition(":")
    question = await context.desks.questions.find(question_id)
    doors = ANSWERS | {"late": late_answered}
    if question is None or question.place.chat_id != context.place.chat_id or question.kind not in doors:
        raise OldButton
    if number not in {str(choice) for choice in range(len(question.body.get("choices", (0, 1))))}:
        raise OldButton
    if question.user_id != context.person.id:
        raise NotYours
    if context.role < Role.MERCHANT:
        raise NotAllowed(id=context.person.id)
    if context.now - question.asked_at > QUESTION_LIFE:
        raise OldButton
    await doors[question.kind](context, question, int(number))
