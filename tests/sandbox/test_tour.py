"""The tour plays by itself, says what it sees, and is honest when something does not come out."""

from __future__ import annotations

import re

import pytest

from bot.sandbox.demo.tour import JOURNEYS, STEP_TIMEOUT, run_journeys
from bot.sandbox.demo.tour_actions import TourClient
from bot.sandbox.fake_services import SandboxStartError
from tests.support.program import ended, running

SOON = 0.2
"""Real seconds, for what never comes."""


async def test_every_journey_comes_out_and_the_chat_is_told_as_it_happens() -> None:
    lines: list[str] = []
    assert await run_journeys(JOURNEYS, lines.append, step_timeout=STEP_TIMEOUT)
    told = "\n".join(lines)
    assert re.fullmatch(rf"tour: {len(JOURNEYS)} journeys, \d\d+ steps, all right", lines[-1])
    in_order = [
        "/pay 125 DKK Coffee",
        "[Copy link]  [Share]",
        "(opens the link and approves in MobilePay)",
        "✅ Paid",
        "declines",
        "❌ Payment attempt failed",
    ]
    places = [told.index(words) for words in in_order]
    assert places == sorted(places)
    assert "5 minutes go by" in told


@pytest.mark.long
async def test_the_program_ends_with_the_line_and_with_0() -> None:
    async with running("demo", "--tour") as process:
        code, out, complaints = await ended(process)
    assert (code, complaints) == (0, "")
    assert re.fullmatch(r"tour: \d+ journeys, \d+ steps, all right", out.splitlines()[-1])


async def test_a_step_that_does_not_come_out_says_what_was_expected_and_what_the_chat_shows() -> None:
    async def hopeful(stage: TourClient) -> None:
        card = await stage.request_payment("/pay 125 DKK Coffee")
        stage.step_timeout = SOON
        await stage.expect_message(card, "paid")

    lines: list[str] = []
    assert not await run_journeys(
        {"Pay by wishing": hopeful, "Never begun": hopeful}, lines.append, step_timeout=STEP_TIMEOUT
    )
    last = lines[-1]
    assert "tour: step 2 went wrong, in: Pay by wishing" in last
    assert "expected: a card that says 'paid'" in last
    assert "| Olivia: /pay 125 DKK Coffee" in last
    assert "[Cancel]" in last
    assert not any("Never begun" in line or "all right" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a missing button", "a button 'Wish' to tap on the card"),
        ("a silent bot", "an answer with 'nonsense'"),
        ("a wallet that is done", "the wallet's page, then Kvit's own; there was 410"),
        ("no such reply", "the pretend world to take messages, which says: no such message to reply to"),
    ],
)
async def test_whatever_goes_wrong_is_a_step_that_failed(words: str, expected: str) -> None:
    async def broken(stage: TourClient) -> None:
        card = await stage.request_payment("/pay 125 DKK Coffee")
        stage.step_timeout = SOON
        match words:
            case "a missing button":
                await stage.press_button(card, "Wish")
            case "a silent bot":
                await stage.expect_answer(card.id, "nonsense")
            case "a wallet that is done":
                await stage.advance_minutes(5)
                await stage.submit_decision(card.link, "authorize")
            case _:
                await stage.send("/status", reply_to=type(card)(card.message | {"message_id": 99}))

    lines: list[str] = []
    assert not await run_journeys({words: broken}, lines.append, step_timeout=STEP_TIMEOUT)
    assert expected in lines[-1]


async def test_the_tour_does_not_begin_beside_a_live_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "rk_live_51abc")
    with pytest.raises(SandboxStartError, match="live key"):
        await run_journeys({}, print, step_timeout=STEP_TIMEOUT)
