"""All calls to the Bot API are valid by its documentation, and the validator finds invalid ones."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.fake_telegram import TranscriptEntry
from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.bot_api import faults
from tests.support.people import cancel_by_button
from tests.support.world import opened

pytestmark = pytest.mark.long

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def test_all_calls_of_a_chat_session_are_valid(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path) as world:
        for text in ("/pay", "/pay 1.234 Lamp", "/help", "/id", "/settings", "/open", "/status", "/terms", "/nonsense"):
            world.say(text)
        world.say("/pay 125 <b>Coffee</b> & cake")
        card = await world.message("Waiting for payment")
        await cancel_by_button(world, card)
        await world.message("Cancelled · TEST")
        query = await world.control("telegram", "inline", {"from_id": world.telegram.owner_id, "query": "90 Tea"})
        await world.telegram.wait_until(lambda t: t.state.inline_queries[query["inline_query_id"]].answer)
        used = {entry.method for entry in world.telegram.transcript if entry.direction == "out"}
        assert {"getMe", "sendMessage", "editMessageText", "answerCallbackQuery", "answerInlineQuery"} <= used
        assert faults(world.telegram.transcript) == []


@pytest.mark.parametrize(
    ("method", "params", "fault"),
    [
        ("sendSmoke", {}, "no such method"),
        ("sendMessage", {"chat_id": 1}, "text"),
        ("sendMessage", {"chat_id": 1, "text": "a", "colour": "red"}, "unknown parameter colour"),
        ("sendMessage", {"chat_id": 1, "text": "a" * 4097}, "too long"),
        ("answerCallbackQuery", {"callback_query_id": "1", "text": "a" * 201}, "too long"),
        (
            "sendMessage",
            {
                "chat_id": 1,
                "text": "a",
                "reply_markup": f'{{"inline_keyboard": [[{{"text": "b", "callback_data": "{"c" * 65}"}}]]}}',
            },
            "64 bytes",
        ),
    ],
)
def test_validator_names_an_invalid_call(method: str, params: dict[str, Any], fault: str) -> None:
    [said] = faults([TranscriptEntry(NOON, "out", method, params, None)])
    assert fault in said
