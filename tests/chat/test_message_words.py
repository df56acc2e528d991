"""A message's words wherever Telegram puts them, and updates whose other fields nobody can read."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from aiogram.types import CallbackQuery, Message

from handlers.chat.updates import ChatMigrated, IncomingMessage, parse_update
from tests.support.people import (
    GROUP,
    MERCHANT,
    STRANGER,
    caught_up,
    dead_letters,
    deliver_raw,
    open_shop,
    posts,
    reply,
    shown,
)
from tests.support.world import OWNER, Json, World

PHOTO = [{"file_id": "AgAC", "file_unique_id": "u1", "width": 90, "height": 90}]
MESSAGE: Json = {
    "message_id": 7,
    "date": 1_796_000_000,
    "chat": {"id": OWNER, "type": "private"},
    "from": {"id": OWNER, "is_bot": False, "first_name": "Otto", "language_code": "da"},
    "text": "/pay@KvitDemoBot 125 Tea",
}
TAP: Json = {"id": "42", "from": MESSAGE["from"], "message": MESSAGE, "data": "c:abc", "chat_instance": "1"}
USED = {
    "message_id",
    "date",
    "chat",
    "from_user",
    "text",
    "sender_chat",
    "via_bot",
    "is_topic_message",
    "message_thread_id",
    "reply_to_message",
    "forward_origin",
    "migrate_to_chat_id",
    "migrate_from_chat_id",
    "media_group_id",
}
ODD: list[Any] = [{"story": {}}, {}, [], [{}], "x", "", 0, -1, 1.5, True, None, 10**30, [[[]]], {"type": "?"}]


def paragraphs(*texts: Any) -> Json:
    return {"blocks": [{"type": "paragraph", "text": text} for text in texts]}


RICH: list[Json] = [
    paragraphs("/pay 125 Tea"),
    paragraphs(["/pay ", {"type": "bold", "text": "125"}, " Tea"]),
    paragraphs([{"type": "bot_command", "text": "/pay", "bot_command": "/pay"}, " 125 ", ["Te", "a"]]),
    paragraphs("/pay 125", {"type": "italic", "text": [{"type": "spoiler", "text": "Tea"}]}),
    {"blocks": [{"type": "heading", "size": 1, "text": "/pay 125 Tea"}]},
    {"blocks": [{"type": "blockquote", "blocks": [{"type": "paragraph", "text": "/pay 125 Tea"}]}]},
    {"blocks": [{"type": "divider"}, {"type": "mystery"}, "?", *paragraphs("/pay 125 Tea")["blocks"]]},
    {"blocks": [{"type": "photo", "photo": PHOTO, "caption": {"text": "/pay 125 Tea"}}]},
    {"blocks": [{"type": "table", "cells": [[{"text": "/pay 125"}, {"text": "Tea"}]]}]},
    {"blocks": [{"type": "list", "items": [{"label": "•", "blocks": paragraphs("/pay 125 Tea")["blocks"]}]}]},
]


async def test_command_in_a_rich_message_counts(world: World) -> None:
    for number, rich in enumerate(RICH, 1):
        message = await reply(world, deliver_raw(world, None, rich_message=rich), "Waiting for payment")
        assert "125.00 – Tea\n" in message["text"].replace("\u00a0", " ")
        assert len(posts(world)) == number
        world.advance(6)


async def test_rich_message_in_a_group_counts_and_a_caption_there_does_not(world: World) -> None:
    await open_shop(world)
    deliver_raw(world, None, by=MERCHANT, chat=GROUP, photo=PHOTO, caption="/pay 125 Tea")
    said = deliver_raw(world, None, by=MERCHANT, chat=GROUP, rich_message=paragraphs("/pay 40 Bun"))
    await reply(world, said, "Waiting for payment", chat=GROUP)
    await caught_up(world, GROUP)
    assert [intent["amount"] for intent in world.stripe.store.intents.values()] == [4000]


async def test_caption_in_a_private_chat_counts(world: World) -> None:
    for number, media in enumerate(PICTURES, 1):
        await reply(world, deliver_raw(world, None, caption="/pay 125 Tea", **media), "Waiting for payment")
        assert len(posts(world)) == number
        world.advance(6)


PICTURES: list[Json] = [{"photo": PHOTO}, {"document": {"file_id": "B"}}, {"video": {}}]
WORDLESS: list[Json] = [
    {"photo": PHOTO},
    {"sticker": {"file_id": "S"}},
    {"voice": {"file_id": "V", "duration": 3}},
    {"location": {"latitude": 55.6, "longitude": 12.5}},
    {"contact": {"phone_number": "+4520123456", "first_name": "Kim"}},
    {"poll": {"question": "?"}},
    {"dice": {"emoji": "🎲", "value": 3}},
    {"something_new": {"in": "Bot API 12"}},
    {"rich_message": {"blocks": [{"type": "divider"}]}},
    {"rich_message": "nonsense", "external_reply": {"story": {}}},
    {"caption": ["/pay 125"]},
    {"text": 125},
    {"text": "/pay 125", "via_bot": {"id": 5, "is_bot": True, "first_name": "Gif", "username": "gif"}},
    {"text": "/pay 125", "message_id": 0},
    {"text": "/pay 125", "message_id": "seven"},
]


async def test_every_message_in_a_private_chat_gets_an_answer_and_only_words_do_something(world: World) -> None:
    for number, content in enumerate(WORDLESS, 1):
        fields = {name: value for name, value in content.items() if name != "text"}
        for person, answer in ((OWNER, "write the amount first"), (STRANGER, str(STRANGER))):
            deliver_raw(world, content.get("text"), by=person, **fields)
            await world.message(answer, chat=person)
            await world.until(partial(lambda chat, expected: len(shown(world, chat)) == expected, person, number))
        world.advance(60)
    assert posts(world) == []
    assert await dead_letters(world, "updates") == []


async def test_pictures_of_an_album_get_one_answer(world: World) -> None:
    for _ in range(5):
        deliver_raw(world, None, photo=PHOTO, media_group_id="13")
    await caught_up(world)
    assert [message["text"][:7] for message in shown(world)].count("Your Te") == 1
    assert len(shown(world)) == 2


async def test_message_sent_by_way_of_this_bot_gets_no_answer(world: World) -> None:
    deliver_raw(world, "⏳ One moment", via_bot=dict(world.telegram.state.bot))
    await caught_up(world)
    assert len(shown(world)) == 1


@pytest.mark.parametrize("name", sorted(set(Message.model_fields) - USED))
def test_odd_field_beside_those_in_use_changes_nothing(name: str) -> None:
    expected, tapped = parse_update(update(message=MESSAGE)), parse_update(update(callback_query=TAP))
    assert isinstance(expected, IncomingMessage)
    assert (expected.command, expected.args) == ("pay", "125 Tea")
    for odd in ODD:
        message = MESSAGE | {name: odd}
        assert parse_update(update(message=message)) == expected
        assert parse_update(update(callback_query=TAP | {"message": message})) == tapped


@pytest.mark.parametrize("name", sorted(set(CallbackQuery.model_fields) - {"id", "from_user", "data", "message"}))
def test_odd_field_beside_those_in_use_of_a_tap_changes_nothing(name: str) -> None:
    expected = parse_update(update(callback_query=TAP))
    assert [parse_update(update(callback_query=TAP | {name: odd})) for odd in ODD] == [expected] * len(ODD)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", sorted({"from" if name == "from_user" else name for name in USED} - {"chat", "from"}))
def test_odd_field_in_use_hides_neither_chat_nor_person_and_never_makes_a_command_of_another_ones(
    name: str, odd: Any
) -> None:
    read = parse_update(update(message=MESSAGE | {name: odd}))
    assert isinstance(read, IncomingMessage | ChatMigrated)
    if isinstance(read, IncomingMessage):
        assert (read.actor.id, read.chat.chat_id) == (OWNER, OWNER)
        if name in {"sender_chat", "via_bot", "forward_origin"} and odd is not None:
            assert read.is_anonymous or read.forwarded or read.command is None


@pytest.mark.parametrize("content", [b"[]", b"7", b'"x"', b"{", b'{"message": []}', b'{"message": {"chat": {}}}'])
def test_update_without_chat_or_person_is_unreadable(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"is no|is an|Expecting"):
        parse_update(content)


def test_deep_rich_message_is_read_as_far_as_it_makes_sense() -> None:
    text: Any = "/pay 125"
    for _ in range(200):
        text = {"type": "bold", "text": text}
    deep = {"blocks": [{"type": "paragraph", "text": text}, {"type": "paragraph", "text": "hello"}]}
    read = parse_update(update(message=MESSAGE | {"text": None, "rich_message": deep}))
    assert isinstance(read, IncomingMessage)
    assert (read.command, read.args) == (None, "hello")


def update(**content: Json) -> bytes:
    return json.dumps({"update_id": 1} | content).encode()
