"""Error pages: they say what to do, and reveal no internal details."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import quote

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.pay_page.service import PayPage
from storage.errors import DatabaseUnavailable
from tests.pay_page.test_page_state import PAYMENT
from tests.support.page_html import PAGE
from tests.support.web_server import NoPages, SomePages, doors


class FailingPages(NoPages):
    """Pages that raise an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def find(self, token: str) -> PayPage | None:
        raise self.error


async def test_page_without_database_is_503_with_retry_after(clock: FakeClock) -> None:
    async with doors(clock, FailingPages(DatabaseUnavailable("/srv/kvit.db is locked"))) as client:
        answer = await client.get("/p/a-token", headers={"Accept": "text/html"})
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Refresh"] == f"{answer.headers['Retry-After']};url=/p/a-token"
        danish = await client.get("/p/a-token/receipt?lang=da", headers={"Accept": "text/html"})
        assert danish.headers["Refresh"].endswith(";url=/p/a-token?lang=da")
        assert "Tilbage om et øjeblik" in await danish.text()
        page = await answer.text()
    assert "Back in a moment" in page
    assert "kvit.db" not in page


async def test_unexpected_error_shows_a_request_id_and_no_internal_details(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with doors(clock, FailingPages(ZeroDivisionError("internal detail"))) as client:
        answer = await client.get("/p/a-token", headers={"Accept": "text/html"})
        assert answer.status == 500
        page = await answer.text()
        plain = await (await client.get("/p/a-token")).text()
    assert re.search(r"Error reference [0-9a-f]{8}", page)
    assert plain == "Internal Server Error\n"
    for hidden in ("internal detail", "Traceback", "ZeroDivisionError"):
        assert hidden not in page
    assert "a-token" not in caplog.text
    logged = [record.getMessage() for record in caplog.records]
    assert logged == ["GET /p/{token} failed"] * 2


@pytest.mark.parametrize(
    "behind",
    [".", "/", ")", ").", ",", ";", ":", "!", "'", '"', ">", "]", "}", "*", "_", "…", "»", "”", " ", "//", "._"],
)
@pytest.mark.parametrize("link", ["/p/a-token", "/p/a-token/receipt", "/p/ends_-/state"])
async def test_punctuation_behind_a_link_leads_to_the_page(clock: FakeClock, link: str, behind: str) -> None:
    pages = SomePages(PAGE, replace(PAGE, payment=replace(PAYMENT, page_token="ends_-")))
    async with doors(clock, pages) as client:
        answer = await client.get(f"{link}{quote(behind)}?lang=da&x=1", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, f"{link}?lang=da")
        answer = await client.get(f"{link}{quote(behind)}?lang=da")
        assert (answer.url.path, answer.url.query_string) == (link, "lang=da")


async def test_token_that_ends_with_punctuation_is_found_before_any_is_cut(clock: FakeClock) -> None:
    pages = SomePages(*(replace(PAGE, payment=replace(PAYMENT, page_token=token)) for token in ("ends_-", "ends_")))
    async with doors(clock, pages) as client:
        for path, token in (("ends_-", "ends_-"), ("ends_-.", "ends_-"), ("ends_)", "ends_"), ("ends__", "ends_")):
            answer = await client.get(f"/p/{path}")
            assert answer.url.path == f"/p/{token}"


@pytest.mark.parametrize("path", ["/p/unknown", "/p/unknown.", "/p/a-token/nothing", "/p/.", "/p/)/", "/nowhere."])
async def test_other_unknown_links_stay_404(clock: FakeClock, path: str) -> None:
    async with doors(clock, SomePages(PAGE)) as client:
        assert (await client.get(path)).status == 404
        assert (await client.post(path)).status == 404


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        ("text/html;q=0", False),
        ("text/html; q=0.0, */*", False),
        ("TEXT/HTML ;q=0.1", True),
        ("application/json", False),
    ],
)
async def test_error_is_a_page_only_for_those_that_accept_one(clock: FakeClock, accept: str, is_page: bool) -> None:
    async with doors(clock) as client:
        answer = await client.get("/p/unknown", headers={"Accept": accept})
        assert (answer.content_type == "text/html") is is_page
