"""Error pages: they say what to do, and reveal no internal details."""

from __future__ import annotations

import re

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.pay_page.service import PayPage
from storage.errors import DatabaseUnavailable
from tests.support.web_server import NoPages, doors


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
