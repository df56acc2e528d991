"""TelegramMessenger: calls to the Bot API, and errors as DeliveryError."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable

import pytest
from telegram.error import Conflict, RetryAfter

from bot.telegram.http_client import AiohttpRequest
from bot.telegram.messenger import BotTokenRejected, TelegramMessenger, to_delivery_error
from handlers.telegram.messenger import Button, DeliveryError, Message, Messenger
from storage.models.payment import ChatTarget
from tests.support.scripted_telegram import TOKEN, Stand

CHAT = ChatTarget(-100, 7)
MESSAGE = Message("<b>125,00 kr</b>")
SENT = {"ok": True, "result": {"message_id": 55, "date": 0, "chat": {"id": -100, "type": "supergroup"}}}


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    async with Stand() as running:
        yield running


@pytest.fixture
async def messenger(stand: Stand) -> AsyncIterator[TelegramMessenger]:
    made = TelegramMessenger(AiohttpRequest(TOKEN, base=stand.base))
    yield made
    await made.close()


async def failure(call: Awaitable[object]) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await call
    return caught.value


def test_messenger_implements_the_protocol(messenger: TelegramMessenger) -> None:
    port: Messenger = messenger
    assert port.username == ""


async def test_get_me_sets_username_and_bot_id(stand: Stand, messenger: TelegramMessenger) -> None:
    assert messenger.bot_id == 4242
    stand.say("<html>", 502)
    assert not (await failure(messenger.get_me())).permanent
    stand.say({"ok": True, "result": {"id": 4242, "is_bot": True, "first_name": "Kvit", "username": "KvitBot"}})
    await messenger.get_me()
    assert (messenger.username, messenger.bot_id) == ("KvitBot", 4242)


async def test_send_uses_html_topic_and_no_link_preview(stand: Stand, messenger: TelegramMessenger) -> None:
    stand.say(SENT)
    assert await messenger.send(CHAT, MESSAGE, reply_to=9, silent=True) == 55
    form = stand.forms[0]
    assert stand.paths[0].endswith("/sendMessage")
    assert json.loads(form.pop("reply_parameters")) == {"message_id": 9, "allow_sending_without_reply": True}
    assert json.loads(form.pop("link_preview_options")) == {"is_disabled": True}
    assert form == {
        "chat_id": "-100",
        "text": "<b>125,00 kr</b>",
        "parse_mode": "HTML",
        "message_thread_id": "7",
        "disable_notification": "true",
    }


@pytest.mark.parametrize("thread_id", [None, 1])
async def test_send_omits_the_general_topic(stand: Stand, messenger: TelegramMessenger, thread_id: int | None) -> None:
    stand.say(SENT)
    await messenger.send(ChatTarget(-100, thread_id), MESSAGE)
    assert set(stand.forms[0]) == {"chat_id", "text", "parse_mode", "link_preview_options"}


async def test_send_passes_every_kind_of_button(stand: Stand, messenger: TelegramMessenger) -> None:
    rows = (
        (Button("Pay", url="https://pay.example.dk/p/x", style="success"), Button("Copy", copy="https://x.dk")),
        (Button("Cancel", data="c:1", style="danger"),),
    )
    stand.say(SENT)
    await messenger.send(CHAT, Message("x", rows))
    assert json.loads(stand.forms[0]["reply_markup"])["inline_keyboard"] == [
        [
            {"text": "Pay", "url": "https://pay.example.dk/p/x", "style": "success"},
            {"text": "Copy", "copy_text": {"text": "https://x.dk"}},
        ],
        [{"text": "Cancel", "callback_data": "c:1", "style": "danger"}],
    ]


async def test_edit_passes_text_and_buttons(stand: Stand, messenger: TelegramMessenger) -> None:
    stand.say(SENT)
    await messenger.edit(CHAT, 55, Message("paid", ((Button("Refund", data="r"),),)))
    form = stand.forms[0]
    assert stand.paths[0].endswith("/editMessageText")
    assert (form["chat_id"], form["message_id"], form["text"]) == ("-100", "55", "paid")
    assert json.loads(form["reply_markup"]) == {"inline_keyboard": [[{"text": "Refund", "callback_data": "r"}]]}


async def test_edit_that_changes_nothing_succeeds(stand: Stand, messenger: TelegramMessenger) -> None:
    stand.refuse(400, "Bad Request: message is not modified: specified new message content is exactly the same")
    await messenger.edit(CHAT, 55, MESSAGE)


async def test_answer_callback_passes_text_and_alert(stand: Stand, messenger: TelegramMessenger) -> None:
    stand.say({"ok": True, "result": True})
    await messenger.answer_callback("77", "Expired", alert=True)
    assert stand.forms[0] == {"callback_query_id": "77", "text": "Expired", "show_alert": "true"}


async def test_answer_to_an_old_callback_succeeds(stand: Stand, messenger: TelegramMessenger) -> None:
    stand.refuse(400, "Bad Request: query is too old and response timeout expired or query ID is invalid")
    await messenger.answer_callback("77")


async def test_429_has_telegrams_retry_after(stand: Stand, messenger: TelegramMessenger) -> None:
    stand.refuse(429, "Too Many Requests: retry after 1386", retry_after=1386)
    error = await failure(messenger.send(CHAT, MESSAGE))
    assert (error.retry_after, error.permanent, error.outcome_unknown) == (1386.0, False, False)


async def test_migrated_group_has_its_new_id(stand: Stand, messenger: TelegramMessenger) -> None:
    stand.refuse(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=-100200)
    error = await failure(messenger.send(CHAT, MESSAGE))
    assert (error.moved_to, error.permanent, error.outcome_unknown) == (-100200, False, False)


@pytest.mark.parametrize("said", ["Forbidden: bot was blocked by the user", "Forbidden: bot was kicked from the group"])
async def test_unavailable_chat_is_a_permanent_error(stand: Stand, messenger: TelegramMessenger, said: str) -> None:
    stand.refuse(403, said)
    error = await failure(messenger.send(CHAT, MESSAGE))
    assert (error.permanent, error.message_gone, str(error)) == (True, False, said)


@pytest.mark.parametrize(
    ("said", "unavailable"),
    [
        ("Bad Request: have no rights to send a message", True),
        ("Bad Request: CHAT_WRITE_FORBIDDEN", True),
        ("Bad Request: CHAT_RESTRICTED", True),
        ("Bad Request: CHAT_SEND_PLAIN_FORBIDDEN", True),
        ("Bad Request: CHANNEL_PRIVATE", True),
        ("Bad Request: USER_IS_BLOCKED", True),
        ("Bad Request: INPUT_USER_DEACTIVATED", True),
        ("Bad Request: need administrator rights in the channel chat", True),
        ("Bad Request: CHAT_SEND_PHOTOS_FORBIDDEN", False),
        ("Bad Request: message is too long", False),
    ],
)
async def test_every_way_to_say_that_a_chat_is_closed_to_the_bot_counts(
    stand: Stand, messenger: TelegramMessenger, said: str, unavailable: bool
) -> None:
    stand.refuse(400, said)
    error = await failure(messenger.send(CHAT, MESSAGE))
    assert (error.permanent, error.chat_unavailable) == (True, unavailable)


@pytest.mark.parametrize(
    ("said", "gone"),
    [
        ("Bad Request: chat not found", False),
        ('Bad Request: can\'t parse entities: Unsupported start tag "b1"', False),
        ("Bad Request: message to edit not found", True),
        ("Bad Request: message can't be edited", True),
        ("Bad Request: MESSAGE_ID_INVALID", True),
        ("Bad Request: message thread not found", True),
        ("Bad Request: TOPIC_DELETED", True),
        ("Bad Request: not enough rights to send text messages to the chat", False),
    ],
)
async def test_bad_request_is_a_permanent_error(
    stand: Stand, messenger: TelegramMessenger, said: str, gone: bool
) -> None:
    stand.refuse(400, said)
    error = await failure(messenger.edit(CHAT, 55, MESSAGE))
    assert (error.permanent, error.message_gone, error.outcome_unknown, error.retry_after) == (
        True,
        gone,
        False,
        None,
    )


async def test_rejected_button_is_reported_without_its_url(stand: Stand, messenger: TelegramMessenger) -> None:
    stand.refuse(400, "Bad Request: inline keyboard button URL 'http://localhost/p/Secret' is invalid: Wrong HTTP URL")
    error = await failure(messenger.send(CHAT, MESSAGE))
    assert error.permanent
    assert "button" in str(error)
    assert "ecret" not in str(error)


async def test_delivery_error_contains_no_url(stand: Stand, messenger: TelegramMessenger) -> None:
    stand.refuse(400, "Bad Request: what is https://pay.example.dk/p/SECRET doing here")
    assert str(await failure(messenger.send(CHAT, MESSAGE))) == "What is [link] doing here"


@pytest.mark.parametrize("status", [401, 404])
async def test_rejected_token_is_a_temporary_error(stand: Stand, messenger: TelegramMessenger, status: int) -> None:
    stand.refuse(status, "Unauthorized")
    error = await failure(messenger.send(CHAT, MESSAGE))
    assert isinstance(error, BotTokenRejected)
    assert (str(error), error.permanent, error.outcome_unknown) == ("token rejected", False, False)
    assert error.retry_after


@pytest.mark.parametrize("status", [413, 429, 302, 418])
async def test_other_error_response_is_a_temporary_error(
    stand: Stand, messenger: TelegramMessenger, status: int
) -> None:
    stand.say("<html>no</html>", status)
    error = await failure(messenger.send(CHAT, MESSAGE))
    assert (error.permanent, error.outcome_unknown, error.retry_after) == (False, False, None)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Stand.RESET, 200),
        ("<html>", 502),
        ("{", 200),
        ({"ok": False}, 200),
        ({"ok": True, "result": {}}, 200),
        ({"ok": True, "result": None}, 200),
        ({"ok": True, "result": "yes"}, 200),
    ],
)
async def test_invalid_response_is_outcome_unknown(
    stand: Stand, messenger: TelegramMessenger, answer: object, status: int
) -> None:
    stand.say(answer, status)
    error = await failure(messenger.send(CHAT, MESSAGE))
    assert (error.permanent, error.outcome_unknown, error.retry_after) == (False, True, None)


async def test_timeout_is_outcome_unknown(stand: Stand) -> None:
    messenger = TelegramMessenger(AiohttpRequest(TOKEN, base=stand.base, read=0.3))
    stand.say(Stand.SILENCE)
    error = await failure(messenger.send(CHAT, MESSAGE))
    await messenger.close()
    assert (error.permanent, error.outcome_unknown, error.retry_after) == (False, True, None)


async def test_refused_connection_is_a_temporary_error_with_known_outcome() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        messenger = TelegramMessenger(AiohttpRequest(TOKEN, base=f"http://127.0.0.1:{taken.getsockname()[1]}"))
        error = await failure(messenger.send(CHAT, MESSAGE))
        await messenger.close()
    assert (error.permanent, error.outcome_unknown) == (False, False)


async def test_delivery_error_contains_no_token(
    stand: Stand, messenger: TelegramMessenger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stand.say(f"/bot{TOKEN}/getMe not found", 404)
    error = await failure(messenger.get_me())
    stand.say(f"/bot{TOKEN}/sendMessage is too large", 413)
    other = await failure(messenger.send(CHAT, MESSAGE))
    shown = f"{error!r} {error.__cause__!r} {error.__context__!r} {other!r} {other.__context__!r} {messenger!r}"
    assert TOKEN not in shown + caplog.text


def test_conflict_and_integer_retry_after_are_translated() -> None:
    assert not to_delivery_error(Conflict("terminated by other getUpdates request")).permanent
    assert to_delivery_error(RetryAfter(3)).retry_after == 3.0
