"""The page behind a payment's address: in words, for everybody, safe to be fetched, and the same for every browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.i18n import LANGUAGES
from handlers.pay_page.service import PageState
from tests.pay_page.test_page_state import NOON, PAYMENT
from tests.support.page_html import BEGINS, MOVING, PAGE, SHOP, WORDS, Client, Read, shown, stands
from tests.support.web_server import SomePages, doors

HOSTILE = ["<script>alert(1)</script>", "{{ 7*7 }}", "\u202egnihton", "'\"><img src=x>"]
TAGS = {
    *("html", "head", "meta", "title", "link", "style", "body", "main", "script", "noscript", "nav"),
    *("p", "h1", "small", "div", "span", "strong", "b", "a", "form", "button"),
}


@pytest.fixture
def pages() -> SomePages:
    return SomePages(PAGE)


@pytest.fixture
async def client(pages: SomePages, clock: FakeClock) -> AsyncIterator[Client]:
    async with doors(clock, pages) as client:
        yield client


def test_every_state_has_its_words_here() -> None:
    assert set(WORDS) == set(PageState)


@pytest.mark.parametrize("state", PageState)
async def test_the_page_says_the_state_the_amount_the_shop_and_the_text(
    client: Client, pages: SomePages, state: PageState
) -> None:
    read = Read(await shown(client, pages, stands(state)))
    assert {WORDS[state], SHOP.name, "Coffee"} <= set(read.words)
    assert any(words.startswith("Reference K7F3") for words in read.words)
    assert any("149.50" in words for words in read.words)
    assert [words for words in read.words if "24 Nov 2026, 13:05" in words] != [] or state not in BEGINS


@pytest.mark.parametrize("state", PageState)
async def test_the_page_looks_again_by_itself_only_while_something_moves(
    client: Client, pages: SomePages, state: PageState
) -> None:
    read = Read(await shown(client, pages, replace(PAGE, state=state)))
    refresh = [meta["content"] for meta in read.all("meta") if meta.get("http-equiv") == "refresh"]
    assert refresh == (["5"] if state in MOVING else [])
    assert "<noscript><meta http-equiv" in str(await shown(client, pages, replace(PAGE, state=state))) or not refresh


async def test_what_is_waited_for_without_an_end_is_said_as_it_is(client: Client, pages: SomePages) -> None:
    read = Read(await shown(client, pages, replace(PAGE, state=PageState.WAITING, until=None, action=None)))
    assert "One moment" in read.words


async def test_a_test_payment_says_so_and_a_real_one_does_not(client: Client, pages: SomePages) -> None:
    assert "TEST" in await shown(client, pages, replace(PAGE, test=True))
    assert "TEST" not in await shown(client, pages, PAGE)


@pytest.mark.parametrize("text", [*HOSTILE, "x" * 4000, ""])
async def test_what_was_typed_is_shown_and_never_obeyed(client: Client, pages: SomePages, text: str) -> None:
    page = await shown(client, pages, replace(PAGE, payment=replace(PAYMENT, description=text)))
    read = Read(page)
    assert text in read.words
    assert {tag for tag, _ in read.tags} <= TAGS


@pytest.mark.parametrize("state", PageState)
async def test_the_page_is_small_needs_no_script_and_nobody_else(
    client: Client, pages: SomePages, state: PageState
) -> None:
    page = await shown(client, pages, replace(PAGE, state=state))
    assert len(gzip.compress(page.encode())) < 6_000
    assert re.findall(r"<script.*?>", page) == ["<script>"]
    assert re.findall(r"(?:https?:)?//[a-z]|url\(|@import", page) == []
    assert " style=" not in page
    assert [key for _, attributes in Read(page).tags for key in attributes if key.startswith("on")] == []


async def test_the_page_can_be_read_by_everybody(client: Client, pages: SomePages) -> None:
    read = Read(await shown(client, pages, replace(PAGE, state=PageState.PAID)))
    assert read.all("html")[0]["lang"] == "en"
    assert len(read.all("h1")) == len(read.all("main")) == len(read.all("title")) == 1
    assert [div["role"] for div in read.all("div") if "role" in div] == ["status"]
    assert [span.get("aria-hidden") for span in read.all("span")] == ["true"]
    viewport = next(meta["content"] for meta in read.all("meta") if meta.get("name") == "viewport")
    assert viewport == "width=device-width,initial-scale=1"


async def test_every_colour_of_both_themes_can_be_read(client: Client, pages: SomePages) -> None:
    page = await shown(client, pages, PAGE)
    light, dark = (
        dict(re.findall(r"--([a-z-]+):(#[0-9a-f]+)", block)) for block in re.findall(r":root\{[^}]*\}", page)[:2]
    )
    for theme in (light, dark):
        for front in ("text", "muted", "success", "error", "warning", "link", "primary"):
            for back in ("surface", "subtle", "background"):
                assert _contrast(theme[front], theme[back]) >= 4.5, (front, back)
        assert _contrast(theme["on-primary"], theme["primary"]) >= 4.5


PATHS = ["/p/a-token", *(f"/p/a-token/{leaf}" for leaf in ("state", "qr.svg", "qr.png", "receipt")), "/p/nobody"]


@pytest.mark.parametrize("path", [*PATHS, "/healthz", "/readyz", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_every_answer_has_the_strict_headers(client: Client, method: str, path: str) -> None:
    headers = (await client.request(method, path, allow_redirects=False)).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "form-action" not in policy
    assert "unsafe" not in policy
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "noindex" in headers["X-Robots-Tag"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "kvit"


@pytest.mark.parametrize("path", ["/p/a-token", "/p/nobody"])
async def test_the_policy_allows_exactly_the_style_and_the_script_that_are_there(client: Client, path: str) -> None:
    answer = await client.get(path, headers={"Accept": "text/html"})
    page, policy = await answer.text(), answer.headers["Content-Security-Policy"]
    for tag, source in (("style", "style-src"), ("script", "script-src")):
        for found in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()
            assert f"{source} 'sha256-{digest}';" in policy


RETURN = "payment_intent=pi_1&payment_intent_client_secret=pi_1_secret_canary&redirect_status=succeeded"


@pytest.mark.parametrize("query", [RETURN, "payment_intent=pi_9", "redirect_status=failed", "redirect_status="])
async def test_who_comes_back_is_sent_to_the_clean_address_and_stripe_is_looked_at(
    client: Client, pages: SomePages, query: str
) -> None:
    answer = await client.get(f"/p/a-token?{query}", allow_redirects=False)
    assert answer.status == 303
    assert answer.headers["Location"] == "/p/a-token"
    assert pages.back == ["a-token"]
    assert "canary" not in await answer.text()


async def test_a_scanner_that_only_heads_for_the_way_back_has_nobody_asked(client: Client, pages: SomePages) -> None:
    answer = await client.head(f"/p/a-token?{RETURN}", allow_redirects=False)
    assert (answer.status, answer.headers["Location"], pages.back) == (303, "/p/a-token", [])


@pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Original-URL"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_header_and_no_query_leads_a_customer_elsewhere(client: Client, method: str, header: str) -> None:
    evil = {header: "evil.example", "Sec-Fetch-Site": "cross-site"}
    query = "redirect_status=x&return_url=https://evil.example&next=//evil.example&lang=//evil.example"
    answer = await client.request(method, f"/p/a-token?{query}", headers=evil, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/p/a-token")
    assert "evil" not in await (await client.get("/p/a-token", headers=evil)).text()


@pytest.mark.parametrize("status", ["succeeded", "failed"])
async def test_what_the_address_says_of_the_payment_is_not_believed(
    client: Client, pages: SomePages, status: str
) -> None:
    answer = await client.get(f"/p/a-token?payment_intent=pi_1&redirect_status={status}")
    assert answer.url.query_string == ""
    assert WORDS[PageState.READY] in await answer.text()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/p/a-token", "/p/a-token?utm_source=x&lang=da", "/p/a-token/state"])
async def test_a_look_changes_nothing(client: Client, pages: SomePages, method: str, path: str) -> None:
    assert (await client.request(method, path)).status == 200
    assert pages.back == []


@pytest.mark.parametrize(
    "path",
    [
        "/p/nobody",
        "/p/nobody?payment_intent=pi_1",
        "/p/nobody/state",
        "/p/nobody/receipt",
        "/p/nobody/qr.svg",
        "/p/%00",
        "/p/a%2Fb",
        "/p/" + "x" * 4000,
    ],
)
async def test_an_unknown_token_is_a_friendly_404(client: Client, path: str) -> None:
    plain = await client.get(path, allow_redirects=False)
    assert plain.status == 404
    assert await plain.text() == "Not Found\n"
    page = await client.get(path, allow_redirects=False, headers={"Accept": "text/html,*/*"})
    assert page.status == 404
    assert "Page not found" in await page.text()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize("path", PATHS[:-1])
async def test_other_methods_are_refused_with_what_is_allowed(client: Client, method: str, path: str) -> None:
    if (method, path) == ("POST", "/p/a-token"):
        return
    answer = await client.request(method, path)
    assert answer.status == 405
    assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"} | ({"POST"} if path == "/p/a-token" else set())
    assert await answer.text() == "Method Not Allowed\n"


async def test_head_answers_as_get_without_the_page(client: Client) -> None:
    get, head = await client.get("/p/a-token"), await client.head("/p/a-token")
    assert (head.status, head.headers["Content-Type"]) == (200, get.headers["Content-Type"])
    assert await head.read() == b""


@pytest.mark.parametrize("state", PageState)
async def test_programs_read_the_state_as_json(client: Client, pages: SomePages, state: PageState) -> None:
    pages.pages["a-token"] = replace(PAGE, state=state, until=NOON + timedelta(microseconds=5))
    answer = await client.get("/p/a-token/state")
    assert answer.content_type == "application/json"
    assert await answer.json() == {"state": state.value, "until": "2026-11-24T12:00:00Z"}


async def test_no_end_is_null(client: Client, pages: SomePages) -> None:
    pages.pages["a-token"] = replace(PAGE, until=None)
    assert await (await client.get("/p/a-token/state")).json() == {"state": "ready", "until": None}


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("", "fi"),
        ("de-DE,de;q=0.9", "fi"),
        ("da", "da"),
        ("de, en-GB;q=0.5, sv;q=0.9", "sv"),
        ("nn-NO", "nb"),
        ("en;q=0, sv-FI;q=0.1", "sv"),
        ("da;q=abc, sv;q=1;x=2, ;;,=", "fi"),
        ("da?lang=sv", "sv"),
        ("da?lang=de", "da"),
        ("da?lang=", "da"),
    ],
)
async def test_the_page_speaks_the_language_of_the_browser_or_of_the_shop(
    client: Client, pages: SomePages, asked: str, language: str
) -> None:
    pages.pages["a-token"] = replace(PAGE, shop=replace(SHOP, language="fi"))
    header, mark, query = asked.partition("?")
    answer = await client.get(f"/p/a-token{mark}{query}", headers={"Accept-Language": header})
    read = Read(await answer.text())
    assert read.all("html")[0]["lang"] == language
    assert [link["lang"] for link in read.all("a") if "lang" in link] == [
        other for other in LANGUAGES if other != language
    ]


def _contrast(front: str, back: str) -> float:
    """WCAG 2's contrast ratio of two colours."""
    lighter, darker = sorted((_luminance(front), _luminance(back)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
