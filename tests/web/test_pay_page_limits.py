"""Rate limits of taps on *Pay*, by payment and by address, and the client address behind proxies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.web.client_address import client_address
from handlers.web.pay_page import MAX_TAPS_PER_ADDRESS, MAX_TAPS_PER_CLIENT, MAX_TAPS_PER_PAYMENT
from storage.errors import StripeUnavailable
from tests.pay_page.test_page_state import PAYMENT
from tests.support.page_html import PAGE, Client, Read
from tests.support.web_server import SomePages, doors

PROXY = (ip_network("127.0.0.1"), ip_network("10.0.0.0/8"))


@pytest.fixture
def pages() -> SomePages:
    many = [replace(PAGE, payment=replace(PAYMENT, id=f"p{number}", page_token=f"t{number}")) for number in range(200)]
    pages = SomePages(*many)
    pages.answer = "https://pm-redirects.stripe.com/1"
    return pages


@pytest.fixture
async def client(pages: SomePages, clock: FakeClock) -> AsyncIterator[Client]:
    async with doors(clock, pages, trusted_proxies=PROXY) as client:
        yield client


async def tap(client: Client, token: str, forwarded_for: str = "", **headers: str) -> int:
    forwarded = {"X-Forwarded-For": forwarded_for} if forwarded_for else {}
    answer = await client.post(f"/p/{token}", headers=headers | forwarded, allow_redirects=False)
    return answer.status


async def test_taps_on_one_payment_are_limited_over_all_addresses(client: Client) -> None:
    statuses = [await tap(client, "t1", f"192.0.2.{number}") for number in range(MAX_TAPS_PER_PAYMENT + 1)]
    assert statuses == [303] * MAX_TAPS_PER_PAYMENT + [429]
    assert await tap(client, "t2", "192.0.2.1") == 303


async def test_one_address_cannot_use_up_the_taps_of_a_payment(client: Client) -> None:
    statuses = [await tap(client, "t1", "192.0.2.1") for _ in range(MAX_TAPS_PER_PAYMENT)]
    assert statuses == [303] * MAX_TAPS_PER_CLIENT + [429] * (MAX_TAPS_PER_PAYMENT - MAX_TAPS_PER_CLIENT)
    assert await tap(client, "t1", "192.0.2.2") == 303


async def test_taps_from_one_address_are_limited_over_all_payments(client: Client) -> None:
    statuses = [await tap(client, f"t{number}", "192.0.2.1") for number in range(MAX_TAPS_PER_ADDRESS + 1)]
    assert statuses == [303] * MAX_TAPS_PER_ADDRESS + [429]
    assert await tap(client, "t199", "192.0.2.2") == 303


async def test_forged_forwarded_addresses_do_not_evade_the_limit(client: Client) -> None:
    statuses = [
        await tap(client, f"t{number}", f"198.51.100.{number}, 192.0.2.1") for number in range(MAX_TAPS_PER_ADDRESS + 1)
    ]
    assert statuses[-1] == 429


async def test_tap_beyond_the_limit_is_429_with_retry_after_and_starts_no_attempt(
    client: Client, pages: SomePages, clock: FakeClock
) -> None:
    for _ in range(MAX_TAPS_PER_CLIENT):
        await tap(client, "t1")
    clock.advance(20)
    answer = await client.post("/p/t1", headers={"Accept": "text/html"}, allow_redirects=False)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "40")
    assert "Try again in 40 seconds" in await answer.text()
    assert len(pages.taps) == MAX_TAPS_PER_CLIENT
    clock.advance(40)
    assert await tap(client, "t1") == 303


@pytest.mark.parametrize(("query", "button"), [("", "Betal 149,50 kr."), ("?lang=fi", "Maksa 149,50 DKK")])
async def test_page_while_stripe_is_unavailable_keeps_seller_amount_language_and_button(
    client: Client, pages: SomePages, query: str, button: str
) -> None:
    pages.answer = StripeUnavailable()
    shop = replace(PAGE.shop, language="da", name="Annas Kaffe", seller_name="Annas Kaffe ApS")
    pages.pages["t1"] = replace(pages.pages["t1"], shop=shop)
    answer = await client.post(f"/p/t1{query}", headers={"Accept": "text/html"}, allow_redirects=False)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    page = (await answer.text()).replace("\u00a0", " ")
    assert ("Maksun suorittava Stripe ei vastaa" if query else "Stripe, som gennemfører den, svarer ikke") in page
    for kept in ("Annas Kaffe", "Annas Kaffe ApS", "149,50", "Coffee", "K7F3", button):
        assert kept in page
    assert Read(page).all("form") == [{"method": "post"}]
    assert '<meta http-equiv="refresh" content="15">' in page
    assert Read(page).all("main")[0]["data-reload-seconds"] == "15"


async def test_client_that_wants_no_page_gets_a_line_while_stripe_is_unavailable(
    client: Client, pages: SomePages
) -> None:
    pages.answer = StripeUnavailable()
    answer = await client.post("/p/t1", allow_redirects=False)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert await answer.text() == "Service Unavailable\n"


async def test_redirects_keep_the_selected_language(client: Client, pages: SomePages) -> None:
    pages.answer = None
    answer = await client.post("/p/t1?lang=fi&x=1", allow_redirects=False)
    assert answer.headers["Location"] == "/p/t1?lang=fi"
    answer = await client.get("/p/t1?lang=fi&redirect_status=succeeded", allow_redirects=False)
    assert answer.headers["Location"] == "/p/t1?lang=fi"


@pytest.mark.parametrize(
    ("peer", "header", "address"),
    [
        ("192.0.2.9", "198.51.100.1", "192.0.2.9"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("127.0.0.1", "10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", "198.51.100.1, nonsense", "127.0.0.1"),
        ("127.0.0.1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("127.0.0.1", "[2001:db8:1:2::9]:80", "2001:db8:1:2::/64"),
        ("::ffff:127.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
    ],
)
def test_client_address_trusts_forwarded_for_only_as_far_as_proxies_wrote_it(
    peer: str, header: str, address: str
) -> None:
    request = make_mocked_request("POST", "/", headers={"X-Forwarded-For": header} if header else {})
    assert client_address(request.clone(remote=peer), PROXY) == address


@given(st.text(max_size=200).filter(lambda text: "\r" not in text and "\n" not in text))
def test_client_address_accepts_any_header(header: str) -> None:
    request = make_mocked_request("POST", "/", headers={"X-Forwarded-For": header})
    assert client_address(request.clone(remote="127.0.0.1"), PROXY)
