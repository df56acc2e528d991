"""Inline mode: `@Bot 125 dkk coffee` in any chat offers the request, and only the chosen one is asked for."""

from __future__ import annotations

import hashlib
import logging

from handlers import i18n
from handlers.access.permissions import Action, may
from handlers.amounts.errors import AmountRefused
from handlers.amounts.parser import Ambiguous, Asked, can_be_asked, parse_request
from handlers.chat.commands.payments import asked_of, body_of
from handlers.chat.context import Context
from handlers.chat.updates import InlineAsked, InlineChosen
from handlers.i18n import Safe
from handlers.telegram.messenger import Button, Letter, Offer
from storage.errors import NotAllowed, PaymentError
from storage.models.payment import Payment, Place
from storage.prompts import Question

log = logging.getLogger(__name__)

KIND = "inline"


class InlineLinkGone(PaymentError):
    """The button of an inline result belongs to nothing that is known here."""

    code = "error.old_button"


async def asked(context: Context, news: InlineAsked) -> None:
    """Answer an inline query: one result for each reading, or one that explains why there is none."""
    await context.desks.messenger.offer(news.query_id, await _offers(context, news.words))


async def chosen(context: Context, news: InlineChosen) -> None:
    """Ask for the money of the result that was sent; its message becomes the card."""
    found = await _find(context, news.offer_id)
    if found is None or news.inline_id is None:
        return  # a result that explains, or a message that we could not edit
    try:
        await _request(context, *found, news.inline_id)
    except PaymentError as refusal:
        log.info("an inline request of %s was refused: %s", news.person.id, refusal)


async def link_tapped(context: Context, offer_id: str) -> None:
    """The button *Get link*: the way out where Telegram did not tell that the result was chosen."""
    found = await _find(context, offer_id)
    if found is None or context.place.inline_id is None:
        raise InlineLinkGone
    if found[0].user_id != context.person.id:
        raise NotAllowed(id=context.person.id)
    await _request(context, *found, context.place.inline_id)
    await context.toast("renew.done")


async def _offers(context: Context, words: str) -> list[Offer]:
    if not may(context.role, Action.ASK):
        return [_explanation(context, context.text("inline.stranger", id=context.person.id))]
    if context.standing.shop is None:
        return [_explanation(context, context.text("inline.which_shop"))]
    shop = context.shop
    if not words.strip():
        return [_explanation(context, context.text("inline.how"))]
    try:
        reading = parse_request(words, default=shop.currency, limit=shop.limit)
    except AmountRefused as refusal:
        return [_explanation(context, context.text(refusal.code, **refusal.holes))]
    choices = reading.choices if isinstance(reading, Ambiguous) else (reading,)
    question = await _keep(context, words, choices)
    offers = [_offer(context, f"{question.id}:{number}", choice) for number, choice in enumerate(choices)]
    return [
        offer for offer, choice in zip(offers, choices, strict=True) if can_be_asked(choice.money, limit=shop.limit)
    ]


async def _keep(context: Context, words: str, choices: tuple[Asked, ...]) -> Question:
    """What was offered; the same words by the same person within a shop are one offer."""
    shop = context.shop
    digest = hashlib.sha256(f"{shop.id}:{shop.currency}:{words}".encode(errors="replace")).hexdigest()[:32]
    body = {"shop": shop.id, **body_of(choices)}
    place, key = Place(context.person.id), f"{KIND}:{context.person.id}:{digest}"
    return await context.desks.questions.ask(key, KIND, place, context.person.id, body, now=context.now)


def _offer(context: Context, offer_id: str, choice: Asked) -> Offer:
    shop = context.shop
    amount = i18n.html_money(shop.language, choice.money)
    words = f" – {i18n.escaped(choice.text)}" if choice.text else ""
    said = f"⏳ <b>{i18n.html(shop.language, 'card.making')}</b>\n<b>{amount}</b>{words}"
    button = Button(i18n.text(shop.language, "button.get_link"), data=f"g:{offer_id}")
    title = context.text("inline.offer", amount=choice.money)
    return Offer(offer_id, title, choice.text[:80] or shop.name, Letter(Safe(said), ((button,),)))


def _explanation(context: Context, why: str) -> Offer:
    """A result that says why there is no other; sent by mistake, it does no harm."""
    return Offer("why", context.text("inline.why"), why[:200], Letter(Safe(i18n.escaped(why))))


async def _find(context: Context, offer_id: str) -> tuple[Question, int] | None:
    question_id, _, number = offer_id.partition(":")
    question = await context.desks.questions.find(question_id)
    if question is None or question.kind != KIND or not (number.isascii() and number.isdecimal()):
        return None
    return (question, int(number)) if int(number) < len(question.body["choices"]) else None


async def _request(context: Context, question: Question, number: int, inline_id: str) -> Payment:
    """One payment for one message, whoever comes first: the choice or the button.

    Raises:
        NotAllowed: the person has lost his role meanwhile, or it is another's offer.
    """
    shop = await context.desks.directory.shop(question.body["shop"])
    role = await context.desks.team.role(question.body["shop"], context.person)
    if shop is None or not may(role, Action.ASK) or question.user_id != context.person.id:
        raise NotAllowed(id=context.person.id)
    asked = asked_of(question, number, limit=shop.limit)
    place = Place(context.person.id, None, inline_id)
    desk = context.desks.payments
    return await desk.request(shop, place, context.person.id, asked, source=f"inline:{inline_id}")
