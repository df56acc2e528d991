"""Plays whole journeys by itself, from the chat to Stripe and back, so that one command shows that Kvit works."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
import click

from bot import logging_setup
from bot.sandbox.demo import stack
from bot.sandbox.demo.tour_actions import Stage, StepFailed
from bot.sandbox.demo.transcript_printer import Say

Journey = Callable[[Stage], Awaitable[None]]
PATIENCE = 30.0
"""Real seconds that a step may take on a busy machine; usually it is a few hundredths of one."""


async def paid(stage: Stage) -> None:
    card = await stage.asks("/pay 125 DKK Coffee")
    await stage.authorizes(card)
    await stage.shows(card, "paid")
    await stage.tells(card, "125", "paid")


async def declined(stage: Stage) -> None:
    card = await stage.asks("/pay 89,50 DKK Lunch")
    await stage.declines(card)
    await stage.shows(card, "failed", button="Pay")
    await stage.tells(card, "89", "no money was taken")
    await stage.authorizes(card)
    await stage.shows(card, "paid")
    await stage.tells(card, "paid")


async def lapsed(stage: Stage) -> None:
    card = await stage.asks("/pay 1.250,00 SEK Lamp")
    await stage.minutes_pass(5)
    await stage.shows(card, "expired", button="Pay")
    await stage.tells(card, "not approved in time")
    await stage.authorizes(card)
    await stage.shows(card, "paid")
    await stage.tells(card, "paid")


async def canceled(stage: Stage) -> None:
    card = await stage.asks("/pay 40 NOK Postcard")
    said = await stage.writes("/cancel", reply_to=card)
    await stage.shows(card, "canceled")
    await stage.answers(said, card.reference, "canceled")


async def looked_up(stage: Stage) -> None:
    card = await stage.asks("/pay 12 EUR Two cakes")
    await stage.authorizes(card)
    await stage.shows(card, "paid")
    await stage.tells(card, "paid")
    said = await stage.writes("/status", reply_to=card)
    await stage.answers(said, card.reference, "Two cakes")


async def refunded(stage: Stage) -> None:
    card = await stage.asks("/pay 65 DKK Cake")
    await stage.authorizes(card)
    await stage.shows(card, "paid")
    await stage.tells(card, "65", "paid")
    said = await stage.writes("/refund", reply_to=card)
    draft = await stage.answers(said, card.reference, "65")
    await stage.taps(draft, "Refund")
    await stage.shows(card, "refunded")
    await stage.tells(card, "65", "refunded")
    await stage.shows(draft, "done")


async def reserved(stage: Stage) -> None:
    card = await stage.asks("/hold 300 DKK Deposit")
    await stage.authorizes(card)
    await stage.shows(card, "reserved")
    await stage.tells(card, "300", "reserved")
    said = await stage.writes("/capture", reply_to=card)
    question = await stage.answers(said, card.reference, "300")
    await stage.taps(question, "Take")
    await stage.shows(card, "paid")
    await stage.shows(question, "taken")


JOURNEYS: Mapping[str, Journey] = {
    "Pay, approve, paid": paid,
    "Pay, decline, failed; again by the same link, paid": declined,
    "Pay, five minutes too late, expired; the same link, paid": lapsed,
    "Pay, cancel": canceled,
    "Pay, approve, and ask how it stands": looked_up,
    "Pay, approve, and give it back": refunded,
    "Hold, approve, and take it": reserved,
}


async def tour() -> bool:
    """Play every journey and print the chat as it happens; true if each step came out right.

    Raises:
        SandboxRefused, CannotStart: the pretend world cannot be opened here.
    """
    logging_setup.configure(level="warning")
    return await play(JOURNEYS, click.echo, patience=PATIENCE)


async def play(journeys: Mapping[str, Journey], say: Say, *, patience: float) -> bool:
    """Play these, one after the other, until a step fails within `patience` real seconds."""
    began = time.monotonic()
    async with stack.opened(brisk=True) as opened, aiohttp.ClientSession() as http:
        stage = Stage(opened, http, say, patience)
        for number, (name, journey) in enumerate(journeys.items(), start=1):
            say(f"\n{number}. {name}\n")
            try:
                await journey(stage)
            except StepFailed as failed:
                say(f"\ntour: step {stage.steps + 1} went wrong, in: {name}\n{failed}")
                return False
        say(f"\n({time.monotonic() - began:.1f} seconds; no money moved)")
        say(f"tour: {len(journeys)} journeys, {stage.steps} steps, all right")
        return True
