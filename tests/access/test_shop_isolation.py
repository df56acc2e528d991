"""Whoever has no role in a shop sees and touches nothing of it, whatever he types, taps, forges or passes on."""

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
from tests.support.evidence import rest, rows
from tests.support.invitations import invited
from tests.support.people import (
    ADMIN,
    GROUP,
    MERCHANT,
    NO_SHOP,
    OTHER_GROUP,
    STRANGER,
    book,
    caught_up,
    dismiss,
    hear,
    open_second_shop,
    open_shop,
    press,
    refused,
    reply,
    speak,
)
from tests.support.world import OWNER, Json, World, opened

RIVAL, GONE = 70_040_001, 70_040_002
CHANNEL = -1_001_000_000_009
ORIGIN = {"type": "hidden_user", "sender_user_name": "Ada", "date": 1}
MINE = (
    "SELECT id, status, cancel_requested, capture_requested_by, attempt_number, amount_refunded,"
    " amount_refund_pending FROM payments WHERE shop_id = 1"
)
DONE = "SELECT * FROM audit_log WHERE shop_id = 1 AND action <> 'denied'"
KEPT = (
    MINE,
    DONE,
    *(f"SELECT * FROM {name} WHERE shop_id = 1" for name in ("members", "invitations", "shop_chats", "refunds")),
)


def prefixes(kind: type) -> list[str]:
    """The prefixes of all buttons of one kind."""
    return [prefix for prefix, button in CALLBACKS.items() if isinstance(button, kind)]


@dataclass
class Secrets:
    """What the first shop has, and nobody else may see: its words, and the pointers that a forger would use."""

    card: Json
    payment: str
    paid: str
    ref: str
    question: str
    refund: str
    inline_id: str

    @property
    def data(self) -> list[str]:
        """Every button there is, made of real pointers."""
        of_payments = [f"{letter}:{one}" for letter in prefixes(PaymentButton) for one in (self.payment, self.paid)]
        of_refunds = [f"{letter}:{self.refund}" for letter in prefixes(RefundButton)]
        of_shop = ["s:1", f"l::{self.ref}:", "l:1:", "m:0", "o:", f"o:9999999999999999:{self.payment}", "v:x:y"]
        return [*of_payments, *of_refunds, *of_shop, f"q:{self.question}:0", f"q:{self.question}:1", "g:none:0"]


CANARIES = ("Canary", "777", "Hemmeligvej", "Ada", "Mads", "Loppen")


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        await open_second_shop(running)
        async with book(running) as db:
            now = clock.now()
            await db.write(shops.set_member, 2, RIVAL, Role.ADMIN, name="Rolf", now=now)
            await db.write(shops.set_member, 1, GONE, Role.ADMIN, name="Gert", now=now)
        yield running


@pytest.fixture
async def secrets(world: World) -> Secrets:
    """The first shop at work: a paid and an open request, a question, a refund that is asked for, an inline card."""
    await refused(world, "/settings name Loppen", by=ADMIN)
    await refused(world, "/settings address Hemmeligvej 1", by=ADMIN)
    await invited(world, "admin")
    await reply(world, world.say("/pay 777 Canary", by=MERCHANT, chat=GROUP), "Waiting", chat=GROUP)
    await world.decide("approve")
    await world.card("✅ Paid:", chat=GROUP)
    paid = newest(world)
    world.say(f"/refund {paid['reference']}", by=MERCHANT, chat=GROUP)
    await world.until(lambda: rows(world, "SELECT id FROM refunds"))
    card = await reply(world, world.say("/pay 777 Canary", by=MERCHANT, chat=GROUP), "Waiting", chat=GROUP)
    open_ = newest(world)
    asked = await reply(world, world.say("/pay 7,777 Canary", by=MERCHANT, chat=GROUP), chat=GROUP)
    question = asked["reply_markup"]["inline_keyboard"][0][0]["callback_data"].split(":")[1]
    query, [offer] = await offers(world, "777 Canary", by=MERCHANT)
    inline_id = await choose(world, query, offer)
    await shows(world, inline_id, "Waiting for payment")
    refund = rows(world, "SELECT id FROM refunds")[0]["id"]
    await dismiss(world, GONE)
    await rest(world)
    return Secrets(card, open_["id"], paid["id"], open_["reference"], question, refund, inline_id)


def newest(world: World) -> Json:
    return rows(world, "SELECT id, reference FROM payments ORDER BY rowid DESC LIMIT 1")[0]


def standing(world: World) -> list[Any]:
    """The first shop's books, and what was asked of Stripe that may change something."""
    changing = [one.path for one in world.stripe.store.requests if one.method == "POST"]
    return [*(rows(world, query) for query in KEPT), rows(world, "SELECT * FROM shops WHERE id = 1"), changing]


def heard(world: World, since: int, *chats: int) -> str:
    """Everything that the bot said since then, in these chats or to a tap."""
    said = world.telegram.transcript[since:]
    words = [entry.params for entry in said if entry.direction == "out" and entry.params.get("chat_id") in chats]
    taps = [entry.params.get("text", "") for entry in said if entry.method == "answerCallbackQuery"]
    inline = [entry.params for entry in said if entry.method == "answerInlineQuery"]
    return repr([words, taps, inline])


def give_away(said: str, *pointers: str) -> list[str]:
    return [word for word in (*CANARIES, *pointers) if word in said]


async def everything(world: World, secrets: Secrets, person: int, chat: int) -> None:
    """Every command with and without the reference, and every button under a message that stands in this chat."""
    place = await reply(world, world.say("/id", by=person, chat=chat), chat=chat)
    for name in COMMANDS:
        for rest_ in ("", secrets.ref, f"#{secrets.ref.lower()} 777", f"{MERCHANT}", "Canary"):
            if (name, rest_) not in {("setup", ""), ("pay", "Canary")}:
                world.say(f"/{name} {rest_}".strip(), by=person, chat=chat)
    for data in secrets.data:
        await world.answer(press(world, place, data, by=person))
    await rest(world)


@pytest.mark.parametrize("chat", ["private", OTHER_GROUP])
async def test_an_admin_of_another_shop_sees_and_touches_nothing(
    world: World, secrets: Secrets, chat: int | str
) -> None:
    place = RIVAL if isinstance(chat, str) else chat
    before, since = standing(world), len(world.telegram.transcript)
    await everything(world, secrets, RIVAL, place)
    assert give_away(heard(world, since, place), secrets.payment, secrets.refund) == []
    assert standing(world) == before


@pytest.mark.parametrize("person", [STRANGER, GONE, RIVAL])
async def test_in_the_shops_own_group_whoever_has_no_role_there_gets_nothing_done(
    world: World, secrets: Secrets, person: int
) -> None:
    before = standing(world)
    for name, command in COMMANDS.items():
        if command.role is not Role.NONE:
            await rest(world)
            world.advance(61)
            for to in (None, secrets.card["message_id"]):
                said = world.say(
                    f"/{name} {secrets.ref if to is None else ''}".strip(), by=person, chat=GROUP, reply_to=to
                )
                if to is None:
                    assert f"Your Telegram ID is {person}" in (await reply(world, said, chat=GROUP))["text"], name
    for data in secrets.data:
        said_to_tap = await world.answer(press(world, secrets.card, data, by=person))
        assert any(words in said_to_tap for words in ("Your Telegram ID is", "expired", "someone else")), data
    await rest(world)
    assert looks_aside(standing(world)) == looks_aside(before)


def looks_aside(books: list[Any]) -> list[Any]:
    """Without what the time that went by has done to attempts, and the looks at Stripe because of it."""
    return [
        [row for row in book_ if row.keys().isdisjoint({"attempt_number", "action"})]
        if isinstance(book_, list)
        else book_
        for book_ in books[:-1]
    ]


@pytest.mark.parametrize("person", [STRANGER, GONE])
async def test_in_private_whoever_has_no_role_sees_nothing(world: World, secrets: Secrets, person: int) -> None:
    before, since = standing(world), len(world.telegram.transcript)
    await everything(world, secrets, person, person)
    assert give_away(heard(world, since, person), secrets.ref) == []
    assert standing(world) == before


@pytest.mark.parametrize("sender_chat", [GROUP, CHANNEL])
async def test_whoever_speaks_for_many_gets_nothing_done(world: World, secrets: Secrets, sender_chat: int) -> None:
    before = standing(world)
    for name in COMMANDS:
        speak(world, f"/{name} {secrets.ref}", by=ADMIN, chat=GROUP, sender_chat=sender_chat)
    for data in secrets.data:
        said = await world.answer(press(world, secrets.card, data, by=ANONYMOUS_ADMIN))
        assert f"Your Telegram ID is {ANONYMOUS_ADMIN}" in said
    await rest(world)
    assert standing(world) == before


async def test_a_forwarded_command_gets_nothing_done_even_by_those_who_may(world: World, secrets: Secrets) -> None:
    before = standing(world)
    for name, command in COMMANDS.items():
        if command.role is not Role.NONE:
            for chat in (GROUP, None):
                said = hear(world, f"/{name} {secrets.ref}", by=OWNER, chat=chat, forward_origin=ORIGIN)
                assert "was forwarded" in (await reply(world, said, chat=chat or OWNER))["text"], name
    assert standing(world) == before


@pytest.mark.parametrize("person", [STRANGER, GONE, RIVAL])
async def test_under_an_inline_card_only_its_own_buttons_obey_and_only_people_of_its_shop(
    world: World, secrets: Secrets, person: int
) -> None:
    before, since = standing(world), len(world.telegram.transcript)
    for data in secrets.data:
        body = {"inline_message_id": secrets.inline_id, "from_id": person, "data": data}
        query = await world.control("telegram", "taps", body)
        said = await world.answer(query["callback_query_id"])
        assert any(words in said for words in ("Your Telegram ID is", "expired", "someone else")), (data, said)
    assert give_away(heard(world, since, person)) == []
    assert standing(world) == before


async def test_what_an_admin_forges_under_an_inline_card_shows_the_shop_to_nobody(
    world: World, secrets: Secrets
) -> None:
    asked = await reply(world, world.say("/pay 7,777 Canary", by=ADMIN), chat=ADMIN)
    own = asked["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
    before = standing(world)
    shown = dict(world.telegram.state.inline_messages[secrets.inline_id])
    for data in ("v:name:Mine", "m:0", "l::", "o:", "s:1", own, f"y:{secrets.refund}", f"x:{secrets.refund}"):
        body = {"inline_message_id": secrets.inline_id, "from_id": ADMIN, "data": data}
        query = await world.control("telegram", "taps", body)
        assert "expired" in await world.answer(query["callback_query_id"]), data
    await rest(world)
    assert world.telegram.state.inline_messages[secrets.inline_id] == shown
    assert standing(world) == before


@pytest.mark.parametrize("person", [STRANGER, GONE, RIVAL])
async def test_an_offer_in_inline_mode_is_of_ones_own_shop_or_says_why_there_is_none(
    world: World, secrets: Secrets, person: int
) -> None:
    before, since = standing(world), len(world.telegram.transcript)
    query, results = await offers(world, "888 Tea", by=person)
    await choose(world, query, results[0])
    await rest(world)
    assert give_away(heard(world, since, person)) == []
    assert standing(world)[:-1] == before[:-1]
    mine = rows(world, "SELECT shop_id FROM payments WHERE created_by = :who", who=person)
    assert mine == ([{"shop_id": 2}] if person == RIVAL else [])


async def test_a_group_of_no_shop_hears_nothing_of_any(world: World, secrets: Secrets) -> None:
    since = len(world.telegram.transcript)
    for person in (OWNER, ADMIN, MERCHANT, RIVAL, STRANGER):
        for name, command in COMMANDS.items():
            if not command.allowed_in_unlinked_group:
                world.say(f"/{name} {secrets.ref}", by=person, chat=NO_SHOP)
                world.say(f"/{name}", by=person, chat=NO_SHOP)
    await caught_up(world, NO_SHOP)
    await rest(world)
    assert sum(entry.method == "sendMessage" for entry in world.telegram.transcript[since:]) == 1
    assert give_away(heard(world, since, NO_SHOP)) == []


async def test_a_forged_press_in_a_group_of_no_shop_does_nothing_and_is_written_down(
    world: World, secrets: Secrets
) -> None:
    place = await reply(world, world.say("/id", chat=NO_SHOP), chat=NO_SHOP)
    before, since = standing(world), len(world.telegram.transcript)
    for person in (STRANGER, ADMIN, OWNER):
        for data in secrets.data:
            if (person, data) != (OWNER, "s:1"):  # which is lawful there
                await world.answer(press(world, place, data, by=person))
    await rest(world)
    assert give_away(heard(world, since, NO_SHOP)) == []
    assert standing(world) == before
    refusals = rows(world, "SELECT DISTINCT actor FROM audit_log WHERE action = 'denied' AND payment_id IS NOT NULL")
    assert {row["actor"] for row in refusals} >= {f"user:{STRANGER}"}
