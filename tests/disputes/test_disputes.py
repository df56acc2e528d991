"""Disputes and early fraud warnings: told to the shop's admins with what they need, never counted as refunds too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import idle, rows, webhooks
from tests.support.people import ADMIN, GROUP, MERCHANT, open_second_shop, open_shop, reply_text
from tests.support.refund_steps import DAY, paid, ref_of, refund_calls, refunded, texts, wait_for_text
from tests.support.world import OWNER, World, button, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        running.say("/start", by=ADMIN, chat=ADMIN)
        running.say("/start", by=MERCHANT, chat=MERCHANT)
        yield running


async def disputed(world: World, **more: object) -> str:
    """The reference of a payment in the group that the customer has disputed at the bank."""
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    await world.control("stripe", f"intents/{world.intent()['id']}/dispute", dict(more))
    await wait_for_text(world, "disputed DKK 125.00", GROUP)
    return ref


async def test_the_chat_hears_that_there_is_a_dispute_and_the_admins_what_to_do(world: World) -> None:
    ref = await disputed(world, reason="product_not_received", due_in=7 * DAY)
    await wait_for_text(world, "⚖️ The customer has disputed this payment", GROUP)
    for admin in (OWNER, ADMIN):
        said = await wait_for_text(world, f"#{ref}: the customer has disputed", admin)
        assert "nothing was delivered" in said
        assert "before 1 Dec 2026, 13:00" in said
    details = await world.message("nothing was delivered", chat=ADMIN)
    assert button(details, "Dashboard")["url"] == f"https://dashboard.stripe.com/test/payments/{world.intent()['id']}"
    await idle(world)
    assert not [one for one in texts(world, MERCHANT) if "disputed" in one]
    assert len([one for one in texts(world, GROUP) if one.startswith(f"⚖️ #{ref}")]) == 1


async def test_no_refund_beside_a_dispute_that_forbids_it(world: World) -> None:
    ref = await disputed(world)
    assert "disputed" in await reply_text(world, f"/refund {ref}", by=ADMIN, chat=GROUP)
    assert refund_calls(world) == []


async def test_an_inquiry_leaves_the_refund_open(world: World) -> None:
    ref = ref_of(await paid(world))
    await world.control("stripe", f"intents/{world.intent()['id']}/dispute", {"status": "warning_needs_response"})
    await wait_for_text(world, "the customer's bank is asking about")
    await refunded(world, f"/refund {ref}")
    await wait_for_text(world, "↩️ Refunded:")


@pytest.mark.parametrize(
    ("end", "words", "left"),
    [("won", "The money is yours again", True), ("lost", "The customer has the money back", False)],
)
async def test_how_it_ended_is_told_and_what_was_lost_is_not_refunded_again(
    world: World, end: str, words: str, left: bool
) -> None:
    ref = await disputed(world)
    dispute = next(iter(world.stripe.store.disputes))
    await world.control("stripe", f"disputes/{dispute}/update", {"status": "under_review"})
    await wait_for_text(world, "the bank has your answer", GROUP)
    await world.control("stripe", f"disputes/{dispute}/close", {"status": end})
    await wait_for_text(world, words, GROUP)
    await wait_for_text(world, f"⚖️ The shop {end} the dispute", GROUP)
    said = await reply_text(world, f"/refund {ref}", by=ADMIN, chat=GROUP)
    assert ("Refund DKK" in said.replace("\u00a0", " ")) is left
    assert ("took back DKK 125.00 of" in said.replace("\u00a0", " ")) is not left
    assert refund_calls(world) == []


@pytest.mark.parametrize("end", ["", "won", "lost"])
async def test_a_refund_that_fails_beside_a_dispute_is_not_to_be_made_in_another_way(world: World, end: str) -> None:
    ref = ref_of(await paid(world))
    await refunded(world, f"/refund {ref} 25")
    await wait_for_text(world, "↩️ Refunded:")
    await world.control("stripe", f"intents/{world.intent()['id']}/dispute", {})
    await wait_for_text(world, "disputed DKK 100.00")
    await world.control("stripe", f"refunds/{next(iter(world.stripe.store.refunds))}/fail", {})
    said = await wait_for_text(world, "the refund of DKK 25.00 failed")
    assert "Do not pay any of it back in another way" in said
    assert "can be refunded" not in said
    if end:
        await world.control("stripe", f"disputes/{next(iter(world.stripe.store.disputes))}/close", {"status": end})
        await wait_for_text(world, f"⚖️ The shop {end} the dispute")
        assert "At most" in await reply_text(world, f"/refund {ref} 126")


async def test_events_of_a_dispute_that_come_twice_and_shuffled_are_told_once(world: World) -> None:
    await world.control("stripe", "webhooks", {"mode": "hold", "double": True, "shuffle": True})
    ref = ref_of(await paid_silently(world))
    await world.control("stripe", f"intents/{world.intent()['id']}/dispute", {})
    dispute = next(iter(world.stripe.store.disputes))
    await world.control("stripe", f"disputes/{dispute}/close", {"status": "lost"})
    await world.control("stripe", "webhooks/release", {})
    await webhooks(world, "deliver")
    await wait_for_text(world, "the shop lost the dispute")
    await idle(world)
    assert len([one for one in texts(world) if "lost the dispute" in one and one.startswith(f"⚖️ #{ref}")]) == 2
    assert rows(world, "SELECT dispute_status FROM payments")[0]["dispute_status"] == "lost"


async def paid_silently(world: World) -> dict[str, object]:
    """A card whose customer paid, which Kvit has not heard of yet."""
    world.say("/pay 125 Tea")
    card = await world.message("Waiting for payment")
    await world.decide("approve")
    return card


async def test_a_fraud_warning_is_told_to_the_admins_once_with_what_it_means(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    await world.control("stripe", f"intents/{world.intent()['id']}/fraud_warning", {})
    for admin in (OWNER, ADMIN):
        assert f"#{ref}" in await wait_for_text(world, "may be fraud", admin)
    await idle(world)
    assert not [one for one in texts(world, GROUP) + texts(world, MERCHANT) if "may be fraud" in one]
    assert len([one for one in texts(world, ADMIN) if "may be fraud" in one]) == 1


async def test_admins_of_another_shop_hear_nothing(world: World) -> None:
    await open_second_shop(world, 70_010_044)
    world.say("/start", by=70_010_044, chat=70_010_044)
    await disputed(world)
    await idle(world)
    assert not [one for one in texts(world, 70_010_044) if "disputed" in one]


@pytest.mark.parametrize(
    ("currency", "amount", "shown"),
    [("usd", 1850, "USD 18.50"), ("gbp", 1000, "GBP 10.00"), ("jpy", 2800, "JPY 2,800"), ("kwd", 5250, "KWD 5.250")],
)
async def test_dispute_in_a_currency_that_kvit_does_not_take_is_told(
    world: World, currency: str, amount: int, shown: str
) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    await webhooks(world, "hold")
    await world.control("stripe", f"intents/{world.intent()['id']}/dispute", {"due_in": 7 * DAY})
    dispute = next(iter(world.stripe.store.disputes.values()))
    dispute |= {"currency": currency, "amount": amount}
    await world.control("stripe", "webhooks/release", {})
    await webhooks(world, "deliver")
    assert shown in await wait_for_text(world, f"#{ref}: the customer has disputed", ADMIN)
    assert shown in await wait_for_text(world, f"⚖️ #{ref}", GROUP)
    await world.control("stripe", f"disputes/{dispute['id']}/close", {"status": "lost"})
    assert shown in await wait_for_text(world, "the shop lost the dispute", GROUP)
    assert "took back DKK 125.00 of" in (await reply_text(world, f"/refund {ref}", by=ADMIN, chat=GROUP)).replace(
        "\u00a0", " "
    )
    assert refund_calls(world) == []
