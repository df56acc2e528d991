"""The card of a hold that was deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.i18n import LANGUAGES, money
from handlers.messages.payment_message import DisplaySettings, payment_message
from tests.pay_page.test_page_state import NOON, PAYMENT
from tests.support.evidence import idle
from tests.support.page_html import SHOP
from tests.support.people import open_shop, reply, shown
from tests.support.refund_steps import wait_for_text
from tests.support.world import OWNER, World, labels, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


RESERVE = {"en": "Reserve", "da": "Reservér", "sv": "Reservera", "nb": "Reserver", "fi": "Varaa"}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("public_url", [None, "https://pay.example.dk"])
def test_button_of_a_hold_says_reserve_and_the_amount(language: str, public_url: str | None) -> None:
    hold = replace(PAYMENT, manual_capture=True)
    context = DisplaySettings(public_url=public_url).view(replace(SHOP, language=language), NOON)
    button, other = (
        next(one for row in payment_message(payment, context).keyboard for one in row if one.style == "success")
        for payment in (hold, PAYMENT)
    )
    assert button.label == f"{RESERVE[language]} {money(language, hold.amount)}"
    assert other.label != button.label


async def test_the_deleted_payment_message_of_a_hold_is_posted_again(world: World) -> None:
    card = await reply(world, world.say("/hold 125 Bicycle"), "Waiting for payment")
    await world.control("telegram", "delete", {"chat_id": OWNER, "message_id": card["message_id"]})
    await world.decide("approve")
    await wait_for_text(world, "🔒 Reserved:")
    await idle(world)
    assert [one for one in shown(world) if "Charge" in str(labels(one))]
