"""Takes a tap up: the button's data can be forged, so everything is checked against what we know, at the tap."""

from __future__ import annotations

import logging
from datetime import timedelta

from handlers.access.membership import Standing
from handlers.access.permissions import Action, Way, Where, asked_for, may
from handlers.chat.command_dispatch import late_answered
from handlers.chat.context import Context
from handlers.chat.routes import CALLBACKS, PROMPTS, PaymentButton, RefundButton, ShopButton
from storage.errors import NotAllowed, PaymentError
from storage.models.payment import Payment
from storage.models.shop import Role

log = logging.getLogger(__name__)

QUESTION_LIFE = timedelta(hours=24)


class OldButton(PaymentError):
    """The button belongs to nothing that stands here, or its time is over."""

    code = "error.old_button"


class NotYours(PaymentError):
    """The question was put to somebody else."""

    code = "error.not_yours"


class AnotherShop(PaymentError):
    """The chat has gone over to another shop since the question was put."""

    code = "error.another_shop"


async def take_up(context: Context) -> None:
    """Do what a button stands for.

    Raises:
        PaymentError: the person is told why not, in an alert.
    """
    prefix, _, rest = context.tapped.data.partition(":")
    if context.person.is_shared:
        raise NotAllowed(id=context.person.id)
    match CALLBACKS.get(prefix):
        case PaymentButton() as button:
            await button.handler(context, await _payment(context, rest, button.action))
        case RefundButton() as button if context.where is not Where.INLINE:
            await button.handler(context, rest)
        case _ if context.role is Role.STRANGER:
            raise NotAllowed(id=context.person.id)
        case ShopButton() as button:
            action = button.action if context.is_private else button.group_action or button.action
            context.require(action)
            _refuse_elsewhere(context, action)
            await button.handler(context, rest)
        case _ if prefix == "q":
            await _answer(context, rest)
        case _:
            raise OldButton


async def _payment(context: Context, payment_id: str, action: Action) -> Payment:
    """The payment of a card's button, if it is one of this chat's shop and the person may touch it."""
    payment = await context.desks.queries.payment(payment_id)
    if payment is not None and context.place.inline_id is not None:
        await _stand_beside(context, payment)
    shop = context.standing.shop
    foreign = payment is None or shop is None or payment.shop_id != shop.id
    if foreign or not may(context.role, action):
        context.reached_for = payment
    context.require(action)
    _refuse_elsewhere(context, action)
    if payment is None or foreign:
        raise OldButton
    if context.tapped.message_id is not None:
        await context.desks.posts.adopt(payment.id, context.place, context.tapped.message_id, now=context.now)
    return payment


def _refuse_elsewhere(context: Context, action: Action) -> None:
    """A button that such a chat never shows was forged."""
    if not asked_for(action, context.where, Way.TAP):
        raise OldButton


async def _stand_beside(context: Context, payment: Payment) -> None:
    """Under a card of inline mode the chat says nothing of the shop: the card's own payment does."""
    if payment.place.inline_id != context.place.inline_id:
        context.reached_for = payment
        raise OldButton
    shop = await context.desks.directory.shop(payment.shop_id)
    context.standing = Standing(shop, await context.desks.team.role(payment.shop_id, context.person))


async def _answer(context: Context, rest: str) -> None:
    """The answer to a question, from the person it was put to; of two answers the first counts."""
    question_id, _, number = rest.partition(":")
    question = await context.desks.questions.find(question_id)
    doors = PROMPTS | {"late": late_answered}
    if context.where is Where.INLINE:
        raise OldButton  # nothing is asked there
    if question is None or question.place.chat_id != context.place.chat_id or question.kind not in doors:
        raise OldButton
    if number not in {str(choice) for choice in range(len(question.body.get("choices", (0, 1))))}:
        raise OldButton
    if question.user_id != context.person.id:
        raise NotYours
    if context.standing.shop is not None and question.body.get("shop") not in {context.standing.shop.id, None}:
        raise AnotherShop
    context.require(Action.LOOK)  # whoever holds a role at all; the door asks for what it is about
    if context.now - question.asked_at > QUESTION_LIFE:
        raise OldButton
    await doors[question.kind](context, question, int(number))
