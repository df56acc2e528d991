"""The main job, end to end: a command becomes a card, and the card becomes paid, failed, expired or ended."""

from __future__ import annotations

from pathlib import Path

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.world import World, labels, opened


async def test_a_request_becomes_a_payment_message_with_a_link_and_the_payment_message_becomes_paid(
    world: World,
) -> None:
    world.say("/pay 149,50 Coffee")
    card = await world.message("Waiting for payment")
    assert "149.50" in card["text"]
    assert labels(card) == ["Share", "Copy link", "Pay DKK 149.50", "Cancel"]
    await world.decide("approve")
    paid = await world.message("Paid · TEST")
    assert paid["message_id"] == card["message_id"]
    assert labels(paid) == []
    notice = await world.message("✅ Paid:")
    assert notice["reply_to_message"]["message_id"] == card["message_id"]
    assert (world.intent()["amount"], world.intent()["currency"]) == (14950, "dkk")
    assert len(world.sent()) == 2


async def test_status_names_the_wallet_as_the_payment_message_does(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path, wallet_name="Vipps") as world:
        world.say("/pay 149,50 Coffee")
        card = await world.message("approves in Vipps")
        world.say("/status", reply_to=card["message_id"])
        assert "approves in Vipps" in (await world.message("Link created"))["text"]
