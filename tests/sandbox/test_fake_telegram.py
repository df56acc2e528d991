"""The fake Telegram with two real clients: python-telegram-bot and aiogram."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from telegram import Bot as PtbBot
from telegram import InlineKeyboardButton, InlineKeyboardMarkup
from telegram.constants import ParseMode
from telegram.error import BadRequest, Conflict, Forbidden, InvalidToken

from bot.sandbox.fake_telegram import FakeTelegram
from bot.sandbox.shared.fake_clock import FakeClock

if TYPE_CHECKING:
    from aiogram import Bot as AiogramBot
# aiogram takes several seconds to load: only the tests that use it do so.

GUEST = 4242
PAY = InlineKeyboardMarkup([[InlineKeyboardButton("Pay", url="https://pay.example.dk/p/1")]])
CANCEL = InlineKeyboardMarkup([[InlineKeyboardButton("Cancel", callback_data="c:1")]])


@pytest.fixture
async def telegram(clock: FakeClock) -> AsyncIterator[FakeTelegram]:
    fake = FakeTelegram(clock)
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def ptb(telegram: FakeTelegram) -> AsyncIterator[PtbBot]:
    async with PtbBot(telegram.token, base_url=f"{telegram.base}/bot") as bot:
        yield bot


@pytest.fixture
async def aiogram(telegram: FakeTelegram) -> AsyncIterator[AiogramBot]:
    from aiogram import Bot as AiogramBot
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer

    session = AiohttpSession(api=TelegramAPIServer.from_base(telegram.base))
    async with AiogramBot(telegram.token, session=session) as bot:
        yield bot


@pytest.mark.long
async def test_get_me_returns_the_bot_to_both_clients(telegram: FakeTelegram, ptb: PtbBot, aiogram: AiogramBot) -> None:
    assert ptb.username == telegram.username
    assert (await aiogram.me()).username == telegram.username


@pytest.mark.long
async def test_command_is_received_by_both_clients_with_its_entity(
    telegram: FakeTelegram, ptb: PtbBot, aiogram: AiogramBot
) -> None:
    number = telegram.send(telegram.chat_id, telegram.owner_id, "/pay 125 two coffees")
    ours, theirs = (await ptb.get_updates())[0].message, (await aiogram.get_updates())[0].message
    assert ours is not None
    assert theirs is not None
    for message in (ours, theirs):
        assert (message.message_id, message.text) == (number, "/pay 125 two coffees")
        assert message.from_user is not None
        assert message.from_user.first_name == "Olivia"
        assert message.entities is not None
        assert [(entity.type, entity.offset, entity.length) for entity in message.entities] == [("bot_command", 0, 4)]


async def test_long_poll_returns_when_a_message_is_sent(telegram: FakeTelegram, ptb: PtbBot) -> None:
    poll = asyncio.create_task(ptb.get_updates(timeout=25))
    await telegram.wait_until(lambda t: t.open_polls)
    assert not poll.done()
    telegram.send(telegram.chat_id, telegram.owner_id, "hello")
    assert [update.message.text for update in await poll if update.message] == ["hello"]


async def test_long_poll_returns_nothing_after_its_timeout(
    telegram: FakeTelegram, ptb: PtbBot, clock: FakeClock
) -> None:
    poll = asyncio.create_task(ptb.get_updates(timeout=25))
    await telegram.wait_until(lambda t: t.open_polls)
    clock.advance(25)
    assert await poll == ()


async def test_update_is_returned_until_a_higher_offset_confirms_it(telegram: FakeTelegram, ptb: PtbBot) -> None:
    telegram.send(telegram.chat_id, telegram.owner_id, "one")
    telegram.send(telegram.chat_id, telegram.owner_id, "two")
    first, second = await ptb.get_updates()
    assert second.update_id == first.update_id + 1
    assert [update.update_id for update in await ptb.get_updates(offset=first.update_id)] == [
        first.update_id,
        second.update_id,
    ]
    assert [update.update_id for update in await ptb.get_updates(offset=second.update_id)] == [second.update_id]
    assert await ptb.get_updates(offset=second.update_id + 1) == ()
    assert await ptb.get_updates() == ()


@pytest.mark.long
async def test_second_poll_ends_the_first_with_a_conflict(
    telegram: FakeTelegram, ptb: PtbBot, aiogram: AiogramBot
) -> None:
    first = asyncio.create_task(ptb.get_updates(timeout=25))
    await telegram.wait_until(lambda t: t.open_polls)
    await aiogram.get_updates()
    with pytest.raises(Conflict, match="other getUpdates"):
        await first


async def test_sent_message_is_stored_with_parsed_entities(telegram: FakeTelegram, ptb: PtbBot) -> None:
    sent = await ptb.send_message(
        telegram.chat_id, "<b>125 kr.</b> 🙂 <i>open</i>", parse_mode=ParseMode.HTML, reply_markup=CANCEL
    )
    assert sent.text == "125 kr. 🙂 open"
    assert [(entity.type, entity.offset, entity.length) for entity in sent.entities] == [
        ("bold", 0, 7),
        ("italic", 11, 4),
    ]
    shown = telegram.state.chats[telegram.chat_id].messages[sent.message_id]
    assert shown["reply_markup"]["inline_keyboard"][0][0]["callback_data"] == "c:1"
    entry = telegram.transcript[-1]
    assert (entry.direction, entry.method, entry.result["message_id"]) == ("out", "sendMessage", sent.message_id)
    assert entry.params["chat_id"] == telegram.chat_id


async def test_edit_without_a_keyboard_removes_it(telegram: FakeTelegram, ptb: PtbBot) -> None:
    sent = await ptb.send_message(telegram.chat_id, "open", reply_markup=CANCEL)
    await ptb.edit_message_text("paid", telegram.chat_id, sent.message_id)
    shown = telegram.state.chats[telegram.chat_id].messages[sent.message_id]
    assert shown["text"] == "paid"
    assert "reply_markup" not in shown


@pytest.mark.long
async def test_edit_without_changes_is_rejected(telegram: FakeTelegram, ptb: PtbBot, aiogram: AiogramBot) -> None:
    from aiogram.exceptions import TelegramBadRequest

    sent = await ptb.send_message(telegram.chat_id, "open", reply_markup=CANCEL)
    with pytest.raises(BadRequest, match=r"(?i)message is not modified"):
        await ptb.edit_message_text("open", telegram.chat_id, sent.message_id, reply_markup=CANCEL)
    await ptb.edit_message_reply_markup(telegram.chat_id, sent.message_id, reply_markup=PAY)
    with pytest.raises(TelegramBadRequest, match="message to edit not found"):
        await aiogram.edit_message_text("paid", chat_id=telegram.chat_id, message_id=999)


async def test_callback_query_has_the_message_and_cannot_be_answered_after_its_time(
    telegram: FakeTelegram, ptb: PtbBot, clock: FakeClock
) -> None:
    sent = await ptb.send_message(telegram.chat_id, "open", reply_markup=CANCEL)
    number = telegram.press_button(sent.message_id, telegram.owner_id, "c:1")
    [update] = await ptb.get_updates()
    assert update.callback_query is not None
    assert (update.callback_query.id, update.callback_query.data) == (number, "c:1")
    assert update.callback_query.message is not None
    assert update.callback_query.message.message_id == sent.message_id
    assert await ptb.answer_callback_query(number, "canceled")
    clock.advance(600)
    with pytest.raises(BadRequest, match=r"(?i)query is too old"):
        await ptb.answer_callback_query(number)


async def test_callback_query_update_expires_long_before_a_message_update(
    telegram: FakeTelegram, ptb: PtbBot, clock: FakeClock
) -> None:
    sent = await ptb.send_message(telegram.chat_id, "open", reply_markup=CANCEL)
    telegram.press_button(sent.message_id, telegram.owner_id, "c:1")
    telegram.send(telegram.chat_id, telegram.owner_id, "hello")
    clock.advance(150)
    assert [update.message is not None for update in await ptb.get_updates()] == [True]
    clock.advance(24 * 3600)
    assert await ptb.get_updates() == ()


async def test_send_to_an_unknown_user_and_wrong_token_are_rejected(telegram: FakeTelegram) -> None:
    telegram.send(-77, GUEST, "/help")
    async with PtbBot(telegram.token, base_url=f"{telegram.base}/bot") as bot:
        with pytest.raises(BadRequest, match=r"(?i)chat not found"):
            await bot.send_message(11, "hello")
        with pytest.raises(Forbidden, match="can't initiate conversation"):
            await bot.send_message(GUEST, "hello")
        with pytest.raises(InvalidToken):
            await PtbBot("1:wrong", base_url=f"{telegram.base}/bot", request=bot.request).get_me()


@pytest.mark.long
async def test_photo_message_cannot_become_text(telegram: FakeTelegram, ptb: PtbBot, aiogram: AiogramBot) -> None:
    from aiogram.types import BufferedInputFile

    png = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + (200).to_bytes(4) * 2
    sent = await aiogram.send_photo(telegram.chat_id, BufferedInputFile(png, "qr.png"), caption="Scan me")
    assert sent.photo is not None
    assert (sent.photo[0].width, sent.caption) == (200, "Scan me")
    file = await ptb.get_file(sent.photo[0].file_id)
    assert file.file_size == len(png)
    with pytest.raises(BadRequest, match=r"(?i)there is no text in the message to edit"):
        await ptb.edit_message_text("paid", telegram.chat_id, sent.message_id)
    await ptb.edit_message_caption(telegram.chat_id, sent.message_id, caption="Paid")
    assert telegram.state.chats[telegram.chat_id].messages[sent.message_id]["caption"] == "Paid"
