"""Inline mode: `@Bot 125 dkk coffee` in any chat offers requests, and the chosen one becomes a payment."""

from __future__ import annotations

import logging

from handlers import i18n
from handlers.access.permissions import Action, is_allowed
from handlers.amounts.errors import AmountError
from handlers.amounts.parser import AmbiguousAmount, RequestedAmount, is_valid_amount, parse_request
from handlers.chat.commands.payments import choice_from_prompt, choices_payload
from handlers.chat.context import Context
from handlers.chat.updates import ChosenInlineResult, InlineQuery
from handlers.i18n import SafeHtml
from handlers.telegram.messenger import Button, InlineResult, Message
from storage import prompts, shops
from storage.errors import PermissionDenied, UserError
from storage.models.hashing import sha256_hex
from storage.models.payment import ChatTarget, Payment
from storage.prompts import Prompt

log = logging.getLogger(__name__)

KIND = "inline"


class InlineLinkGone(UserError):
    """The button of an inline result belongs to nothing known here."""

    message_key = "error.stale_button"


async def on_query(context: Context, query: InlineQuery) -> None:
    """Answer an inline query: one result for each reading, or one that explains why there is none."""
    await context.services.messenger.answer_inline_query(query.query_id, await _offers(context, query.query))


async def on_chosen(context: Context, chosen: ChosenInlineResult) -> None:
    """Make the payment of the result that was sent; its message becomes the payment message."""
    found = await _find(context, chosen.result_id)
    if found is None or chosen.inline_message_id is None:
        return  # an explanation was sent, or the message cannot be edited
    try:
        await _request(context, *found, chosen.inline_message_id)
    except UserError as refusal:
        log.info("an inline request of %s was rejected: %s", chosen.actor.id, refusal)


async def on_get_link(context: Context, result_id: str) -> None:
    """The *Get link* button, for when Telegram did not report the chosen result."""
    found = await _find(context, result_id)
    if found is None or context.chat.inline_message_id is None:
        raise InlineLinkGone
    if found[0].user_id != context.actor.id:
        raise PermissionDenied(id=context.actor.id)
    await _request(context, *found, context.chat.inline_message_id)
    await context.answer_callback("renew.done")


async def _offers(context: Context, words: str) -> list[InlineResult]:
    if not is_allowed(context.role, Action.REQUEST_PAYMENT):
        return [_explanation(context, context.text("inline.guest", id=context.actor.id))]
    if context.access.shop is None:
        return [_explanation(context, context.text("inline.which_shop"))]
    shop = context.shop
    if not words.strip():
        return [_explanation(context, context.text("inline.how"))]
    try:
        reading = parse_request(words, default=shop.currency, limit=shop.request_limit)
    except AmountError as refusal:
        return [_explanation(context, context.text(refusal.message_key, **refusal.params))]
    choices = reading.choices if isinstance(reading, AmbiguousAmount) else (reading,)
    prompt = await _keep(context, words, choices)
    offers = [_offer(context, f"{prompt.id}:{number}", choice) for number, choice in enumerate(choices)]
    return [
        offer
        for offer, choice in zip(offers, choices, strict=True)
        if is_valid_amount(choice.money, limit=shop.request_limit)
    ]


async def _keep(context: Context, words: str, choices: tuple[RequestedAmount, ...]) -> Prompt:
    """The prompt that holds the offer; the same text by the same person within a shop is one offer."""
    shop = context.shop
    digest = sha256_hex(f"{shop.id}:{shop.currency}:{words}")[:32]
    body = {"shop": shop.id, **choices_payload(choices)}
    chat, key = ChatTarget(context.actor.id), f"{KIND}:{context.actor.id}:{digest}"
    return await context.db.write(prompts.create, key, KIND, chat, context.actor.id, body, now=context.now)


def _offer(context: Context, result_id: str, choice: RequestedAmount) -> InlineResult:
    shop = context.shop
    amount = i18n.html(shop.language, "message.asks", shop=shop.name, amount=choice.money)
    words = f" – {i18n.escaped(choice.description)}" if choice.description else ""
    said = f"⏳ <b>{i18n.html(shop.language, 'message.creating')}</b>\n<b>{amount}</b>{words}"
    button = Button(i18n.text(shop.language, "button.get_link"), data=f"g:{result_id}")
    title = context.text("inline.offer", amount=choice.money)
    return InlineResult(result_id, title, choice.description[:80] or shop.name, Message(SafeHtml(said), ((button,),)))


def _explanation(context: Context, why: str) -> InlineResult:
    """A result that explains why there is no other; sent by mistake, it does no harm."""
    return InlineResult("why", context.text("inline.why"), why[:200], Message(SafeHtml(i18n.escaped(why))))


async def _find(context: Context, result_id: str) -> tuple[Prompt, int] | None:
    question_id, _, number = result_id.partition(":")
    prompt = await context.db.read(prompts.find, question_id)
    if prompt is None or prompt.kind != KIND or not (number.isascii() and number.isdecimal()):
        return None
    return (prompt, int(number)) if int(number) < len(prompt.payload["choices"]) else None


async def _request(context: Context, prompt: Prompt, number: int, inline_id: str) -> Payment:
    """One payment for one message, whichever comes first: the chosen result or the button.

    Raises:
        PermissionDenied: the person lost their role, or it is another person's offer.
    """
    shop = await context.db.read(shops.get_shop, prompt.payload["shop"])
    role = await context.services.membership.role(prompt.payload["shop"], context.actor)
    if shop is None or not is_allowed(role, Action.REQUEST_PAYMENT) or prompt.user_id != context.actor.id:
        raise PermissionDenied(id=context.actor.id)
    amount = choice_from_prompt(prompt, number, limit=shop.request_limit)
    chat = ChatTarget(context.actor.id, None, inline_id)
    service = context.services.payments
    return await service.request(shop, chat, context.actor.id, amount, source=f"inline:{inline_id}")
