"""Plays whole journeys by itself, from the chat to Stripe and back, so that one command shows that Kvit works."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
import click

from bot import logging_setup
from bot.sandbox.demo import stack
from bot.sandbox.demo.tour_actions import StepFailed, TourClient
from bot.sandbox.demo.transcript_printer import WriteLine

Journey = Callable[[TourClient], Awaitable[None]]
STEP_TIMEOUT = 30.0
"""Real seconds that a step may take on a busy machine; usually it is a few hundredths of one."""


async def pay(stage: TourClient) -> None:
    card = await stage.request_payment("/pay 125 DKK Coffee")
    await stage.approve(card)
    await stage.expect_message(card, "paid")
    await stage.expect_reply(card, "125", "paid")


async def decline_then_pay(stage: TourClient) -> None:
    card = await stage.request_payment("/pay 89,50 DKK Lunch")
    await stage.decline(card)
    await stage.expect_message(card, "failed", button="Pay")
    await stage.expect_reply(card, "89", "no money was taken")
    await stage.approve(card)
    await stage.expect_message(card, "paid")
    await stage.expect_reply(card, "paid")


async def pay_after_expiry(stage: TourClient) -> None:
    card = await stage.request_payment("/pay 1.250,00 SEK Lamp")
    await stage.advance_minutes(5)
    await stage.expect_message(card, "expired", button="Pay")
    await stage.expect_reply(card, "not approved in time")
    await stage.approve(card)
    await stage.expect_message(card, "paid")
    await stage.expect_reply(card, "paid")


async def cancel(stage: TourClient) -> None:
    card = await stage.request_payment("/pay 40 NOK Postcard")
    said = await stage.send("/cancel", reply_to=card)
    await stage.expect_message(card, "cancelled")
    await stage.expect_answer(said, card.reference, "cancelled")


async def check_status(stage: TourClient) -> None:
    card = await stage.request_payment("/pay 12 EUR Two cakes")
    await stage.approve(card)
    await stage.expect_message(card, "paid")
    await stage.expect_reply(card, "paid")
    said = await stage.send("/status", reply_to=card)
    await stage.expect_answer(said, card.reference, "Two cakes")


async def refund(stage: TourClient) -> None:
    card = await stage.request_payment("/pay 65 DKK Cake")
    await stage.approve(card)
    await stage.expect_message(card, "paid")
    await stage.expect_reply(card, "65", "paid")
    said = await stage.send("/refund", reply_to=card)
    draft = await stage.expect_answer(said, card.reference, "65")
    await stage.press_button(draft, "Refund")
    await stage.expect_message(card, "refunded")
    await stage.expect_reply(card, "65", "refunded")
    await stage.expect_message(draft, "done")


async def hold_and_capture(stage: TourClient) -> None:
    card = await stage.request_payment("/hold 300 DKK Deposit")
    await stage.approve(card)
    await stage.expect_message(card, "reserved")
    await stage.expect_reply(card, "300", "reserved")
    said = await stage.send("/capture", reply_to=card)
    question = await stage.expect_answer(said, card.reference, "300")
    await stage.press_button(question, "Charge")
    await stage.expect_message(card, "paid")
    await stage.expect_message(question, "charged")


JOURNEYS: Mapping[str, Journey] = {
    "Pay, approve, paid": pay,
    "Pay, decline, failed; again with the same link, paid": decline_then_pay,
    "Pay, five minutes too late, expired; the same link, paid": pay_after_expiry,
    "Pay, cancel": cancel,
    "Pay, approve, and ask for the status": check_status,
    "Pay, approve, and refund": refund,
    "Hold, approve, and charge": hold_and_capture,
}


async def run_tour() -> bool:
    """Play every journey and print the chat as it happens; true if each step came out right.

    Raises:
        SandboxRefused, CannotStart: the pretend state cannot be opened here.
    """
    logging_setup.configure(level="warning")
    return await run_journeys(JOURNEYS, click.echo, step_timeout=STEP_TIMEOUT)


async def run_journeys(journeys: Mapping[str, Journey], write_line: WriteLine, *, step_timeout: float) -> bool:
    """Play these, one after the other, until a step fails within `patience` real seconds."""
    began = time.monotonic()
    async with stack.start_stack(unthrottled=True) as opened, aiohttp.ClientSession() as http:
        stage = TourClient(opened, http, write_line, step_timeout)
        for number, (name, journey) in enumerate(journeys.items(), start=1):
            write_line(f"\n{number}. {name}\n")
            try:
                await journey(stage)
            except StepFailed as failed:
                write_line(f"\ntour: step {stage.steps + 1} went wrong, in: {name}\n{failed}")
                return False
        write_line(f"\n({time.monotonic() - began:.1f} seconds; no money moved)")
        write_line(f"tour: {len(journeys)} journeys, {stage.steps} steps, all right")
        return True
