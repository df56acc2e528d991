"""Groups, topics, channels, anonymous admins, membership and inline mode of the fake Telegram."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_telegram_client import FakeTelegramClient, Json, start_client

GROUP = -4001
SUPERGROUP = -1001234567890
GUEST = 4242
ALLOWED = ["message", "edited_message", "callback_query", "my_chat_member", "inline_query", "chosen_inline_result"]


@pytest.fixture
async def client(clock: FakeClock) -> AsyncIterator[FakeTelegramClient]:
    async with start_client(clock) as running:
        yield running


async def send_as_user(
    client: FakeTelegramClient, chat_id: int, text: str = "/start", from_id: int = GUEST, **more: Any
) -> Json:
    sent: Json = await client.control("messages", {"chat_id": chat_id, "from_id": from_id, "text": text} | more)
    assert "error" not in sent, sent
    return sent


async def test_chat_type_follows_from_the_id(client: FakeTelegramClient) -> None:
    await send_as_user(client, GUEST, language_code="sv", first_name="Gustav")
    await send_as_user(client, GROUP)
    await send_as_user(client, SUPERGROUP)
    private, group, supergroup = await client.updates()
    assert private["chat"] == {"id": GUEST, "type": "private", "first_name": "Gustav"}
    assert private["from"] == {"id": GUEST, "is_bot": False, "first_name": "Gustav", "language_code": "sv"}
    assert (group["chat"]["type"], supergroup["chat"]["type"]) == ("group", "supergroup")
    assert group["from"]["first_name"] == "Gustav"


async def test_bot_can_send_only_to_existing_topics_of_a_forum(client: FakeTelegramClient) -> None:
    await send_as_user(client, SUPERGROUP, message_thread_id=7)
    [message] = await client.updates()
    assert (message["message_thread_id"], message["is_topic_message"], message["chat"]["is_forum"]) == (7, True, True)
    message_id = await client.send(chat_id=SUPERGROUP, message_thread_id=7)
    assert client.message(message_id, SUPERGROUP)["message_thread_id"] == 7
    await send_as_user(client, SUPERGROUP, message_thread_id=1)
    for topic in (1, 8):
        error = await client.error_of("sendMessage", chat_id=SUPERGROUP, text="x", message_thread_id=topic)
        assert error == "Bad Request: message thread not found"


async def test_bot_cannot_send_to_a_closed_topic_until_it_is_reopened(client: FakeTelegramClient) -> None:
    await send_as_user(client, SUPERGROUP, message_thread_id=7)
    message_id = await client.send(chat_id=SUPERGROUP, message_thread_id=7)
    topic = {"chat_id": SUPERGROUP, "message_thread_id": 7}
    await client.control("topics", topic)
    assert await client.error_of("sendMessage", text="x", **topic) == "Bad Request: TOPIC_CLOSED"
    await client.call("editMessageText", chat_id=SUPERGROUP, message_id=message_id, text="paid")
    await client.control("topics", topic | {"closed": False})
    await client.send("y", **topic)
    _, closed, opened = await client.updates()
    assert ("forum_topic_closed" in closed, "forum_topic_reopened" in opened) == (True, True)
    assert (await client.control_response("topics", topic | {"message_thread_id": 8}))[0] == 404


async def test_anonymous_admin_and_channel_replace_the_sender(client: FakeTelegramClient) -> None:
    await send_as_user(client, SUPERGROUP, sender_chat=SUPERGROUP)
    await send_as_user(client, SUPERGROUP, sender_chat=-1009)
    anonymous, channel = await client.updates()
    assert (anonymous["from"]["id"], anonymous["from"]["is_bot"]) == (1087968824, True)
    assert anonymous["sender_chat"]["id"] == SUPERGROUP
    assert (channel["from"]["id"], channel["sender_chat"]["type"]) == (136817688, "channel")
    message_id = await client.send(chat_id=SUPERGROUP)
    client.fake.press_button(message_id, GUEST, "x", SUPERGROUP)
    [tap] = await client.updates("callback_query")
    assert tap["from"]["id"] == GUEST


async def test_channel_post_has_no_author(client: FakeTelegramClient) -> None:
    await send_as_user(client, -1005, chat_type="channel")
    [post] = await client.updates("channel_post")
    assert "from" not in post
    assert post["sender_chat"]["id"] == -1005


async def test_edit_of_a_user_is_an_edited_message_update(client: FakeTelegramClient) -> None:
    sent = await send_as_user(client, GUEST, "/pay 10")
    await send_as_user(client, GUEST, "/pay 12", edit_message_id=sent["message_id"])
    [edited] = await client.updates("edited_message")
    assert (edited["message_id"], edited["text"]) == (sent["message_id"], "/pay 12")
    assert edited["edit_date"] >= edited["date"]


async def test_message_of_another_bot_has_is_bot(client: FakeTelegramClient) -> None:
    await send_as_user(client, GROUP, is_bot=True)
    assert [message["from"]["is_bot"] for message in await client.updates()] == [True]


async def test_bot_cannot_send_to_a_user_who_blocked_it_until_unblocked(client: FakeTelegramClient) -> None:
    await send_as_user(client, GUEST)
    await client.control("block", {"user_id": GUEST, "blocked": True})
    error = await client.error_of("sendMessage", chat_id=GUEST, text="x")
    assert error == "Forbidden: bot was blocked by the user"
    status, _ = await client.control_response("messages", {"chat_id": GUEST, "from_id": GUEST, "text": "x"})
    assert status == 400
    await client.control("block", {"user_id": GUEST, "blocked": False})
    await client.send(chat_id=GUEST)
    changes = await client.updates("my_chat_member")
    steps = [(change["old_chat_member"]["status"], change["new_chat_member"]["status"]) for change in changes]
    assert steps == [("member", "kicked"), ("kicked", "member")]


async def test_kicked_bot_gets_no_updates_and_cannot_send_until_added_again(client: FakeTelegramClient) -> None:
    await send_as_user(client, SUPERGROUP)
    await client.control("kick", {"chat_id": SUPERGROUP})
    assert (await send_as_user(client, SUPERGROUP, "hello?"))["update_id"] is None
    error = await client.error_of("sendMessage", chat_id=SUPERGROUP, text="x")
    assert error == "Forbidden: bot was kicked from the supergroup chat"
    assert await client.error_of("getChat", chat_id=SUPERGROUP) == error
    await client.control("add", {"chat_id": SUPERGROUP, "from_id": GUEST})
    await client.send(chat_id=SUPERGROUP)
    changes = await client.updates("my_chat_member")
    assert [change["new_chat_member"]["status"] for change in changes] == ["kicked", "member"]


async def test_error_of_a_migrated_group_has_the_new_chat_id(client: FakeTelegramClient) -> None:
    await send_as_user(client, GROUP)
    message_id = await client.send(chat_id=GROUP)
    new_chat = (await client.control("migrate", {"chat_id": GROUP}))["chat_id"]
    response = await client.response("sendMessage", chat_id=GROUP, text="x")
    assert response["description"] == "Bad Request: group chat was upgraded to a supergroup chat"
    assert response["parameters"] == {"migrate_to_chat_id": new_chat}
    error = await client.error_of("editMessageText", chat_id=GROUP, message_id=message_id, text="x")
    assert error == "Bad Request: message can't be edited"
    await client.send(chat_id=new_chat)
    _, left, joined = await client.updates()
    assert (left["chat"]["id"], left["migrate_to_chat_id"]) == (GROUP, new_chat)
    assert (joined["chat"]["id"], joined["migrate_from_chat_id"]) == (new_chat, GROUP)


async def test_privacy_mode_delivers_only_commands_and_replies_in_groups(client: FakeTelegramClient) -> None:
    client.fake.state.privacy = True
    card_chat = await send_as_user(client, GROUP, "/start")
    assert card_chat["update_id"] is not None
    message_id = await client.send(chat_id=GROUP)
    assert (await send_as_user(client, GROUP, "nice weather"))["update_id"] is None
    assert (await send_as_user(client, GROUP, "yes", reply_to_message_id=message_id))["update_id"] is not None


async def test_sender_of_a_message_becomes_a_member(client: FakeTelegramClient) -> None:
    await send_as_user(client, GROUP)
    known = await client.call("getChatMember", chat_id=GROUP, user_id=GUEST)
    assert known["status"] == "member"
    own = await client.call("getChatMember", chat_id=GROUP, user_id=client.fake.state.bot["id"])
    assert own["status"] == "member"
    assert await client.error_of("getChatMember", chat_id=GROUP, user_id=5) == "Bad Request: user not found"
    assert await client.call("getChatAdministrators", chat_id=GROUP) == []
    assert (await client.call("getChat", chat_id=GROUP))["type"] == "group"


async def test_callback_query_of_a_deleted_message_has_no_text(client: FakeTelegramClient) -> None:
    message_id = await client.send()
    await client.call("deleteMessage", chat_id=client.chat, message_id=message_id)
    client.fake.press_button(message_id, client.fake.owner_id, "forged", client.chat)
    [tap] = await client.updates("callback_query")
    assert tap["message"] == {"chat": client.fake.state.chats[client.chat].info, "message_id": message_id, "date": 0}


async def test_inline_message_is_created_when_a_result_is_chosen(client: FakeTelegramClient) -> None:
    sent = await client.control("inline", {"from_id": GUEST, "query": "125 coffee"})
    [query] = await client.updates("inline_query")
    assert (query["id"], query["query"]) == (sent["inline_query_id"], "125 coffee")
    keyboard = {"inline_keyboard": [[{"text": "Get link", "callback_data": "g"}]]}
    content = {"message_text": "<b>125</b>", "parse_mode": "HTML"}
    result = {"type": "article", "id": "r1", "title": "125", "input_message_content": content, "reply_markup": keyboard}
    duplicate = await client.error_of("answerInlineQuery", inline_query_id=query["id"], results=[result, result])
    assert duplicate == "Bad Request: RESULT_ID_DUPLICATE"
    await client.call("answerInlineQuery", inline_query_id=query["id"], results=[result])
    assert client.fake.state.inline_messages == {}
    chosen = await client.control("choose", {"inline_query_id": query["id"], "result_id": "r1"})
    number = chosen["inline_message_id"]
    assert client.fake.state.inline_messages[number]["text"] == "125"
    [chosen_update] = await client.updates("chosen_inline_result")
    assert (chosen_update["inline_message_id"], chosen_update["query"]) == (number, "125 coffee")
    await client.control("taps", {"inline_message_id": number, "from_id": 9, "data": "g"})
    [tap] = await client.updates("callback_query")
    assert tap["inline_message_id"] == number
    assert await client.call("editMessageText", inline_message_id=number, text="paid") is True
    client.clock.advance(60)
    error = await client.error_of("answerInlineQuery", inline_query_id=query["id"], results=[])
    assert "query is too old" in error


async def test_allowed_updates_filter_kinds_and_persist(client: FakeTelegramClient) -> None:
    await client.call("getUpdates", allowed_updates=["callback_query"])
    assert (await send_as_user(client, GUEST))["update_id"] is None
    await client.call("getUpdates")
    assert (await send_as_user(client, GUEST))["update_id"] is None
    await client.call("getUpdates", allowed_updates=ALLOWED)
    assert (await send_as_user(client, GUEST))["update_id"] is not None


async def test_update_ids_restart_at_a_random_number_after_a_week(client: FakeTelegramClient) -> None:
    first = (await send_as_user(client, GUEST))["update_id"]
    client.clock.advance(8 * 24 * 3600)
    second = (await send_as_user(client, GUEST))["update_id"]
    assert abs(second - first) > 1
    assert [update["update_id"] for update in await client.call("getUpdates")] == [second]


async def test_transcript_has_user_actions_and_calls_in_order(client: FakeTelegramClient) -> None:
    await send_as_user(client, client.chat, "/pay 10", from_id=client.fake.owner_id)
    message_id = await client.send("open", reply_markup={"inline_keyboard": [[{"text": "x", "callback_data": "c"}]]})
    await client.call("editMessageText", chat_id=client.chat, message_id=message_id, text="paid")
    await client.error_of("editMessageText", chat_id=client.chat, message_id=message_id, text="paid")
    entries = await client.control("transcript")
    steps = [(entry["direction"], entry["method"]) for entry in entries]
    assert steps == [
        ("in", "message"),
        ("out", "sendMessage"),
        ("out", "editMessageText"),
        ("out", "editMessageText"),
    ]
    assert [entry["result"].get("text") for entry in entries] == [None, "open", "paid", None]
    assert entries[3]["result"]["error_code"] == 400
    assert entries[1]["params"]["reply_markup"]["inline_keyboard"][0][0]["callback_data"] == "c"
    shown = await client.control(f"chats/{client.chat}")
    assert [message["text"] for message in shown["messages"]] == ["/pay 10", "paid"]
