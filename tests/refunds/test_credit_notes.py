"""Credit notes: one number for each refund that succeeded, frozen like the receipt, canceled by another document."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import idle, rows
from tests.support.page_world import page_of
from tests.support.people import reply, reply_text
from tests.support.refund_steps import (
    dashboard_refund,
    move,
    paid,
    ref_of,
    refunded,
    set_next_refund,
    wait_for_text,
)
from tests.support.world import World, button, free_port, opened

SELLER = ("seller Noir ApS", "address Torvet 1", "number CVR 12345678", "contact hi@noir.dk", "vat 25")


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    port = free_port()
    async with opened(clock, tmp_path, port=port, public_url=f"http://127.0.0.1:{port}") as running:
        for setting in SELLER:
            await reply_text(running, f"/settings {setting}")
        yield running


def numbers(world: World) -> list[tuple[str, int, int, int]]:
    """Kind, number, what was refunded before, and amount of each document, in the order of their numbers."""
    query = "SELECT * FROM movements WHERE credit_note_number IS NOT NULL ORDER BY credit_note_number"
    found = rows(world, query)
    return [(row["kind"], row["credit_note_number"], row["refunded_before"], row["amount"]) for row in found]


async def document(world: World, path: str, language: str = "en") -> str:
    """A document of the newest payment."""
    async with world.http.get(f"{page_of(world)}/{path}?lang={language}") as answer:
        assert answer.status == 200, await answer.text()
        return (await answer.text()).replace("\u00a0", " ")


async def test_credit_notes_are_numbered_without_a_gap_also_where_refunds_fail(world: World) -> None:
    first = ref_of(await paid(world))
    await refunded(world, f"/refund {first} 50")
    await wait_for_text(world, "↩️ Refunded:")
    await set_next_refund(world, "pending")
    await refunded(world, f"/refund {first} 10")
    await wait_for_text(world, "has started but is not finished")
    await move(world, "fail")
    await wait_for_text(world, "the refund of DKK 10.00 failed")
    await move(world, "fail", 0)
    await wait_for_text(world, "the refund of DKK 50.00 failed")
    world.advance(60)
    await paid(world, "/pay 99 Cake")
    await dashboard_refund(world, 9900)
    await idle(world)
    assert numbers(world) == [
        ("refund", 1, 0, -5000),
        ("refund_failed", 2, 0, 5000),
        ("refund", 3, 0, -9900),
    ]
    shop = rows(world, "SELECT last_credit_note_number, last_test_credit_note_number FROM shops")[0]
    assert tuple(shop.values()) == (0, 3)


async def test_vat_of_parts_adds_up_to_that_of_the_receipt(world: World) -> None:
    card = ref_of(await paid(world, "/pay 0,50 EUR Sweet"))
    for part in ("0,17", "0,17", "0,16"):
        world.advance(60)
        await refunded(world, f"/refund {card} {part}")
        await idle(world)
    assert [row[2] for row in numbers(world)] == [0, 17, 34]
    vat = [(await document(world, f"credit-note/{number}")).partition("Of which VAT (25%)")[2] for number in (1, 2, 3)]
    assert [text.partition("<dd>")[2].partition("</dd>")[0] for text in vat] == ["€0.03", "€0.04", "€0.03"]
    assert (await document(world, "receipt")).count("<dd>€0.10</dd>") == 1
    assert (await document(world, "receipt")).count("<dd>€0.00</dd>") == 3


async def test_credit_note_keeps_seller_rate_and_zone_of_its_receipt(world: World) -> None:
    card = ref_of(await paid(world))
    await refunded(world, f"/refund {card} 50")
    await wait_for_text(world, "↩️ Refunded:")
    before = await document(world, "credit-note/1")
    assert all(words in before for words in ("Noir ApS", "25%", "TEST-1-C1 · test, no real money", "TEST-1-1<"))
    for setting in ("seller Blanc ApS", "vat 12", "zone Pacific/Auckland", "name Blanc"):
        await reply_text(world, f"/settings {setting}")
    assert await document(world, "credit-note/1") == before
    world.advance(60)
    await refunded(world, f"/refund {card} 25")
    await idle(world)
    later = await document(world, "credit-note/2")
    assert "Noir ApS" in later
    assert "Of which VAT (25%)" in later


async def test_credit_note_of_another_payment_is_not_found(world: World) -> None:
    card = ref_of(await paid(world))
    await refunded(world, f"/refund {card} 50")
    await wait_for_text(world, "↩️ Refunded:")
    world.advance(60)
    await paid(world, "/pay 99 Cake")
    async with world.http.get(f"{page_of(world)}/credit-note/1") as answer:
        assert answer.status == 404


async def test_paid_message_has_the_receipt_and_a_payment_that_was_found_too(world: World) -> None:
    card = await paid(world)
    url = f"{page_of(world)}/receipt"
    assert button(card, "Receipt")["url"] == url
    found = await reply(world, world.say("/find tea"))
    world.tap(found, ref_of(card))
    await idle(world)
    assert button(world.sent()[-1].result, "Receipt")["url"] == url
