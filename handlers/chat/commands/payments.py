"""`/pay`: reads the amount, asks back where it can be read in two ways, and asks for the money."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handlers import i18n
from handlers.access.permissions import Action
from handlers.amounts.errors import AmountRefused
from handlers.amounts.parser import Ambiguous, Asked, check, parse_request
from handlers.chat.context import Context
from handlers.telegram.messenger import Button
from storage.models.money import Money
from storage.prompts import Question

EXAMPLES = (14950, 8000)
"""Minor units of the two examples that are shown where no amount was typed."""


async def pay(context: Context) -> None:
    """Ask for money, or show what to type."""
    shop = context.shop
    if not context.said.rest:
        first, second = (i18n.plain_amount(context.language, Money(minor, shop.currency)) for minor in EXAMPLES)
        await context.reply("pay.how", first=first, second=second, currency=shop.currency)
        return
    await request(context)


async def request(context: Context, *, manual: bool = False) -> None:
    """Ask for the money that was typed, once it can be read in one way; `manual`: it is only reserved."""
    shop = context.shop
    reading = parse_request(context.said.rest, default=shop.currency, limit=shop.limit)
    if isinstance(reading, Ambiguous):
        await ask_which(context, reading, manual=manual)
        return
    desk, source = context.desks.payments, context.said.source
    await desk.request(shop, context.place, context.person.id, reading, source=source, manual=manual)


async def offer(context: Context) -> None:
    """Plain words like `125 coffee` in a private chat: offer the request by one button, and do nothing yet."""
    try:
        reading = parse_request(context.said.rest, default=context.shop.currency, limit=context.shop.limit)
    except AmountRefused:
        await context.reply("error.unknown_words")
        return
    choices = reading.choices if isinstance(reading, Ambiguous) else (reading,)
    await _ask(context, choices, "pay.offer")


async def ask_which(context: Context, reading: Ambiguous, *, manual: bool = False) -> None:
    """Ask which of two amounts is meant."""
    await _ask(context, reading.choices, "pay.which", manual=manual)


async def chosen(context: Context, question: Question, choice: int) -> None:
    """Ask for the amount that was chosen; the message that was asked about makes one payment at most.

    Raises:
        AmountRefused: the chosen one cannot be asked for.
    """
    context.require(Action.ASK)
    limit = context.shop.limit
    first = choice if question.answer is None else question.answer
    asked_of(question, first, limit=limit)  # one that is refused leaves the other button to be tapped
    asked = asked_of(question, await context.decided(question, first), limit=limit)
    desk, source = context.desks.payments, question.body["source"]
    manual = question.body.get("manual", False)
    await desk.request(context.shop, question.place, question.user_id, asked, source=source, manual=manual)
    await context.replace(context.html("pay.chosen", amount=asked.money))


def body_of(choices: Sequence[Asked]) -> dict[str, Any]:
    """How the readings of an amount are kept with a question."""
    return {"choices": [{"minor": c.money.minor, "currency": c.money.currency, "text": c.text} for c in choices]}


def asked_of(question: Question, choice: int, *, limit: int) -> Asked:
    """The reading that was chosen.

    Raises:
        AmountRefused: it cannot be asked for.
    """
    said: dict[str, Any] = question.body["choices"][choice]
    asked = Asked(Money(said["minor"], said["currency"]), said["text"])
    check(asked.money, limit=limit)
    return asked


async def _ask(context: Context, choices: tuple[Asked, ...], key: str, *, manual: bool = False) -> None:
    body = {"source": context.said.source, "manual": manual, **body_of(choices)}
    question = await context.ask("which", "pay", body)
    keyboard = tuple(
        (Button(_label(context, asked), data=f"q:{question.id}:{number}"),) for number, asked in enumerate(choices)
    )
    await context.reply(key, keyboard=keyboard)


def _label(context: Context, asked: Asked) -> str:
    amount = i18n.money(context.language, asked.money)
    words = asked.text if len(asked.text) <= 24 else asked.text[:23] + "…"
    return f"{amount} – {words}" if words else amount
