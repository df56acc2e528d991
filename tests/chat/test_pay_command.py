"""`/pay` as people type it: what becomes a request, what is asked back, what is refused without a call to Stripe."""

from __future__ import annotations

import pytest

from tests.support.people import (
    COLLEAGUE,
    GROUP,
    MERCHANT,
    OTHER_GROUP,
    alert_text,
    caught_up,
    open_second_shop,
    open_shop,
    posts,
    press,
    reply,
    reply_text,
    shown,
)
from tests.support.world import OWNER, World, button, labels


def amounts(world: World) -> list[tuple[int, str, str]]:
    """What Stripe was asked to take, oldest first."""
    intents = world.stripe.store.intents.values()
    return [(one["amount"], one["currency"], one["description"] or "") for one in intents]


async def test_pay_alone_shows_what_to_type_with_two_examples_in_the_shops_currency(world: World) -> None:
    said = await reply_text(world, "/pay")
    first, second = said.splitlines()[1:]
    assert first == "/pay 149.50 Coffee"
    assert second == "/pay 80.00 DKK Two cakes"
    for example in (first, second):
        await reply(world, world.say(example), "Waiting for payment")
    assert amounts(world) == [(14950, "dkk", "Coffee"), (8000, "dkk", "Two cakes")]


USUAL = [
    ("125", 12500, "dkk"),
    ("125,5", 12550, "dkk"),
    ("125,50", 12550, "dkk"),
    ("125.50", 12550, "dkk"),
    ("1.234,50", 123450, "dkk"),
    ("1,234.50", 123450, "dkk"),
    ("1 234,50", 123450, "dkk"),
    ("1\u202f234,50", 123450, "dkk"),
    ("1'234,50", 123450, "dkk"),
    ("125 kr", 12500, "dkk"),
    ("kr. 125,-", 12500, "dkk"),
    ("125:-", 12500, "dkk"),
    ("125 sek", 12500, "sek"),
    ("NOK125", 12500, "nok"),
    ("€125", 12500, "eur"),
    ("125€", 12500, "eur"),
    ("200 svenske kroner", 20000, "sek"),
    ("100 (EUR)", 10000, "eur"),
    ("125 norske kr.", 12500, "nok"),
    ("125 - 🇸🇪 SEK", 12500, "sek"),
    ("125 kr og 50 øre", 12550, "dkk"),
]


async def test_every_usual_way_to_write_an_amount_asks_for_that_amount(world: World) -> None:
    for written, minor, currency in USUAL:
        card = await reply(world, world.say(f"/pay {written} Tea"), "Waiting for payment")
        assert f"{minor / 100:,.2f}" in card["text"], written
        assert amounts(world)[-1] == (minor, currency, "Tea"), written


REFUSED = [
    ("coffee", "can't read"),
    ("-125", "without plus or minus"),
    ("1e3", "instead of 5e3"),
    ("1_000", "can't read"),
    ("١٢٥", "digits 0 to 9"),
    ("0.500", "at most two decimals"),
    ("12,3456", "at most two decimals"),
    ("0", "more than zero"),
    ("2.49", "The smallest amount you can request is DKK\u00a02.50"),
    ("0.49 EUR", "The smallest amount you can request is €0.50"),
    ("2.99 NOK", "NOK\u00a03.00"),
    ("2,99 SEK", "SEK\u00a03.00"),
    ("100000.01", "The largest amount you can request is DKK\u00a0100,000.00"),
    ("125 USD lunch", "USD is not supported"),
    ("20 US dollars", "US dollars is not supported"),
    ("125 zł", "zł is not supported"),
    ("125 islandske kroner", "islandske kroner is not supported"),
    ("125 kr og 150 øre", "can't read"),
    ("125 DKK EUR", "currency only once"),
    ("2 x 125", "can't read"),
    ("125 " + "a" * 201, "at most 200 characters"),
    ("125 " + "🦆" * 1000, "at most 200 characters"),
    ("125 " + "x" * 4080 + "$", "is not supported"),
]


@pytest.mark.parametrize("chat", [OWNER, GROUP])
async def test_every_refusal_is_a_sentence_and_creates_nothing(world: World, chat: int) -> None:
    await open_shop(world)
    for written, said in REFUSED:
        assert said in await reply_text(world, f"/pay {written}", chat=chat), written
    assert posts(world) == []
    assert len(shown(world, chat)) == len(REFUSED)


TWO_WAYS = [
    ("1.234", ["DKK 1,234.00", "DKK 1.23"], [123400, 123]),
    ("12,345 Tea", ["DKK 12,345.00 – Tea", "DKK 12.34 – Tea"], [1234500, 1234]),
    ("20 coffee EUR", ["DKK 20.00 – coffee EUR", "€20.00 – coffee"], [2000, 2000]),
    ("12 500 g coffee", ["DKK 12,500.00 – g coffee", "DKK 12.00 – 500 g coffee"], [1250000, 1200]),
]


@pytest.mark.parametrize(("written", "offered", "minor"), TWO_WAYS)
async def test_an_ambiguous_amount_is_asked_by_two_buttons_before_anything_is_created(
    world: World, written: str, offered: list[str], minor: list[int]
) -> None:
    for choice in (0, 1):
        question = await reply(world, world.say(f"/pay {written}"), "Which amount do you mean?")
        assert labels(question) == offered
        assert len(amounts(world)) == choice
        if minor[choice] < 250:
            tap = world.tap(question, button(question, "1.23")["text"])
            assert "The smallest" in await alert_text(world, tap)
            continue
        await world.answer(world.tap(question, button(question, labels(question)[choice].split()[1])["text"]))
        await world.message("Waiting for payment")
        assert amounts(world)[-1][0] == minor[choice]


async def test_both_buttons_tapped_again_and_again_make_one_payment(world: World) -> None:
    question = await reply(world, world.say("/pay 12,345 Tea"))
    large, small = button(question, "345.00")["callback_data"], button(question, "12.34")["callback_data"]
    taps = [press(world, question, data) for data in (large, small, large, large, small)]
    for tap in taps:
        await world.answer(tap)
    await world.message("Waiting for payment")
    await caught_up(world)
    assert amounts(world) == [(1234500, "dkk", "Tea")]
    assert len(world.sent("Waiting for payment")) + len(world.sent("Creating link")) == 1
    asked = await world.message("Payment requested: DKK\u00a012,345.00")
    assert asked["message_id"] == question["message_id"]
    assert labels(asked) == []


async def test_a_choice_that_cannot_be_asked_for_leaves_the_other_one_open(world: World) -> None:
    question = await reply(world, world.say("/pay 999.999 Boat"))
    assert "The largest" in await alert_text(world, world.tap(question, "999,999.00"))
    assert posts(world) == []
    await world.answer(world.tap(question, "999.99"))
    await world.message("Waiting for payment")
    assert amounts(world) == [(99999, "dkk", "Boat")]


async def test_a_number_that_no_button_has_answers_nothing(world: World) -> None:
    question = await reply(world, world.say("/pay 12,345 Tea"))
    data = button(question, "345.00")["callback_data"]
    for number in ("2", "99999999999999999999", "-1", "٠", "", "0:0"):
        await alert_text(world, press(world, question, f"{data.rpartition(':')[0]}:{number}"))
    assert posts(world) == []
    await world.answer(press(world, question, data))
    await world.message("Waiting for payment")
    assert amounts(world)[0][0] == 1234500


async def test_a_question_is_answered_by_the_person_it_was_put_to_only(world: World) -> None:
    await open_shop(world)
    question = await reply(world, world.say("/pay 12,345 Tea", by=MERCHANT, chat=GROUP), chat=GROUP)
    assert "for someone else" in await alert_text(world, world.tap(question, "345.00", by=COLLEAGUE))
    assert "for someone else" in await alert_text(world, world.tap(question, "345.00", by=OWNER))
    assert posts(world) == []
    await world.answer(world.tap(question, "12.34", by=MERCHANT))
    await world.message("Waiting for payment", chat=GROUP)
    assert amounts(world) == [(1234, "dkk", "Tea")]


async def test_a_question_outlives_a_restart(world: World) -> None:
    question = await reply(world, world.say("/pay 12,345 Tea"))
    other = button(question, "345.00")["callback_data"]
    await world.stop()
    await world.begin()
    await world.answer(world.tap(question, "12.34"))
    await world.message("Waiting for payment")
    await world.stop()
    await world.begin()
    await world.answer(press(world, question, other))
    await caught_up(world)
    assert amounts(world) == [(1234, "dkk", "Tea")]


async def test_a_question_of_yesterday_is_no_longer_answered(world: World) -> None:
    question = await reply(world, world.say("/pay 12,345 Tea"))
    world.advance(24 * 3600 + 1)
    assert "expired" in await alert_text(world, world.tap(question, "345.00"))
    assert posts(world) == []


async def test_kroner_are_asked_for_where_the_shop_has_no_krone_of_its_own(world: World) -> None:
    await open_shop(world)
    await open_second_shop(world)
    assert "Which krone?" in await reply_text(world, "/pay 125 kr Tea", chat=OTHER_GROUP)
    assert posts(world) == []
    await reply(world, world.say("/pay 125 DKK Tea", chat=OTHER_GROUP), "Waiting for payment", chat=OTHER_GROUP)
    await reply(world, world.say("/pay 125 Tea", chat=OTHER_GROUP), "Waiting for payment", chat=OTHER_GROUP)
    assert amounts(world) == [(12500, "dkk", "Tea"), (12500, "eur", "Tea")]


HOSTILE = [
    ("<b>bold</b> <test/> &lt; & <a href='x'>", "<b>bold</b> <test/> &lt; & <a href='x'>"),
    ("{amount} {0} %s ${x}", "{amount} {0} %s ${x}"),
    ("pay \u202e00.5 now\u2066", "pay 00.5 now"),
    ("a\x00b\x1b[31m", "ab[31m"),
    ("two\nlines", "two lines"),
    ("👩‍👩‍👧 🏳️‍🌈", "👩‍👩‍👧 🏳️‍🌈"),
    ("=cmd()|'/c calc'!A1", "=cmd()|'/c calc'!A1"),
    ("x" * 200, "x" * 200),
]


async def test_hostile_words_are_shown_harmlessly_and_reach_stripe_as_they_are_shown(world: World) -> None:
    for written, harmless in HOSTILE:
        card = await reply(world, world.say(f"/pay 125 {written}"), "Waiting for payment")
        assert card["text"].splitlines()[1] == f"DKK\u00a0125.00 – {harmless}", written
        assert amounts(world)[-1] == (12500, "dkk", harmless), written


@pytest.mark.parametrize("name", ["<test/>", "a & b </b>", "\u202eeviL", "N\x00ul", "\u202e", "{shop}", "x" * 64])
async def test_a_person_with_a_hostile_name_is_served_like_everybody(world: World, name: str) -> None:
    world.telegram.state.ensure_user(OWNER, first_name=name)
    shop = "".join(sign for sign in name if sign not in "\u202e\x00")[:60] or "Kvit"
    assert f"requests payments for {shop}." in await reply_text(world, "/start")
    await reply(world, world.say("/pay 125 Tea"), "Waiting for payment")
    assert (await reply_text(world, "/settings")).splitlines()[0] == shop
