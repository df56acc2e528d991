"""What the pretend Telegram refuses, in Telegram's own words: formatting, lengths, buttons, addresses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from bot.sandbox.fake_telegram import html_parser, links
from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_telegram_client import Talk, opened


@pytest.fixture
async def talk(clock: FakeClock) -> AsyncIterator[Talk]:
    async with opened(clock, flood_control=False) as running:
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
def test_html_reads_as_telegram_reads_it(html: str, text: str, expected: list[tuple[str, int, int]]) -> None:
    found, entities = html_parser.parse(html)
    assert (found, [(entity["type"], entity["offset"], entity["length"]) for entity in entities]) == (text, expected)


def test_links_code_and_times_carry_what_they_mean() -> None:
    _, [link] = html_parser.parse('<a href="https://PAY.example.dk?a=1&amp;b=2">x</a>')
    assert link["url"] == "https://pay.example.dk/?a=1&b=2"
    _, [code] = html_parser.parse('<pre><code class="language-python">x</code></pre>')
    assert code == {"type": "pre", "offset": 0, "length": 1, "language": "python"}
    _, [time] = html_parser.parse('<tg-time unix="1700000000" format="t">soon</tg-time>')
    assert (time["type"], time["unix_time"], time["date_time_format"]) == ("date_time", 1700000000, "t")


@pytest.mark.parametrize(
    ("html", "complaint"),
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
async def test_broken_html_is_refused(talk: Talk, html: str, complaint: str) -> None:
    said = await talk.refused("sendMessage", chat_id=talk.chat, text=html, parse_mode="HTML")
    assert said == f"Bad Request: can't parse entities: {complaint}"


@pytest.mark.parametrize(
    ("link", "kept"),
    [
        ("https://example.dk", "https://example.dk/"),
        ("pay.example.dk/p?x=1", "http://pay.example.dk/p?x=1"),
        ("http://127.0.0.1:8080/p/1", "http://127.0.0.1:8080/p/1"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("tg://resolve?domain=KvitDemoBot", "tg://resolve?domain=KvitDemoBot"),
    ],
)
def test_an_address_with_a_dot_is_an_address(link: str, kept: str) -> None:
    assert links.normalize(link) == kept


@pytest.mark.parametrize(
    ("link", "complaint"),
    [
        ("http://localhost:8080/p/1", "Wrong HTTP URL"),
        ("mobilepay://pay", "Unsupported URL protocol"),
        ("https://", "URL host is empty"),
        ("https://a.dk:99999/", "Wrong port number specified in the URL"),
        ("https://a b.dk/", "Wrong URL host"),
    ],
)
async def test_a_button_with_another_address_is_refused(talk: Talk, link: str, complaint: str) -> None:
    said = await talk.refused("sendMessage", chat_id=talk.chat, text="x", reply_markup=button(url=link))
    assert said == f"Bad Request: inline keyboard button URL '{link}' is invalid: {complaint}"


async def test_buttons_are_held_to_their_lengths_and_to_one_action(talk: Talk) -> None:
    async def said(**fields: Any) -> str:
        return await talk.refused("sendMessage", chat_id=talk.chat, text="x", reply_markup=button(**fields))

    await talk.send(reply_markup=button(callback_data="x" * 64))
    assert await said(callback_data="ø" * 33) == "Bad Request: BUTTON_DATA_INVALID"
    await talk.send(reply_markup=button(copy_text={"text": "x" * 256}))
    assert await said(copy_text={"text": "x" * 257}) == "Bad Request: BUTTON_COPY_TEXT_INVALID"
    assert "Text buttons are unallowed" in await said()
    assert "exactly one action" in await said(url="https://a.dk", callback_data="x")
    assert "Unsupported button style" in await said(callback_data="x", style="loud")


async def test_texts_are_counted_after_parsing(talk: Talk) -> None:
    await talk.send("<b>" + "🙂" * 4096 + "</b>", parse_mode="HTML")
    assert await talk.refused("sendMessage", chat_id=talk.chat, text="x" * 4097) == "Bad Request: message is too long"
    assert await talk.refused("sendMessage", chat_id=talk.chat, text="") == "Bad Request: message text is empty"
    empty = await talk.refused("sendMessage", chat_id=talk.chat, text="<b> </b>", parse_mode="HTML")
    assert empty == "Bad Request: text must be non-empty"
    card = await talk.send()
    long = await talk.refused("editMessageText", chat_id=talk.chat, message_id=card, text="x" * 4097)
    assert long == "Bad Request: MESSAGE_TOO_LONG"


async def test_telegram_finds_links_commands_and_hashtags_by_itself(talk: Talk) -> None:
    card = await talk.send("<code>/no</code> /status #K7F3 https://pay.example.dk/p/1.", parse_mode="HTML")
    kinds = [(entity["type"], entity["offset"]) for entity in talk.shown(card)["entities"]]
    assert kinds == [("code", 0), ("bot_command", 4), ("hashtag", 12), ("url", 18)]


async def test_only_the_bots_own_messages_can_be_edited(talk: Talk) -> None:
    theirs = talk.fake.send(talk.chat, talk.fake.owner_id, "hello")
    said = await talk.refused("editMessageText", chat_id=talk.chat, message_id=theirs, text="x")
    assert said == "Bad Request: message can't be edited"
    gone = await talk.send()
    await talk.control("delete", {"chat_id": talk.chat, "message_id": gone})
    said = await talk.refused("editMessageText", chat_id=talk.chat, message_id=gone, text="x")
    assert said == "Bad Request: message to edit not found"


async def test_a_reply_to_a_message_that_is_gone_may_be_sent_without(talk: Talk) -> None:
    asked = talk.fake.send(talk.chat, talk.fake.owner_id, "/pay 10")
    card = await talk.send(reply_parameters={"message_id": asked})
    assert talk.shown(card)["reply_to_message"]["text"] == "/pay 10"
    said = await talk.refused("sendMessage", chat_id=talk.chat, text="x", reply_parameters={"message_id": 999})
    assert said == "Bad Request: message to be replied not found"
    alone = await talk.send(reply_parameters={"message_id": 999, "allow_sending_without_reply": True})
    assert "reply_to_message" not in talk.shown(alone)


async def test_a_message_is_deletable_for_two_days(talk: Talk) -> None:
    early, late = await talk.send(), await talk.send()
    assert await talk.call("deleteMessage", chat_id=talk.chat, message_id=early) is True
    talk.clock.advance(48 * 3600)
    said = await talk.refused("deleteMessage", chat_id=talk.chat, message_id=late)
    assert said == "Bad Request: message can't be deleted for everyone"


async def test_reactions_and_chat_actions_come_from_telegrams_lists(talk: Talk) -> None:
    card = await talk.send()
    await talk.call(
        "setMessageReaction", chat_id=talk.chat, message_id=card, reaction=[{"type": "emoji", "emoji": "👍"}]
    )
    shown = await talk.control(f"chats/{talk.chat}")
    assert shown["reactions"] == {str(card): [{"type": "emoji", "emoji": "👍"}]}
    wrong = [{"type": "emoji", "emoji": "🧾"}]
    said = await talk.refused("setMessageReaction", chat_id=talk.chat, message_id=card, reaction=wrong)
    assert said == "Bad Request: REACTION_INVALID"
    assert await talk.call("sendChatAction", chat_id=talk.chat, action="typing") is True
    assert "wrong parameter action" in await talk.refused("sendChatAction", chat_id=talk.chat, action="dance")


async def test_menus_are_kept_by_scope_and_language(talk: Talk) -> None:
    menu = [{"command": "pay", "description": "Request a payment"}]
    scope = {"type": "chat", "chat_id": talk.chat}
    await talk.call("setMyCommands", commands=menu, scope=scope, language_code="da")
    assert await talk.call("getMyCommands", scope=scope, language_code="da") == menu
    assert await talk.call("getMyCommands") == []
    await talk.call("deleteMyCommands", scope=scope, language_code="da")
    assert await talk.call("getMyCommands", scope=scope, language_code="da") == []
    wrong = [{"command": "Pay!", "description": "x"}]
    assert await talk.refused("setMyCommands", commands=wrong) == "Bad Request: BOT_COMMAND_INVALID"
    await talk.call("setMyShortDescription", short_description="Payments")
    assert await talk.call("getMyShortDescription", language_code="da") == {"short_description": "Payments"}
    assert "too long" in await talk.refused("setMyName", name="x" * 65)
    await talk.call("setChatMenuButton", menu_button={"type": "commands"})


async def test_a_text_becomes_a_picture_by_an_edit_and_never_a_text_again(talk: Talk) -> None:
    card = await talk.send()
    png = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + (300).to_bytes(4) * 2
    form = aiohttp.FormData({"chat_id": str(talk.chat), "message_id": str(card)})
    form.add_field("media", json.dumps({"type": "photo", "media": "attach://qr", "caption": "Scan"}))
    form.add_field("qr", png, filename="qr.png", content_type="image/png")
    async with talk.http.post(f"{talk.fake.base}/bot{talk.fake.token}/editMessageMedia", data=form) as answer:
        assert (await answer.json())["ok"]
    assert (talk.shown(card)["photo"][0]["width"], talk.shown(card)["caption"]) == (300, "Scan")
    assert "text" not in talk.shown(card)
    file = await talk.call("getFile", file_id=talk.shown(card)["photo"][0]["file_id"])
    async with talk.http.get(f"{talk.fake.base}/file/bot{talk.fake.token}/{file['file_path']}") as answer:
        assert await answer.read() == png
    said = await talk.refused("editMessageText", chat_id=talk.chat, message_id=card, text="paid")
    assert said == "Bad Request: there is no text in the message to edit"


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
        {"chat_id": "@somebody"},
    ],
)
async def test_what_makes_no_sense_is_a_bad_request(talk: Talk, fields: dict[str, Any]) -> None:
    assert (await talk.refused("sendMessage", **({"chat_id": talk.chat, "text": "x"} | fields))).startswith("Bad Req")
    assert talk.fake.state.chats[talk.chat].messages == {}


async def test_unknown_methods_and_tokens_are_refused(talk: Talk) -> None:
    assert await talk.refused("sendMoney") == "Not Found: method not found"
    assert (await talk.call("GETME"))["username"] == talk.fake.username
    async with talk.http.get(f"{talk.fake.base}/bot1:wrong/getMe") as answer:
        assert (answer.status, (await answer.json())["description"]) == (401, "Unauthorized")
    async with talk.http.get(f"{talk.fake.base}/botnothing/getMe") as answer:
        assert answer.status == 404


async def test_a_call_may_be_a_query_or_json_as_well(talk: Talk) -> None:
    where = f"{talk.fake.base}/bot{talk.fake.token}/sendMessage"
    async with talk.http.get(where, params={"chat_id": talk.chat, "text": "by query"}) as answer:
        assert (await answer.json())["result"]["text"] == "by query"
    wanted = {"chat_id": talk.chat, "text": "by JSON", "reply_markup": button(callback_data="x")}
    async with talk.http.post(where, json=wanted) as answer:
        assert (await answer.json())["result"]["reply_markup"] == button(callback_data="x")
    async with talk.http.post(where, data="{", headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 400


async def test_spaces_around_a_text_are_cut_and_its_entities_move_along(talk: Talk) -> None:
    card = await talk.send("  <b> a</b> ", parse_mode="HTML")
    assert talk.shown(card)["text"] == "a"
    assert talk.shown(card)["entities"] == [{"type": "bold", "offset": 0, "length": 1}]


async def test_a_web_app_needs_https_and_a_private_chat(talk: Talk) -> None:
    async def said(chat: int, url: str) -> str:
        keyboard = button(web_app={"url": url})
        return await talk.refused("sendMessage", chat_id=chat, text="x", reply_markup=keyboard)

    await talk.send(reply_markup=button(web_app={"url": "https://a.dk"}))
    assert "Only HTTPS links are allowed" in await said(talk.chat, "http://a.dk")
    talk.fake.send(-4001, talk.fake.owner_id, "/start")
    assert await said(-4001, "https://a.dk") == "Bad Request: BUTTON_TYPE_INVALID"


@pytest.mark.parametrize(
    ("size", "caption", "complaint"),
    [
        ((2100, 100), "x", "PHOTO_INVALID_DIMENSIONS"),
        ((9000, 1001), "x", "PHOTO_INVALID_DIMENSIONS"),
        ((100, 100), "x" * 1025, "message caption is too long"),
    ],
)
async def test_a_picture_has_limits(talk: Talk, size: tuple[int, int], caption: str, complaint: str) -> None:
    form = aiohttp.FormData({"chat_id": str(talk.chat), "caption": caption})
    png = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + b"".join(side.to_bytes(4) for side in size)
    form.add_field("photo", png, filename="qr.png", content_type="image/png")
    async with talk.http.post(f"{talk.fake.base}/bot{talk.fake.token}/sendPhoto", data=form) as answer:
        assert (await answer.json())["description"] == f"Bad Request: {complaint}"


async def test_a_strange_offset_confirms_little(talk: Talk) -> None:
    for word in ("one", "two", "three"):
        talk.fake.send(talk.chat, talk.fake.owner_id, word)
    numbers = [update["update_id"] for update in await talk.call("getUpdates", offset=2_000_000_000)]
    assert len(numbers) == 3
    assert [update["update_id"] for update in await talk.call("getUpdates", offset=-1)] == numbers[-1:]
    assert [update["update_id"] for update in await talk.call("getUpdates", offset=0)] == numbers[-1:]
