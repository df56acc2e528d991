"""What happened at Stripe carries Stripe's time, also when Kvit learns of it days later; a receipt stays as it was."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import at_stripe, eventually, idle, payment, rows, webhooks
from tests.support.page_world import page_of, paged
from tests.support.world import Json, World, free_port, opened

NEW_YEARS_EVE = datetime(2026, 12, 31, 20, 1, tzinfo=UTC)
"""21:01 in Copenhagen, where the shop is."""

TWO_DAYS = 36 * 3600
SELLER = ("seller Noir ApS", "address Strandvejen 1", "number 12345678", "contact noir@example.dk", "vat 25")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NEW_YEARS_EVE, frozen=True)


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with paged(clock, tmp_path) as running:
        yield running


async def answer_to(world: World, text: str, contains: str) -> str:
    """The text of the bot's answer to a command, with plain spaces."""
    before = len(world.sent())
    world.say(text)
    await idle(world)
    found = [e.params["text"] for e in world.sent()[before:] if contains in e.params["text"]]
    return re.sub("<[^>]*>", "", found[-1]).replace("\u00a0", " ")


async def receipt(world: World) -> str:
    async with world.http.get(f"{page_of(world)}/receipt?lang=en") as paper:
        assert paper.status == 200
        return (await paper.text()).replace("\u00a0", " ")


async def set_all(world: World, *settings: str) -> None:
    for setting in settings:
        await answer_to(world, f"/settings {setting}", "")


async def happens_while_kvit_is_down(world: World, *, how: str = "approve") -> None:
    """The customer acts now; Kvit is back a day and a half later, in the next year."""
    await world.stop()
    await webhooks(world, "lose")
    await world.decide(how)
    world.advance(TWO_DAYS)
    await world.begin()
    await idle(world)


async def test_payment_during_downtime_is_dated_by_stripe(world: World) -> None:
    await happens_while_kvit_is_down(world)
    assert payment(world)["succeeded_at"] == int(NEW_YEARS_EVE.timestamp() * 1_000_000)
    assert "31 Dec 2026, 21:01" in await receipt(world)
    assert "Paid 31 Dec 2026, 21:01" in (await world.message("Paid 31"))["text"].replace("\u00a0", " ")
    assert [e for e in world.sent("✅ Paid:") if "31 Dec 2026, 21:01" in e.params["text"].replace("\u00a0", " ")]
    history = await answer_to(world, f"/status {payment(world)['reference']}", "· Paid")
    assert "31 Dec 2026, 21:01 · Paid" in history
    assert "Paid today: nothing yet" in await answer_to(world, "/status", "Paid today")
    async with world.http.get(page_of(world)) as page:
        assert "Paid 31 Dec 2026, 21:01." in (await page.text()).replace("\u00a0", " ")


async def test_news_of_a_payment_made_just_now_has_no_date(world: World) -> None:
    await world.decide("approve")
    await idle(world)
    assert not [e for e in world.sent("✅ Paid:") if "2026" in e.params["text"]]


@pytest.mark.parametrize("charges", [True, False], ids=["charges may be read", "charges may not be read"])
async def test_held_money_captured_elsewhere_is_dated_by_the_capture(
    clock: FakeClock, tmp_path: Path, charges: bool
) -> None:
    async with opened(clock, tmp_path) as world:
        world.say("/hold 100 DKK Boat")
        await world.message("Waiting for payment")
        await world.decide("approve")
        await idle(world)
        await world.stop()
        await webhooks(world, "lose")
        if not charges:
            world.stripe.options.missing_permissions = ("charges.read",)
        world.advance(3600)
        await at_stripe(world, f"payment_intents/{world.intent()['id']}/capture")
        world.advance(TWO_DAYS)
        await world.begin()
        await idle(world)
        captured = int(NEW_YEARS_EVE.timestamp()) + 3600
        assert payment(world)["succeeded_at"] == captured * 1_000_000


async def test_payment_is_dated_by_its_event_where_charges_may_not_be_read(world: World) -> None:
    world.stripe.options.missing_permissions = ("charges.read",)
    await happens_while_kvit_is_down(world)
    assert payment(world)["succeeded_at"] == int(NEW_YEARS_EVE.timestamp() * 1_000_000)


async def test_payment_waits_for_its_date_while_stripe_does_not_answer(world: World) -> None:
    for path in ("/v1/charges/:id", "/v1/events"):
        for _ in range(9):
            await world.control("stripe", "faults", {"method": f"GET {path}", "how": "500", "when": "before"})
    await happens_while_kvit_is_down(world)
    for _ in range(12):
        world.advance(300)
        await idle(world)
    assert payment(world)["succeeded_at"] == int(NEW_YEARS_EVE.timestamp() * 1_000_000)
    assert len(world.sent("✅ Paid:")) == 1


async def test_refund_and_dispute_during_downtime_are_dated_by_stripe(world: World) -> None:
    await world.decide("approve")
    await idle(world)
    await world.stop()
    await webhooks(world, "lose")
    await at_stripe(world, "refunds", payment_intent=world.intent()["id"], amount=5000)
    intent = world.intent()["id"]
    await world.control("stripe", f"intents/{intent}/dispute", {"amount": 3000})
    world.advance(TWO_DAYS)
    await world.begin()
    await eventually(lambda: rows(world, "SELECT 1 FROM refunds, disputes"))
    await idle(world)
    assert "Refunded 31 Dec 2026" in await receipt(world)
    created = int(NEW_YEARS_EVE.timestamp() * 1_000_000)
    assert rows(world, "SELECT refunded_at FROM refunds") == [{"refunded_at": created}]
    assert rows(world, "SELECT created_at FROM disputes") == [{"created_at": created}]
    history = await answer_to(world, f"/status {payment(world)['reference']}", "Refund")
    assert re.search(r"31 Dec 2026, 21:01 · .*[Rr]efund", history)
    assert "DKK 50.00: refunded · 31 Dec 2026" in history
    told = [e.params["text"].replace("\u00a0", " ") for e in world.sent("has disputed")]
    assert told
    assert all("31 Dec 2026, 21:01" in text for text in told)


async def test_read_receipt_keeps_seller_rate_and_time_zone(world: World) -> None:
    await set_all(world, *SELLER)
    await world.decide("approve")
    await idle(world)
    before = await receipt(world)
    assert all(words in before for words in ("Noir ApS", "25%", "31 Dec 2026, 21:01", ">Receipt<"))
    await set_all(world, "seller Blanc ApS", "address Elsewhere 2", "vat 12", "zone Pacific/Auckland", "name Blanc")
    assert await receipt(world) == before


async def test_unread_receipt_keeps_the_time_zone_of_the_payment(world: World) -> None:
    await set_all(world, *SELLER)
    await world.decide("approve")
    await idle(world)
    world.advance(3600)
    await set_all(world, "zone Pacific/Auckland", "vat 12")
    after = await receipt(world)
    assert "31 Dec 2026, 21:01" in after
    assert "25%" in after


async def test_test_payments_are_numbered_apart_and_every_number_names_its_shop(world: World) -> None:
    await set_all(world, *SELLER)
    await world.decide("approve")
    await idle(world)
    shop: Json = rows(world, "SELECT * FROM shops")[0]
    assert f"TEST-{shop['id']}-1" in await receipt(world)
    assert (shop["last_receipt_number"], shop["last_test_receipt_number"]) == (0, 1)


async def test_live_payments_are_numbered_by_themselves(clock: FakeClock, tmp_path: Path) -> None:
    port = free_port()
    async with opened(clock, tmp_path, port=port, public_url=f"http://127.0.0.1:{port}") as world:
        await set_all(world, *SELLER)
        for text in ("Test", "Live"):
            if text == "Live":
                await world.stop()
                world.stripe.state.key = "sk_live_51SandboxKvit0001FakeStripeKeyOnThisMachineOnly"
                key = SecretStr(world.stripe.state.key)
                world.settings = world.settings.model_copy(update={"stripe_api_key": key})
                await world.begin()
            world.advance(60)
            world.say(f"/pay 20 {text}")
            await world.message(text)
            await idle(world)
            await world.decide("approve")
            await idle(world)
        numbers = rows(world, "SELECT description, receipt_number FROM payments ORDER BY created_at")
        assert [row["receipt_number"] for row in numbers] == [1, 1]
        shop = rows(world, "SELECT id FROM shops")[0]["id"]
        assert f">{shop}-1 · live payment<" in await receipt(world)
