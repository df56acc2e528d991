"""Who may do what in a chat: strangers, merchants, admins and owners, and those behind whom many people stand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.fake_telegram.state import ANONYMOUS_ADMIN
from bot.sandbox.shared.fake_clock import FakeClock
from handlers.chat.routes import COMMANDS
from storage.models.shop import Role
from tests.support.people import (
    ADMIN,
    COLLEAGUE,
    GROUP,
    MERCHANT,
    STRANGER,
    actions,
    alert_text,
    caught_up,
    chat_of,
    open_shop,
    posts,
    press,
    remove_roles,
    reply,
    reply_text,
    send_message,
    shown,
)
from tests.support.world import OWNER, World, button, labels, opened

CHANNEL = -1_001_000_000_009
ADDRESS = f"Your Telegram ID is {STRANGER}; an admin of the shop can give you a role."


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


@pytest.mark.parametrize("chat", [STRANGER, GROUP])
async def test_a_stranger_is_refused_every_command_in_one_friendly_line_with_his_number(
    world: World, chat: int
) -> None:
    card = await reply(world, world.say("/pay 125 Secret", by=MERCHANT, chat=GROUP), "Waiting", chat=GROUP)
    ref = card["text"].split("#")[1][:4]
    before = posts(world)
    for command in COMMANDS.values():
        for rest in ("", f" {ref}"):
            world.advance(61)  # in a group a stranger is answered once a minute
            said = await reply_text(world, f"/{command.name}{rest}", by=STRANGER, chat=chat)
            if command.role is not Role.NONE:
                assert said == f"You don't have access to that. {ADDRESS}", command.name
            assert "Secret" not in said
    assert posts(world) == before


async def test_a_stranger_may_say_hello_and_learn_his_number(world: World) -> None:
    assert f"give your Telegram ID {STRANGER} to an admin" in await reply_text(world, "/start", by=STRANGER)
    assert "approve in MobilePay" in await reply_text(world, "/start", by=STRANGER)
    listed = await reply_text(world, "/help", by=STRANGER)
    assert [line.split()[0] for line in listed.splitlines()[1:-1]] == [
        f"/{name}" for name, command in COMMANDS.items() if command.role is Role.NONE
    ]
    assert listed.endswith(ADDRESS)
    assert await reply_text(world, "/id", by=STRANGER) == f"Your Telegram ID is {STRANGER}."
    assert await reply_text(world, "/frobnicate", by=STRANGER) == "There is no command /frobnicate. See /help."


async def test_greeting_of_a_guest_names_the_wallet_as_set(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path, wallet_name="Vipps") as world:
        await open_shop(world)
        assert "approve in Vipps" in await reply_text(world, "/start", by=STRANGER)


async def test_every_button_is_refused_to_a_stranger_with_a_row_in_the_history_and_no_call(world: World) -> None:
    card = await reply(world, world.say("/pay 125", by=MERCHANT, chat=GROUP), "Waiting", chat=GROUP)
    question = await reply(world, world.say("/pay 12,345", by=MERCHANT, chat=GROUP), chat=GROUP)
    payment = button(card, "Cancel")["callback_data"].partition(":")[2]
    asked = button(question, "345.00")["callback_data"]
    hello = await reply(world, world.say("/start", by=STRANGER), chat=STRANGER)
    before = posts(world)
    forged = [f"c:{payment}", f"n:{payment}", asked, "s:1", "v:currency:EUR", "o:", "c:none", "q:none:0", "x", "c"]
    for place in (card, question, hello):
        for data in [*forged, "s:99999999999999999999", "v:name:Mine", "\x00", "🦆" * 16]:
            assert ADDRESS in await alert_text(world, press(world, place, data, by=STRANGER)), data
    assert posts(world) == before
    assert (await actions(world)).count((f"user:{STRANGER}", "denied")) == 2  # one in each chat
    assert "Currency: DKK" in await reply_text(world, "/settings")
    assert labels(shown(world, GROUP)[0]) == labels(card)


ADMINS = {name for name, command in COMMANDS.items() if command.role is Role.ADMIN}


@pytest.mark.parametrize(
    ("person", "withheld"),
    [(MERCHANT, ADMINS), (ADMIN, set()), (OWNER, set())],
)
async def test_help_lists_only_what_the_person_may_use_and_the_rest_is_refused(
    world: World, person: int, withheld: set[str]
) -> None:
    for chat in (person, GROUP):
        withheld = withheld | ({"setup"} if chat == GROUP and person != OWNER else set())
        listed = await reply_text(world, "/help", by=person, chat=chat)
        named = {line.split()[0][1:] for line in listed.splitlines() if line.startswith("/")}
        assert named == {name for name in COMMANDS if name not in withheld}
        for name in sorted(withheld):
            assert f"Your Telegram ID is {person}" in await reply_text(world, f"/{name}", by=person, chat=chat)


async def test_a_merchant_cancels_his_own_request_and_an_admin_every_one(world: World) -> None:
    for by, allowed in ((COLLEAGUE, False), (ADMIN, True), (MERCHANT, True), (OWNER, True)):
        card = await reply(world, world.say(f"/pay 125 Tea {by}", by=MERCHANT, chat=GROUP), "Waiting", chat=GROUP)
        before = posts(world)
        by_button = await world.answer(world.tap(card, "Cancel", by=by)) if not allowed else ""
        said = world.say("/cancel", by=by, chat=GROUP, reply_to=card["message_id"])
        by_reply = str((await reply(world, said, chat=GROUP))["text"])
        if allowed:
            assert "is cancelled. No money was taken." in by_reply
            assert world.intent()["status"] == "canceled"
        else:
            assert f"Your Telegram ID is {by}" in by_button
            assert f"Your Telegram ID is {by}" in by_reply
            assert posts(world) == before
            assert world.intent()["status"] == "requires_action"


async def test_old_buttons_of_somebody_who_lost_his_role_do_nothing(world: World) -> None:
    card = await reply(world, world.say("/pay 125", by=MERCHANT), "Waiting", chat=MERCHANT)
    sheet = await reply(world, world.say("/settings", by=ADMIN), chat=ADMIN)
    before = posts(world)
    await remove_roles(world, MERCHANT)
    await remove_roles(world, ADMIN)
    assert f"Your Telegram ID is {MERCHANT}" in await alert_text(world, world.tap(card, "Cancel", by=MERCHANT))
    assert f"Your Telegram ID is {ADMIN}" in await alert_text(world, world.tap(sheet, "EUR", by=ADMIN))
    assert f"Your Telegram ID is {MERCHANT}" in await reply_text(world, "/status", by=MERCHANT)
    assert posts(world) == before
    assert (await actions(world))[-1] == (f"user:{MERCHANT}", "denied")


@pytest.mark.parametrize("sender_chat", [GROUP, CHANNEL])
async def test_anonymous_admin_and_channel_are_told_to_use_their_own_account(world: World, sender_chat: int) -> None:
    for text in ("/pay 125", "/status", "/cancel K7F3", "/settings currency EUR", "/setup NEW Mine"):
        world.advance(61)  # in a group, people without a role are answered once a minute
        said = send_message(world, text, chat=GROUP, sender_chat=sender_chat)
        assert "Write as yourself." in (await reply(world, said, chat=GROUP))["text"]
    assert posts(world) == []
    assert "Currency: DKK" in await reply_text(world, "/settings")


async def test_shared_anonymous_id_has_no_role_even_in_the_database(
    world: World,
) -> None:
    card = await reply(world, world.say("/pay 125", by=MERCHANT, chat=GROUP), "Waiting", chat=GROUP)
    before = posts(world)
    assert f"Your Telegram ID is {ANONYMOUS_ADMIN}" in await alert_text(
        world, world.tap(card, "Cancel", by=ANONYMOUS_ADMIN)
    )
    said = send_message(world, "/pay 125", by=ANONYMOUS_ADMIN, chat=GROUP)
    assert "Write as yourself." in (await reply(world, said, chat=GROUP))["text"]
    assert posts(world) == before


async def test_a_title_or_a_name_like_that_of_an_admin_gives_no_right(world: World) -> None:
    world.telegram.state.ensure_user(STRANGER, first_name="Ada", username="ada")
    await reply_text(world, "/id", by=STRANGER, chat=GROUP)
    chat_of(world, GROUP).members[STRANGER] = "creator"
    assert ADDRESS in await reply_text(world, "/pay 125", by=STRANGER, chat=GROUP)
    assert posts(world) == []


async def test_the_first_owner_gets_a_shop_by_himself(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path) as world:
        world.telegram.state.ensure_user(OWNER, first_name="Ørjan", language_code="nn-NO")
        said = await reply_text(world, "/settings")
        assert said.splitlines()[0] == "Ørjan"
        assert [word in said for word in ("DKK", "Norsk", "Europe/Copenhagen")] == [True, True, True]


async def test_an_owner_whose_language_is_not_ours_gets_an_english_shop(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path) as world:
        world.telegram.state.ensure_user(OWNER, first_name="Olga", language_code="uk")
        assert "Language: English" in await reply_text(world, "/settings")


async def test_everybody_learns_his_number_and_that_of_the_chat(world: World) -> None:
    for person in (OWNER, MERCHANT, STRANGER):
        assert await reply_text(world, "/id", by=person) == f"Your Telegram ID is {person}."
        said = await reply_text(world, "/id", by=person, chat=GROUP)
        assert said == f"Your Telegram ID is {person}; this chat's ID is {GROUP}."


async def test_an_unknown_command_is_answered_in_private_or_when_it_names_this_bot(world: World) -> None:
    assert await reply_text(world, "/frobnicate") == "There is no command /frobnicate. See /help."
    assert "no command /frobnicate" in await reply_text(world, "/frobnicate@KvitDemoBot now", chat=GROUP)
    for text in ("/frobnicate", "/frobnicate@OtherBot", "just talking", "/"):
        world.say(text, chat=GROUP)
    await caught_up(world, GROUP)
    assert len(shown(world, GROUP)) == 2


async def test_the_settings_are_an_admins_by_words_and_by_buttons(world: World) -> None:
    sheet = await reply(world, world.say("/settings", by=ADMIN, chat=GROUP), chat=GROUP)
    assert "✓ DKK" in labels(sheet)
    assert f"Your Telegram ID is {MERCHANT}" in await alert_text(world, world.tap(sheet, "EUR", by=MERCHANT))
    for label in ("EUR", "Suomi", "Helsinki"):
        await world.answer(world.tap(sheet, label, by=ADMIN))
    await caught_up(world, GROUP)
    sheet = shown(world, GROUP)[0]
    assert {"✓ EUR", "✓ Suomi", "✓ Helsinki"} <= set(labels(sheet))
    for written in ("name Café <Noir>", "currency sek", "language SV", "zone europe/stockholm"):
        said = await reply_text(world, f"/settings {written}", by=ADMIN)
    for value in ("Café <Noir>", "SEK", "Svenska", "Europe/Stockholm"):
        assert value in said
    await reply(world, world.say("/pay 125", by=MERCHANT), chat=MERCHANT)
    assert world.intent()["currency"] == "sek"


WRONG = [
    "currency USD",
    "language de",
    "zone Mars/Olympus",
    "zone",
    "limits 5",
    "currency",
    "colour red",
    "zone ../etc",
]


async def test_a_setting_that_does_not_exist_changes_nothing(world: World) -> None:
    before = await reply_text(world, "/settings")
    for written in WRONG:
        assert "Nothing was changed." in await reply_text(world, f"/settings {written}"), written
    for name in ("", " ", "x" * 61, "x" * 500, "\u202e\x00"):
        assert "A name must have 1 to 60 characters." in await reply_text(world, f"/settings name {name}")
    sheet = await reply(world, world.say("/settings"))
    for data in ("v:currency:USD", "v:zone:Nowhere", "v:", "v:name:", "v:limits:1"):
        assert "Nothing was changed." in await alert_text(world, press(world, sheet, data))
    assert await reply_text(world, "/settings") == before
