"""What watches the service learns whether it lives and whether it works, by name."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.runtime.heartbeats import Heartbeats
from handlers.web.monitoring import MonitoringRoutes
from storage.errors import DatabaseUnavailable
from tests.support.web_server import doors


async def good() -> bool:
    return True


async def bad() -> bool:
    return False


async def broken() -> bool:
    raise DatabaseUnavailable("database is locked")


async def endless() -> bool:
    await asyncio.Event().wait()
    return True


async def test_healthz_is_200_while_not_ready(clock: FakeClock) -> None:
    heartbeats = Heartbeats()
    heartbeats.register("reconciler", 60)
    async with doors(clock, heartbeats=heartbeats, ready={"database": broken}) as client:
        assert (await client.get("/healthz")).status == 200
        assert (await client.head("/healthz")).status == 200


async def test_everything_works(clock: FakeClock) -> None:
    heartbeats = Heartbeats()
    heartbeats.register("reconciler", 60)
    heartbeats.beat("reconciler", clock.now())
    async with doors(clock, heartbeats=heartbeats, ready={"database": good, "schema": good}) as client:
        answer = await client.get("/readyz")
        assert answer.status == 200
        assert await answer.json() == {"ready": True, "not_ready": []}


async def test_readyz_names_failing_checks_and_logs_the_reason(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    heartbeats = Heartbeats()
    heartbeats.register("inbox worker", 10)
    heartbeats.register("reconciler", 60)
    heartbeats.beat("inbox worker", clock.now())
    heartbeats.beat("reconciler", clock.now())
    clock.advance(11)
    async with doors(clock, heartbeats=heartbeats, ready={"database": broken, "schema": bad, "disk": good}) as client:
        answer = await client.get("/readyz")
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert await answer.json() == {"ready": False, "not_ready": ["database", "schema", "inbox worker"]}
    assert "database is locked" in caplog.text


async def test_hanging_check_is_not_ready(clock: FakeClock) -> None:
    operations = MonitoringRoutes(
        clock, Heartbeats(), {"database": endless, "schema": good}, check_timeout_seconds=0.01
    )
    assert [await operations._passes(name) for name in ("database", "schema")] == [False, True]


def test_task_without_a_heartbeat_is_stale(clock: FakeClock) -> None:
    heartbeats = Heartbeats()
    heartbeats.register("outbox", 5)
    assert heartbeats.stale(clock.now()) == ["outbox"]


def test_overdue_heartbeat_is_stale(clock: FakeClock) -> None:
    heartbeats = Heartbeats()
    heartbeats.register("outbox", 5)
    heartbeats.beat("outbox", clock.now())
    assert heartbeats.stale(clock.now() + timedelta(seconds=5)) == []
    assert heartbeats.stale(clock.now() + timedelta(seconds=5.001)) == ["outbox"]


def test_unregistered_task_is_never_stale(clock: FakeClock) -> None:
    heartbeats = Heartbeats()
    heartbeats.beat("outbox", clock.now())
    assert heartbeats.stale(clock.now() + timedelta(days=1)) == []


@pytest.mark.parametrize("path", ["/", "/metrics", "/favicon.ico", "/p/", "/p/a/qr.svg", "/healthz/"])
async def test_what_is_not_there_is_a_404(clock: FakeClock, path: str) -> None:
    async with doors(clock) as client:
        answer = await client.get(path)
        assert answer.status == 404
        assert await answer.text() == "Not Found\n"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
async def test_other_methods_are_refused(clock: FakeClock, path: str, method: str) -> None:
    async with doors(clock) as client:
        answer = await client.request(method, path)
        assert answer.status == 405
        assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"}
