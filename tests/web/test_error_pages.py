"""The page when something is wrong on our side: plain words, and nothing of the inside."""

from __future__ import annotations

import re

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.pay_page.service import PayPage
from storage.errors import DatabaseUnavailable
from tests.support.web_server import NoPages, doors


class Lost(NoPages):
    """The database is out of reach, or the code is wrong."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def find(self, token: str) -> PayPage | None:
        raise self.error


async def test_without_a_database_the_page_asks_to_come_back(clock: FakeClock) -> None:
    async with doors(clock, Lost(DatabaseUnavailable("/srv/kvit.db is locked"))) as client:
        answer = await client.get("/p/a-token", headers={"Accept": "text/html"})
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        said = await answer.text()
    assert "Back in a moment" in said
    assert "kvit.db" not in said


async def test_our_own_mistake_shows_a_mark_and_nothing_of_the_inside(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with doors(clock, Lost(ZeroDivisionError("the inside"))) as client:
        answer = await client.get("/p/a-token", headers={"Accept": "text/html"})
        assert answer.status == 500
        said = await answer.text()
        plain = await (await client.get("/p/a-token")).text()
    assert re.search(r"Reference [0-9a-f]{8}", said)
    assert plain == "Internal Server Error\n"
    for hidden in ("the inside", "Traceback", "ZeroDivisionError"):
        assert hidden not in said
    assert "a-token" not in caplog.text
    logged = [record.getMessage() for record in caplog.records]
    assert logged == ["GET /p/{token} failed"] * 2
