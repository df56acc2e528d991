"""The receipt: whole sums, the tax within them, and the name of a receipt only where the seller is known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.pay_page.service import PageState
from handlers.shops.receipts import make_receipt, missing_fields, vat_within
from storage.models.money import Money
from storage.models.payment import PaymentStatus
from storage.models.refund import Refund, RefundStatus
from tests.pay_page.test_page_state import PAYMENT
from tests.support.page_html import PAGE, SHOP, Client, Read
from tests.support.web_server import SomePages, doors

KNOWN = replace(
    SHOP,
    name="Annas Kaffe",
    seller_name="Annas Kaffe ApS",
    seller_address="Torvet 1\n8000 Aarhus C",
    seller_number="CVR 12345678",
    seller_contact="hej@annaskaffe.dk",
    vat_rate=25_00,
)
MIDNIGHT = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
PAID = replace(
    PAYMENT, status=PaymentStatus.SUCCEEDED, amount_received=149_50, succeeded_at=MIDNIGHT, receipt_number=17
)


@pytest.fixture
def pages() -> SomePages:
    return SomePages(replace(PAGE, payment=PAID, shop=KNOWN, state=PageState.PAID))


@pytest.fixture
async def client(pages: SomePages, clock: FakeClock) -> AsyncIterator[Client]:
    async with doors(clock, pages) as client:
        yield client


def refund(minor: int, days: int) -> Refund:
    """Some of it, that many days later."""
    then = MIDNIGHT + timedelta(days=days)
    return Refund(
        f"r{days}", PAID.id, 1, f"s{days}", Money(minor, "DKK"), RefundStatus.SUCCEEDED, then, settled_at=then
    )


async def paper(client: Client, language: str = "da") -> list[str]:
    answer = await client.get(f"/p/a-token/receipt?lang={language}")
    assert answer.status == 200
    return [words.replace("\u00a0", " ") for words in Read(await answer.text()).words if words]


async def test_it_says_who_sold_what_when_and_for_how_much(client: Client) -> None:
    said = await paper(client)
    assert "Annas Kaffe ApS\nTorvet 1\n8000 Aarhus C\nCVR 12345678\nhej@annaskaffe.dk" in said
    for words, value in (
        ("Kvitteringsnummer", "17"),
        ("Dato", "1. jan. 2027 kl. 00.30"),
        ("Reference", "K7F3"),
        ("Beskrivelse", "Coffee"),
        ("I alt", "149,50 kr."),
        ("Heraf moms (25 %)", "29,90 kr."),
    ):
        assert said[said.index(words) + 1] == value
    assert "Refunderet" not in said


async def test_what_went_back_is_subtracted_and_so_is_its_tax(client: Client, pages: SomePages) -> None:
    back = replace(PAID, amount_refunded=49_50)
    pages.refunds = [refund(40_00, 1), refund(9_50, 2)]
    pages.pages["a-token"] = replace(PAGE, payment=back, shop=KNOWN, state=PageState.PARTLY_REFUNDED)
    said = await paper(client)
    assert said[said.index("Refunderet 2. jan. 2027") + 1] == "40,00 kr."
    assert said[said.index("Refunderet 3. jan. 2027") + 1] == "9,50 kr."
    assert said[said.index("Refunderet") + 1] == "49,50 kr."
    assert said[said.index("I alt efter refundering") + 1 :][:3] == ["100,00 kr.", "Heraf moms (25 %)", "20,00 kr."]


@pytest.mark.parametrize("lacks", ["seller_name", "seller_address", "seller_number", "seller_contact", "vat_rate"])
async def test_without_all_of_the_sellers_profile_it_is_a_confirmation_without_a_number(
    client: Client, pages: SomePages, lacks: str
) -> None:
    shop = replace(KNOWN, **{lacks: None if lacks == "vat_rate" else "  "})  # type: ignore[arg-type]
    assert len(missing_fields(shop)) == 1
    pages.pages["a-token"] = replace(PAGE, payment=PAID, shop=shop, state=PageState.PAID)
    said = await paper(client)
    assert "Betalingsbekræftelse" in said
    assert not {"Kvittering", "Kvitteringsnummer", "17"} & set(said)
    assert ("Heraf moms (25 %)" in said) == (lacks != "vat_rate")
    page = Read(await (await client.get("/p/a-token?lang=da")).text())
    assert "Betalingsbekræftelse" in page.words


@pytest.mark.parametrize("status", [status for status in PaymentStatus if status is not PaymentStatus.SUCCEEDED])
async def test_while_no_money_was_received_there_is_no_paper(
    client: Client, pages: SomePages, status: PaymentStatus
) -> None:
    pages.pages["a-token"] = replace(PAGE, payment=replace(PAYMENT, status=status), shop=KNOWN)
    assert (await client.get("/p/a-token/receipt")).status == 404
    assert "/receipt" not in await (await client.get("/p/a-token")).text()


async def test_what_was_typed_stays_text_on_paper(client: Client, pages: SomePages) -> None:
    hostile = "<script>alert(1)</script>\u202e" + "x" * 4000
    pages.pages["a-token"] = replace(PAGE, payment=replace(PAID, description=hostile), shop=KNOWN, state=PageState.PAID)
    answer = await (await client.get("/p/a-token/receipt")).text()
    assert "<script>" not in answer
    assert hostile in Read(answer).words


@given(st.integers(1, 99_999_999), st.integers(0, 100_00))
def test_the_tax_is_the_part_that_decimal_arithmetic_says(minor: int, rate: int) -> None:
    exact = Decimal(minor) * rate / (100_00 + rate)
    assert vat_within(minor, rate) == int(exact.quantize(Decimal(1), ROUND_HALF_UP))


def test_a_sum_is_the_payments_own_currency_throughout() -> None:
    receipt = make_receipt(replace(PAID, amount=Money(149_50, "EUR"), amount_refunded=1), KNOWN)
    assert receipt is not None
    sums = (receipt.amount, receipt.refunded, receipt.net_amount, receipt.vat, receipt.net_vat)
    assert {each.currency for each in sums if each} == {"EUR"}
