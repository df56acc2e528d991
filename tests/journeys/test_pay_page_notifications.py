"""What the page does shows everywhere: on the card, in the history, on the receipt and on every page that is open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import (
    actions,
    at_stripe,
    eventually,
    idle,
    pass_time,
    rows,
    versions,
)
from tests.support.page_world import approve, opens, page_of, paged, payment_link, state
from tests.support.people import open_database, reply
from tests.support.world import World, button, labels


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with paged(clock, tmp_path) as running:
        yield running


async def test_pay_button_leads_to_stripe_while_fresh_then_to_the_page(world: World) -> None:
    page, direct = page_of(world), payment_link(world)
    card = await world.message("Waiting for payment")
    assert labels(card) == ["Share", "QR code", "Copy link", "Pay DKK 149.50", "Cancel"]
    assert (button(card, "Pay")["url"], button(card, "Copy")["copy_text"]["text"]) == (direct, page)
    assert page in card["text"]
    edits = len(versions(world))
    for seconds in (240, 60):
        await pass_time(world, seconds)
        card = await world.message("Waiting for payment · the first link expired, this link still works")
        assert len(versions(world)) == edits + 1
        assert labels(card) == ["Share", "QR code", "Copy link", "Pay DKK 149.50", "Cancel"]
        assert (button(card, "Pay")["url"], button(card, "Copy")["copy_text"]["text"]) == (page, page)
        assert "New link" not in card["text"]
    direct = await opens(world)
    await idle(world)
    assert button(await world.message("Waiting for payment"), "Pay")["url"] == direct


async def test_link_that_expires_unseen_is_announced_to_nobody(world: World) -> None:
    before = len(world.sent())
    await pass_time(world, 300)
    await pass_time(world, 3600)
    assert (await state(world), len(world.sent())) == ("ready", before)
    async with world.http.get(page_of(world)) as page:
        shown = (await page.text()).replace("\u00a0", " ")
    assert "Ready to pay" in shown
    assert "<title>DKK 149.50, " in shown
    assert "not approved in time" not in shown


@pytest.mark.parametrize("sign", ["opens the link of the chat", "comes back from the link of the chat", "begins one"])
async def test_link_that_a_customer_saw_expire_is_announced_once_without_a_sound(world: World, sign: str) -> None:
    if sign == "begins one":
        await pass_time(world, 300)
        assert world.sent("not approved in time") == []
    if sign.startswith("comes back"):
        async with world.http.get(f"{page_of(world)}?redirect_status=failed") as landing:
            assert landing.status == 200
        await idle(world)
        world.advance(11)
    else:
        await opens(world)
    await idle(world)
    assert await state(world) == ("ready" if sign.startswith("comes back") else "waiting")
    await pass_time(world, 240)
    await pass_time(world, 60)
    assert await state(world) == "expired"
    assert "The link expired" in (await world.message("The link expired"))["text"]
    (told,) = world.sent("not approved in time")
    assert told.params["disable_notification"] in {True, "true", "True"}
    async with world.http.get(page_of(world)) as page:
        assert "The payment was not approved in time" in await page.text()


async def test_customer_who_comes_back_after_the_link_expired_unseen_is_no_secret(world: World) -> None:
    await pass_time(world, 240)
    await pass_time(world, 60)
    assert (await state(world), world.sent("not approved in time")) == ("ready", [])
    async with world.http.get(f"{page_of(world)}?redirect_status=failed") as landing:
        assert landing.status == 200
    await pass_time(world, 11)
    assert await state(world) == "expired"
    assert len(world.sent("not approved in time")) == 1


async def test_tap_is_remembered_across_a_restart(world: World) -> None:
    link = await opens(world)
    await world.stop()
    await world.begin()
    assert await state(world) == "waiting"
    async with world.http.get(page_of(world)) as page:
        assert "Open MobilePay again" in await page.text()
    assert await opens(world) == link


async def test_a_success_numbers_the_receipt_without_a_gap(world: World) -> None:
    async with world.http.get(f"{page_of(world)}/receipt") as none_yet:
        assert none_yet.status == 404
    for text in ("Second", "Third", "Fourth"):
        world.say(f"/pay 20 {text}")
        await world.message(text)
        await idle(world)
    for number in (2, 0, 3):
        await world.decide("approve", number)
        await idle(world)
    numbered = {
        row["description"]: row["receipt_number"]
        for row in rows(world, "SELECT description, receipt_number FROM payments")
    }
    assert numbered == {"Third": 1, "Coffee": 2, "Fourth": 3, "Second": None}


async def test_refunds_appear_on_the_page(world: World) -> None:
    await approve(world, await opens(world))
    await idle(world)
    for amount, word in ((5000, "partly_refunded"), (9950, "refunded")):
        await at_stripe(world, "refunds", payment_intent=world.intent()["id"], amount=amount)
        await idle(world)
        assert await state(world) == word
    async with world.http.get(page_of(world)) as page:
        assert "DKK\u00a0149.50 has been sent back to you" in await page.text()
    async with world.http.get(f"{page_of(world)}/receipt") as paper:
        words = await paper.text()
    assert "Total after refund" in words
    assert words.count("Refunded 24 Nov 2026") == 2


async def printed(world: World) -> str:
    """The paper as the customer sees it, in English."""
    async with world.http.get(f"{page_of(world)}/receipt?lang=en") as paper:
        return (await paper.text()).replace("\u00a0", " ")


async def settings(world: World, *wanted: str) -> None:
    for one in wanted:
        await reply(world, world.say(f"/settings {one}"), "Legal name (seller):")


async def test_a_receipt_keeps_the_seller_and_the_rate_of_its_day(world: World) -> None:
    await approve(world, await opens(world))
    await idle(world)
    assert "Payment confirmation" in await printed(world)
    await settings(world, "seller Noir ApS", "address Strandvejen 1", "number 12345678", "contact noir@example.dk")
    assert "Payment confirmation" in await printed(world)
    world.advance(3600)
    await settings(world, "vat 25")
    first = await printed(world)
    assert all(words in first for words in ("Noir ApS", "Strandvejen 1", "25%", "29.90", ">Receipt<"))
    world.advance(3600)
    await settings(world, "seller Blanc ApS", "address -", "vat 12")
    assert await printed(world) == first


async def test_receipt_never_mixes_old_and_new_seller_fields(world: World) -> None:
    old = ["seller Noir ApS", "address Strandvejen 1", "number 12345678", "contact noir@example.dk", "vat 25"]
    await settings(world, *old)
    world.advance(3600)
    await settings(world, "seller Blanc ApS")
    await approve(world, await opens(world))
    await idle(world)
    await settings(world, "address Havnegade 22", "vat 12")
    world.advance(899)
    await settings(world, "address Havnegade 2", "vat none")
    paper = await printed(world)
    assert all(words in paper for words in ("Blanc ApS", "Havnegade 2\n", "12345678", ">Receipt<"))
    assert "Of which VAT" not in paper
    world.advance(900)
    await settings(world, "address Strandvejen 1")
    assert await printed(world) == paper


async def test_seller_saved_with_a_wrong_clock_does_not_block_the_next_change(
    world: World,
) -> None:
    await settings(world, "seller Noir ApS", "address Strandvejen 1", "number 12345678", "contact noir@example.dk")
    later = "UPDATE seller_history SET since = since + 172800000000, updated_at = updated_at + 172800000000"
    async with open_database(world) as db:
        await db.write(lambda tx: tx.exec_driver_sql(later).rowcount)
    await settings(world, "seller Blanc ApS", "vat none")
    kept = rows(world, "SELECT name, vat_rate FROM seller_history ORDER BY since, id")
    assert kept[0] == kept[-1] == {"name": "Blanc ApS", "vat_rate": 0}
    assert {"name": "Noir ApS", "vat_rate": None} in kept


async def test_the_history_names_the_customer_of_the_page(world: World) -> None:
    await pass_time(world, 300)
    await opens(world)
    assert "attempt_requested" in actions(world)
    asked = rows(world, "SELECT actor FROM audit_log WHERE action = 'attempt_requested'")
    assert asked == [{"actor": "customer"}]


async def test_the_stream_tells_each_change_once_and_ends_with_the_service(world: World) -> None:
    heard: list[str] = []

    async def listen() -> None:
        headers = {"Accept": "text/event-stream"}
        async with world.http.get(f"{page_of(world)}/state", headers=headers) as stream:
            assert stream.content_type == "text/event-stream"
            async for line in stream.content:
                heard.extend([json.loads(line[6:])["state"]] if line.startswith(b"data: ") else [])

    listening = asyncio.create_task(listen())
    await eventually(lambda: heard == ["ready"])
    await pass_time(world, 240)
    await eventually(lambda: heard[-1] == "waiting")
    await pass_time(world, 60)
    await eventually(lambda: heard[-1] == "ready")
    link = await opens(world)
    await eventually(lambda: heard[-1] == "waiting")
    await approve(world, link)
    await eventually(lambda: heard[-1] == "paid")
    await world.stop()
    async with asyncio.timeout(1):
        await listening
    settling = [word for word, before in zip(heard, ["", *heard], strict=False) if word != before]
    assert settling == ["ready", "waiting", "ready", "waiting", "paid"]
