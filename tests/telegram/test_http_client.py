"""AiohttpRequest: requests not sent, unknown outcomes, and a token that no error shows."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from telegram import Bot
from telegram.error import BadRequest, InvalidToken, NetworkError, RetryAfter, TelegramError

from bot.telegram.http_client import PLACEHOLDER_TOKEN, AiohttpRequest, OutcomeUnknown, RequestNotSent
from tests.support.scripted_telegram import TOKEN, Stand


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    async with Stand() as running:
        yield running


@pytest.fixture
async def request_(stand: Stand) -> AsyncIterator[AiohttpRequest]:
    request = AiohttpRequest(TOKEN, base=stand.base)
    yield request
    await request.shutdown()


async def test_call_inserts_the_token_and_encodes_parameters(stand: Stand, request_: AiohttpRequest) -> None:
    stand.say({"ok": True, "result": {"url": ""}})
    assert await request_.call("getWebhookInfo", offset=None, drop=False, names=["a", "b"]) == {"url": ""}
    assert stand.paths == [f"/bot{TOKEN}/getWebhookInfo"]
    assert stand.forms == [{"drop": "false", "names": '["a", "b"]'}]


async def test_refused_connection_is_request_not_sent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        request = AiohttpRequest(TOKEN, base=f"http://127.0.0.1:{taken.getsockname()[1]}", connect=0.5)
        with pytest.raises(RequestNotSent):
            await request.call("sendMessage")
        await request.shutdown()


async def test_pool_timeout_is_request_not_sent(stand: Stand) -> None:
    request = AiohttpRequest(TOKEN, base=stand.base, connections=1, read=5, connect=0.1)
    stand.say(stand.SILENCE)
    first = asyncio.create_task(request.post(f"{request.address}{PLACEHOLDER_TOKEN}/sendMessage", connect_timeout=30))
    await stand.asked.wait()
    with pytest.raises(RequestNotSent, match="ConnectionTimeoutError"):
        await request.call("sendMessage")
    first.cancel()
    await asyncio.wait([first])
    await request.shutdown()


async def test_read_timeout_is_outcome_unknown(stand: Stand) -> None:
    stand.say(stand.SILENCE)
    async with AiohttpRequest(TOKEN, base=stand.base, read=0.3) as impatient:
        with pytest.raises(OutcomeUnknown):
            await impatient.call("sendMessage")


async def test_broken_connection_is_outcome_unknown(stand: Stand, request_: AiohttpRequest) -> None:
    stand.say(stand.RESET)
    with pytest.raises(OutcomeUnknown):
        await request_.call("sendMessage")
    assert len(stand.paths) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_server_error_is_outcome_unknown(stand: Stand, request_: AiohttpRequest, status: int) -> None:
    stand.say("<html>oh</html>", status)
    with pytest.raises(OutcomeUnknown, match=str(status)):
        await request_.call("sendMessage")


async def test_redirects_are_not_followed(stand: Stand, request_: AiohttpRequest) -> None:
    stand.say("", 302, Location=f"{stand.base}/elsewhere")
    with pytest.raises(NetworkError) as caught:
        await request_.call("sendMessage")
    assert not isinstance(caught.value, OutcomeUnknown)
    assert len(stand.paths) == 1


@pytest.mark.parametrize("answer", ["not json", "[1]", '"text"', ""])
async def test_response_that_is_no_object_is_an_error(stand: Stand, request_: AiohttpRequest, answer: str) -> None:
    stand.say(answer)
    with pytest.raises(TelegramError) as caught:
        await request_.call("sendMessage")
    assert type(caught.value) is TelegramError


async def test_response_without_result_is_an_error(stand: Stand, request_: AiohttpRequest) -> None:
    stand.say({"ok": False, "error_code": 400, "description": "Bad Request: no"})
    with pytest.raises(TelegramError):
        await request_.call("sendMessage")


async def test_429_is_retry_after_without_a_warning(stand: Stand, request_: AiohttpRequest) -> None:
    stand.refuse(429, "Too Many Requests: retry after 7", retry_after=7)
    with pytest.raises(RetryAfter):
        await request_.call("sendMessage")


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (404, f"<html>nothing at /bot{TOKEN}/sendMessage</html>"),
        (400, f"cannot read /bot{TOKEN}/sendMessage"),
        (401, f'{{"ok": false, "description": "Unauthorized {TOKEN}"}}'),
        (500, f"/bot{TOKEN}/sendMessage"),
        (200, f"/bot{TOKEN}/sendMessage"),
        (200, Stand.SILENCE),
        (200, Stand.RESET),
        (200, Stand.NOISE),
    ],
)
async def test_errors_and_logs_contain_no_token(
    stand: Stand, caplog: pytest.LogCaptureFixture, status: int, answer: str
) -> None:
    caplog.set_level(logging.DEBUG)
    async with AiohttpRequest(TOKEN, base=stand.base, read=0.3) as request:
        bot = Bot(PLACEHOLDER_TOKEN, base_url=request.address, request=request, get_updates_request=request)
        stand.say(answer, status)
        with pytest.raises(TelegramError) as caught:
            await bot.send_message(1, "hello")
        error = caught.value
        shown = f"{error!r} {error} {error.__cause__!r} {request!r} {bot!r} {caplog.text}"
    assert TOKEN not in shown
    assert TOKEN.partition(":")[2] not in shown


@pytest.mark.parametrize("token", ["", "98765", "abc:def", "12:34/../x", "12:34\n"])
def test_invalid_token_is_rejected_without_being_shown(token: str) -> None:
    with pytest.raises(ValueError, match="looks like") as caught:
        AiohttpRequest(token)
    assert not token or token not in str(caught.value)


async def test_file_is_uploaded_whole(stand: Stand, request_: AiohttpRequest) -> None:
    stand.say({"ok": True, "result": {"message_id": 5, "date": 0, "chat": {"id": 1, "type": "private"}}})
    bot = Bot(PLACEHOLDER_TOKEN, base_url=request_.address, request=request_, get_updates_request=request_)
    content = bytes(range(256)) * 1000
    await bot.send_photo(1, content, filename="qr.png", caption="Kaffe & te")
    form = stand.forms[0]
    assert form["photo"] == ("qr.png", "image/png", content)
    assert form["caption"] == "Kaffe & te"


async def test_error_statuses_raise_the_librarys_classes(stand: Stand, request_: AiohttpRequest) -> None:
    for status, kind in ((400, BadRequest), (401, InvalidToken), (404, InvalidToken)):
        stand.refuse(status, "no")
        with pytest.raises(kind):
            await request_.call("sendMessage")


async def test_shutdown_does_not_close_a_given_session(stand: Stand) -> None:
    async with aiohttp.ClientSession() as session:
        request = AiohttpRequest(TOKEN, base=stand.base, session=session)
        stand.say({"ok": True, "result": True})
        assert await request.call("close") is True
        await request.shutdown()
        assert not session.closed


async def test_request_after_shutdown_is_not_sent_until_initialized_again(
    stand: Stand, request_: AiohttpRequest
) -> None:
    await request_.initialize()
    await request_.shutdown()
    with pytest.raises(RequestNotSent):
        await request_.call("sendMessage")
    await request_.initialize()
    stand.say({"ok": True, "result": True})
    assert await request_.call("sendMessage") is True


async def test_upload_to_a_peer_that_does_not_read_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        base = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with AiohttpRequest(TOKEN, base=base, read=0.2, connect=0.2) as request:
            bot = Bot(PLACEHOLDER_TOKEN, base_url=request.address, request=request, get_updates_request=request)
            with pytest.raises(OutcomeUnknown):
                await asyncio.wait_for(bot.send_photo(1, bytes(20_000_000), write_timeout=0.2), 10)
