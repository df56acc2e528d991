"""Receipts: amounts and VAT, refunds, and the title that needs a complete seller."""

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
from handlers.shops.receipts import make_credit_notes, make_receipt, missing_fields, vat_within
from handlers.web.pay_page_text import linked_contact
from storage.models.money import Money
from storage.models.movement import CreditNote
from storage.models.payment import PaymentStatus
from tests.pay_page.test_page_state import PAYMENT
from tests.support.page_html import PAGE, SHOP, Client, Read
from tests.support.web_server import SomePages, doors

COMPLETE_SHOP = replace(
    SHOP,
    name="Annas Kaffe",
    seller_name="Annas Kaffe ApS",
    seller_address="Torvet 1\n8000 Aarhus C",
    seller_number="CVR 12345678",
    seller_contact="hej@annaskaffe.dk",
    vat_rate=25_00,
)
PAID_AT = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
PAID = replace(PAYMENT, status=PaymentStatus.SUCCEEDED, amount_received=149_50, succeeded_at=PAID_AT, receipt_number=17)


@pytest.fixture
def pages() -> SomePages:
    return SomePages(replace(PAGE, payment=PAID, shop=COMPLETE_SHOP, state=PageState.PAID))


@pytest.fixture
async def client(pages: SomePages, clock: FakeClock) -> AsyncIterator[Client]:
    async with doors(clock, pages) as client:
        yield client


def note(minor: int, days: int, before: int, *, number: int, failed: int | None = None) -> CreditNote:
    """The credit note of a refund, so many days after the payment; or the cancellation of the refund of day `failed`.

    `before` of the payment were refunded before.
    """
    at, refund = PAID_AT + timedelta(days=days), f"r{days if failed is None else failed}"
    return CreditNote(refund, number, Money(minor, "DKK"), before, at, is_cancellation=failed is not None)


async def texts_of(client: Client, path: str, language: str = "da") -> list[str]:
    answer = await client.get(f"/p/a-token/{path}?lang={language}")
    assert answer.status == 200
    return [words.replace("\u00a0", " ") for words in Read(await answer.text()).words if words]


async def receipt_texts(client: Client, language: str = "da") -> list[str]:
    return await texts_of(client, "receipt", language)


async def test_receipt_shows_seller_number_date_reference_and_amounts(client: Client) -> None:
    texts = await receipt_texts(client)
    assert "Annas Kaffe ApS\nTorvet 1\n8000 Aarhus C\nCVR 12345678" in texts
    assert {"Annas Kaffe", "hej@annaskaffe.dk", "Udskriv eller gem"} <= set(texts)
    for words, value in (
        ("Kvitteringsnummer", "TEST-1-17 · test, ingen rigtige penge"),
        ("Dato", "1. jan. 2027 kl. 00.30"),
        ("Reference", "K7F3"),
        ("Beskrivelse", "Coffee"),
        ("I alt", "149,50 kr."),
        ("Uden moms (25 %)", "119,60 kr."),
        ("Heraf moms (25 %)", "29,90 kr."),
    ):
        assert texts[texts.index(words) + 1] == value
    assert "Refunderet" not in texts


async def test_receipt_subtracts_refunds_and_their_vat(client: Client, pages: SomePages) -> None:
    refunded = replace(PAID, amount_refunded=49_50)
    pages.notes = [note(40_00, 1, 0, number=3), note(9_50, 2, 40_00, number=4)]
    pages.pages["a-token"] = replace(PAGE, payment=refunded, shop=COMPLETE_SHOP, state=PageState.PARTLY_REFUNDED)
    texts = await receipt_texts(client)
    for day, number, amount in (("2. jan. 2027", 3, "40,00 kr."), ("3. jan. 2027", 4, "9,50 kr.")):
        at = texts.index(f"Refunderet {day}")
        assert texts[at + 1 : at + 3] == [f"Kreditnota TEST-1-C{number}", amount]
    assert texts[texts.index("Refunderet") + 1] == "49,50 kr."
    assert texts[texts.index("I alt efter refundering") + 1 :][:5] == [
        *("100,00 kr.", "Uden moms (25 %)", "80,00 kr.", "Heraf moms (25 %)", "20,00 kr.")
    ]


async def test_number_of_a_live_receipt_says_that_it_is_live(client: Client, pages: SomePages) -> None:
    live = replace(PAID, livemode=True)
    pages.pages["a-token"] = replace(PAGE, payment=live, shop=COMPLETE_SHOP, state=PageState.PAID, test=False)
    assert "1-17 · live payment" in await receipt_texts(client, "en")


async def test_credit_note_has_its_own_number_and_refers_to_the_receipt(client: Client, pages: SomePages) -> None:
    pages.notes = [note(40_00, 1, 0, number=3)]
    texts = await texts_of(client, "credit-note/3")
    assert "Annas Kaffe ApS\nTorvet 1\n8000 Aarhus C\nCVR 12345678" in texts
    for words, value in (
        ("Nummer", "TEST-1-C3 · test, ingen rigtige penge"),
        ("Til kvittering", "TEST-1-17"),
        ("Dato", "2. jan. 2027 kl. 00.30"),
        ("Reference", "K7F3"),
        ("Beskrivelse", "Coffee"),
        ("Refunderet", "40,00 kr."),
        ("Uden moms (25 %)", "32,00 kr."),
        ("Heraf moms (25 %)", "8,00 kr."),
    ):
        assert texts[texts.index(words) + 1] == value
    for path in ("1", "4", "03", "x", "-3", "%33%20"):
        assert (await client.get(f"/p/a-token/credit-note/{path}")).status == 404


async def test_refund_that_failed_leaves_its_credit_note_and_the_document_that_cancels_it(
    client: Client, pages: SomePages
) -> None:
    pages.notes = [note(40_00, 1, 0, number=3), note(40_00, 5, 0, number=4, failed=1)]
    canceled = await texts_of(client, "credit-note/3", "en")
    assert "Not valid: the refund failed, and the amount is back at the seller." in canceled
    assert "Cancelled by TEST-1-C4." in canceled
    cancellation = await texts_of(client, "credit-note/4", "en")
    assert cancellation[cancellation.index("Cancels credit note") + 1] == "TEST-1-C3"
    assert cancellation[cancellation.index("Back at the seller") + 1] == "DKK 40.00"
    assert cancellation[cancellation.index("Of which VAT (25%)") + 1] == "DKK 8.00"
    receipt = await receipt_texts(client, "en")
    at = receipt.index("Refund failed 6 Jan 2027")
    assert receipt[at + 1 : at + 3] == ["Credit note TEST-1-C4", "DKK 40.00"]
    assert receipt[receipt.index("Total after refund") + 1] == "DKK 149.50"
    assert "Credit note TEST-1-C3" not in receipt


async def test_incomplete_seller_makes_a_credit_note_a_confirmation_without_numbers(
    client: Client, pages: SomePages
) -> None:
    pages.notes = [note(40_00, 1, 0, number=3), note(40_00, 5, 0, number=4, failed=1)]
    shop = replace(COMPLETE_SHOP, seller_number="")
    pages.pages["a-token"] = replace(PAGE, payment=PAID, shop=shop, state=PageState.PAID)
    for number, title in ((3, "Refund confirmation"), (4, "Refund failed: cancellation")):
        texts = await texts_of(client, f"credit-note/{number}", "en")
        assert title in texts
        assert not [words for words in texts if "TEST-1" in words or "Credit note" in words]


@pytest.mark.parametrize("missing", ["seller_name", "seller_address", "seller_number", "seller_contact", "vat_rate"])
async def test_incomplete_seller_details_make_it_a_confirmation_without_a_number(
    client: Client, pages: SomePages, missing: str
) -> None:
    shop = replace(COMPLETE_SHOP, **{missing: None if missing == "vat_rate" else "  "})  # type: ignore[arg-type]
    assert len(missing_fields(shop)) == 1
    pages.pages["a-token"] = replace(PAGE, payment=PAID, shop=shop, state=PageState.PAID)
    texts = await receipt_texts(client)
    assert "Betalingsbekræftelse" in texts
    assert not {"Kvittering", "Kvitteringsnummer", "TEST-1-17"} & set(texts)
    assert ("Heraf moms (25 %)" in texts) == (missing != "vat_rate")
    page = Read(await (await client.get("/p/a-token?lang=da")).text())
    assert "Betalingsbekræftelse" in page.words


async def test_receipt_links_the_sellers_mail_and_telephone(client: Client, pages: SomePages) -> None:
    shop = replace(COMPLETE_SHOP, seller_contact="hej@annas-kaffe.dk, +45 12 34 56 78 (10-16)")
    pages.pages["a-token"] = replace(PAGE, payment=PAID, shop=shop, state=PageState.PAID)
    answer = await (await client.get("/p/a-token/receipt")).text()
    assert '<a href="mailto:hej@annas-kaffe.dk">hej@annas-kaffe.dk</a>, ' in answer
    assert '<a href="tel:+4512345678">+45 12 34 56 78</a> (10-16)' in answer


@pytest.mark.parametrize(
    ("contact", "links"),
    [
        ("Torvet 1, 8000 Aarhus", []),
        ("ring (0046) 8-123 456 78", ["tel:0046812345678"]),
        ("a.b+c@kaffe.example.dk eller 12345678", ["mailto:a.b%2Bc@kaffe.example.dk", "tel:12345678"]),
        ("javascript:alert(1)", []),
        ("", []),
    ],
)
def test_contact_is_linked_where_it_is_an_address_or_a_number(contact: str, links: list[str]) -> None:
    parts = linked_contact(contact)
    assert "".join(words for words, _ in parts) == contact
    assert [url for _, url in parts if url] == links


async def test_reserved_money_has_a_confirmation_with_its_end(client: Client, pages: SomePages) -> None:
    until = PAID_AT + timedelta(days=6, hours=12)
    held = replace(
        PAYMENT, status=PaymentStatus.AUTHORIZED, manual_capture=True, authorized_at=PAID_AT, capture_before=until
    )
    pages.pages["a-token"] = replace(PAGE, payment=held, shop=COMPLETE_SHOP, state=PageState.RESERVED)
    texts = await receipt_texts(client, "en")
    assert {"Confirmation of reservation", "7 Jan 2027, 12:30", "DKK 149.50"} <= set(texts)
    assert any("Nothing has been charged yet." in words for words in texts)
    assert not {"Receipt number", "Receipt"} & set(texts)
    page = await (await client.get("/p/a-token?lang=en")).text()
    assert "The seller can charge it until 7 Jan 2027, 12:30." in page
    assert "/p/a-token/receipt" in page


@pytest.mark.parametrize("status", [status for status in PaymentStatus if status is not PaymentStatus.SUCCEEDED])
async def test_payment_without_received_money_has_no_receipt(
    client: Client, pages: SomePages, status: PaymentStatus
) -> None:
    pages.pages["a-token"] = replace(PAGE, payment=replace(PAYMENT, status=status), shop=COMPLETE_SHOP)
    assert (await client.get("/p/a-token/receipt")).status == 404
    assert "/receipt" not in await (await client.get("/p/a-token")).text()


async def test_hostile_description_is_shown_as_text_on_the_receipt(client: Client, pages: SomePages) -> None:
    hostile = "<script>alert(1)</script>\u202e" + "x" * 4000
    pages.pages["a-token"] = replace(
        PAGE, payment=replace(PAID, description=hostile), shop=COMPLETE_SHOP, state=PageState.PAID
    )
    answer = await (await client.get("/p/a-token/receipt")).text()
    assert "<script>" not in answer
    assert hostile in Read(answer).words


@given(st.integers(1, 99_999_999), st.integers(0, 100_00))
def test_vat_agrees_with_decimal_arithmetic(minor: int, rate: int) -> None:
    exact = Decimal(minor) * rate / (100_00 + rate)
    assert vat_within(minor, rate) == int(exact.quantize(Decimal(1), ROUND_HALF_UP))


def test_receipt_amounts_are_in_the_payments_currency() -> None:
    one = replace(note(1, 1, 0, number=1), amount=Money(1, "EUR"))
    receipt = make_receipt(replace(PAID, amount=Money(149_50, "EUR")), COMPLETE_SHOP, [one])
    assert receipt is not None
    amounts = [receipt.amount, receipt.refunded, receipt.net_amount]
    amounts += [each for line in receipt.vat_lines + receipt.net_vat_lines for each in (line.net, line.vat, line.gross)]
    assert {each.currency for each in amounts} == {"EUR"}


@given(st.integers(1, 99_999_999), st.integers(1, 100_00), st.data())
def test_net_and_vat_add_up_in_every_document_and_in_all_together(
    received: int, rate: int, data: st.DataObject
) -> None:
    shop = replace(COMPLETE_SHOP, vat_rate=rate)
    payment = replace(PAID, amount=Money(received, "DKK"), amount_received=received)
    left, parts = received, list[int]()
    for part in data.draw(st.lists(st.integers(1, received), max_size=5)):
        parts.append(min(part, left))
        left -= parts[-1]
        if not left:
            break
    notes = [note(part, at, sum(parts[:at]), number=at + 1) for at, part in enumerate(parts)]
    failing = data.draw(st.sets(st.sampled_from(range(len(parts))))) if parts else set()
    for at in sorted(failing):
        notes.append(note(parts[at], at + 10, sum(parts[:at]), number=len(notes) + 1, failed=at))
    receipt, documents = make_receipt(payment, shop, notes), make_credit_notes(payment, shop, notes)
    assert receipt is not None
    for line, gross in [
        *((line, receipt.amount) for line in receipt.vat_lines),
        *((line, receipt.net_amount) for line in receipt.net_vat_lines),
        *((line, each.amount) for each in documents for line in each.vat_lines),
    ]:
        assert line.net + line.vat == line.gross == gross
    by_number = {each.number: each.vat_lines for each in documents}
    for each in documents:
        assert 0 <= each.vat_lines[0].vat.minor <= each.amount.minor
        assert each.cancels is None or by_number[each.cancels] == each.vat_lines
    signs = [(-1 if each.cancels is None else 1) for each in documents]
    for name in ("gross", "net", "vat"):
        moved = sum(sign * getattr(each.vat_lines[0], name).minor for sign, each in zip(signs, documents, strict=True))
        assert getattr(receipt.vat_lines[0], name).minor + moved == getattr(receipt.net_vat_lines[0], name).minor
    if not failing:
        assert receipt.net_vat_lines[0].vat.minor == vat_within(receipt.net_amount.minor, rate)
