"""The words of a page: the right ones, in five languages, by the wallet's name of the day."""

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
from tests.support.page_html import BEGINS, PAGE, SHOP, Client, Read, shown, stands
from tests.support.web_server import SomePages, doors

BRANDS = {"MobilePay": datetime(2027, 1, 11, 22, 59, tzinfo=UTC), "Vipps": datetime(2027, 1, 11, 23, tzinfo=UTC)}
"""The last minute of the one name in Copenhagen, and the first of the other."""


@pytest.fixture
def pages() -> SomePages:
    return SomePages(PAGE)


@pytest.fixture
async def client(pages: SomePages, clock: FakeClock) -> AsyncIterator[Client]:
    async with doors(clock, pages) as client:
        yield client


@pytest.mark.parametrize("state", PageState)
async def test_the_button_says_what_it_does_and_is_only_where_it_does_something(
    client: Client, pages: SomePages, state: PageState
) -> None:
    read = Read(await shown(client, pages, stands(state)))
    begins = ["Pay DKK\u00a0149.50 with MobilePay"] if state in BEGINS else []
    said = ["Open MobilePay again"] if state is PageState.WAITING else begins
    assert [words for words in read.words if words.endswith(("with MobilePay", "MobilePay again"))] == said
    assert [form.get("method") for form in read.all("form")] == ["post"] * len(said)
    assert "formaction" not in str(read.tags)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("wallet", BRANDS)
async def test_the_wallet_has_its_name_of_the_day_in_every_language(
    pages: SomePages, language: str, wallet: str
) -> None:
    other = ({*BRANDS} - {wallet}).pop()
    async with doors(FakeClock(BRANDS[wallet], frozen=True), pages) as client:
        for state in PageState:
            page = await shown(client, pages, stands(state), **{"Accept-Language": language})
            assert (wallet in page) == (state not in FINAL_STATES), state
            assert other not in page
        received = replace(PAYMENT, amount_received=149_50, succeeded_at=BRANDS[wallet])
        pages.pages["a-token"] = replace(PAGE, payment=received, state=PageState.PAID)
        paper = await (await client.get("/p/a-token/receipt")).text()
        assert wallet in paper
        assert other not in paper


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("state", PageState)
async def test_no_sentence_is_left_in_another_language_or_with_a_hole(
    client: Client, pages: SomePages, language: str, state: PageState
) -> None:
    page = replace(
        stands(state),
        payment=replace(PAYMENT, amount_received=149_50, amount_refunded=50_00, amount_refund_pending=10_00),
    )
    said = set(Read(await shown(client, pages, page, **{"Accept-Language": language})).words)
    english = set(Read(await shown(client, pages, page, **{"Accept-Language": "en"})).words)
    same = {words for words in said & english - {SHOP.name} if len(words) > 20 and not words.startswith(("(", ":root"))}
    assert same == set() or language == "en"
    assert not any("{" in words for words in said if not words.startswith(("(() =>", ":root")))


@pytest.mark.parametrize("language", LANGUAGES)
async def test_what_is_only_reserved_is_not_called_paying(client: Client, pages: SomePages, language: str) -> None:
    hold = replace(stands(PageState.READY), payment=replace(PAYMENT, manual_capture=True))
    button = text(language, "page.reserve_mobilepay", amount=PAYMENT.amount)
    for page, said in ((hold, True), (stands(PageState.READY), False)):
        words = Read(await shown(client, pages, page, **{"Accept-Language": language})).words
        assert (button in words, text(language, "page.hold") in words) == (said, said)
        assert (text(language, "page.pay_mobilepay", amount=PAYMENT.amount) in words) == (not said)


async def test_what_was_given_back_and_what_is_on_its_way_are_told_apart(client: Client, pages: SomePages) -> None:
    back = replace(PAYMENT, amount_received=149_50, amount_refunded=50_00, amount_refund_pending=10_00)
    said = await shown(client, pages, replace(stands(PageState.PARTLY_REFUNDED), payment=back))
    assert "DKK\u00a050.00 of DKK\u00a0149.50 was sent back" in said
    assert "A refund of DKK\u00a010.00 has been started but is not complete yet." in said


async def test_the_seller_says_who_he_is(client: Client, pages: SomePages) -> None:
    known = replace(SHOP, seller_name="Annas Kaffe ApS", seller_number="CVR 12345678", seller_contact="hej@anna.dk")
    read = Read(await shown(client, pages, replace(PAGE, shop=known)))
    assert "Annas Kaffe ApS · CVR 12345678" in read.words
    assert any("hej@anna.dk" in words for words in read.words)
