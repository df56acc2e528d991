"""What a journey is held against: Stripe's ledger, the chat as it stands, the rows; and when all is quiet."""

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
LAPSED = "⌛ The link expired · TEST"
TOLD_PAID = "✅ Paid: DKK 149.50 · #REF"
TOLD_FAILED = (
    "❌ #REF, DKK 149.50: The customer declined the payment or did not complete it. No money was taken."
    " Tap New link on the payment message to try again."
)
TOLD_LAPSED = (
    "⌛ #REF, DKK 149.50: the link expired before it was paid. No money was taken."
    " Tap New link on the payment message when the customer is ready."
)
HEALED = 45
"""Seconds within which what failed once or twice is tried again."""

STILL = 3
"""So many looks in a row must find nothing to do before the world counts as quiet."""


def said(world: World, chat: int = OWNER) -> list[str]:
    """The first line of each message of the bot as it stands now, oldest first, with `#REF` for every reference.

    Alerts to the owner are left out.
    """
    return [line for line in _first_lines(world, chat) if not ALERT.match(line)]


def alerts(world: World) -> list[str]:
    """What the owner was told in private about what Kvit cannot set right by itself."""
    return [line for line in _first_lines(world, OWNER) if ALERT.match(line)]


def cards(world: World) -> list[TranscriptEntry]:
    """Every time that a card was posted: it is the only message whose reference has a line of its own."""
    return [entry for entry in world.sent() if re.search(rf"(?m)^{REF.pattern}$", entry.params["text"])]


def notices(world: World) -> list[TranscriptEntry]:
    """Every message that replies to a card."""
    posted = {entry.result["message_id"] for entry in cards(world)}
    return [e for e in world.sent() if (e.result.get("reply_to_message") or {}).get("message_id") in posted]


def versions(world: World) -> list[str]:
    """The first line of the card each time it was posted or edited."""
    shown = [e for e in world.telegram.transcript if e.method in {"sendMessage", "editMessageText"}]
    cards_only = [e for e in shown if re.search(rf"(?m)^{REF.pattern}$", e.params["text"])]
    return [re.sub(r"<[^>]*>", "", e.params["text"]).partition("\n")[0] for e in cards_only]


def calls(world: World, what: str) -> list[RequestRecord]:
    """The requests of one kind that reached Stripe, whatever became of them."""
    method, path = CALLS[what]
    return [r for r in world.stripe.store.requests if r.method == method and path.fullmatch(r.path)]


def keys(world: World, what: str) -> list[str]:
    """The numbers of the idempotency keys of one kind of request, each once, in the order they first came."""
    used = dict.fromkeys(r.idempotency_key or "none" for r in calls(world, what))
    return [key.rpartition(":")[2] for key in used]


def money(world: World) -> tuple[int, int]:
    """How many intents there are at Stripe, and how many charges took money."""
    ledger = world.stripe.store
    return len(ledger.intents), sum(charge["status"] == "succeeded" for charge in ledger.charges.values())


def rows(world: World, query: str, **values: Any) -> list[Json]:
    """What the database says."""
    with closing(sqlite3.connect(f"file:{world.database}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(query, values)]


def payment(world: World) -> Json:
    """The newest payment's row."""
    return rows(world, "SELECT * FROM payments ORDER BY created_at DESC, rowid DESC LIMIT 1")[0]


def actions(world: World) -> list[str]:
    """What the history says was done, oldest first."""
    return [
        row["action"] for row in rows(world, "SELECT action FROM audit_log WHERE payment_id IS NOT NULL ORDER BY id")
    ]


def book(world: World) -> dict[str, list[Json]]:
    """All that is written about payments and their mail, but for the time of the next look."""
    tables = ("payments", "attempts", "audit_log", "payment_messages", "jobs")
    found = {table: rows(world, f"SELECT * FROM {table} ORDER BY rowid") for table in tables}
    return found | {"payments": [row | {"next_check_at": None} for row in found["payments"]]}


@asynccontextmanager
async def impatient(world: World, kind: type[StripeGateway] = StripeGateway) -> AsyncIterator[StripeGateway]:
    """Have Kvit wait for Stripe for a third of a second instead of twenty; `kind` may be a gateway that misbehaves."""
    await world.stop()
    gateway = kind(world.settings.stripe_api_key.get_secret_value(), api_base=world.stripe.base, timeout=0.3)
    world.seams = AdapterOverrides(gateway=lambda _: gateway)
    await world.begin()
    try:
        yield gateway
    finally:
        await world.stop()
        await gateway.close()


async def eventually(true: Callable[[], Any]) -> None:
    """Return once it is true; TimeoutError after `PATIENCE`."""
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.01)


async def rest(world: World) -> None:
    """Return once nobody has anything to do before the clock is turned again."""
    await _still(world, _busy)


async def worked_off(world: World, *, patience: float = PATIENCE) -> None:
    """Return once Kvit has nothing to do before the clock is turned again; it may not have read all updates.

    TimeoutError after `patience` real seconds.
    """
    await _still(world, _left, patience)


async def _still(world: World, busy: Callable[[World], Any], patience: float = PATIENCE) -> None:
    still = 0
    try:
        async with asyncio.timeout(patience):
            while still < STILL:
                await asyncio.sleep(0.01)
                still = 0 if busy(world) else still + 1
    except TimeoutError as error:
        raise TimeoutError(f"still at work: {_left(world)}") from error


async def becomes(world: World, words: list[str]) -> None:
    """The chat says these words in the end, and stays with them."""
    try:
        await eventually(lambda: said(world) == words)
    finally:
        assert said(world) == words
    await rest(world)
    assert said(world) == words


async def pass_time(world: World, seconds: float) -> None:
    """Let time go by while everybody is at rest, and everybody do what is due then."""
    await rest(world)
    world.advance(seconds)
    await rest(world)


async def webhooks(world: World, mode: str) -> None:
    """Deliver what happens from now on, lose it, or hold it until it is released."""
    await world.control("stripe", "webhooks", {"mode": mode})


async def lose_events(world: World) -> None:
    """No webhook comes, and Stripe's list of events is shut: what is found now is found by looking alone."""
    await webhooks(world, "lose")
    world.stripe.options.missing_permissions = ("events.read",)


async def fault(world: World, what: str, how: str, when: str = "before", **more: Any) -> None:
    """Have Stripe break the next request of a kind."""
    method, path = CALLS[what]
    route = path.pattern.replace(r"\w+", ":id")
    await world.control("stripe", "faults", {"method": f"{method} {route}", "how": how, "when": when, **more})


def event(world: World, kind: str) -> Json:
    """The newest event of a kind at Stripe, as it would be delivered."""
    return deepcopy([each for each in world.stripe.store.events.values() if each["type"] == kind][-1])


async def post_event(world: World, event: Json, *, secret: str | None = None) -> int:
    """Bring a signed event to Kvit's door oneself, and return the status of the answer."""
    body = json.dumps(event)
    stamp = int(world.clock.now().timestamp())
    headers = {"Stripe-Signature": signature(secret or world.stripe.webhook_secret, stamp, body)}
    async with world.http.post(f"{world.service.base}/stripe/webhook", data=body, headers=headers) as answer:
        return answer.status


async def at_stripe(world: World, path: str, **form: Any) -> Json:
    """Somebody uses Stripe's Dashboard, with the rights of the account."""
    headers = {"Authorization": f"Bearer {world.stripe.state.key}"}
    async with world.http.post(f"{world.stripe.base}/v1/{path}", data=form, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        found: Json = await answer.json()
        return found


def _first_lines(world: World, chat: int) -> list[str]:
    known = world.telegram.state.chats[chat]
    mine = [message for number, message in known.messages.items() if number in known.bot_message_ids]
    return [REF.sub("#REF", m["text"].replace("\u00a0", " ").partition("\n")[0]) for m in mine]


def _busy(world: World) -> bool:
    telegram = world.telegram.state
    unread = telegram.updates.pending() and not telegram.down
    return bool(unread or _on_the_way(world) or _left(world))


def _left(world: World) -> list[Json]:
    """The mails and payments that are due by now; a mail behind another one of its lane is not."""
    now = (world.clock.now() - EPOCH) // timedelta(microseconds=1)
    heads = "SELECT min(id) FROM jobs WHERE state = 'pending' GROUP BY queue, ordering_key"
    mails = f"SELECT queue, key FROM jobs WHERE id IN ({heads}) AND (scheduled_at <= :now OR lease IS NOT NULL)"
    looks = "SELECT 'book', id FROM payments WHERE next_check_at <= :now"
    return rows(world, f"{mails} UNION ALL {looks}", now=now)


def _on_the_way(world: World) -> bool:
    """Whether an event was sent to Kvit and has not been answered."""
    ledger = world.stripe.store
    if world.stripe.webhooks.mode != "deliver":
        return False
    tried = {delivery.event for delivery in ledger.deliveries}
    return any(event["pending_webhooks"] and event["id"] not in tried for event in ledger.events.values())
