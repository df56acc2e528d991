"""Flood control, injected faults, outages, redelivered updates and unread responses of the fake Telegram."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlencode, urlsplit

import aiohttp
import pytest

from bot.sandbox.fake_telegram.transcript import LOST
from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.fake_telegram_client import FakeTelegramClient, start_client

GROUP = -4001


@pytest.fixture
async def client(clock: FakeClock) -> AsyncIterator[FakeTelegramClient]:
    async with start_client(clock) as running:
        yield running


async def test_burst_in_one_chat_gets_429_with_retry_after(client: FakeTelegramClient) -> None:
    for number in range(5):
        await client.send(str(number))
    response = await client.response("sendMessage", chat_id=client.chat, text="one more")
    assert response["description"] == "Too Many Requests: retry after 1"
    assert response["parameters"] == {"retry_after": 1}
    client.clock.advance(1)
    await client.send("now")


async def test_one_message_per_second_is_never_limited(client: FakeTelegramClient) -> None:
    for number in range(40):
        await client.send(str(number))
        client.clock.advance(1)


async def test_group_allows_twenty_messages_and_edits_per_minute(client: FakeTelegramClient) -> None:
    client.fake.send(GROUP, client.fake.owner_id, "/start")
    message_id = await client.send(chat_id=GROUP)
    for number in range(19):
        await client.call("editMessageText", chat_id=GROUP, message_id=message_id, text=f"state {number}")
    response = await client.response("editMessageText", chat_id=GROUP, message_id=message_id, text="once more")
    assert response["error_code"] == 429
    client.clock.advance(response["parameters"]["retry_after"])
    await client.call("editMessageText", chat_id=GROUP, message_id=message_id, text="once more")


async def test_callback_answers_are_not_limited(client: FakeTelegramClient) -> None:
    message_id = await client.send()
    number = client.fake.press_button(message_id, client.fake.owner_id, "x")
    for _ in range(40):
        await client.call("answerCallbackQuery", callback_query_id=number)


async def test_thirty_messages_per_second_are_allowed_overall(client: FakeTelegramClient) -> None:
    for person in range(1, 32):
        client.fake.send(person, person, "/start")
    for person in range(1, 31):
        await client.send(chat_id=person)
    assert (await client.response("sendMessage", chat_id=31, text="x"))["error_code"] == 429


async def test_fault_before_prevents_execution_and_fault_after_does_not(client: FakeTelegramClient) -> None:
    for when, count in (("before", 0), ("after", 1)):
        await client.control("faults", {"method": "sendMessage", "nth": 1, "when": when, "how": "drop"})
        with pytest.raises(aiohttp.ClientError):
            await client.send()
        assert len(client.fake.state.chats[client.chat].messages) == count
        assert client.fake.transcript[-1].fault == f"drop {when}"
    await client.send()


async def test_fault_hits_the_nth_call_the_given_number_of_times(client: FakeTelegramClient) -> None:
    await client.control("faults", {"method": "sendMessage", "nth": 2, "how": "429", "times": 2, "retry_after": 7})
    codes = [(await client.response("sendMessage", chat_id=client.chat, text="x")).get("error_code") for _ in range(4)]
    assert codes == [None, 429, 429, None]
    await client.control("faults", {"method": "editMessageText", "how": "500"})
    assert await client.error_of("editMessageText") == "Internal Server Error"


async def test_timeout_after_execution_sends_no_response(client: FakeTelegramClient) -> None:
    await client.control("faults", {"method": "sendMessage", "when": "after", "how": "timeout"})
    call = asyncio.create_task(client.send("silence"))
    message = await client.fake.wait_until(lambda t: t.state.chats[t.chat_id].messages.get(1))
    assert message["text"] == "silence"
    call.cancel()


async def test_message_sent_while_telegram_is_down_is_delivered_afterwards(client: FakeTelegramClient) -> None:
    await client.control("down", {"down": True})
    with pytest.raises(aiohttp.ClientError):
        await client.call("getMe")
    client.fake.send(client.chat, client.fake.owner_id, "are you there?")
    await client.control("down", {"down": False})
    assert [message["text"] for message in await client.updates()] == ["are you there?"]


async def test_redelivered_update_is_returned_again(client: FakeTelegramClient) -> None:
    sent = await client.control("messages", {"chat_id": client.chat, "from_id": client.fake.owner_id, "text": "/pay 1"})
    offset = sent["update_id"] + 1
    assert len(await client.call("getUpdates")) == 1
    assert await client.call("getUpdates", offset=offset) == []
    await client.control("redeliver", {"update_id": sent["update_id"], "times": 2})
    for _ in range(2):
        [update] = await client.call("getUpdates", offset=offset)
        assert update["update_id"] == sent["update_id"]
    assert await client.call("getUpdates", offset=offset) == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("messages", "{", 400),
        ("messages", [], 400),
        ("messages", {"chat_id": 1, "from_id": 1}, 400),
        ("messages", {"chat_id": "1", "from_id": 1, "text": "x"}, 400),
        ("messages", {"chat_id": 1, "from_id": 2, "text": "x"}, 400),
        ("messages", {"chat_id": 1, "from_id": 1, "text": "x", "colour": 1}, 400),
        ("messages", {"chat_id": 1, "from_id": 1, "text": "x", "reply_to_message_id": 9}, 404),
        ("messages", {"chat_id": 1, "from_id": 1, "text": "x", "edit_message_id": 9}, 404),
        ("taps", {"message_id": 9, "from_id": 1, "data": "x"}, 404),
        ("faults", {"method": "sendMoney", "how": "drop"}, 400),
        ("faults", {"method": "sendMessage", "how": "unknown"}, 400),
        ("clock", {"advance": -1}, 400),
        ("redeliver", {"update_id": 1}, 404),
        ("delete", {"chat_id": 1, "message_id": 1}, 404),
        ("kick", {"chat_id": -1}, 404),
        ("block", {"user_id": 1}, 404),
        ("choose", {"inline_query_id": "1", "result_id": "1"}, 404),
        ("chats/1", None, 404),
    ],
)
async def test_telegram_control_routes_return_an_error_for_invalid_requests(
    client: FakeTelegramClient, path: str, body: object, status: int
) -> None:
    code, response = await client.control_response(path, body)
    assert (code, set(response)) == (status, {"error"})


async def test_stop_ends_long_polls_and_timeout_faults(client: FakeTelegramClient) -> None:
    await client.control("faults", {"method": "getMe", "how": "timeout"})
    call = asyncio.create_task(client.call("getMe"))
    poll = asyncio.create_task(client.call("getUpdates", timeout=50))
    await client.fake.wait_until(lambda t: t.open_polls and len(t.transcript))
    await client.fake.stop()
    assert await poll == []
    with pytest.raises(aiohttp.ClientError):
        await call


async def test_transcript_marks_a_response_that_the_client_did_not_read(client: FakeTelegramClient) -> None:
    with open_call(client, "closed before the response"):
        pass
    assert await fault_of(client, "closed before the response") == LOST
    with open_call(client, "closed after the response") as connection:
        await wait_readable(connection)
    assert await fault_of(client, "closed after the response") == LOST
    with open_call(client, "half of the response read") as connection:
        await wait_readable(connection)
        connection.recv(20)
    assert await fault_of(client, "half of the response read") == LOST


async def test_transcript_does_not_mark_a_response_that_was_read(client: FakeTelegramClient) -> None:
    with open_call(client, "read") as connection:
        await wait_readable(connection)
        connection.recv(10_000)
    await client.send("later")
    assert await fault_of(client, "later") == ""
    assert [entry.fault for entry in client.fake.transcript if entry.params.get("text") == "read"] == [""]


async def test_unread_long_poll_does_not_mark_an_earlier_response(client: FakeTelegramClient) -> None:
    with open_call(client, "read") as connection:
        await wait_readable(connection)
        connection.recv(10_000)
        connection.sendall(raw_request(client, "getUpdates", ""))
        await wait_readable(connection)
    await client.send("later")
    assert [entry.fault for entry in client.fake.transcript if entry.params.get("text") == "read"] == [""]


def open_call(client: FakeTelegramClient, text: str) -> socket.socket:
    """A connection on which a sendMessage call has been sent and not been handled yet."""
    address = urlsplit(client.fake.base)
    connection = socket.create_connection((address.hostname, address.port))
    connection.sendall(raw_request(client, "sendMessage", urlencode({"chat_id": client.chat, "text": text})))
    return connection


async def wait_readable(connection: socket.socket) -> None:
    """Wait until a response can be read."""
    ready, _, _ = await asyncio.to_thread(select.select, [connection], [], [], 10)
    assert ready


def raw_request(client: FakeTelegramClient, method: str, form: str) -> bytes:
    content_type = "Content-Type: application/x-www-form-urlencoded"
    head = f"POST /bot{client.fake.token}/{method} HTTP/1.1\r\nHost: telegram\r\n{content_type}"
    return f"{head}\r\nContent-Length: {len(form)}\r\n\r\n{form}".encode()


async def fault_of(client: FakeTelegramClient, text: str) -> str:
    """The fault of the call with this text, once there is one, or at once for the last call."""

    def faults() -> list[str]:
        return [entry.fault for entry in client.fake.transcript if entry.params.get("text") == text]

    await client.fake.wait_until(lambda _: faults() and (faults()[0] or text == "later"), timeout=10)
    return faults()[0]
