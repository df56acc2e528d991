"""Stripe's webhook stores each correctly signed, relevant event once, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.stripe.event_parsing import event_of_job, parse_event
from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.models.job import Done, Job
from tests.support.fake_stripe_shop import start_shop
from tests.support.web_server import NEW, OLD, WebServer, app, event, raw, signed

Client = TestClient[web.Request, web.Application]


@pytest.fixture
def inbox(db: Database) -> JobQueue:
    return JobQueue(db, "inbox")


@pytest.fixture
async def client(inbox: JobQueue, clock: FakeClock) -> AsyncIterator[Client]:
    async with TestClient(WebServer(app(inbox, clock))) as client:
        yield client


Post = Callable[..., Awaitable[ClientResponse]]


@pytest.fixture
def post(client: Client, clock: FakeClock) -> Post:
    async def post(body: bytes | None = None, header: str | None = None) -> ClientResponse:
        body = raw() if body is None else body
        header = signed(body, clock.now(), NEW) if header is None else header
        headers = {"Stripe-Signature": header, "Content-Type": "application/json"}
        return await client.post("/stripe/webhook", data=io.BytesIO(body), headers=headers)

    return post


async def stored(inbox: JobQueue, clock: FakeClock) -> list[tuple[str, str, str]]:
    return [
        (job.key, job.ordering_key, job.kind) for job in await inbox.claim(now=clock.now(), limit=100, lease_seconds=60)
    ]


async def test_signed_event_is_stored_and_answered_with_200(post: Post, inbox: JobQueue, clock: FakeClock) -> None:
    answer = await post()
    assert answer.status == 200
    assert await stored(inbox, clock) == [("evt_1", "pi_1", "payment_intent.succeeded")]


async def test_repeated_event_is_answered_with_200_and_stored_once(post: Post, inbox: JobQueue) -> None:
    answers = await asyncio.gather(*(post() for _ in range(5)))
    assert [answer.status for answer in answers] == [200] * 5
    assert await inbox.depth() == 1


@pytest.mark.parametrize("secrets", [(OLD,), (NEW,), (OLD, NEW), ("whsec_of_somebody", NEW)])
async def test_either_secret_is_accepted_during_rotation(
    post: Post, clock: FakeClock, secrets: tuple[str, ...]
) -> None:
    assert (await post(header=signed(raw(), clock.now(), *secrets))).status == 200


@pytest.mark.parametrize("shift", [-300, -299, -1, 0, 1, 300])
async def test_signature_within_five_minutes_is_accepted(post: Post, clock: FakeClock, shift: int) -> None:
    assert (await post(header=signed(raw(), clock.now(), NEW, shift=shift))).status == 200


@pytest.mark.parametrize("shift", [-301, -3600, -31_536_000, 301, 3600])
async def test_signature_from_another_time_is_rejected(
    post: Post, inbox: JobQueue, clock: FakeClock, shift: int
) -> None:
    assert (await post(header=signed(raw(), clock.now(), NEW, shift=shift))).status == 400
    assert await inbox.depth() == 0


GOOD = "a" * 64


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=",
        "t=now,v1=" + GOOD,
        f"v1={GOOD}",
        "t=1795521600",
        "t=1795521600,v1",
        "t=1795521600,v1=",
        f"t=1795521600,v1={GOOD}",
        f"t=1795521600,v0={GOOD}",
        "t=1795521600,v1=æøå",
        f"t={'9' * 4000},v1={GOOD}",
        f"t={'9' * 5000},v1={GOOD}",
        "t=-1,v1=,v1=,v1=",
        ",,,,",
        "=" * 5000,
    ],
)
async def test_malformed_signature_is_rejected(post: Post, inbox: JobQueue, header: str) -> None:
    answer = await post(header=header)
    assert answer.status == 400
    assert await answer.text() == "This is not an event signed by Stripe.\n"
    assert await inbox.depth() == 0


async def test_request_without_signature_is_rejected(client: Client, inbox: JobQueue) -> None:
    assert (await client.post("/stripe/webhook", data=raw())).status == 400
    assert await inbox.depth() == 0


async def test_signature_of_another_scheme_is_rejected(post: Post, clock: FakeClock) -> None:
    assert (await post(header=signed(raw(), clock.now(), NEW).replace("v1=", "v0="))).status == 400


@pytest.mark.parametrize(
    "changed", [raw() + b"\n", json.dumps(event()).encode(), raw().replace(b"evt_1", b"evt_2"), b"\xef\xbb\xbf" + raw()]
)
async def test_signature_covers_the_exact_bytes(post: Post, clock: FakeClock, changed: bytes) -> None:
    assert (await post(changed, signed(raw(), clock.now(), NEW))).status == 400


@pytest.mark.parametrize("secrets", [(), ("",)])
async def test_without_a_secret_every_request_is_rejected(
    inbox: JobQueue, clock: FakeClock, secrets: tuple[str, ...]
) -> None:
    async with TestClient(WebServer(app(inbox, clock, secrets=secrets))) as client:
        header = signed(raw(), clock.now(), "", NEW)
        answer = await client.post("/stripe/webhook", data=raw(), headers={"Stripe-Signature": header})
    assert answer.status == 400
    assert await inbox.depth() == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b'"evt_1"',
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        raw(event(id=None)),
        raw(event(id="")),
        raw(event(id=7)),
        raw(event(id="evt_\ud800")),
        raw(event(id="evt_\x00")),
        raw(event(id="e" * 256)),
        raw(event(type=None)),
        raw(event(livemode=None)),
        raw(event(livemode="false")),
        raw({"object": "v2.core.event", "id": "evt_1", "type": "v1.x"}),
    ],
)
async def test_signed_body_that_is_no_event_is_rejected(post: Post, inbox: JobQueue, body: bytes) -> None:
    assert (await post(body)).status == 400
    assert await inbox.depth() == 0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
async def test_signed_body_in_another_encoding_is_rejected(
    client: Client, inbox: JobQueue, clock: FakeClock, encoding: str
) -> None:
    body = json.dumps(event(note="æ"), ensure_ascii=False).encode(encoding)
    timestamp = int(clock.now().timestamp())
    signature = _hmac(f"{timestamp}.".encode() + body, NEW)
    header = {"Stripe-Signature": f"t={timestamp},v1={signature}"}
    assert (await client.post("/stripe/webhook", data=body, headers=header)).status == 400
    assert await inbox.depth() == 0


@pytest.mark.parametrize(
    "irrelevant",
    [
        event(livemode=True),
        event(type="customer.created", data={"object": {"id": "cus_1", "object": "customer"}}),
        event(data={"object": {"id": "pi_2", "object": "payment_intent", "metadata": {}}}),
        event(data={"object": {"id": "ch_1", "object": "charge", "payment_intent": None}}),
        event(data={"object": {"id": "cs_1", "object": "checkout.session", "payment_intent": "pi_1"}}),
        event(data={"object": {"id": "pi_\ud800", "object": "payment_intent", "metadata": {"kvit_payment": "x"}}}),
        event(data=None),
        event(data={"object": []}),
    ],
)
async def test_irrelevant_event_is_answered_with_200_logged_and_not_stored(
    post: Post, inbox: JobQueue, irrelevant: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert (await post(raw(irrelevant))).status == 200
    assert await inbox.depth() == 0
    assert "evt_1" in caplog.text


@pytest.mark.parametrize("kind", ["charge", "refund", "dispute"])
@pytest.mark.parametrize("intent", ["pi_1", {"id": "pi_1", "object": "payment_intent"}])
async def test_event_of_a_related_object_has_the_intents_ordering_key(
    post: Post, inbox: JobQueue, clock: FakeClock, kind: str, intent: object
) -> None:
    body = raw(event(type=f"{kind}.updated", data={"object": {"id": "x_1", "object": kind, "payment_intent": intent}}))
    assert (await post(body)).status == 200
    assert await stored(inbox, clock) == [("evt_1", "pi_1", f"{kind}.updated")]


async def test_stored_event_holds_only_what_it_points_at(post: Post, inbox: JobQueue, clock: FakeClock) -> None:
    nested = event()
    nested["data"]["previous_attributes"] = {"deep": [{"client_secret": 'can"ary\\" \\'}], "note": "pi_9_secret_canary"}
    nested["data"]["object"] |= {"receipt_email": "canary@example.com", "description": "canary"}
    assert (await post(raw(nested))).status == 200
    (job,) = await inbox.claim(now=clock.now(), limit=1, lease_seconds=60)
    assert b"ary" not in job.payload
    assert event_of_job(job) == parse_event(raw(nested))
    assert len(job.payload) < 500


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_405(client: Client, method: str) -> None:
    answer = await client.request(method, "/stripe/webhook")
    assert answer.status == 405
    assert answer.headers["Allow"] == "POST"


async def test_events_of_the_fake_stripe_are_stored(client: Client, inbox: JobQueue, clock: FakeClock) -> None:
    async with start_shop(clock, webhook_secret=NEW) as shop:
        shop.hook = str(client.make_url("/stripe/webhook"))
        await shop.subscribe()
        intent = await shop.create(metadata={"kvit_payment": "pay_1", "kvit_ref": "K7F3"})
        await shop.control(f"intents/{intent.id}/approve")
        assert intent.client_secret is not None
        received: list[Job] = []
        async with asyncio.timeout(10):
            while len(received) < len(shop.kinds):
                for job in await inbox.claim(now=clock.now(), limit=9, lease_seconds=60):
                    received.append(job)
                    await inbox.finish(job, Done(), now=clock.now())
                await inbox.wait()
        assert {job.kind for job in received} == set(shop.kinds) >= {"payment_intent.succeeded", "charge.succeeded"}
    assert {job.ordering_key for job in received} == {intent.id}
    assert [job for job in received if intent.client_secret.encode() in job.payload] == []


def _hmac(message: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
