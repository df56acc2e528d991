"""`/find`: payments by reference, text, note, amount, state and requester, in pages, within the shop."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import idle
from tests.support.people import (
    COLLEAGUE,
    GROUP,
    MERCHANT,
    OTHER_GROUP,
    STRANGER,
    alert_text,
    open_second_shop,
    open_shop,
    press,
    reply,
)
from tests.support.refund_steps import dashboard_refund, held, paid, ref_of, texts, wait_for_text
from tests.support.world import OWNER, Json, World, button, labels, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def requested(world: World, text: str, *, by: int = OWNER, chat: int | None = None) -> str:
    """The reference of a new request."""
    world.advance(1)
    return ref_of(await reply(world, world.say(text, by=by, chat=chat), "Waiting for payment", chat=chat or by))


async def find(world: World, words: str, *, by: int = OWNER, chat: int | None = None) -> Json:
    return await reply(world, world.say(f"/find {words}", by=by, chat=chat), chat=chat or by)


async def found(world: World, words: str) -> list[str]:
    """The texts of the payments found, newest first."""
    lines = (await find(world, words))["text"].splitlines()[1:]
    return [line.rpartition(" · ")[2] for line in lines]


async def test_words_are_found_in_any_case_and_by_their_beginning(world: World) -> None:
    await requested(world, "/pay 10 Åse Ørsteds kaffekop")
    await requested(world, "/pay 20 KAFFE til Ærø")
    for words in ("åse", "ÅSE", "Åse", "a\u030ase", "ørsted", "ØRSTEDS åSE"):
        assert await found(world, words) == ["Åse Ørsteds kaffekop"], words
    assert await found(world, "kaffe") == ["KAFFE til Ærø", "Åse Ørsteds kaffekop"]
    assert await found(world, "kaffe ærø") == ["KAFFE til Ærø"]
    assert await found(world, "ase") == []
    assert await found(world, "kaffe%") == ["KAFFE til Ærø", "Åse Ørsteds kaffekop"]
    assert await found(world, "k_ffe") == []


async def test_amounts_are_found_as_they_are_typed(world: World) -> None:
    await requested(world, "/pay 149,50 Lunch")
    await requested(world, "/pay 149,50 EUR Dinner")
    await requested(world, "/pay 1234 Lamp")
    for words in ("149,50", "149.5"):
        assert await found(world, words) == ["Dinner", "Lunch"], words
    for words in ("149,50 kr", "DKK 149.50", "149,50 lunch", "lunch"):
        assert await found(world, words) == ["Lunch"], words
    assert await found(world, "€149,50") == ["Dinner"]
    assert await found(world, "149,50 EUR lunch") == []
    for words in ("1234", "1.234", "1 234", "1.234,00"):
        assert await found(world, words) == ["Lamp"], words
    assert await found(world, "149") == []


async def test_number_in_a_text_is_a_word_too(world: World) -> None:
    await requested(world, "/pay 50 Table 12")
    await requested(world, "/pay 12 Water")
    assert await found(world, "12") == ["Water", "Table 12"]


@pytest.mark.parametrize("written", ["{}", "#{}", "#{}.", "({})"])
async def test_reference_is_found_however_it_is_written(world: World, written: str) -> None:
    await requested(world, "/pay 10 Milk")
    ref = await requested(world, "/pay 20 Tea")
    for typed in (
        ref,
        ref.lower(),
        re.sub("[01]", lambda digit: {"0": "O", "1": "l"}[digit[0]], ref[1:]).join((ref[0], "")),
    ):
        assert "Tea" in await found(world, written.format(typed)), typed


async def test_states_are_found_by_their_words_in_five_languages(world: World) -> None:
    await requested(world, "/pay 10 Open")
    await paid(world, "/pay 20 Kept")
    world.advance(1)
    await paid(world, "/pay 30 Returned")
    await dashboard_refund(world, 500)
    await wait_for_text(world, "↩️ Refunded:")
    await held(world, "/hold 40 Bicycle")
    ref = await requested(world, "/pay 50 Mistake")
    await reply(world, world.say(f"/cancel {ref}"), "cancelled")
    expected = {
        "paid betalt betald maksettu": ["Returned", "Kept"],
        "refunded refunderet återbetald refundert hyvitetty": ["Returned"],
        "reserved reserveret reserverad reservert varattu": ["Bicycle"],
        "unpaid ubetalt obetald åpen maksamaton": ["Open"],
        "cancelled annulleret avbruten avbrutt peruttu": ["Mistake"],
    }
    for words, texts_found in expected.items():
        for word in words.split():
            assert await found(world, word) == texts_found, word
    assert await found(world, "betalt kept") == ["Kept"]
    assert await found(world, "20 paid") == ["Kept"]
    assert await found(world, "disputed") == []


async def test_requester_is_found_by_name(world: World) -> None:
    await requested(world, "/pay 10 Tea", by=MERCHANT, chat=GROUP)
    await requested(world, "/pay 20 Milk", by=COLLEAGUE, chat=GROUP)
    assert (await found(world, "mads"), await found(world, "CARLA milk")) == (["Tea"], ["Milk"])
    assert await found(world, f"{MERCHANT} milk") == []


async def test_pages_go_on_where_they_ended_and_open_payments(world: World) -> None:
    for number in range(10):
        await requested(world, f"/pay {10 + number} Coffee number{number}")
    first = await find(world, "coffee")
    assert [f"number{n}" in first["text"] for n in range(10)] == [False, False] + [True] * 8
    await requested(world, "/pay 99 Coffee later")
    world.tap(first, "Older")
    await world.until(lambda: "number1" in first["text"])
    assert [f"number{n}" in first["text"] for n in range(10)] == [True, True] + [False] * 8
    assert labels(first)[2:] == ["Newest"]
    ref = labels(first)[0]
    world.tap(first, ref)
    assert "number1" in (await wait_for_text(world, f"\n{ref}\n"))
    world.tap(first, "Newest")
    await world.until(lambda: "later" in first["text"])


async def test_nothing_found_and_no_words_say_what_to_type(world: World) -> None:
    assert "No payment was found" in (await find(world, "<b>x</b>"))["text"]
    assert "/find 149.50" in (await find(world, ""))["text"]
    assert "/find 149.50" in (await find(world, "\u200b \u200b"))["text"]


async def test_search_stays_in_its_shop_and_with_its_person(world: World) -> None:
    await open_second_shop(world, STRANGER)
    for number in range(9):
        await requested(world, f"/pay {10 + number} Tea", by=MERCHANT, chat=GROUP)
    assert "No payment" in (await find(world, "tea", by=STRANGER, chat=OTHER_GROUP))["text"]
    ours = await find(world, "tea", by=MERCHANT, chat=GROUP)
    theirs = await find(world, "tea paid", by=STRANGER, chat=OTHER_GROUP)
    older = button(ours, "Older")["callback_data"]
    for message, by in ((theirs, STRANGER), (ours, COLLEAGUE)):
        assert "not yours" in await alert_text(world, press(world, message, older, by=by))
    assert "not yours" in await alert_text(world, press(world, ours, "f:x:1:y", by=MERCHANT))
    await idle(world)
    assert not any("went wrong" in text for text in texts(world, GROUP))
