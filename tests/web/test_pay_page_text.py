"""The messages of the pay page in all languages, and the wallet's name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.i18n import LANGUAGES, text
from handlers.pay_page.service import PageState
from handlers.web.pay_page_text import FINAL_STATES
from tests.pay_page.test_page_state import PAYMENT
from tests.support.page_html import BEGINS, PAGE, SHOP, Client, Read, page_in, shown
from tests.support.web_server import SomePages, doors

BRANDS = {"MobilePay": datetime(2027, 1, 11, 22, 59, tzinfo=UTC), "Vipps": datetime(2027, 1, 11, 23, tzinfo=UTC)}
"""The last minute of the old name in Copenhagen, and the first of the new one."""


@pytest.fixture
def pages() -> SomePages:
    return SomePages(PAGE)


@pytest.fixture
async def client(pages: SomePages, clock: FakeClock) -> AsyncIterator[Client]:
    async with doors(clock, pages) as client:
        yield client


@pytest.mark.parametrize("state", PageState)
async def test_button_is_labelled_by_its_action_and_absent_without_one(
    client: Client, pages: SomePages, state: PageState
) -> None:
    read = Read(await shown(client, pages, page_in(state)))
    pay = ["Pay DKK\u00a0149.50 with MobilePay"] if state in BEGINS else []
    expected = ["Open MobilePay again"] if state is PageState.WAITING else pay
    assert [words for words in read.words if words.endswith(("with MobilePay", "MobilePay again"))] == expected
    assert [form.get("method") for form in read.all("form")] == ["post"] * len(expected)
    assert "formaction" not in str(read.tags)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("wallet", BRANDS)
async def test_wallet_is_named_by_the_date_in_every_language(pages: SomePages, language: str, wallet: str) -> None:
    other = ({*BRANDS} - {wallet}).pop()
    async with doors(FakeClock(BRANDS[wallet], frozen=True), pages) as client:
        for state in PageState:
            page = await shown(client, pages, page_in(state), **{"Accept-Language": language})
            assert (wallet in page) == (state not in FINAL_STATES), state
            assert other not in page
        received = replace(PAYMENT, amount_received=149_50, succeeded_at=BRANDS[wallet])
        pages.pages["a-token"] = replace(PAGE, payment=received, state=PageState.PAID)
        receipt = await (await client.get("/p/a-token/receipt")).text()
        assert wallet in receipt
        assert other not in receipt


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("state", PageState)
async def test_messages_are_translated_and_have_no_unfilled_placeholders(
    client: Client, pages: SomePages, language: str, state: PageState
) -> None:
    page = replace(
        page_in(state),
        payment=replace(PAYMENT, amount_received=149_50, amount_refunded=50_00, amount_refund_pending=10_00),
    )
    shown_texts = set(Read(await shown(client, pages, page, **{"Accept-Language": language})).words)
    english = set(Read(await shown(client, pages, page, **{"Accept-Language": "en"})).words)
    same = {
        words
        for words in shown_texts & english - {SHOP.name}
        if len(words) > 20 and not words.startswith(("(", ":root"))
    }
    assert same == set() or language == "en"
    assert not any("{" in words for words in shown_texts if not words.startswith(("(() =>", ":root")))


@pytest.mark.parametrize("language", LANGUAGES)
async def test_hold_is_called_a_reservation_not_a_payment(client: Client, pages: SomePages, language: str) -> None:
    hold = replace(page_in(PageState.READY), payment=replace(PAYMENT, manual_capture=True))
    button = text(language, "page.reserve_mobilepay", amount=PAYMENT.amount)
    for page, is_hold in ((hold, True), (page_in(PageState.READY), False)):
        words = Read(await shown(client, pages, page, **{"Accept-Language": language})).words
        assert (button in words, text(language, "page.hold") in words) == (is_hold, is_hold)
        assert (text(language, "page.pay_mobilepay", amount=PAYMENT.amount) in words) == (not is_hold)


async def test_refunded_and_pending_amounts_are_shown_separately(client: Client, pages: SomePages) -> None:
    refunded = replace(PAYMENT, amount_received=149_50, amount_refunded=50_00, amount_refund_pending=10_00)
    page = await shown(client, pages, replace(page_in(PageState.PARTLY_REFUNDED), payment=refunded))
    assert "DKK\u00a050.00 of DKK\u00a0149.50 has been sent back" in page
    assert "A refund of DKK\u00a010.00 has been started but is not complete yet." in page


async def test_page_shows_the_seller_details(client: Client, pages: SomePages) -> None:
    shop = replace(SHOP, seller_name="Annas Kaffe ApS", seller_number="CVR 12345678", seller_contact="hej@anna.dk")
    read = Read(await shown(client, pages, replace(PAGE, shop=shop)))
    assert "Annas Kaffe ApS · CVR 12345678" in read.words
    assert any("hej@anna.dk" in words for words in read.words)
