"""What a shop is set to: limits, the lifetime of a request and who the seller is; bounded, and remembered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.i18n import LANGUAGES, text
from handlers.shops.settings import parse_change
from storage import shops
from storage.database.database import Database
from storage.models.shop import Shop
from storage.schema.types import EPOCH
from tests.support.evidence import rows
from tests.support.people import ADMIN, MERCHANT, open_shop, posts, reply, reply_text
from tests.support.world import World, opened

HOUR = 3600 * 1_000_000


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


def kept(world: World, column: str) -> object:
    """What the shop's row says."""
    return rows(world, f"SELECT {column} AS it FROM shops WHERE id = 1")[0]["it"]


SET = [
    ("limit 5000", "request_limit", 500000, "(limit): DKK\u00a05,000.00"),
    ("limit 12.500,00 kr", "request_limit", 1250000, "(limit): DKK\u00a012,500.00"),
    ("LIMIT 999999,99", "request_limit", 99999999, "(limit): DKK\u00a0999,999.99"),
    ("refunds 0,01", "refund_limit", 1, "(refunds): DKK\u00a00.01"),
    ("refunds 2000", "refund_limit", 200000, "(refunds): DKK\u00a02,000.00"),
    ("hours 1", "request_hours", 1, "(hours): 1"),
    ("hours 168", "request_hours", 168, "(hours): 168"),
    ("hours default", "request_hours", None, "(hours): default for this bot"),
    ("seller Café <Noir> ApS", "seller_name", "Café <Noir> ApS", "Legal name (seller): Café <Noir> ApS"),
    ("address  Strandvejen 1\n2900\tHellerup ", "seller_address", "Strandvejen 1 2900 Hellerup", "Strandvejen 1 2900"),
    ("number DK-12 34 56 78", "seller_number", "DK-12 34 56 78", "Business ID (number): DK-12 34 56 78"),
    ("contact hej@noir.dk, +45 12 34 56 78", "seller_contact", "hej@noir.dk, +45 12 34 56 78", "hej@noir.dk"),
    ("seller -", "seller_name", "", "Legal name (seller): not set"),
    ("vat 25", "vat_rate", 2500, "VAT (vat): 25%"),
    ("vat 25,5%", "vat_rate", 2550, "VAT (vat): 25.5%"),
    ("vat 8.05", "vat_rate", 805, "VAT (vat): 8.05%"),
    ("vat 0", "vat_rate", 0, "VAT (vat): none"),
    ("vat none", "vat_rate", 0, "VAT (vat): none"),
    ("vat Ingen", "vat_rate", 0, "VAT (vat): none"),
    ("vat -", "vat_rate", None, "VAT (vat): not set"),
]


@pytest.mark.parametrize(("written", "column", "value", "shown"), SET, ids=[one[0] for one in SET])
async def test_a_setting_is_kept_and_shown(world: World, written: str, column: str, value: object, shown: str) -> None:
    assert shown in await reply_text(world, f"/settings {written}", by=ADMIN)
    assert kept(world, column) == value
    assert shown in await reply_text(world, "/settings", by=ADMIN)


REFUSED = {
    "limit": ["", "0", "-5", "2,49", "1.234", "12 500 g", "1000000", "9" * 400, "100 EUR", "1e6", "lots"],
    "refunds": ["", "0", "1.234", "1000000", "100 EUR", "none"],
    "hours": ["", "0", "169", "1,5", "-1", "1000", "٣", "for ever"],
    "vat": ["", "100", "-1", "25,555", "٢٥", "25 25", "abc"],
    "seller": ["", "x" * 101, "\u202e\x00", "x" * 500],
    "address": ["", "x" * 201],
    "number": ["", "1" * 41],
    "contact": ["", "x" * 101],
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_value_that_makes_no_sense_is_refused_with_the_reason(world: World, name: str) -> None:
    before = rows(world, "SELECT * FROM shops")
    for value in REFUSED[name]:
        assert "Nothing was changed." in await reply_text(world, f"/settings {name} {value}", by=ADMIN), value
    assert rows(world, "SELECT * FROM shops") == before


async def test_what_a_receipt_lacks_is_said(world: World) -> None:
    assert "Still missing for a receipt: seller, address, number, contact, vat." in await reply_text(
        world, "/settings", by=ADMIN
    )
    await reply_text(world, "/settings seller Noir ApS", by=ADMIN)
    await reply_text(world, "/settings number 12345678", by=ADMIN)
    assert "Still missing for a receipt: address, contact, vat." in await reply_text(world, "/settings", by=ADMIN)
    await reply_text(world, "/settings address Strandvejen 1", by=ADMIN)
    await reply_text(world, "/settings contact noir@example.dk", by=ADMIN)
    assert "Still missing" not in await reply_text(world, "/settings vat none", by=ADMIN)


async def test_the_limit_holds_for_the_next_request(world: World) -> None:
    await reply_text(world, "/settings limit 100", by=ADMIN)
    assert "The largest amount you can request is DKK\u00a0100.00." in await reply_text(
        world, "/pay 100,01", by=MERCHANT
    )
    assert posts(world) == []
    await reply(world, world.say("/pay 100", by=MERCHANT), "Waiting", chat=MERCHANT)


async def test_a_request_lives_as_long_as_the_shop_says_or_the_installation_where_it_says_nothing(
    world: World,
) -> None:
    for written, hours in (("hours 3", 3), ("hours default", 24)):
        await reply_text(world, f"/settings {written}", by=ADMIN)
        await reply(world, world.say("/pay 125", by=MERCHANT), "Waiting", chat=MERCHANT)
        lives = "SELECT expires_at - created_at AS it FROM payments ORDER BY rowid DESC LIMIT 1"
        assert rows(world, lives) == [{"it": hours * HOUR}]
        world.advance(6)


async def test_who_changed_which_setting_is_remembered_but_not_what_was_written_of_people(world: World) -> None:
    await reply_text(world, "/settings limit 5000", by=ADMIN)
    await reply_text(world, "/settings limit 5000,00", by=ADMIN)
    await reply_text(world, "/settings address Hemmeligvej 1", by=ADMIN)
    await reply_text(world, "/settings hours 500", by=ADMIN)
    found = rows(world, "SELECT actor, detail FROM audit_log WHERE action = 'setting_changed' ORDER BY id")
    assert [(row["actor"], json.loads(row["detail"])) for row in found] == [
        (f"user:{ADMIN}", {"setting": "limit", "value": "5000"}),
        (f"user:{ADMIN}", {"setting": "address"}),
    ]


async def test_two_admins_who_change_two_things_at_once_keep_both(world: World) -> None:
    first = world.say("/settings limit 5000", by=ADMIN)
    second = world.say("/settings seller Noir ApS")
    await reply(world, first, chat=ADMIN)
    await reply(world, second)
    assert (kept(world, "request_limit"), kept(world, "seller_name")) == (500000, "Noir ApS")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_word_for_no_vat_can_be_typed_in_the_language_in_which_it_is_shown(language: str) -> None:
    assert parse_change("vat", text(language, "settings.no_vat"))(Shop(1, "Noir", "DKK", "da", "UTC")).vat_rate == 0


async def test_what_one_shop_says_of_its_seller_is_nothing_to_another(db: Database) -> None:
    noir_and_blanc = [
        await db.write(shops.create_shop, Shop(0, name, "DKK", "da", "UTC"), now=EPOCH) for name in ("Noir", "Blanc")
    ]
    for shop in noir_and_blanc:
        await db.write(
            shops.update_shop, shop.id, parse_change("seller", f"{shop.name} ApS"), actor="user:1", detail={}, now=EPOCH
        )
    kept = [[seller.name for seller in await db.read(shops.list_sellers, shop.id)] for shop in noir_and_blanc]
    assert kept == [["Noir ApS"], ["Blanc ApS"]]
