"""`python -m bot demo --tour`: runs whole payment journeys against the demo stack and prints the chat."""

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
"""Real seconds that one step may take on a busy machine; usually it takes a few hundredths of a second."""


async def pay(tour: TourClient) -> None:
    payment_message = await tour.request_payment("/pay 125 DKK Coffee")
    await tour.approve(payment_message)
    await tour.expect_message(payment_message, "paid")
    await tour.expect_reply(payment_message, "125", "paid")


async def decline_then_pay(tour: TourClient) -> None:
    payment_message = await tour.request_payment("/pay 89,50 DKK Lunch")
    await tour.decline(payment_message)
    await tour.expect_message(payment_message, "failed", button="Pay")
    await tour.expect_reply(payment_message, "89", "no money was taken")
    await tour.approve(payment_message)
    await tour.expect_message(payment_message, "paid")
    await tour.expect_reply(payment_message, "paid")


async def pay_after_expiry(tour: TourClient) -> None:
    payment_message = await tour.request_payment("/pay 1.250,00 SEK Lamp")
    await tour.advance_minutes(5)
    await tour.expect_message(payment_message, "expired", button="Pay")
    await tour.approve(payment_message)
    await tour.expect_message(payment_message, "paid")
    await tour.expect_reply(payment_message, "paid")


async def cancel(tour: TourClient) -> None:
    payment_message = await tour.request_payment("/pay 40 NOK Postcard")
    command = await tour.send("/cancel", reply_to=payment_message)
    await tour.expect_message(payment_message, "cancelled")
    await tour.expect_answer(command, payment_message.reference, "cancelled")


async def check_status(tour: TourClient) -> None:
    payment_message = await tour.request_payment("/pay 12 EUR Two cakes")
    await tour.approve(payment_message)
    await tour.expect_message(payment_message, "paid")
    await tour.expect_reply(payment_message, "paid")
    command = await tour.send("/status", reply_to=payment_message)
    await tour.expect_answer(command, payment_message.reference, "Two cakes")


async def refund(tour: TourClient) -> None:
    payment_message = await tour.request_payment("/pay 65 DKK Cake")
    await tour.approve(payment_message)
    await tour.expect_message(payment_message, "paid")
    await tour.expect_reply(payment_message, "65", "paid")
    command = await tour.send("/refund", reply_to=payment_message)
    draft = await tour.expect_answer(command, payment_message.reference, "65")
    await tour.press_button(draft, "Refund")
    await tour.expect_message(payment_message, "refunded")
    await tour.expect_reply(payment_message, "65", "refunded")
    await tour.expect_message(draft, "done")


async def hold_and_capture(tour: TourClient) -> None:
    payment_message = await tour.request_payment("/hold 300 DKK Deposit")
    await tour.approve(payment_message)
    await tour.expect_message(payment_message, "reserved")
    await tour.expect_reply(payment_message, "300", "reserved")
    command = await tour.send("/capture", reply_to=payment_message)
    prompt = await tour.expect_answer(command, payment_message.reference, "300")
    await tour.press_button(prompt, "Charge")
    await tour.expect_message(payment_message, "paid")
    await tour.expect_message(prompt, "charged")


JOURNEYS: Mapping[str, Journey] = {
    "Pay, approve: paid": pay,
    "Pay, decline: failed; pay again with the same link: paid": decline_then_pay,
    "Pay, link expires after five minutes; pay with the same link: paid": pay_after_expiry,
    "Pay, cancel: cancelled": cancel,
    "Pay, approve, ask for the status": check_status,
    "Pay, approve, refund": refund,
    "Hold, approve, capture": hold_and_capture,
}


async def run_tour() -> bool:
    """Run every journey and print the chat; true if every step succeeded.

    Raises:
        SandboxStartError: a live key is in the environment.
        StartupError: the service cannot start.
    """
    logging_setup.configure(level="warning")
    return await run_journeys(JOURNEYS, click.echo, step_timeout=STEP_TIMEOUT)


async def run_journeys(journeys: Mapping[str, Journey], write_line: WriteLine, *, step_timeout: float) -> bool:
    """Run the journeys in order, and stop at the first step that fails or takes longer than `step_timeout` seconds."""
    started = time.monotonic()
    async with stack.start_stack(unthrottled=True) as running, aiohttp.ClientSession() as http:
        tour = TourClient(running, http, write_line, step_timeout)
        for number, (name, journey) in enumerate(journeys.items(), start=1):
            write_line(f"\n{number}. {name}\n")
            try:
                await journey(tour)
            except StepFailed as error:
                write_line(f"\ntour: step {tour.steps + 1} failed, in: {name}\n{error}")
                return False
        write_line(f"\n({time.monotonic() - started:.1f} seconds; no real money moved)")
        write_line(f"tour: {len(journeys)} journeys, {tour.steps} steps, all right")
        return True
