"""Flood control, faults on order, outages and repeated updates of the pretend Telegram."""

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
from tests.support.fake_telegram_client import Talk, opened

GROUP = -4001


@pytest.fixture
async def talk(clock: FakeClock) -> AsyncIterator[Talk]:
    async with opened(clock) as running:
        yield running


async def test_a_burst_in_one_chat_is_told_to_wait_and_how_long(talk: Talk) -> None:
    for number in range(5):
        await talk.send(str(number))
    answer = await talk.answer("sendMessage", chat_id=talk.chat, text="one more")
    assert answer["description"] == "Too Many Requests: retry after 1"
    assert answer["parameters"] == {"retry_after": 1}
    talk.clock.advance(1)
    await talk.send("now")


async def test_one_message_a_second_is_never_too_many(talk: Talk) -> None:
    for number in range(40):
        await talk.send(str(number))
        talk.clock.advance(1)


async def test_a_group_takes_twenty_a_minute_edits_included(talk: Talk) -> None:
    talk.fake.send(GROUP, talk.fake.owner_id, "/start")
    card = await talk.send(chat_id=GROUP)
    for number in range(19):
        await talk.call("editMessageText", chat_id=GROUP, message_id=card, text=f"state {number}")
    answer = await talk.answer("editMessageText", chat_id=GROUP, message_id=card, text="once more")
    assert answer["error_code"] == 429
    talk.clock.advance(answer["parameters"]["retry_after"])
    await talk.call("editMessageText", chat_id=GROUP, message_id=card, text="once more")


async def test_answers_to_taps_are_not_limited(talk: Talk) -> None:
    card = await talk.send()
    number = talk.fake.press_button(card, talk.fake.owner_id, "x")
    for _ in range(40):
        await talk.call("answerCallbackQuery", callback_query_id=number)


async def test_thirty_a_second_are_all_that_go_out(talk: Talk) -> None:
    for person in range(1, 32):
        talk.fake.send(person, person, "/start")
    for person in range(1, 31):
        await talk.send(chat_id=person)
    assert (await talk.answer("sendMessage", chat_id=31, text="x"))["error_code"] == 429


async def test_a_fault_before_leaves_nothing_behind_and_one_after_does_the_work(talk: Talk) -> None:
    for when, count in (("before", 0), ("after", 1)):
        await talk.control("faults", {"method": "sendMessage", "nth": 1, "when": when, "how": "drop"})
        with pytest.raises(aiohttp.ClientError):
            await talk.send()
        assert len(talk.fake.state.chats[talk.chat].messages) == count
        assert talk.fake.transcript[-1].fault == f"drop {when}"
    await talk.send()


async def test_a_fault_strikes_the_nth_call_as_often_as_told(talk: Talk) -> None:
    await talk.control("faults", {"method": "sendMessage", "nth": 2, "how": "429", "times": 2, "retry_after": 7})
    codes = [(await talk.answer("sendMessage", chat_id=talk.chat, text="x")).get("error_code") for _ in range(4)]
    assert codes == [None, 429, 429, None]
    await talk.control("faults", {"method": "editMessageText", "how": "500"})
    assert await talk.refused("editMessageText") == "Internal Server Error"


async def test_a_timeout_after_keeps_silent_though_it_was_done(talk: Talk) -> None:
    await talk.control("faults", {"method": "sendMessage", "when": "after", "how": "timeout"})
    silent = asyncio.create_task(talk.send("silence"))
    message = await talk.fake.wait_until(lambda t: t.state.chats[t.chat_id].messages.get(1))
    assert message["text"] == "silence"
    silent.cancel()


async def test_telegram_down_hears_nothing_and_brings_it_later(talk: Talk) -> None:
    await talk.control("down", {"down": True})
    with pytest.raises(aiohttp.ClientError):
        await talk.call("getMe")
    talk.fake.send(talk.chat, talk.fake.owner_id, "are you there?")
    await talk.control("down", {"down": False})
    assert [message["text"] for message in await talk.updates()] == ["are you there?"]


async def test_an_update_comes_again_when_told_to(talk: Talk) -> None:
    said = await talk.control("messages", {"chat_id": talk.chat, "from_id": talk.fake.owner_id, "text": "/pay 1"})
    offset = said["update_id"] + 1
    assert len(await talk.call("getUpdates")) == 1
    assert await talk.call("getUpdates", offset=offset) == []
    await talk.control("redeliver", {"update_id": said["update_id"], "times": 2})
    for _ in range(2):
        [update] = await talk.call("getUpdates", offset=offset)
        assert update["update_id"] == said["update_id"]
    assert await talk.call("getUpdates", offset=offset) == []


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
        ("faults", {"method": "sendMessage", "how": "magic"}, 400),
        ("clock", {"advance": -1}, 400),
        ("redeliver", {"update_id": 1}, 404),
        ("delete", {"chat_id": 1, "message_id": 1}, 404),
        ("kick", {"chat_id": -1}, 404),
        ("block", {"user_id": 1}, 404),
        ("choose", {"inline_query_id": "1", "result_id": "1"}, 404),
        ("chats/1", None, 404),
    ],
)
async def test_control_says_what_it_cannot_do(talk: Talk, path: str, body: object, status: int) -> None:
    found, answer = await talk.control_answer(path, body)
    assert (found, set(answer)) == (status, {"error"})


async def test_stopping_lets_go_of_everybody_who_waits(talk: Talk) -> None:
    await talk.control("faults", {"method": "getMe", "how": "timeout"})
    silent = asyncio.create_task(talk.call("getMe"))
    poll = asyncio.create_task(talk.call("getUpdates", timeout=50))
    await talk.fake.wait_until(lambda t: t.open_polls and len(t.transcript))
    await talk.fake.stop()
    assert await poll == []
    with pytest.raises(aiohttp.ClientError):
        await silent


async def test_whoever_goes_away_without_reading_the_answer_is_found_out(talk: Talk) -> None:
    with asked(talk, "gone before the answer"):
        pass
    assert await fault(talk, "gone before the answer") == LOST
    with asked(talk, "gone after it") as wire:
        await answered(wire)
    assert await fault(talk, "gone after it") == LOST
    with asked(talk, "half of it") as wire:
        await answered(wire)
        wire.recv(20)
    assert await fault(talk, "half of it") == LOST


async def test_whoever_has_read_the_answer_may_go(talk: Talk) -> None:
    with asked(talk, "heard") as wire:
        await answered(wire)
        wire.recv(10_000)
    await talk.send("later")
    assert await fault(talk, "later") == ""
    assert [entry.fault for entry in talk.fake.transcript if entry.params.get("text") == "heard"] == [""]


async def test_a_poll_that_nobody_waited_for_says_nothing_of_what_was_said_before(talk: Talk) -> None:
    with asked(talk, "heard") as wire:
        await answered(wire)
        wire.recv(10_000)
        wire.sendall(request(talk, "getUpdates", ""))
        await answered(wire)
    await talk.send("later")
    assert [entry.fault for entry in talk.fake.transcript if entry.params.get("text") == "heard"] == [""]


def asked(talk: Talk, text: str) -> socket.socket:
    """A connection on which Telegram was asked to post a text, all at once: it has not looked yet."""
    address = urlsplit(talk.fake.base)
    wire = socket.create_connection((address.hostname, address.port))
    wire.sendall(request(talk, "sendMessage", urlencode({"chat_id": talk.chat, "text": text})))
    return wire


async def answered(wire: socket.socket) -> None:
    """Wait until there is something to read."""
    ready, _, _ = await asyncio.to_thread(select.select, [wire], [], [], 10)
    assert ready


def request(talk: Talk, method: str, form: str) -> bytes:
    kind = "Content-Type: application/x-www-form-urlencoded"
    head = f"POST /bot{talk.fake.token}/{method} HTTP/1.1\r\nHost: telegram\r\n{kind}"
    return f"{head}\r\nContent-Length: {len(form)}\r\n\r\n{form}".encode()


async def fault(talk: Talk, text: str) -> str:
    """What is noted of the call that posted it, once something is or it is the last one."""

    def noted() -> list[str]:
        return [entry.fault for entry in talk.fake.transcript if entry.params.get("text") == text]

    await talk.fake.wait_until(lambda _: noted() and (noted()[0] or text == "later"), timeout=10)
    return noted()[0]
