"""Which shop a chat acts for, and that nothing of one shop is seen or touched from another; `/status` and `/cancel`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.i18n import LANGUAGES
from storage import shops
from storage.models.shop import Role, Shop
from tests.i18n.test_catalogues import messages
from tests.support.people import (
    ADMIN,
    COLLEAGUE,
    GROUP,
    MERCHANT,
    NO_SHOP,
    OTHER_GROUP,
    STRANGER,
    actions,
    alert_text,
    caught_up,
    deliver_raw,
    open_database,
    open_second_shop,
    open_shop,
    posts,
    press,
    reply,
    reply_text,
    send_message,
    shown,
)
from tests.support.world import OWNER, Json, World, button, labels, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


def ref_of(card: Json) -> str:
    """The reference on a card, without its `#`."""
    return str(card["text"]).split("\n#")[1].split("\n")[0]


async def asked(world: World, by: int = MERCHANT, chat: int = GROUP, text: str = "/pay 125 Tea") -> Json:
    """The payment message of a new request. The same request within five seconds would be asked about."""
    world.advance(6)
    return await reply(world, world.say(text, by=by, chat=chat), "Waiting for payment", chat=chat)


async def test_a_group_of_no_shop_answers_four_commands_and_otherwise_only_the_owner(world: World) -> None:
    for text in ("/pay 125", "/status", "/cancel K7F3", "/settings", "/open", "/terms", "/frobnicate", "125 Tea"):
        for person in (OWNER, MERCHANT, STRANGER):
            world.say(text, by=person, chat=NO_SHOP)
    await caught_up(world, NO_SHOP)
    *to_the_owner, _ = shown(world, NO_SHOP)
    assert len(to_the_owner) == 6  # one for each command that exists
    assert all("Link it with /setup" in message["text"] for message in to_the_owner)
    assert "is not linked to a shop yet" in await reply_text(world, "/start", chat=NO_SHOP)
    listed = await reply_text(world, "/help", chat=NO_SHOP)
    assert {line.split()[0] for line in listed.splitlines()[1:]} >= {"/setup", "/start", "/help", "/id"}
    assert not any(line.startswith(("/pay", "/status", "/terms")) for line in listed.splitlines())
    assert f"Your Telegram ID is {ADMIN}" in await reply_text(world, "/setup", by=ADMIN, chat=NO_SHOP)
    assert f"Your Telegram ID is {STRANGER}" in await reply_text(world, "/setup", by=STRANGER, chat=NO_SHOP)
    assert posts(world) == []


async def test_setup_ties_a_group_to_the_only_shop(world: World) -> None:
    assert await reply_text(world, "/setup", chat=NO_SHOP) == "This chat now belongs to Kvit."
    await asked(world, chat=NO_SHOP)
    assert len(posts(world)) == 1


async def test_a_new_shop_is_opened_by_name_and_only_by_an_owner(world: World) -> None:
    assert f"Your Telegram ID is {ADMIN}" in await reply_text(world, "/setup NEW Mine", by=ADMIN, chat=GROUP)
    assert await reply_text(world, "/setup new Café <b>", chat=NO_SHOP) == "This chat now belongs to Café <b>."
    assert "A name must have 1 to 60 characters." in await reply_text(world, "/setup NEW", chat=NO_SHOP)
    assert f"Your Telegram ID is {MERCHANT}" in await reply_text(world, "/pay 125", by=MERCHANT, chat=NO_SHOP)
    assert (await reply_text(world, "/settings", chat=NO_SHOP)).splitlines()[0] == "Café <b>"
    assert labels(await reply(world, world.say("/setup"))) == ["Kvit", "Café <b>"]


async def test_opening_the_same_shop_twice_in_a_chat_opens_one(world: World) -> None:
    for _ in range(2):
        assert await reply_text(world, "/setup NEW Café", chat=NO_SHOP) == "This chat now belongs to Café."
    assert labels(await reply(world, world.say("/setup"))) == ["Kvit", "Café"]


async def test_of_several_shops_one_is_picked_by_an_owners_button_and_holds_for_that_chat(world: World) -> None:
    await open_second_shop(world)
    question = await reply(world, world.say("/setup", chat=NO_SHOP), "Which shop", chat=NO_SHOP)
    assert labels(question) == ["Kvit", "Second"]
    for person in (ADMIN, MERCHANT, STRANGER):
        assert f"Your Telegram ID is {person}" in await alert_text(world, world.tap(question, "Second", by=person))
    for data in ("s:3", "s:0", "s:x", "s:", "s:99999999999999999999", "s:٢"):
        await alert_text(world, press(world, question, data))
    assert await world.answer(world.tap(question, "Second")) == "This chat now belongs to Second."
    await caught_up(world, NO_SHOP)
    assert (await reply_text(world, "/settings", chat=NO_SHOP)).splitlines()[0] == "Second"
    assert (await reply_text(world, "/settings", chat=GROUP)).splitlines()[0] == "Kvit"
    assert (await reply_text(world, "/settings", chat=OTHER_GROUP)).splitlines()[0] == "Second"


async def test_an_owner_of_several_shops_is_asked_once_in_private_and_changes_it_by_setup(world: World) -> None:
    await open_second_shop(world)
    for text in ("/pay 125", "/start", "125 Tea", "/settings"):
        question = await reply(world, world.say(text), "Which shop")
    assert "/pay" not in [line.split()[0] for line in (await reply_text(world, "/help")).splitlines()[1:]]
    assert posts(world) == []
    await world.answer(world.tap(question, "Second"))
    await caught_up(world)
    assert (await reply_text(world, "/settings")).splitlines()[0] == "Second"
    await asked(world, by=OWNER, chat=OWNER)
    assert world.intent()["currency"] == "eur"
    await world.answer(world.tap(await reply(world, world.say("/setup")), "Kvit"))
    await caught_up(world)
    await asked(world, by=OWNER, chat=OWNER)
    assert world.intent()["currency"] == "dkk"


async def test_any_number_of_shops_can_be_reached_by_buttons(world: World) -> None:
    async with open_database(world) as db:
        for number in range(2, 131):
            shop = Shop(0, f"Shop {number}", "DKK", "en", "Europe/Copenhagen")
            created = await db.write(shops.create_shop, shop, now=world.clock.now())
            if number > 100:
                await db.write(shops.set_member, created.id, MERCHANT, Role.MERCHANT, name="", now=world.clock.now())
    question = await reply(world, world.say("/setup"), "Which shop")
    seen = labels(question)[:-1]
    assert labels(question) == ["Kvit", *(f"Shop {number}" for number in range(2, 21)), "→"]
    for page in range(1, 7):
        await world.answer(world.tap(question, "→"))
        question = await world.until(
            lambda: shown_with(world, OWNER, f"Shop {20 * page + 1}")  # noqa: B023 - called in this round
        )
        seen += [label for label in labels(question) if label not in "←→"]
    assert seen == ["Kvit", *(f"Shop {number}" for number in range(2, 131))]
    assert "→" not in labels(question)
    assert await world.answer(world.tap(question, "Shop 130")) == "This chat now belongs to Shop 130."

    own = await reply(world, world.say("/setup", by=MERCHANT), "Which shop", chat=MERCHANT)
    assert len(labels(own)) == 21
    await world.answer(press(world, own, "s:p20", by=MERCHANT))
    own = await world.until(lambda: shown_with(world, MERCHANT, "Shop 130"))
    assert [label for label in labels(own) if label not in "←→"] == [f"Shop {number}" for number in range(120, 131)]
    assert f"Your Telegram ID is {STRANGER}" in await alert_text(world, press(world, question, "s:p20", by=STRANGER))


def shown_with(world: World, chat: int, label: str) -> Json | None:
    """The newest message of a chat that has a button of this label."""
    found = [message for message in shown(world, chat) if label in labels(message)]
    return found[-1] if found else None


async def test_merchant_of_two_shops_can_select_only_those(world: World) -> None:
    await open_second_shop(world, MERCHANT)
    await reply_text(world, "/setup NEW Third", chat=NO_SHOP)
    question = await reply(world, world.say("/pay 125", by=MERCHANT), chat=MERCHANT)
    assert labels(question) == ["Kvit", "Second"]
    third = button(question, "Second")["callback_data"].replace("2", "3")
    assert f"Your Telegram ID is {MERCHANT}" in await alert_text(world, press(world, question, third, by=MERCHANT))
    await world.answer(world.tap(question, "Second", by=MERCHANT))
    await asked(world, chat=MERCHANT)
    assert world.intent()["currency"] == "eur"


async def choose(world: World, shop: str) -> None:
    """The merchant has his private chat act for one of his shops."""
    question = await reply(world, world.say("/setup", by=MERCHANT), "Which shop", chat=MERCHANT)
    await world.answer(world.tap(question, shop, by=MERCHANT))
    await reply(world, world.say("/settings", by=MERCHANT), chat=MERCHANT)  # the choice was worked off before this


@pytest.mark.parametrize(
    ("text", "late", "label", "says"),
    [
        ("/pay 125 Tea", True, "Do it now", "DKK 125.00"),
        ("/pay 1.234 Tea", False, "1,234.00", "DKK 1,234.00"),
        ("125 Tea", False, "125.00", "DKK 125.00"),
    ],
)
async def test_what_was_asked_for_one_shop_is_not_carried_out_for_another(
    world: World, text: str, late: bool, label: str, says: str
) -> None:
    await open_second_shop(world, MERCHANT)
    await choose(world, "Kvit")
    if late:
        await world.stop()
    said = send_message(world, text, by=MERCHANT)
    if late:
        world.advance(601)
        await world.begin()
    question = await reply(world, said, chat=MERCHANT)
    await choose(world, "Second")
    assert "for a different shop" in await alert_text(world, world.tap(question, label, by=MERCHANT))
    assert posts(world) == []
    await choose(world, "Kvit")
    await world.answer(world.tap(question, label, by=MERCHANT))
    card = await reply(world, said, "Waiting for payment", chat=MERCHANT)
    assert says in card["text"].replace("\u00a0", " ")
    assert world.intent()["currency"] == "dkk"


async def test_nothing_of_one_shop_is_seen_or_touched_from_a_chat_of_another(world: World) -> None:
    await open_second_shop(world, COLLEAGUE)
    card = await asked(world, text="/pay 125 Secret")
    foreign = await asked(world, by=COLLEAGUE, chat=OTHER_GROUP, text="/pay 99 Other")
    before, ref = posts(world), ref_of(card)
    cancel = button(card, "Cancel")["callback_data"]
    for person in (OWNER, COLLEAGUE, STRANGER):
        for command in (f"/status {ref}", f"/cancel {ref}", f"/again {ref}"):
            world.advance(61)  # in a group a stranger is answered once a minute
            said = await reply_text(world, command, by=person, chat=OTHER_GROUP)
            refusal = "Your Telegram ID is" if person == STRANGER else "no payment with that reference here"
            assert refusal in said
        alert = await alert_text(world, press(world, foreign, cancel, by=person))
        assert ("Your Telegram ID is" if person == STRANGER else "expired") in alert
        await alert_text(world, press(world, foreign, cancel.replace("c:", "n:"), by=person))
    assert "0 requests" not in await reply_text(world, "/status", by=COLLEAGUE, chat=OTHER_GROUP)
    assert "1 request is open." in await reply_text(world, "/status", by=COLLEAGUE, chat=OTHER_GROUP)
    assert not any("Secret" in m["text"] or ref in m["text"] for m in shown(world, OTHER_GROUP))
    assert posts(world) == before
    assert not any(one["status"] == "canceled" for one in world.stripe.store.intents.values())
    assert (f"user:{COLLEAGUE}", "denied") in await actions(world, 0)


async def test_a_message_number_means_nothing_in_another_chat(world: World) -> None:
    await open_second_shop(world, COLLEAGUE)
    card = await asked(world)
    for _ in range(card["message_id"]):
        world.say("filling", chat=OTHER_GROUP)
    said = world.say("/cancel", by=COLLEAGUE, chat=OTHER_GROUP, reply_to=card["message_id"])
    assert "Which payment?" in (await reply(world, said, chat=OTHER_GROUP))["text"]
    assert world.intent()["status"] == "requires_action"


async def test_a_payment_is_found_by_its_reference_as_people_type_it(world: World) -> None:
    card = await asked(world)
    ref = ref_of(card)
    confused = ref[0] + ref[1:].replace("0", "O").replace("1", "l")
    confused_upper = confused.upper().replace("1", "I")
    marked = (f"_{ref}_", f"- #{ref}", f"– {ref} –", f"-> {ref}", f"__*{ref.lower()}*__")
    for written in (ref, f"#{ref}", ref.lower(), f"  #{confused}  ", confused_upper, f"{ref} now", *marked):
        said = await reply(world, world.say(f"/status {written}", by=MERCHANT, chat=GROUP), chat=GROUP)
        assert f"#{ref}" in said["text"], written
        assert labels(said) == ["Copy link"]
    history = said["text"].splitlines()[-2:]
    assert history == ["24 Nov 2026, 13:00 · Link requested", "24 Nov 2026, 13:00 · Link created"]
    for unknown in ("Z9ZZ", "hello", "125", "'; --"):
        assert "no payment with that reference" in await reply_text(world, f"/status {unknown}", chat=GROUP)
    assert "Which payment?" in await reply_text(world, "/status #", chat=GROUP)


async def test_letters_o_i_l_in_a_reference_are_digits(world: World) -> None:
    for _ in range(60):
        ref = ref_of(await asked(world))
        typed = ref[0] + ref[1:].replace("0", "o").replace("1", "i")
        if typed != ref:
            break
    assert typed != ref
    said = world.say(f"/status {typed}", by=MERCHANT, chat=GROUP)
    assert f"#{ref}" in (await reply(world, said, chat=GROUP))["text"]


async def test_reply_needs_no_reference_and_a_different_one_is_refused(world: World) -> None:
    first, second = await asked(world), await asked(world, text="/pay 99 Cake")
    said = world.say("/status", by=MERCHANT, chat=GROUP, reply_to=first["message_id"])
    assert f"#{ref_of(first)}" in (await reply(world, said, chat=GROUP))["text"]
    both = world.say(f"/status {ref_of(first)}", by=MERCHANT, chat=GROUP, reply_to=first["message_id"])
    assert f"#{ref_of(first)}" in (await reply(world, both, chat=GROUP))["text"]
    for command in ("cancel", "status"):
        said = world.say(f"/{command} {ref_of(second)}", by=MERCHANT, chat=GROUP, reply_to=first["message_id"])
        refusal = str((await reply(world, said, chat=GROUP))["text"])
        assert refusal.startswith(
            f"You wrote #{ref_of(second)} but replied to the payment message of #{ref_of(first)}."
        )
    other = world.say("/cancel", by=MERCHANT, chat=GROUP, reply_to=said)
    assert "Which payment?" in (await reply(world, other, chat=GROUP))["text"]
    assert [one["status"] for one in world.stripe.store.intents.values()] == ["requires_action"] * 2


async def test_status_alone_is_three_lines_in_the_shops_own_day(world: World) -> None:
    assert (await reply_text(world, "/status", chat=GROUP)).splitlines() == [
        "0 requests are open.",
        "Paid today: nothing yet",
        "Everything is working.",
    ]
    await asked(world)
    await world.decide("approve")
    await world.message("✅ Paid:", chat=GROUP)
    await asked(world, text="/pay 1 EUR")
    await world.decide("approve")
    await world.message("€1.00", chat=GROUP, but="Waiting")
    await asked(world, text="/pay 125 Bun")
    lines = (await reply_text(world, "/status", chat=GROUP)).splitlines()
    assert lines == [
        "1 request is open.",
        "Paid today: DKK\u00a0125.00 (1), €1.00 (1)",
        "Everything is working.",
    ]
    world.advance(11 * 3600)  # midnight in Copenhagen
    assert "Paid today: nothing yet" in await reply_text(world, "/status", chat=GROUP)


async def test_status_names_parts_that_do_not_work_in_plain_words(world: World) -> None:
    heartbeats = world.service._components.heartbeats
    parts = heartbeats.stale(datetime.max.replace(tzinfo=UTC))
    assert {"updates", "events", "outbox", "reconciler"} <= set(parts)
    for language in LANGUAGES:
        assert {f"part.{part}" for part in parts} <= set(messages(language))
    for part in ("events", "outbox"):
        heartbeats.register(part, stale_after_seconds=-1)
    lines = (await reply_text(world, "/status", chat=GROUP)).splitlines()
    assert lines[-1] == "Not working properly: Stripe events, sending messages. Nothing is lost."


async def test_status_alone_in_a_topic_is_no_reply_to_the_message_that_opened_the_topic(world: World) -> None:
    opening: Json = {"message_id": 1, "date": 1, "chat": {"id": GROUP, "type": "group"}}
    opening["forum_topic_created"] = {"name": "Till", "icon_color": 7322096}
    said = deliver_raw(
        world, "/status", chat=GROUP, message_thread_id=1, is_topic_message=True, reply_to_message=opening
    )
    assert "0 requests are open." in (await reply(world, said, chat=GROUP))["text"]


async def test_cancel_by_reference_ends_the_request_or_reports_payment(world: World) -> None:
    ref = ref_of(await asked(world))
    assert f"#{ref} is cancelled." in await reply_text(world, f"/cancel {ref.lower()}", by=MERCHANT, chat=GROUP)
    assert world.intent()["status"] == "canceled"
    assert "is closed" in await reply_text(world, f"/cancel {ref}", by=MERCHANT, chat=GROUP)
    ref = ref_of(await asked(world))
    await world.control("stripe", "webhooks", {"mode": "lose"})
    await world.decide("approve")
    assert "has already paid" in await reply_text(world, f"/cancel {ref}", by=MERCHANT, chat=GROUP)
    assert (await world.message("✅ Paid:", chat=GROUP))["text"].endswith(f"#{ref}")
    assert "Which payment?" in await reply_text(world, "/cancel", by=MERCHANT, chat=GROUP)
