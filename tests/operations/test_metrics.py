"""/metrics: who may read it, the values after real payments, and what must not be in it."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.operations.metrics import GaugeCollector, Metrics
from handlers.runtime.heartbeats import Heartbeats
from handlers.web.monitoring import MonitoringRoutes
from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from tests.support.evidence import idle
from tests.support.world import OWNER, Json, World, opened

TOKEN = "a-token-for-the-scraper"
Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def samples(text: str) -> Samples:
    """Every sample by name and labels."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    """One sample; 0 if it was never set."""
    return found.get(name, {}).get(tuple(sorted(labels.items())), 0.0)


async def scraped(world: World, **headers: str) -> Samples:
    async with world.http.get(f"{world.service.base}/metrics", headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain")
        return samples(await response.text())


async def pay(world: World) -> Json:
    world.say("/pay 149,50 Coffee for Olga")
    return await world.message("Coffee for Olga")


@asynccontextmanager
async def metrics_route(
    clock: FakeClock, token: str = "", host: str = "127.0.0.1", is_public: bool = False
) -> AsyncIterator[TestClient]:  # type: ignore[type-arg]
    async def page() -> bytes:
        return b"kvit_up 1\n"

    routes = MonitoringRoutes(clock, Heartbeats(), {}, metrics_page=page, token=token, is_public=is_public)
    app = web.Application()
    app.add_routes([web.get("/metrics", routes.metrics)])
    async with TestClient(TestServer(app, host=host)) as client:
        yield client


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"Authorization": f"bearer {TOKEN}", "X-Forwarded-For": "192.0.2.1"}, 200),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer \u00e6\u00f8\u00e5"}, 401),
        ({}, 401),
    ],
)
async def test_metrics_with_a_token_set_require_that_token(
    clock: FakeClock, headers: Mapping[str, str], status: int
) -> None:
    async with metrics_route(clock, TOKEN) as client:
        assert (await client.get("/metrics", headers=headers)).status == status


@pytest.mark.parametrize(
    "name",
    ["Forwarded", "X-Forwarded-For", "x-forwarded-proto", "X-FORWARDED-HOST", "Via", "via", "X-Real-IP", "x-real-ip"],
)
async def test_metrics_without_a_token_are_404_behind_a_proxy(clock: FakeClock, name: str) -> None:
    async with metrics_route(clock) as client:
        assert (await client.get("/metrics")).status == 200
        assert (await client.get("/metrics", headers={name: "127.0.0.1"})).status == 404
        assert (await client.get("/metrics", headers={"Authorization": "Bearer x", name: "::1"})).status == 404


async def test_metrics_without_a_token_are_404_to_everybody_once_there_is_a_public_url(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with metrics_route(clock, is_public=True) as client:
        assert (await client.get("/metrics")).status == 404
    async with metrics_route(clock, TOKEN, is_public=True) as client:
        assert (await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})).status == 200
    for token, status in ((None, 404), (TOKEN, 401)):
        folder = tmp_path / str(status)
        folder.mkdir()
        async with opened(clock, folder, public_url="http://127.0.0.1:8080", metrics_token=token or "") as world:
            async with world.http.get(f"{world.service.base}/metrics") as answer:
                assert answer.status == status
            if token:
                assert value(await scraped(world, Authorization=f"Bearer {token}"), "kvit_database_up") == 1


def own_address() -> str | None:
    """An address of this machine other than loopback, found without sending a packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if address.startswith("127.") else address


async def test_metrics_without_a_token_are_404_for_other_machines(clock: FakeClock) -> None:
    address = own_address()
    if address is None:
        pytest.skip("this machine has no other address than loopback")
    async with metrics_route(clock, host=address) as client:
        assert (await client.get("/metrics")).status == 404


async def test_metrics_count_a_sale_from_webhook_to_payment_message(world: World) -> None:
    assert value(await scraped(world), "kvit_payments", state="succeeded", currency="DKK") == 0
    await pay(world)
    await world.decide("approve")
    await world.message("✅ Paid:")
    await idle(world)
    world.clock.advance(61)
    found = await scraped(world)
    assert value(found, "kvit_payments", state="succeeded", currency="DKK") == 1
    assert value(found, "kvit_stripe_events_total", outcome="stored") >= 1
    assert value(found, "kvit_stripe_event_lag_seconds_count") >= 1
    assert value(found, "kvit_job_seconds_count", queue="updates", outcome="done") == 1
    assert value(found, "kvit_job_seconds_count", queue="outbox", outcome="done") >= 2
    assert value(found, "kvit_api_call_seconds_count", vendor="stripe", call="POST payment_intents") == 1
    assert value(found, "kvit_api_call_seconds_count", vendor="telegram", call="sendMessage") == 2
    assert {dict(labels)["queue"] for labels in found["kvit_jobs_pending"]} == {"events", "updates", "outbox"}
    assert value(found, "kvit_database_up") == 1
    tasks = {dict(labels)["task"] for labels in found["kvit_heartbeat_age_seconds"]}
    assert tasks >= {"events", "updates", "outbox", "reconciler", "monitor"}


async def test_metrics_count_rejected_webhooks_and_failed_calls(world: World) -> None:
    async with world.http.post(f"{world.service.base}/stripe/webhook", data=b"{}") as response:
        assert response.status == 400
    world.stripe.state.key = "sk_test_ofSomebodyElse0000000000"
    await pay(world)
    await idle(world)
    found = await scraped(world)
    assert value(found, "kvit_stripe_events_total", outcome="rejected") == 1
    failed = value(found, "kvit_api_call_failures_total", vendor="stripe", call="POST payment_intents", status="401")
    assert failed >= 1


async def test_payments_are_counted_at_most_once_a_minute(world: World) -> None:
    await scraped(world)
    await pay(world)
    assert value(await scraped(world), "kvit_payments", state="open", currency="DKK") == 0
    world.clock.advance(61)
    assert value(await scraped(world), "kvit_payments", state="open", currency="DKK") == 1


async def test_metrics_contain_no_personal_data_payment_or_secret(world: World) -> None:
    payment_message = await pay(world)
    await world.decide("approve")
    await world.message("✅ Paid:")
    await idle(world)
    world.clock.advance(61)
    async with world.http.get(f"{world.service.base}/metrics") as response:
        text = await response.text()
    ref = re.search(r"#([A-Z0-9]{4,8})", payment_message["text"])
    assert ref is not None
    secrets = [secret for secret in world.settings.secrets() if secret]
    for text_part in (ref[1], str(OWNER), world.intent()["id"], "Coffee", "Olga", *secrets):
        assert text_part not in text
    labels = {name for family in samples(text).values() for pairs in family for name, _ in pairs}
    assert labels <= {"state", "currency", "queue", "outcome", "vendor", "call", "status", "task", "le"}


async def test_two_services_in_one_process_have_separate_metrics(clock: FakeClock) -> None:
    first, second = Metrics(clock), Metrics(clock)
    first.stripe_event("stored", 1.0)
    for metrics, count in ((first, 1.0), (second, 0.0)):
        assert (metrics.registry.get_sample_value("kvit_stripe_events_total", {"outcome": "stored"}) or 0.0) == count


async def test_pending_jobs_show_their_number_and_age(db: Database, clock: FakeClock) -> None:
    queue = JobQueue(db, "events")
    collector = GaugeCollector(db, Metrics(clock), [queue], Heartbeats(), clock)
    await queue.enqueue(NewJob("a", "1", "k"), NewJob("b", "1", "k"), now=clock.now())
    clock.advance(90)
    found = samples((await collector.page()).decode())
    assert value(found, "kvit_jobs_pending", queue="events") == 2
    assert value(found, "kvit_jobs_oldest_seconds", queue="events") == 90


async def test_metrics_without_a_database_report_it_down(clock: FakeClock, tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/nowhere/kvit.db")
    heartbeats = Heartbeats()
    heartbeats.beat("reconciler", clock.now())
    collector = GaugeCollector(db, Metrics(clock), [JobQueue(db, "events")], heartbeats, clock)
    found = samples((await collector.page()).decode())
    assert value(found, "kvit_database_up") == 0
    assert found["kvit_heartbeat_age_seconds"]
    await db.close()


async def test_payment_counts_use_a_covering_index(db: Database) -> None:
    query = "EXPLAIN QUERY PLAN SELECT status, currency, count(*) FROM payments GROUP BY status, currency"
    plan = await db.read(lambda tx: [row["detail"] for row in tx.exec_driver_sql(query).mappings()])
    assert plan == ["SCAN payments USING COVERING INDEX ix_payments_state"]


async def test_running_service_requires_the_metrics_token(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path, metrics_token=TOKEN) as world:
        async with world.http.get(f"{world.service.base}/metrics") as response:
            assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        await scraped(world, Authorization=f"Bearer {TOKEN}")
