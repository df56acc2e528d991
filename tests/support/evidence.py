"""What journey tests compare with: requests and charges at Stripe, messages, rows; and waiting until Kvit is idle."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.app import AdapterOverrides
from bot.sandbox.fake_stripe.delivery import signature
from bot.sandbox.fake_stripe.store import RequestRecord
from bot.sandbox.fake_telegram import TranscriptEntry
from bot.stripe.gateway import StripeGateway
from tests.support.empty_database import ON_POSTGRES
from tests.support.postgres import query_server
from tests.support.world import OWNER, PATIENCE, Json, World

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REF = re.compile(r"#[A-Z][0-9][0-9A-Z]{2,6}\b")
ALERT = re.compile("⚠️ (?!Waiting for Stripe)|ℹ️ ")
ROOT = r"/v1/payment_intents"
CALLS = {
    "create": ("POST", re.compile(ROOT)),
    "list": ("GET", re.compile(ROOT)),
    "retrieve": ("GET", re.compile(ROOT + r"/\w+")),
    "confirm": ("POST", re.compile(ROOT + r"/\w+/confirm")),
    "cancel": ("POST", re.compile(ROOT + r"/\w+/cancel")),
    "capture": ("POST", re.compile(ROOT + r"/\w+/capture")),
    "refund": ("POST", re.compile("/v1/refunds")),
}
PAID = "✅ Paid · TEST"
EXPIRED = "⌛ The link expired · TEST"
PAID_NOTE = "✅ Paid: DKK 149.50 · #REF"
FAILED_NOTE = (
    "❌ #REF, DKK 149.50: The customer declined the payment or did not complete it. No money was taken."
    " Tap New link on the payment message to try again."
)
EXPIRED_NOTE = (
    "⌛ #REF, DKK 149.50: the link expired before it was paid. No money was taken."
    " Tap New link on the payment message when the customer is ready."
)
RETRIED = 45
"""Seconds within which a call that failed once or twice is retried."""

IDLE_POLLS = 10 if ON_POSTGRES else 3
"""How many polls in a row must find no work before the world counts as idle: the server takes longer for each step."""


def chat_lines(world: World, chat: int = OWNER) -> list[str]:
    """The first line of each message of the bot as it is now, oldest first, with `#REF` for every reference.

    Alerts to the owner are left out.
    """
    return [line for line in _first_lines(world, chat) if not ALERT.match(line)]


def alerts(world: World) -> list[str]:
    """The first lines of the alerts to the owner."""
    return [line for line in _first_lines(world, OWNER) if ALERT.match(line)]


def cards(world: World) -> list[TranscriptEntry]:
    """Every sent payment message: the only message whose reference has a line of its own."""
    return [entry for entry in world.sent() if re.search(rf"(?m)^{REF.pattern}$", entry.params["text"])]


def notices(world: World) -> list[TranscriptEntry]:
    """Every message that replies to a payment message."""
    payment_messages = {entry.result["message_id"] for entry in cards(world)}
    return [e for e in world.sent() if (e.result.get("reply_to_message") or {}).get("message_id") in payment_messages]


def versions(world: World) -> list[str]:
    """The first line of the payment message each time it was sent or edited."""
    shown = [e for e in world.telegram.transcript if e.method in {"sendMessage", "editMessageText"}]
    cards_only = [e for e in shown if re.search(rf"(?m)^{REF.pattern}$", e.params["text"])]
    return [re.sub(r"<[^>]*>", "", e.params["text"]).partition("\n")[0] for e in cards_only]


def calls(world: World, what: str) -> list[RequestRecord]:
    """The requests of one kind that reached Stripe, successful or not."""
    method, path = CALLS[what]
    return [r for r in world.stripe.store.requests if r.method == method and path.fullmatch(r.path)]


def keys(world: World, what: str) -> list[str]:
    """The versions in the idempotency keys of one kind of request, without repetitions, in order."""
    keys_used = dict.fromkeys(r.idempotency_key or "none" for r in calls(world, what))
    return [key.rpartition(":")[2] for key in keys_used]


def money(world: World) -> tuple[int, int]:
    """The number of intents at Stripe, and of successful charges."""
    ledger = world.stripe.store
    return len(ledger.intents), sum(charge["status"] == "succeeded" for charge in ledger.charges.values())


def rows(world: World, query: str, **values: Any) -> list[Json]:
    """The rows of a query, as dictionaries."""
    with closing(sqlite3.connect(f"file:{world.database}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(query, values)]


def payment(world: World) -> Json:
    """The row of the newest payment."""
    return rows(world, "SELECT * FROM payments ORDER BY created_at DESC, rowid DESC LIMIT 1")[0]


def actions(world: World) -> list[str]:
    """The actions in the audit log of payments, oldest first."""
    return [
        row["action"] for row in rows(world, "SELECT action FROM audit_log WHERE payment_id IS NOT NULL ORDER BY id")
    ]


def book(world: World) -> dict[str, list[Json]]:
    """All rows about payments and their jobs, without the time of the next check."""
    tables = ("payments", "attempts", "audit_log", "payment_messages", "jobs")
    found = {table: rows(world, f"SELECT * FROM {table} ORDER BY rowid") for table in tables}
    return found | {"payments": [row | {"next_check_at": None} for row in found["payments"]]}


@asynccontextmanager
async def short_timeout(world: World, kind: type[StripeGateway] = StripeGateway) -> AsyncIterator[StripeGateway]:
    """Makes Kvit wait for Stripe for 0.3 seconds instead of twenty; `kind` may be a gateway that misbehaves."""
    await world.stop()
    gateway = kind(world.settings.stripe_api_key.get_secret_value(), api_base=world.stripe.base, timeout=0.3)
    world.overrides = AdapterOverrides(gateway=lambda _: gateway)
    await world.begin()
    try:
        yield gateway
    finally:
        await world.stop()
        await gateway.close()


async def eventually(condition: Callable[[], Any]) -> None:
    """Returns once the condition is true; TimeoutError after `PATIENCE`."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def idle(world: World) -> None:
    """Returns once nothing is left to do before the clock advances."""
    await _wait_until_idle(world, _is_busy)


async def work_done(world: World, *, patience: float = PATIENCE) -> None:
    """Returns once Kvit has no due work; it may not have read all updates.

    TimeoutError after `patience` real seconds.
    """
    await _wait_until_idle(world, _due_work, patience)


async def _wait_until_idle(world: World, is_busy: Callable[[World], Any], patience: float = PATIENCE) -> None:
    idle_polls = 0
    try:
        async with asyncio.timeout(patience):
            while idle_polls < IDLE_POLLS:
                await asyncio.sleep(0.01)
                idle_polls = 0 if is_busy(world) else idle_polls + 1
    except TimeoutError as error:
        raise TimeoutError(f"still busy: {_due_work(world)}") from error


async def lines_become(world: World, lines: list[str]) -> None:
    """The chat shows these lines in the end, and keeps them."""
    try:
        await eventually(lambda: chat_lines(world) == lines)
    finally:
        assert chat_lines(world) == lines
    await idle(world)
    assert chat_lines(world) == lines


async def pass_time(world: World, seconds: float) -> None:
    """Advances the clock, and lets all work finish that is due then."""
    await idle(world)
    world.advance(seconds)
    await idle(world)


async def webhooks(world: World, mode: str) -> None:
    """Sets whether events are delivered, lost, or held until they are released."""
    await world.control("stripe", "webhooks", {"mode": mode})


async def lose_events(world: World) -> None:
    """Disables webhooks and the list of events, so that changes are found by retrieves only."""
    await webhooks(world, "lose")
    world.stripe.options.missing_permissions = ("events.read",)


async def fault(world: World, what: str, how: str, when: str = "before", **more: Any) -> None:
    """Makes Stripe fail the next request of a kind."""
    method, path = CALLS[what]
    route = path.pattern.replace(r"\w+", ":id")
    await world.control("stripe", "faults", {"method": f"{method} {route}", "how": how, "when": when, **more})


def event(world: World, kind: str) -> Json:
    """The newest event of a type at Stripe, as it would be delivered."""
    return deepcopy([each for each in world.stripe.store.events.values() if each["type"] == kind][-1])


async def post_event(world: World, event: Json, *, secret: str | None = None) -> int:
    """Delivers a signed event to Kvit; returns the status of the response."""
    body = json.dumps(event)
    stamp = int(world.clock.now().timestamp())
    headers = {"Stripe-Signature": signature(secret or world.stripe.webhook_secret, stamp, body)}
    async with world.http.post(f"{world.service.base}/stripe/webhook", data=body, headers=headers) as response:
        return response.status


async def at_stripe(world: World, path: str, **form: Any) -> Json:
    """Sends a request with the account's key, as Stripe's Dashboard does."""
    headers = {"Authorization": f"Bearer {world.stripe.state.key}"}
    async with world.http.post(f"{world.stripe.base}/v1/{path}", data=form, headers=headers) as response:
        assert response.status == 200, await response.text()
        found: Json = await response.json()
        return found


def _first_lines(world: World, chat: int) -> list[str]:
    """The first lines of the bot's messages, without the questions of *Cancel*."""
    state = world.telegram.state.chats[chat]
    asked = {
        entry.result["message_id"]
        for entry in world.sent("Nothing has been cancelled yet")
        if entry.params["text"].startswith("Cancel the request")
    }
    sent = [it for number, it in state.messages.items() if number in state.bot_message_ids and number not in asked]
    return [REF.sub("#REF", m["text"].replace("\u00a0", " ").partition("\n")[0]) for m in sent]


def _is_busy(world: World) -> bool:
    telegram = world.telegram.state
    unread = telegram.updates.pending() and not telegram.down
    return bool(unread or _has_undelivered_event(world) or _due_work(world))


def _due_work(world: World) -> list[Json]:
    """The due jobs, payments and summaries; a job behind another one with its ordering key is not due."""
    now = (world.clock.now() - EPOCH) // timedelta(microseconds=1)
    heads = "SELECT min(id) FROM jobs WHERE state = 'pending' GROUP BY queue, ordering_key"
    due_jobs = f"SELECT queue, key FROM jobs WHERE id IN ({heads}) AND (scheduled_at <= :now OR lease IS NOT NULL)"
    due_checks = "SELECT 'payment', id FROM payments WHERE next_check_at <= :now"
    due_reports = (
        "SELECT 'report', CAST(id AS TEXT) FROM shops WHERE next_report_at <= :now OR next_monthly_report_at <= :now"
    )
    query = f"{due_jobs} UNION ALL {due_checks} UNION ALL {due_reports}"
    if world.settings.database_url.startswith("postgresql:"):  # asked often: without a copy of all tables
        return query_server(world.settings.database_url, query.replace(":now", str(now)))
    return rows(world, query, now=now)


def _has_undelivered_event(world: World) -> bool:
    """Whether an event was sent and has no response yet."""
    ledger = world.stripe.store
    if world.stripe.webhooks.mode != "deliver":
        return False
    delivered = {delivery.event for delivery in ledger.deliveries}
    return any(event["pending_webhooks"] and event["id"] not in delivered for event in ledger.events.values())
