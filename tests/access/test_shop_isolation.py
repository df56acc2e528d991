"""Users without a role in a shop see and change nothing of it, by commands, forged buttons, inline mode or forwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.fake_telegram.state import ANONYMOUS_ADMIN
from bot.sandbox.shared.fake_clock import FakeClock
from handlers.chat.routes import CALLBACKS, COMMANDS, PaymentButton, RefundButton
from storage import shops
from storage.models.shop import Role
from tests.chat.test_inline import choose, offers, shows
from tests.support.evidence import idle, rows
from tests.support.invitations import invited
from tests.support.people import (
    ADMIN,
    GROUP,
    MERCHANT,
    NO_SHOP,
    OTHER_GROUP,
    STRANGER,
    caught_up,
    deliver_raw,
    open_database,
    open_second_shop,
    open_shop,
    press,
    remove_roles,
    reply,
    reply_text,
    send_message,
)
from tests.support.world import OWNER, Json, World, opened

OTHER_SHOPS_ADMIN, FORMER_ADMIN = 70_040_001, 70_040_002
CHANNEL = -1_001_000_000_009
ORIGIN = {"type": "hidden_user", "sender_user_name": "Ada", "date": 1}
PAYMENTS = (
    "SELECT id, status, cancel_requested, capture_requested_by, attempt_number, amount_refunded,"
    " amount_refund_pending FROM payments WHERE shop_id = 1"
)
AUDIT_LOG = "SELECT * FROM audit_log WHERE shop_id = 1 AND action <> 'denied'"
SHOP_STATE = (
    PAYMENTS,
    AUDIT_LOG,
    *(f"SELECT * FROM {name} WHERE shop_id = 1" for name in ("members", "invitations", "shop_chats", "refunds")),
)


def prefixes(kind: type) -> list[str]:
    """The prefixes of all buttons of one kind."""
    return [prefix for prefix, button in CALLBACKS.items() if isinstance(button, kind)]


@dataclass
class Secrets:
    """What the first shop has and other users may not see: ids and references that a forger would use."""

    payment_message: Json
    open_payment_id: str
    paid_payment_id: str
    reference: str
    prompt_id: str
    refund_id: str
    inline_message_id: str

    @property
    def data(self) -> list[str]:
        """Callback data of every kind of button, with real ids."""
        ids = (self.open_payment_id, self.paid_payment_id)
        of_payments = [f"{prefix}:{payment_id}" for prefix in prefixes(PaymentButton) for payment_id in ids]
        of_refunds = [f"{prefix}:{self.refund_id}" for prefix in prefixes(RefundButton)]
        of_shop = [
            "s:1",
            f"l::{self.reference}:",
            "l:1:",
            "m:0",
            "o:",
            f"o:9999999999999999:{self.open_payment_id}",
            "v:x:y",
        ]
        return [*of_payments, *of_refunds, *of_shop, f"q:{self.prompt_id}:0", f"q:{self.prompt_id}:1", "g:none:0"]


SECRET_WORDS = ("Canary", "777", "Hemmeligvej", "Ada", "Mads", "Loppen")


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        await open_second_shop(running)
        async with open_database(running) as db:
            now = clock.now()
            await db.write(shops.set_member, 2, OTHER_SHOPS_ADMIN, Role.ADMIN, name="Rolf", now=now)
            await db.write(shops.set_member, 1, FORMER_ADMIN, Role.ADMIN, name="Gert", now=now)
        yield running


@pytest.fixture
async def secrets(world: World) -> Secrets:
    """The first shop with a paid and an open payment, a prompt, a requested refund and an inline message."""
    await reply_text(world, "/settings name Loppen", by=ADMIN)
    await reply_text(world, "/settings address Hemmeligvej 1", by=ADMIN)
    await invited(world, "admin")
    await reply(world, world.say("/pay 777 Canary", by=MERCHANT, chat=GROUP), "Waiting", chat=GROUP)
    await world.decide("approve")
    await world.message("✅ Paid:", chat=GROUP)
    paid = newest(world)
    world.say(f"/refund {paid['reference']}", by=MERCHANT, chat=GROUP)
    await world.until(lambda: rows(world, "SELECT id FROM refunds"))
    world.advance(6)
    payment_message = await reply(world, world.say("/pay 777 Canary", by=MERCHANT, chat=GROUP), "Waiting", chat=GROUP)
    open_ = newest(world)
    prompt = await reply(world, world.say("/pay 7,777 Canary", by=MERCHANT, chat=GROUP), chat=GROUP)
    prompt_id = prompt["reply_markup"]["inline_keyboard"][0][0]["callback_data"].split(":")[1]
    query, [offer] = await offers(world, "777 Canary", by=MERCHANT)
    inline_message_id = await choose(world, query, offer)
    await shows(world, inline_message_id, "Waiting for payment")
    refund = rows(world, "SELECT id FROM refunds")[0]["id"]
    await remove_roles(world, FORMER_ADMIN)
    await idle(world)
    return Secrets(payment_message, open_["id"], paid["id"], open_["reference"], prompt_id, refund, inline_message_id)


def newest(world: World) -> Json:
    return rows(world, "SELECT id, reference FROM payments ORDER BY rowid DESC LIMIT 1")[0]


def shop_state(world: World) -> list[Any]:
    """The rows of the first shop, and the writing requests to Stripe."""
    writes = [request.path for request in world.stripe.store.requests if request.method == "POST"]
    return [*(rows(world, query) for query in SHOP_STATE), rows(world, "SELECT * FROM shops WHERE id = 1"), writes]


def received(world: World, since: int, *chats: int) -> str:
    """Everything the bot sent since then to these chats, or in answer to callback and inline queries."""
    entries = world.telegram.transcript[since:]
    messages = [entry.params for entry in entries if entry.direction == "out" and entry.params.get("chat_id") in chats]
    answers = [entry.params.get("text", "") for entry in entries if entry.method == "answerCallbackQuery"]
    inline = [entry.params for entry in entries if entry.method == "answerInlineQuery"]
    return repr([messages, answers, inline])


def leaked(sent: str, *ids: str) -> list[str]:
    return [secret for secret in (*SECRET_WORDS, *ids) if secret in sent]


async def try_everything(world: World, secrets: Secrets, person: int, chat: int) -> None:
    """Sends every command with various arguments, and presses every button under a message in this chat."""
    message = await reply(world, world.say("/id", by=person, chat=chat), chat=chat)
    for name in COMMANDS:
        for args in ("", secrets.reference, f"#{secrets.reference.lower()} 777", f"{MERCHANT}", "Canary"):
            if (name, args) not in {("setup", ""), ("pay", "Canary")}:
                world.say(f"/{name} {args}".strip(), by=person, chat=chat)
    for data in secrets.data:
        await world.answer(press(world, message, data, by=person))
    await idle(world)


@pytest.mark.parametrize("chat", ["private", OTHER_GROUP])
async def test_admin_of_another_shop_sees_and_changes_nothing(world: World, secrets: Secrets, chat: int | str) -> None:
    chat_id = OTHER_SHOPS_ADMIN if isinstance(chat, str) else chat
    before, since = shop_state(world), len(world.telegram.transcript)
    await try_everything(world, secrets, OTHER_SHOPS_ADMIN, chat_id)
    assert leaked(received(world, since, chat_id), secrets.open_payment_id, secrets.refund_id) == []
    assert shop_state(world) == before


@pytest.mark.parametrize("person", [STRANGER, FORMER_ADMIN, OTHER_SHOPS_ADMIN])
async def test_user_without_role_is_denied_in_the_shops_group(world: World, secrets: Secrets, person: int) -> None:
    before = shop_state(world)
    for name, command in COMMANDS.items():
        if command.role is not Role.NONE:
            await idle(world)
            world.advance(61)
            for reply_to in (None, secrets.payment_message["message_id"]):
                text = f"/{name}" if reply_to else f"/{name} {secrets.reference}"
                sent = world.say(text, by=person, chat=GROUP, reply_to=reply_to)
                if reply_to is None:
                    assert f"Your Telegram ID is {person}" in (await reply(world, sent, chat=GROUP))["text"], name
    for data in secrets.data:
        answer = await world.answer(press(world, secrets.payment_message, data, by=person))
        assert any(words in answer for words in ("Your Telegram ID is", "expired", "someone else")), data
    await idle(world)
    assert without_time_driven_rows(shop_state(world)) == without_time_driven_rows(before)


def without_time_driven_rows(state: list[Any]) -> list[Any]:
    """The state without rows that change as time passes: attempts, and the retrieves for them."""
    return [
        [row for row in table if row.keys().isdisjoint({"attempt_number", "action"})]
        if isinstance(table, list)
        else table
        for table in state[:-1]
    ]


@pytest.mark.parametrize("person", [STRANGER, FORMER_ADMIN])
async def test_user_without_role_sees_nothing_in_private(world: World, secrets: Secrets, person: int) -> None:
    before, since = shop_state(world), len(world.telegram.transcript)
    await try_everything(world, secrets, person, person)
    assert leaked(received(world, since, person), secrets.reference) == []
    assert shop_state(world) == before


@pytest.mark.parametrize("sender_chat", [GROUP, CHANNEL])
async def test_anonymous_admins_and_channels_are_denied(world: World, secrets: Secrets, sender_chat: int) -> None:
    before = shop_state(world)
    for name in COMMANDS:
        send_message(world, f"/{name} {secrets.reference}", by=ADMIN, chat=GROUP, sender_chat=sender_chat)
    for data in secrets.data:
        answer = await world.answer(press(world, secrets.payment_message, data, by=ANONYMOUS_ADMIN))
        assert f"Your Telegram ID is {ANONYMOUS_ADMIN}" in answer
    await idle(world)
    assert shop_state(world) == before


async def test_forwarded_command_is_not_run_even_for_an_owner(world: World, secrets: Secrets) -> None:
    before = shop_state(world)
    for name, command in COMMANDS.items():
        if command.role is not Role.NONE:
            for chat in (GROUP, None):
                sent = deliver_raw(world, f"/{name} {secrets.reference}", by=OWNER, chat=chat, forward_origin=ORIGIN)
                assert "was forwarded" in (await reply(world, sent, chat=chat or OWNER))["text"], name
    assert shop_state(world) == before


@pytest.mark.parametrize("person", [STRANGER, FORMER_ADMIN, OTHER_SHOPS_ADMIN])
async def test_forged_buttons_under_an_inline_message_are_denied(world: World, secrets: Secrets, person: int) -> None:
    before, since = shop_state(world), len(world.telegram.transcript)
    for data in secrets.data:
        body = {"inline_message_id": secrets.inline_message_id, "from_id": person, "data": data}
        query = await world.control("telegram", "taps", body)
        answer = await world.answer(query["callback_query_id"])
        assert any(words in answer for words in ("Your Telegram ID is", "expired", "someone else")), (data, answer)
    assert leaked(received(world, since, person)) == []
    assert shop_state(world) == before


async def test_forged_buttons_of_an_admin_do_not_show_the_shop_in_an_inline_message(
    world: World, secrets: Secrets
) -> None:
    prompt = await reply(world, world.say("/pay 7,777 Canary", by=ADMIN), chat=ADMIN)
    own_prompt = prompt["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
    before = shop_state(world)
    shown = dict(world.telegram.state.inline_messages[secrets.inline_message_id])
    for data in (
        "v:name:Mine",
        "m:0",
        "l::",
        "o:",
        "s:1",
        own_prompt,
        f"y:{secrets.refund_id}",
        f"x:{secrets.refund_id}",
    ):
        body = {"inline_message_id": secrets.inline_message_id, "from_id": ADMIN, "data": data}
        query = await world.control("telegram", "taps", body)
        assert "expired" in await world.answer(query["callback_query_id"]), data
    await idle(world)
    assert world.telegram.state.inline_messages[secrets.inline_message_id] == shown
    assert shop_state(world) == before


@pytest.mark.parametrize("person", [STRANGER, FORMER_ADMIN, OTHER_SHOPS_ADMIN])
async def test_inline_result_is_for_the_users_own_shop_or_an_explanation(
    world: World, secrets: Secrets, person: int
) -> None:
    before, since = shop_state(world), len(world.telegram.transcript)
    query, results = await offers(world, "888 Tea", by=person)
    await choose(world, query, results[0])
    await idle(world)
    assert leaked(received(world, since, person)) == []
    assert shop_state(world)[:-1] == before[:-1]
    created = rows(world, "SELECT shop_id FROM payments WHERE created_by = :who", who=person)
    assert created == ([{"shop_id": 2}] if person == OTHER_SHOPS_ADMIN else [])


async def test_unlinked_group_gets_nothing_of_any_shop(world: World, secrets: Secrets) -> None:
    since = len(world.telegram.transcript)
    names = [name for name, command in COMMANDS.items() if not command.allowed_in_unlinked_group]
    for person in (ADMIN, MERCHANT, OTHER_SHOPS_ADMIN, STRANGER):
        for name in names:
            world.say(f"/{name} {secrets.reference}", by=person, chat=NO_SHOP)
            world.say(f"/{name}", by=person, chat=NO_SHOP)
    await caught_up(world, NO_SHOP)
    await idle(world)
    assert sum(entry.method == "sendMessage" for entry in world.telegram.transcript[since:]) == 1
    for name in names:  # an owner is told how to link the group, and nothing else
        answer = await reply_text(world, f"/{name} {secrets.reference}", by=OWNER, chat=NO_SHOP)
        assert "/setup" in answer, (name, answer)
    assert leaked(received(world, since, NO_SHOP)) == []


async def test_forged_buttons_in_an_unlinked_group_change_nothing_and_are_logged_as_denied(
    world: World, secrets: Secrets
) -> None:
    message = await reply(world, world.say("/id", chat=NO_SHOP), chat=NO_SHOP)
    before, since = shop_state(world), len(world.telegram.transcript)
    for person in (STRANGER, ADMIN, OWNER):
        for data in secrets.data:
            if (person, data) != (OWNER, "s:1"):  # the owner may link the group
                await world.answer(press(world, message, data, by=person))
    await idle(world)
    assert leaked(received(world, since, NO_SHOP)) == []
    assert shop_state(world) == before
    denied = rows(world, "SELECT DISTINCT actor FROM audit_log WHERE action = 'denied' AND payment_id IS NOT NULL")
    assert {row["actor"] for row in denied} >= {f"user:{STRANGER}"}
