"""The fake Telegram's checks, with Telegram's error messages: formatting, lengths, buttons, URLs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from bot.sandbox.fake_telegram import html_parser, links
from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_telegram_client import FakeTelegramClient, start_client


@pytest.fixture
async def client(clock: FakeClock) -> AsyncIterator[FakeTelegramClient]:
    async with start_client(clock, flood_control=False) as running:
        yield running


def button(**fields: Any) -> dict[str, Any]:
    return {"inline_keyboard": [[{"text": "Go"} | fields]]}


@pytest.mark.parametrize(
    ("html", "text", "expected"),
    [
        ("<b>a</b><i>b</i>", "ab", [("bold", 0, 1), ("italic", 1, 1)]),
        ("<b>a<i>b</i></b>", "ab", [("bold", 0, 2), ("italic", 1, 1)]),
        ("🙂<u>x</u>", "🙂x", [("underline", 2, 1)]),
        ("<s>x</s><del>y</del>", "xy", [("strikethrough", 0, 1), ("strikethrough", 1, 1)]),
        ("<tg-spoiler>x</tg-spoiler>", "x", [("spoiler", 0, 1)]),
        ('<span class="tg-spoiler">x</span>', "x", [("spoiler", 0, 1)]),
        ("<blockquote expandable>x</blockquote>", "x", [("expandable_blockquote", 0, 1)]),
        ("a &amp; b &lt;3 &#x1F642; & c &nbsp;", "a & b <3 🙂 & c &nbsp;", []),
        ("<b></b>x", "x", []),
        ("<B>x</>", "x", [("bold", 0, 1)]),
        ('<a href="http://localhost">x</a>', "x", []),
    ],
)
def test_html_is_parsed_to_text_and_entities(html: str, text: str, expected: list[tuple[str, int, int]]) -> None:
    parsed, entities = html_parser.parse(html)
    assert (parsed, [(entity["type"], entity["offset"], entity["length"]) for entity in entities]) == (text, expected)


def test_link_code_and_time_entities_have_their_values() -> None:
    _, [link] = html_parser.parse('<a href="https://PAY.example.dk?a=1&amp;b=2">x</a>')
    assert link["url"] == "https://pay.example.dk/?a=1&b=2"
    _, [code] = html_parser.parse('<pre><code class="language-python">x</code></pre>')
    assert code == {"type": "pre", "offset": 0, "length": 1, "language": "python"}
    _, [time] = html_parser.parse('<tg-time unix="1700000000" format="t">soon</tg-time>')
    assert (time["type"], time["unix_time"], time["date_time_format"]) == ("date_time", 1700000000, "t")


@pytest.mark.parametrize(
    ("html", "error_message"),
    [
        ("a <b1>", 'Unsupported start tag "b1" at byte offset 2'),
        ("ø <3", "Unclosed start tag at byte offset 3"),
        ("ø <3 you", 'Unsupported start tag "3" at byte offset 3'),
        ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("<b>x</i>", 'Unmatched end tag at byte offset 4, expected "</b>", found "</i>"'),
        ("<b>x</b", "Unclosed end tag at byte offset 4"),
        ("<a href>x</a>", 'Expected equal sign in declaration of an attribute of the tag "a" at byte offset 0'),
        ('<a href="x', "Unclosed start tag at byte offset 0"),
        ("<span>x</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
    ],
)
async def test_invalid_html_is_rejected(client: FakeTelegramClient, html: str, error_message: str) -> None:
    error = await client.error_of("sendMessage", chat_id=client.chat, text=html, parse_mode="HTML")
    assert error == f"Bad Request: can't parse entities: {error_message}"


@pytest.mark.parametrize(
    ("link", "normalized"),
    [
        ("https://example.dk", "https://example.dk/"),
        ("pay.example.dk/p?x=1", "http://pay.example.dk/p?x=1"),
        ("http://127.0.0.1:8080/p/1", "http://127.0.0.1:8080/p/1"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("tg://resolve?domain=KvitDemoBot", "tg://resolve?domain=KvitDemoBot"),
    ],
)
def test_url_is_normalized(link: str, normalized: str) -> None:
    assert links.normalize(link) == normalized


@pytest.mark.parametrize(
    ("link", "error_message"),
    [
        ("http://localhost:8080/p/1", "Wrong HTTP URL"),
        ("mobilepay://pay", "Unsupported URL protocol"),
        ("https://", "URL host is empty"),
        ("https://a.dk:99999/", "Wrong port number specified in the URL"),
        ("https://a b.dk/", "Wrong URL host"),
    ],
)
async def test_button_with_an_invalid_url_is_rejected(
    client: FakeTelegramClient, link: str, error_message: str
) -> None:
    error = await client.error_of("sendMessage", chat_id=client.chat, text="x", reply_markup=button(url=link))
    assert error == f"Bad Request: inline keyboard button URL '{link}' is invalid: {error_message}"


async def test_button_lengths_and_actions_are_checked(client: FakeTelegramClient) -> None:
    async def error(**fields: Any) -> str:
        return await client.error_of("sendMessage", chat_id=client.chat, text="x", reply_markup=button(**fields))

    await client.send(reply_markup=button(callback_data="x" * 64))
    assert await error(callback_data="ø" * 33) == "Bad Request: BUTTON_DATA_INVALID"
    await client.send(reply_markup=button(copy_text={"text": "x" * 256}))
    assert await error(copy_text={"text": "x" * 257}) == "Bad Request: BUTTON_COPY_TEXT_INVALID"
    assert "Text buttons are unallowed" in await error()
    assert "exactly one action" in await error(url="https://a.dk", callback_data="x")
    assert "Unsupported button style" in await error(callback_data="x", style="unknown")


async def test_text_length_is_checked_after_parsing(client: FakeTelegramClient) -> None:
    await client.send("<b>" + "🙂" * 4096 + "</b>", parse_mode="HTML")
    assert (
        await client.error_of("sendMessage", chat_id=client.chat, text="x" * 4097) == "Bad Request: message is too long"
    )
    assert await client.error_of("sendMessage", chat_id=client.chat, text="") == "Bad Request: message text is empty"
    empty = await client.error_of("sendMessage", chat_id=client.chat, text="<b> </b>", parse_mode="HTML")
    assert empty == "Bad Request: text must be non-empty"
    message_id = await client.send()
    long = await client.error_of("editMessageText", chat_id=client.chat, message_id=message_id, text="x" * 4097)
    assert long == "Bad Request: MESSAGE_TOO_LONG"


async def test_links_commands_and_hashtags_are_found_in_text(client: FakeTelegramClient) -> None:
    message_id = await client.send("<code>/no</code> /status #K7F3 https://pay.example.dk/p/1.", parse_mode="HTML")
    kinds = [(entity["type"], entity["offset"]) for entity in client.message(message_id)["entities"]]
    assert kinds == [("code", 0), ("bot_command", 4), ("hashtag", 12), ("url", 18)]


async def test_bot_can_edit_only_its_own_messages(client: FakeTelegramClient) -> None:
    user_message = client.fake.send(client.chat, client.fake.owner_id, "hello")
    error = await client.error_of("editMessageText", chat_id=client.chat, message_id=user_message, text="x")
    assert error == "Bad Request: message can't be edited"
    deleted = await client.send()
    await client.control("delete", {"chat_id": client.chat, "message_id": deleted})
    error = await client.error_of("editMessageText", chat_id=client.chat, message_id=deleted, text="x")
    assert error == "Bad Request: message to edit not found"


async def test_reply_to_a_missing_message_is_rejected_unless_allowed(client: FakeTelegramClient) -> None:
    command = client.fake.send(client.chat, client.fake.owner_id, "/pay 10")
    message_id = await client.send(reply_parameters={"message_id": command})
    assert client.message(message_id)["reply_to_message"]["text"] == "/pay 10"
    error = await client.error_of("sendMessage", chat_id=client.chat, text="x", reply_parameters={"message_id": 999})
    assert error == "Bad Request: message to be replied not found"
    unreplied = await client.send(reply_parameters={"message_id": 999, "allow_sending_without_reply": True})
    assert "reply_to_message" not in client.message(unreplied)


async def test_message_can_be_deleted_for_two_days(client: FakeTelegramClient) -> None:
    early, late = await client.send(), await client.send()
    assert await client.call("deleteMessage", chat_id=client.chat, message_id=early) is True
    client.clock.advance(48 * 3600)
    error = await client.error_of("deleteMessage", chat_id=client.chat, message_id=late)
    assert error == "Bad Request: message can't be deleted for everyone"


async def test_unknown_reactions_and_chat_actions_are_rejected(client: FakeTelegramClient) -> None:
    message_id = await client.send()
    await client.call(
        "setMessageReaction", chat_id=client.chat, message_id=message_id, reaction=[{"type": "emoji", "emoji": "👍"}]
    )
    shown = await client.control(f"chats/{client.chat}")
    assert shown["reactions"] == {str(message_id): [{"type": "emoji", "emoji": "👍"}]}
    wrong = [{"type": "emoji", "emoji": "🧾"}]
    error = await client.error_of("setMessageReaction", chat_id=client.chat, message_id=message_id, reaction=wrong)
    assert error == "Bad Request: REACTION_INVALID"
    assert await client.call("sendChatAction", chat_id=client.chat, action="typing") is True
    assert "wrong parameter action" in await client.error_of("sendChatAction", chat_id=client.chat, action="unknown")


async def test_menus_are_stored_by_scope_and_language(client: FakeTelegramClient) -> None:
    menu = [{"command": "pay", "description": "Request a payment"}]
    scope = {"type": "chat", "chat_id": client.chat}
    await client.call("setMyCommands", commands=menu, scope=scope, language_code="da")
    assert await client.call("getMyCommands", scope=scope, language_code="da") == menu
    assert await client.call("getMyCommands") == []
    await client.call("deleteMyCommands", scope=scope, language_code="da")
    assert await client.call("getMyCommands", scope=scope, language_code="da") == []
    wrong = [{"command": "Pay!", "description": "x"}]
    assert await client.error_of("setMyCommands", commands=wrong) == "Bad Request: BOT_COMMAND_INVALID"
    await client.call("setMyShortDescription", short_description="Payments")
    assert await client.call("getMyShortDescription", language_code="da") == {"short_description": "Payments"}
    assert "too long" in await client.error_of("setMyName", name="x" * 65)
    await client.call("setChatMenuButton", menu_button={"type": "commands"})


async def test_text_message_can_become_a_photo_and_not_text_again(client: FakeTelegramClient) -> None:
    message_id = await client.send()
    png = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + (300).to_bytes(4) * 2
    form = aiohttp.FormData({"chat_id": str(client.chat), "message_id": str(message_id)})
    form.add_field("media", json.dumps({"type": "photo", "media": "attach://qr", "caption": "Scan"}))
    form.add_field("qr", png, filename="qr.png", content_type="image/png")
    async with client.http.post(f"{client.fake.base}/bot{client.fake.token}/editMessageMedia", data=form) as response:
        assert (await response.json())["ok"]
    assert (client.message(message_id)["photo"][0]["width"], client.message(message_id)["caption"]) == (300, "Scan")
    assert "text" not in client.message(message_id)
    file = await client.call("getFile", file_id=client.message(message_id)["photo"][0]["file_id"])
    async with client.http.get(f"{client.fake.base}/file/bot{client.fake.token}/{file['file_path']}") as response:
        assert await response.read() == png
    error = await client.error_of("editMessageText", chat_id=client.chat, message_id=message_id, text="paid")
    assert error == "Bad Request: there is no text in the message to edit"


@pytest.mark.parametrize(
    "fields",
    [
        {"reply_markup": {"inline_keyboard": [5]}},
        {"reply_markup": {"inline_keyboard": [["x"]]}},
        {"reply_markup": {"inline_keyboard": [[{"text": "x", "url": 5}]]}},
        {"reply_markup": {"inline_keyboard": [[{"text": "x", "web_app": "x"}]]}},
        {"reply_markup": "{"},
        {"reply_markup": []},
        {"reply_parameters": {"message_id": "one"}},
        {"entities": [{"type": "bold"}]},
        {"parse_mode": "Markup"},
        {"chat_id": "@someone"},
    ],
)
async def test_invalid_parameters_return_400_and_send_nothing(
    client: FakeTelegramClient, fields: dict[str, Any]
) -> None:
    assert (await client.error_of("sendMessage", **({"chat_id": client.chat, "text": "x"} | fields))).startswith(
        "Bad Req"
    )
    assert client.fake.state.chats[client.chat].messages == {}


async def test_unknown_methods_and_tokens_are_rejected(client: FakeTelegramClient) -> None:
    assert await client.error_of("sendMoney") == "Not Found: method not found"
    assert (await client.call("GETME"))["username"] == client.fake.username
    async with client.http.get(f"{client.fake.base}/bot1:wrong/getMe") as response:
        assert (response.status, (await response.json())["description"]) == (401, "Unauthorized")
    async with client.http.get(f"{client.fake.base}/botnothing/getMe") as response:
        assert response.status == 404


async def test_call_can_be_a_query_or_json(client: FakeTelegramClient) -> None:
    where = f"{client.fake.base}/bot{client.fake.token}/sendMessage"
    async with client.http.get(where, params={"chat_id": client.chat, "text": "by query"}) as response:
        assert (await response.json())["result"]["text"] == "by query"
    wanted = {"chat_id": client.chat, "text": "by JSON", "reply_markup": button(callback_data="x")}
    async with client.http.post(where, json=wanted) as response:
        assert (await response.json())["result"]["reply_markup"] == button(callback_data="x")
    async with client.http.post(where, data="{", headers={"Content-Type": "application/json"}) as response:
        assert response.status == 400


async def test_text_is_trimmed_and_entity_offsets_are_adjusted(client: FakeTelegramClient) -> None:
    message_id = await client.send("  <b> a</b> ", parse_mode="HTML")
    assert client.message(message_id)["text"] == "a"
    assert client.message(message_id)["entities"] == [{"type": "bold", "offset": 0, "length": 1}]


async def test_web_app_button_needs_https_and_a_private_chat(client: FakeTelegramClient) -> None:
    async def error(chat: int, url: str) -> str:
        keyboard = button(web_app={"url": url})
        return await client.error_of("sendMessage", chat_id=chat, text="x", reply_markup=keyboard)

    await client.send(reply_markup=button(web_app={"url": "https://a.dk"}))
    assert "Only HTTPS links are allowed" in await error(client.chat, "http://a.dk")
    client.fake.send(-4001, client.fake.owner_id, "/start")
    assert await error(-4001, "https://a.dk") == "Bad Request: BUTTON_TYPE_INVALID"


@pytest.mark.parametrize(
    ("size", "caption", "error_message"),
    [
        ((2100, 100), "x", "PHOTO_INVALID_DIMENSIONS"),
        ((9000, 1001), "x", "PHOTO_INVALID_DIMENSIONS"),
        ((100, 100), "x" * 1025, "message caption is too long"),
    ],
)
async def test_photo_dimensions_and_caption_length_are_checked(
    client: FakeTelegramClient, size: tuple[int, int], caption: str, error_message: str
) -> None:
    form = aiohttp.FormData({"chat_id": str(client.chat), "caption": caption})
    png = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + b"".join(side.to_bytes(4) for side in size)
    form.add_field("photo", png, filename="qr.png", content_type="image/png")
    async with client.http.post(f"{client.fake.base}/bot{client.fake.token}/sendPhoto", data=form) as response:
        assert (await response.json())["description"] == f"Bad Request: {error_message}"


async def test_offset_far_ahead_or_negative_confirms_only_what_telegram_confirms(client: FakeTelegramClient) -> None:
    for text in ("one", "two", "three"):
        client.fake.send(client.chat, client.fake.owner_id, text)
    numbers = [update["update_id"] for update in await client.call("getUpdates", offset=2_000_000_000)]
    assert len(numbers) == 3
    assert [update["update_id"] for update in await client.call("getUpdates", offset=-1)] == numbers[-1:]
    assert [update["update_id"] for update in await client.call("getUpdates", offset=0)] == numbers[-1:]
