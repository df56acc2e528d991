"""The QR code in the chat: posted below the card when asked for, the same address everywhere, gone when it is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.app import AdapterOverrides
from bot.sandbox.shared.fake_clock import FakeClock
from handlers.qr_code import qr_png, qr_svg
from handlers.telegram.messenger import DeliveryError, Message
from storage.models.payment import ChatTarget
from tests.chat.test_inline import choose, offers, shows
from tests.invariants.mutations import MessengerWrapper
from tests.support.evidence import idle, pass_time, payment, rows
from tests.support.page_world import paged
from tests.support.people import MERCHANT, break_telegram, calls, chat_of, dead_letters, reply, send_message
from tests.support.world import OWNER, Json, World, free_port, labels, opened

FORUM = -1_002_000_000_001


class NoPictures(MessengerWrapper):
    """A chat whose admins let the bot send words alone."""

    async def send_photo(self, chat: ChatTarget, png: bytes, message: Message, *, reply_to: int | None = None) -> int:
        raise DeliveryError("Not enough rights to send photos to the chat", permanent=True, chat_unavailable=True)


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with paged(clock, tmp_path) as running:
        yield running


async def ask_for_code(world: World) -> Json:
    """Tap *QR code* on the card, and return the card."""
    card = await world.message("Waiting for payment")
    assert await world.answer(world.tap(card, "QR code")) == "Here comes the QR code."
    await idle(world)
    return card


def pictures(world: World) -> list[Json]:
    """What stands in the owner's chat with a picture."""
    return [message for message in chat_of(world, OWNER).messages.values() if "photo" in message]


async def test_the_code_of_the_page_is_posted_as_a_reply_to_the_payment_message(world: World) -> None:
    card = await ask_for_code(world)
    [picture] = pictures(world)
    page = f"{world.settings.public_url}/p/{payment(world)['page_token']}"
    assert picture["reply_to_message"]["message_id"] == card["message_id"]
    assert picture["caption"] == f"#{payment(world)['reference']} · DKK\u00a0149.50\nScan to pay: {page}"
    file = world.telegram.state.files[picture["photo"][0]["file_id"]]
    assert file.content == qr_png(page)


async def test_asked_for_again_it_is_there_once_and_lowest(world: World) -> None:
    await ask_for_code(world)
    await ask_for_code(world)
    assert len(calls(world, "sendPhoto")) == 2
    [picture] = pictures(world)
    assert picture["message_id"] == calls(world, "sendPhoto")[1].result["message_id"]


@pytest.mark.parametrize(("what", "word"), [("approve", "Paid · TEST"), ("cancel", "Cancelled · TEST")])
async def test_it_is_taken_away_when_the_payment_is_over(world: World, what: str, word: str) -> None:
    card = await ask_for_code(world)
    if what == "approve":
        await world.decide("approve")
    else:
        world.say("/cancel", reply_to=card["message_id"])
    await world.message(word)
    await idle(world)
    assert pictures(world) == []
    assert rows(world, "SELECT qr_message_id FROM payment_messages") == [{"qr_message_id": None}]


async def test_it_stays_while_an_attempt_fails_or_lapses_for_its_page_works_on(world: World) -> None:
    await ask_for_code(world)
    await world.decide("decline")
    await world.message("Payment attempt failed")
    await idle(world)
    assert len(pictures(world)) == 1


async def test_of_what_is_over_no_code_is_posted_any_more(world: World) -> None:
    card = await world.message("Waiting for payment")
    await world.decide("approve")
    await world.message("Paid · TEST")
    world.telegram.press_button(card["message_id"], OWNER, f"qr:{payment(world)['id']}", OWNER)
    await idle(world)
    assert calls(world, "sendPhoto") == []


async def test_a_code_that_somebody_deleted_keeps_nobody_from_being_told_paid(world: World) -> None:
    await ask_for_code(world)
    chat_of(world, OWNER).messages.pop(pictures(world)[0]["message_id"])
    await world.decide("approve")
    await world.message("✅ Paid:")
    await idle(world)
    assert await dead_letters(world) == []


async def test_telegrams_trouble_with_deleting_keeps_nobody_from_being_told_paid(world: World) -> None:
    await ask_for_code(world)
    await break_telegram(world, "deleteMessage", "500")
    await world.decide("approve")
    await world.message("✅ Paid:")
    await idle(world)
    assert await dead_letters(world) == []


async def test_a_picture_that_did_not_get_out_is_sent_again(world: World) -> None:
    await break_telegram(world, "sendPhoto", "500")
    await ask_for_code(world)
    await pass_time(world, 45)
    assert len(pictures(world)) == 1


async def test_a_chat_without_pictures_is_told_in_words_and_stays_open(clock: FakeClock, tmp_path: Path) -> None:
    port, overrides = free_port(), AdapterOverrides(messenger=NoPictures)
    async with opened(clock, tmp_path, port=port, public_url=f"http://127.0.0.1:{port}", overrides=overrides) as world:
        world.say("/pay 149,50 Coffee")
        await world.message("Waiting for payment")
        await ask_for_code(world)
        await world.message("pictures are not allowed here")
        await world.decide("approve")
        await world.message("✅ Paid:")
        await idle(world)
        assert await dead_letters(world) == []


async def test_a_payment_message_of_inline_mode_has_no_code_for_its_chat_takes_no_pictures_from_us(
    world: World,
) -> None:
    query, [offer] = await offers(world, "125 dkk Coffee")
    card = await shows(world, await choose(world, query, offer), "Waiting for payment")
    assert labels(card) == ["Pay DKK 125.00", "Copy link", "Share", "Cancel"]


async def test_the_page_serves_the_same_code_as_the_chat(world: World) -> None:
    page = f"{world.settings.public_url}/p/{payment(world)['page_token']}"
    async with world.http.get(f"{page}/qr.png", headers={"Host": "evil.example", "X-Forwarded-Host": "e.vil"}) as png:
        assert (png.content_type, await png.read()) == ("image/png", qr_png(page))
    async with world.http.get(f"{page}/qr.svg", headers={"Host": "evil.example"}) as svg:
        assert (svg.content_type, await svg.text()) == ("image/svg+xml", qr_svg(page))


async def test_an_address_that_telegram_takes_for_no_button_is_not_on_the_payment_message(
    clock: FakeClock, tmp_path: Path
) -> None:
    port = free_port()
    async with opened(clock, tmp_path, port=port, public_url=f"http://localhost:{port}") as world:
        world.say("/pay 149,50 Coffee")
        assert labels(await world.message("Waiting for payment")) == ["Share", "Copy link", "Pay DKK 149.50", "Cancel"]
        await world.decide("decline")
        assert labels(await world.message("Payment attempt failed")) == ["New link", "Cancel"]


async def test_without_a_public_address_there_is_no_code_at_all(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path) as world:
        world.say("/pay 149,50 Coffee")
        assert labels(await world.message("Waiting for payment")) == ["Share", "Copy link", "Pay DKK 149.50", "Cancel"]
        for name in ("qr.svg", "qr.png"):
            async with world.http.get(f"{world.service.base}/p/{payment(world)['page_token']}/{name}") as answer:
                assert answer.status == 404


def test_a_code_that_is_asked_for_again_and_again_is_drawn_once() -> None:
    page = "https://pay.example.dk/p/6gQcjUkdE7eOyF_HQW3FuA"
    assert qr_png(page) is qr_png(page)
    assert qr_svg(page) is qr_svg(page)


@pytest.mark.parametrize("end", ["closed", "deleted"])
async def test_code_asked_for_in_a_topic_that_is_closed_or_gone_is_posted_outside_of_it(world: World, end: str) -> None:
    await world.service.seed("Kvit", [(MERCHANT, "Mads", "merchant")], [FORUM])
    said = send_message(world, "/pay 125", by=MERCHANT, chat=FORUM, message_thread_id=77)
    card = await reply(world, said, "Waiting for payment", chat=FORUM)
    if end == "closed":
        await world.control("telegram", "topics", {"chat_id": FORUM, "message_thread_id": 77})
    else:
        chat_of(world, FORUM).topics.discard(77)
    assert await world.answer(world.tap(card, "QR code", by=MERCHANT)) == "Here comes the QR code."
    await idle(world)
    [picture] = [message for message in chat_of(world, FORUM).messages.values() if "photo" in message]
    assert "message_thread_id" not in picture
    assert await dead_letters(world) == []
