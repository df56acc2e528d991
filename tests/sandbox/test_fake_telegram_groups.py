"""Groups, topics, channels, anonymous admins, membership and inline mode of the pretend Telegram."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_telegram_client import Json, Talk, opened

GROUP = -4001
SUPERGROUP = -1001234567890
GUEST = 4242
ALLOWED = ["message", "edited_message", "callback_query", "my_chat_member", "inline_query", "chosen_inline_result"]


@pytest.fixture
async def talk(clock: FakeClock) -> AsyncIterator[Talk]:
    async with opened(clock) as running:
        yield running


async def write(talk: Talk, chat_id: int, text: str = "/start", from_id: int = GUEST, **more: Any) -> Json:
    said: Json = await talk.control("messages", {"chat_id": chat_id, "from_id": from_id, "text": text} | more)
    assert "error" not in said, said
    return said


async def test_ids_tell_what_kind_of_chat_appears(talk: Talk) -> None:
    await write(talk, GUEST, language_code="sv", first_name="Gustav")
    await write(talk, GROUP)
    await write(talk, SUPERGROUP)
    private, group, supergroup = await talk.updates()
    assert private["chat"] == {"id": GUEST, "type": "private", "first_name": "Gustav"}
    assert private["from"] == {"id": GUEST, "is_bot": False, "first_name": "Gustav", "language_code": "sv"}
    assert (group["chat"]["type"], supergroup["chat"]["type"]) == ("group", "supergroup")
    assert group["from"]["first_name"] == "Gustav"


async def test_a_topic_makes_a_forum_and_only_its_topics_can_be_written_in(talk: Talk) -> None:
    await write(talk, SUPERGROUP, message_thread_id=7)
    [asked] = await talk.updates()
    assert (asked["message_thread_id"], asked["is_topic_message"], asked["chat"]["is_forum"]) == (7, True, True)
    card = await talk.send(chat_id=SUPERGROUP, message_thread_id=7)
    assert talk.shown(card, SUPERGROUP)["message_thread_id"] == 7
    await write(talk, SUPERGROUP, message_thread_id=1)
    for topic in (1, 8):
        said = await talk.refused("sendMessage", chat_id=SUPERGROUP, text="x", message_thread_id=topic)
        assert said == "Bad Request: message thread not found"


async def test_in_a_closed_topic_the_bot_can_write_no_more_until_it_is_open_again(talk: Talk) -> None:
    await write(talk, SUPERGROUP, message_thread_id=7)
    card = await talk.send(chat_id=SUPERGROUP, message_thread_id=7)
    topic = {"chat_id": SUPERGROUP, "message_thread_id": 7}
    await talk.control("topics", topic)
    assert await talk.refused("sendMessage", text="x", **topic) == "Bad Request: TOPIC_CLOSED"
    await talk.call("editMessageText", chat_id=SUPERGROUP, message_id=card, text="paid")
    await talk.control("topics", topic | {"closed": False})
    await talk.send("y", **topic)
    _, closed, opened = await talk.updates()
    assert ("forum_topic_closed" in closed, "forum_topic_reopened" in opened) == (True, True)
    assert (await talk.control_answer("topics", topic | {"message_thread_id": 8}))[0] == 404


async def test_an_anonymous_admin_and_a_channel_hide_who_writes(talk: Talk) -> None:
    await write(talk, SUPERGROUP, sender_chat=SUPERGROUP)
    await write(talk, SUPERGROUP, sender_chat=-1009)
    anonymous, channel = await talk.updates()
    assert (anonymous["from"]["id"], anonymous["from"]["is_bot"]) == (1087968824, True)
    assert anonymous["sender_chat"]["id"] == SUPERGROUP
    assert (channel["from"]["id"], channel["sender_chat"]["type"]) == (136817688, "channel")
    card = await talk.send(chat_id=SUPERGROUP)
    talk.fake.press_button(card, GUEST, "x", SUPERGROUP)
    [tap] = await talk.updates("callback_query")
    assert tap["from"]["id"] == GUEST


async def test_a_channel_post_has_no_author(talk: Talk) -> None:
    await write(talk, -1005, chat_type="channel")
    [post] = await talk.updates("channel_post")
    assert "from" not in post
    assert post["sender_chat"]["id"] == -1005


async def test_an_edit_by_a_person_is_told_apart_from_a_message(talk: Talk) -> None:
    said = await write(talk, GUEST, "/pay 10")
    await write(talk, GUEST, "/pay 12", edit_message_id=said["message_id"])
    [edited] = await talk.updates("edited_message")
    assert (edited["message_id"], edited["text"]) == (said["message_id"], "/pay 12")
    assert edited["edit_date"] >= edited["date"]


async def test_another_bot_says_that_it_is_one(talk: Talk) -> None:
    await write(talk, GROUP, is_bot=True)
    assert [message["from"]["is_bot"] for message in await talk.updates()] == [True]


async def test_who_blocks_the_bot_cannot_be_written_to_until_he_comes_back(talk: Talk) -> None:
    await write(talk, GUEST)
    await talk.control("block", {"user_id": GUEST, "blocked": True})
    said = await talk.refused("sendMessage", chat_id=GUEST, text="x")
    assert said == "Forbidden: bot was blocked by the user"
    status, _ = await talk.control_answer("messages", {"chat_id": GUEST, "from_id": GUEST, "text": "x"})
    assert status == 400
    await talk.control("block", {"user_id": GUEST, "blocked": False})
    await talk.send(chat_id=GUEST)
    changes = await talk.updates("my_chat_member")
    steps = [(change["old_chat_member"]["status"], change["new_chat_member"]["status"]) for change in changes]
    assert steps == [("member", "kicked"), ("kicked", "member")]


async def test_a_bot_that_was_kicked_hears_and_says_nothing_until_it_is_brought_back(talk: Talk) -> None:
    await write(talk, SUPERGROUP)
    await talk.control("kick", {"chat_id": SUPERGROUP})
    assert (await write(talk, SUPERGROUP, "hello?"))["update_id"] is None
    said = await talk.refused("sendMessage", chat_id=SUPERGROUP, text="x")
    assert said == "Forbidden: bot was kicked from the supergroup chat"
    assert await talk.refused("getChat", chat_id=SUPERGROUP) == said
    await talk.control("add", {"chat_id": SUPERGROUP, "from_id": GUEST})
    await talk.send(chat_id=SUPERGROUP)
    changes = await talk.updates("my_chat_member")
    assert [change["new_chat_member"]["status"] for change in changes] == ["kicked", "member"]


async def test_a_group_that_moved_says_where_it_is_now(talk: Talk) -> None:
    await write(talk, GROUP)
    card = await talk.send(chat_id=GROUP)
    moved = (await talk.control("migrate", {"chat_id": GROUP}))["chat_id"]
    answer = await talk.answer("sendMessage", chat_id=GROUP, text="x")
    assert answer["description"] == "Bad Request: group chat was upgraded to a supergroup chat"
    assert answer["parameters"] == {"migrate_to_chat_id": moved}
    said = await talk.refused("editMessageText", chat_id=GROUP, message_id=card, text="x")
    assert said == "Bad Request: message can't be edited"
    await talk.send(chat_id=moved)
    _, left, came = await talk.updates()
    assert (left["chat"]["id"], left["migrate_to_chat_id"]) == (GROUP, moved)
    assert (came["chat"]["id"], came["migrate_from_chat_id"]) == (moved, GROUP)


async def test_with_privacy_a_group_is_heard_only_when_it_speaks_to_the_bot(talk: Talk) -> None:
    talk.fake.state.privacy = True
    card_chat = await write(talk, GROUP, "/start")
    assert card_chat["update_id"] is not None
    card = await talk.send(chat_id=GROUP)
    assert (await write(talk, GROUP, "nice weather"))["update_id"] is None
    assert (await write(talk, GROUP, "yes", reply_to_message_id=card))["update_id"] is not None


async def test_members_are_those_who_spoke(talk: Talk) -> None:
    await write(talk, GROUP)
    known = await talk.call("getChatMember", chat_id=GROUP, user_id=GUEST)
    assert known["status"] == "member"
    own = await talk.call("getChatMember", chat_id=GROUP, user_id=talk.fake.state.bot["id"])
    assert own["status"] == "member"
    assert await talk.refused("getChatMember", chat_id=GROUP, user_id=5) == "Bad Request: user not found"
    assert await talk.call("getChatAdministrators", chat_id=GROUP) == []
    assert (await talk.call("getChat", chat_id=GROUP))["type"] == "group"


async def test_a_tap_on_a_deleted_message_brings_no_text(talk: Talk) -> None:
    card = await talk.send()
    await talk.call("deleteMessage", chat_id=talk.chat, message_id=card)
    talk.fake.press_button(card, talk.fake.owner_id, "forged", talk.chat)
    [tap] = await talk.updates("callback_query")
    assert tap["message"] == {"chat": talk.fake.state.chats[talk.chat].info, "message_id": card, "date": 0}


async def test_inline_mode_creates_a_message_only_when_a_result_is_chosen(talk: Talk) -> None:
    asked = await talk.control("inline", {"from_id": GUEST, "query": "125 coffee"})
    [query] = await talk.updates("inline_query")
    assert (query["id"], query["query"]) == (asked["inline_query_id"], "125 coffee")
    keyboard = {"inline_keyboard": [[{"text": "Get link", "callback_data": "g"}]]}
    content = {"message_text": "<b>125</b>", "parse_mode": "HTML"}
    result = {"type": "article", "id": "r1", "title": "125", "input_message_content": content, "reply_markup": keyboard}
    twice = await talk.refused("answerInlineQuery", inline_query_id=query["id"], results=[result, result])
    assert twice == "Bad Request: RESULT_ID_DUPLICATE"
    await talk.call("answerInlineQuery", inline_query_id=query["id"], results=[result])
    assert talk.fake.state.inline_messages == {}
    chosen = await talk.control("choose", {"inline_query_id": query["id"], "result_id": "r1"})
    number = chosen["inline_message_id"]
    assert talk.fake.state.inline_messages[number]["text"] == "125"
    [told] = await talk.updates("chosen_inline_result")
    assert (told["inline_message_id"], told["query"]) == (number, "125 coffee")
    await talk.control("taps", {"inline_message_id": number, "from_id": 9, "data": "g"})
    [tap] = await talk.updates("callback_query")
    assert tap["inline_message_id"] == number
    assert await talk.call("editMessageText", inline_message_id=number, text="paid") is True
    talk.clock.advance(60)
    said = await talk.refused("answerInlineQuery", inline_query_id=query["id"], results=[])
    assert "query is too old" in said


async def test_only_the_kinds_that_are_asked_for_come_and_the_choice_stays(talk: Talk) -> None:
    await talk.call("getUpdates", allowed_updates=["callback_query"])
    assert (await write(talk, GUEST))["update_id"] is None
    await talk.call("getUpdates")
    assert (await write(talk, GUEST))["update_id"] is None
    await talk.call("getUpdates", allowed_updates=ALLOWED)
    assert (await write(talk, GUEST))["update_id"] is not None


async def test_after_a_quiet_week_the_numbers_begin_somewhere_else(talk: Talk) -> None:
    first = (await write(talk, GUEST))["update_id"]
    talk.clock.advance(8 * 24 * 3600)
    second = (await write(talk, GUEST))["update_id"]
    assert abs(second - first) > 1
    assert [update["update_id"] for update in await talk.call("getUpdates")] == [second]


async def test_the_transcript_tells_both_sides_in_order_as_it_was(talk: Talk) -> None:
    await write(talk, talk.chat, "/pay 10", from_id=talk.fake.owner_id)
    card = await talk.send("open", reply_markup={"inline_keyboard": [[{"text": "x", "callback_data": "c"}]]})
    await talk.call("editMessageText", chat_id=talk.chat, message_id=card, text="paid")
    await talk.refused("editMessageText", chat_id=talk.chat, message_id=card, text="paid")
    told = await talk.control("transcript")
    steps = [(entry["direction"], entry["method"]) for entry in told]
    assert steps == [
        ("in", "message"),
        ("out", "sendMessage"),
        ("out", "editMessageText"),
        ("out", "editMessageText"),
    ]
    assert [entry["result"].get("text") for entry in told] == [None, "open", "paid", None]
    assert told[3]["result"]["error_code"] == 400
    assert told[1]["params"]["reply_markup"]["inline_keyboard"][0][0]["callback_data"] == "c"
    shown = await talk.control(f"chats/{talk.chat}")
    assert [message["text"] for message in shown["messages"]] == ["/pay 10", "paid"]
