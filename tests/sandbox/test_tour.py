"""The tour: journeys, printed chat, and steps that fail."""

from __future__ import annotations

import re

import pytest

from bot.sandbox.demo.tour import JOURNEYS, STEP_TIMEOUT, run_journeys
from bot.sandbox.demo.tour_actions import TourClient
from bot.sandbox.fake_services import SandboxStartError
from tests.support.program import ended, running

SHORT_TIMEOUT = 0.2
"""Real seconds, for an expectation that is never met."""


async def test_tour_runs_every_journey_and_prints_the_chat_in_order() -> None:
    lines: list[str] = []
    assert await run_journeys(JOURNEYS, lines.append, step_timeout=STEP_TIMEOUT)
    printed = "\n".join(lines)
    assert re.fullmatch(rf"tour: {len(JOURNEYS)} journeys, \d\d+ steps, all right", lines[-1])
    in_order = [
        "/pay 125 DKK Coffee",
        "[Share]  [QR code]  [Copy link]",
        "(opens the link and approves in MobilePay)",
        "✅ Paid",
        "declines",
        "❌ Payment attempt failed",
    ]
    positions = [printed.index(text) for text in in_order]
    assert positions == sorted(positions)
    assert "5 minutes pass" in printed


@pytest.mark.long
async def test_tour_command_prints_the_result_and_exits_with_0() -> None:
    async with running("demo", "--tour") as process:
        code, out, errors = await ended(process)
    assert (code, errors) == (0, "")
    assert re.fullmatch(r"tour: \d+ journeys, \d+ steps, all right", out.splitlines()[-1])


async def test_failed_step_prints_the_expectation_and_the_end_of_the_chat() -> None:
    async def unpaid(tour: TourClient) -> None:
        payment_message = await tour.request_payment("/pay 125 DKK Coffee")
        tour.step_timeout = SHORT_TIMEOUT
        await tour.expect_message(payment_message, "paid")

    lines: list[str] = []
    journeys = {"Pay without approval": unpaid, "Not reached": unpaid}
    assert not await run_journeys(journeys, lines.append, step_timeout=STEP_TIMEOUT)
    last = lines[-1]
    assert "tour: step 2 failed, in: Pay without approval" in last
    assert "expected: a message with 'paid' in its first line" in last
    assert "| Olivia: /pay 125 DKK Coffee" in last
    assert "[Cancel]" in last
    assert not any("Not reached" in line or "all right" in line for line in lines)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        ("missing button", "a button 'Nonsense' under the message"),
        ("no answer", "an answer with 'nonsense'"),
        ("expired link", "the wallet's page, then Kvit's page; got 410"),
        ("unknown message", "the control route messages to succeed; it fails with: no such message to reply to"),
    ],
)
async def test_each_failure_is_reported_as_a_failed_step(failure: str, expected: str) -> None:
    async def broken(tour: TourClient) -> None:
        payment_message = await tour.request_payment("/pay 125 DKK Coffee")
        tour.step_timeout = SHORT_TIMEOUT
        match failure:
            case "missing button":
                await tour.press_button(payment_message, "Nonsense")
            case "no answer":
                await tour.expect_answer(payment_message.id, "nonsense")
            case "expired link":
                await tour.advance_minutes(5)
                await tour.submit_decision(payment_message.link, "authorize")
            case _:
                unknown = type(payment_message)(payment_message.message | {"message_id": 99})
                await tour.send("/status", reply_to=unknown)

    lines: list[str] = []
    assert not await run_journeys({failure: broken}, lines.append, step_timeout=STEP_TIMEOUT)
    assert expected in lines[-1]


async def test_tour_refuses_to_start_with_a_live_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "rk_live_51abc")
    with pytest.raises(SandboxStartError, match="live key"):
        await run_journeys({}, print, step_timeout=STEP_TIMEOUT)
