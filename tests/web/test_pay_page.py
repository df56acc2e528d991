"""The pay page: content in every state, security headers, accessibility, language, and safe GET requests."""

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
from tests.support.page_html import BEGINS, MOVING, PAGE, SHOP, WORDS, Client, Read, page_in, shown
from tests.support.web_server import SomePages, doors

HOSTILE_TEXTS = ["<script>alert(1)</script>", "{{ 7*7 }}", "\u202egnihton", "'\"><img src=x>"]
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


def test_expected_headlines_cover_every_state() -> None:
    assert set(WORDS) == set(PageState)


@pytest.mark.parametrize("state", PageState)
async def test_page_shows_state_amount_shop_and_description(client: Client, pages: SomePages, state: PageState) -> None:
    parsed = Read(await shown(client, pages, page_in(state)))
    assert {WORDS[state], SHOP.name, "Coffee"} <= set(parsed.words)
    assert any(words.startswith("Reference K7F3") for words in parsed.words)
    assert any("149.50" in words for words in parsed.words)
    assert [words for words in parsed.words if "24 Nov 2026, 13:05" in words] != [] or state not in BEGINS


@pytest.mark.parametrize("state", PageState)
async def test_page_without_script_reloads_only_while_the_state_may_change_soon(
    client: Client, pages: SomePages, state: PageState
) -> None:
    parsed = Read(await shown(client, pages, replace(PAGE, state=state)))
    refresh = [meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv") == "refresh"]
    assert refresh == (["5"] if state in MOVING else [])
    assert "<noscript><meta http-equiv" in str(await shown(client, pages, replace(PAGE, state=state))) or not refresh


async def test_page_that_waits_for_stripe_says_one_moment(client: Client, pages: SomePages) -> None:
    parsed = Read(await shown(client, pages, replace(PAGE, state=PageState.WAITING, until=None, action=None)))
    assert "One moment" in parsed.words


async def test_page_is_marked_test_only_for_test_payments(client: Client, pages: SomePages) -> None:
    assert "TEST" in await shown(client, pages, replace(PAGE, test=True))
    assert "TEST" not in await shown(client, pages, PAGE)


@pytest.mark.parametrize("text", [*HOSTILE_TEXTS, "x" * 4000, ""])
async def test_hostile_description_is_shown_as_text(client: Client, pages: SomePages, text: str) -> None:
    page = await shown(client, pages, replace(PAGE, payment=replace(PAYMENT, description=text)))
    parsed = Read(page)
    assert text in parsed.words
    assert {tag for tag, _ in parsed.tags} <= TAGS


@pytest.mark.parametrize("state", PageState)
async def test_page_is_small_and_loads_nothing_from_elsewhere(
    client: Client, pages: SomePages, state: PageState
) -> None:
    page = await shown(client, pages, replace(PAGE, state=state))
    assert len(gzip.compress(page.encode())) < 6_000
    assert re.findall(r"<script.*?>", page) == ["<script>"]
    assert re.findall(r"(?:https?:)?//[a-z]|url\(|@import", page) == []
    assert " style=" not in page
    assert [key for _, attributes in Read(page).tags for key in attributes if key.startswith("on")] == []


async def test_page_has_the_landmarks_that_assistive_technology_needs(client: Client, pages: SomePages) -> None:
    parsed = Read(await shown(client, pages, replace(PAGE, state=PageState.PAID)))
    assert parsed.all("html")[0]["lang"] == "en"
    assert len(parsed.all("h1")) == len(parsed.all("main")) == len(parsed.all("title")) == 1
    assert [div["role"] for div in parsed.all("div") if "role" in div] == ["status"]
    assert [span.get("aria-hidden") for span in parsed.all("span")] == ["true"]
    viewport = next(meta["content"] for meta in parsed.all("meta") if meta.get("name") == "viewport")
    assert viewport == "width=device-width,initial-scale=1"


async def test_colours_of_both_themes_have_enough_contrast(client: Client, pages: SomePages) -> None:
    page = await shown(client, pages, PAGE)
    light, dark = (
        dict(re.findall(r"--([a-z-]+):(#[0-9a-f]+)", block)) for block in re.findall(r":root\{[^}]*\}", page)[:2]
    )
    for theme in (light, dark):
        for foreground in ("text", "muted", "success", "error", "warning", "link", "primary"):
            for background in ("surface", "subtle", "background"):
                assert _contrast(theme[foreground], theme[background]) >= 4.5, (foreground, background)
        assert _contrast(theme["on-primary"], theme["primary"]) >= 4.5


PATHS = [
    "/p/a-token",
    *(f"/p/a-token/{leaf}" for leaf in ("state", "qr.svg", "qr.png", "receipt", "credit-note/1")),
    "/p/nobody",
]


@pytest.mark.parametrize("path", [*PATHS, "/healthz", "/readyz", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_every_response_has_the_security_headers(client: Client, method: str, path: str) -> None:
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
async def test_content_security_policy_allows_exactly_the_inline_style_and_script(client: Client, path: str) -> None:
    answer = await client.get(path, headers={"Accept": "text/html"})
    page, policy = await answer.text(), answer.headers["Content-Security-Policy"]
    for tag, source in (("style", "style-src"), ("script", "script-src")):
        for content in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            sources = dict(line.strip().split(" ", 1) for line in policy.split(";"))[source].split()
            assert f"'sha256-{digest}'" in sources
            assert len(sources) == {"style": 1, "script": 2}[tag]  # the scripts of the pay page and of the receipt


RETURN_QUERY = "payment_intent=pi_1&payment_intent_client_secret=pi_1_secret_canary&redirect_status=succeeded"


@pytest.mark.parametrize("query", [RETURN_QUERY, "payment_intent=pi_9", "redirect_status=failed", "redirect_status="])
async def test_return_from_the_wallet_redirects_to_the_clean_url_and_asks_for_a_retrieve(
    client: Client, pages: SomePages, query: str
) -> None:
    answer = await client.get(f"/p/a-token?{query}", allow_redirects=False)
    assert answer.status == 303
    assert answer.headers["Location"] == "/p/a-token"
    assert pages.back == ["a-token"]
    assert "canary" not in await answer.text()


async def test_head_with_return_parameters_asks_for_no_retrieve(client: Client, pages: SomePages) -> None:
    answer = await client.head(f"/p/a-token?{RETURN_QUERY}", allow_redirects=False)
    assert (answer.status, answer.headers["Location"], pages.back) == (303, "/p/a-token", [])


@pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Original-URL"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_headers_and_query_cannot_redirect_a_customer_elsewhere(client: Client, method: str, header: str) -> None:
    evil = {header: "evil.example", "Sec-Fetch-Site": "cross-site"}
    query = "redirect_status=x&return_url=https://evil.example&next=//evil.example&lang=//evil.example"
    answer = await client.request(method, f"/p/a-token?{query}", headers=evil, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/p/a-token")
    assert "evil" not in await (await client.get("/p/a-token", headers=evil)).text()


@pytest.mark.parametrize("status", ["succeeded", "failed"])
async def test_return_parameters_do_not_change_the_shown_state(client: Client, pages: SomePages, status: str) -> None:
    answer = await client.get(f"/p/a-token?payment_intent=pi_1&redirect_status={status}")
    assert answer.url.query_string == ""
    assert WORDS[PageState.READY] in await answer.text()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/p/a-token", "/p/a-token?utm_source=x&lang=da", "/p/a-token/state"])
async def test_get_and_head_change_nothing(client: Client, pages: SomePages, method: str, path: str) -> None:
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
async def test_unknown_token_is_404_as_page_or_text(client: Client, path: str) -> None:
    plain = await client.get(path, allow_redirects=False)
    assert plain.status == 404
    assert await plain.text() == "Not Found\n"
    page = await client.get(path, allow_redirects=False, headers={"Accept": "text/html,*/*"})
    assert page.status == 404
    assert "Page not found" in await page.text()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize("path", PATHS[:-1])
async def test_other_methods_are_405_with_allow(client: Client, method: str, path: str) -> None:
    if (method, path) == ("POST", "/p/a-token"):
        return
    answer = await client.request(method, path)
    assert answer.status == 405
    assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"} | ({"POST"} if path == "/p/a-token" else set())
    assert await answer.text() == "Method Not Allowed\n"


async def test_head_has_the_headers_of_get_and_no_body(client: Client) -> None:
    get, head = await client.get("/p/a-token"), await client.head("/p/a-token")
    assert (head.status, head.headers["Content-Type"]) == (200, get.headers["Content-Type"])
    assert await head.read() == b""


@pytest.mark.parametrize("state", PageState)
async def test_state_is_served_as_json(client: Client, pages: SomePages, state: PageState) -> None:
    pages.pages["a-token"] = replace(PAGE, state=state, until=NOON + timedelta(microseconds=5))
    answer = await client.get("/p/a-token/state")
    assert answer.content_type == "application/json"
    assert await answer.json() == {"state": state.value, "until": "2026-11-24T12:00:00Z"}


async def test_state_without_an_end_has_until_null(client: Client, pages: SomePages) -> None:
    pages.pages["a-token"] = replace(PAGE, until=None)
    assert await (await client.get("/p/a-token/state")).json() == {"state": "ready", "until": None}


@pytest.mark.parametrize(
    ("accepted", "language"),
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
async def test_page_is_in_the_browsers_language_or_the_shops(
    client: Client, pages: SomePages, accepted: str, language: str
) -> None:
    pages.pages["a-token"] = replace(PAGE, shop=replace(SHOP, language="fi"))
    header, separator, query = accepted.partition("?")
    answer = await client.get(f"/p/a-token{separator}{query}", headers={"Accept-Language": header})
    parsed = Read(await answer.text())
    assert parsed.all("html")[0]["lang"] == language
    assert [link["lang"] for link in parsed.all("a") if "lang" in link] == [
        other for other in LANGUAGES if other != language
    ]


def _contrast(foreground: str, background: str) -> float:
    """WCAG 2's contrast ratio of two colours."""
    lighter, darker = sorted((_luminance(foreground), _luminance(background)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
