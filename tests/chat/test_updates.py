"""Which of Telegram's updates are commands at all, and that none of them acts twice, too late or for somebody else."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from bot.sandbox.fake_telegram.users import UserMessage
from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import eventually, idle, rows
from tests.support.people import (
    GROUP,
    MERCHANT,
    STRANGER,
    alert_text,
    caught_up,
    chat_of,
    dead_letters,
    deliver_raw,
    open_shop,
    posts,
    press,
    remove_roles,
    reply,
    reply_text,
    send_message,
    shown,
)
from tests.support.world import OWNER, Json, World, button, labels, opened

TEN_MINUTES = 600


async def test_a_command_may_name_this_bot_in_any_case_and_another_bots_is_not_ours(world: World) -> None:
    await open_shop(world)
    for number, command in enumerate(("/pay@KvitDemoBot 125", "/PAY@kvitdemobot 125 Tea", "/Pay 125 Bun"), 1):
        await reply(world, world.say(command, chat=GROUP), "Waiting for payment", chat=GROUP)
        assert len(posts(world)) == number
    for command in ("/pay@OtherBot 125", "/pay@KvitDemoBot2 125", "/id@OtherBot", "/payments 125", "/pay,125"):
        world.say(command, chat=GROUP)
    await caught_up(world, GROUP)
    assert len(posts(world)) == 3
    assert len(shown(world, GROUP)) == 4


async def test_a_command_for_another_bot_is_ignored_after_a_restart_without_telegram(world: World) -> None:
    await caught_up(world)
    await world.stop()
    await world.control("telegram", "faults", {"method": "getMe", "how": "500", "times": 3})
    await world.begin()
    world.say("/pay@OtherBot 125")
    await reply(world, world.say("/pay@KvitDemoBot 125"), "Waiting for payment")
    assert len(posts(world)) == 1


async def test_an_edited_message_never_runs_a_command(world: World) -> None:
    first = world.say("/id")
    world.telegram.state.updates.allowed = []
    for text in ("/pay 125 Tea", "/pay 300 Tea"):
        send_message(world, text, edit_message_id=first)
        message = chat_of(world, OWNER).messages[first]
        world.telegram.state.add_update("edited_message", message, OWNER)
    card = await reply(world, world.say("/pay 200"), "Waiting for payment")
    send_message(world, "/pay 999", edit_message_id=card["reply_to_message"]["message_id"])
    await caught_up(world)
    assert [one["amount"] for one in world.stripe.store.intents.values()] == [20000]


async def test_a_forwarded_command_is_refused_and_a_forwarded_greeting_is_not(world: World) -> None:
    origin = {"type": "hidden_user", "date": world.telegram.state.unix_time(), "sender_user_name": "Somebody"}
    for command in ("/pay 125", "/cancel K7F3", "/settings currency EUR", "/setup NEW Mine"):
        passed_on = deliver_raw(world, command, forward_origin=origin)
        assert "forwarded, so nothing was done" in (await reply(world, passed_on))["text"]
    assert "Your Telegram ID is" in (await reply(world, deliver_raw(world, "/id", forward_origin=origin)))["text"]
    assert "Currency: DKK" in await reply_text(world, "/settings")
    assert posts(world) == []


async def test_words_of_channels_and_bots_and_those_sent_via_a_bot_do_nothing(world: World) -> None:
    await open_shop(world)
    another = world.telegram.state.ensure_user(70_090_001, is_bot=True, first_name="Other", username="OtherBot")
    world.telegram.state.updates.allowed = []
    send_message(world, "/pay 125", chat=-1_001_000_000_001, chat_type="channel")
    send_message(world, "/pay 125", by=70_090_001, chat=GROUP, is_bot=True)
    deliver_raw(world, "/pay 125", via_bot=another)
    deliver_raw(world, "/pay 125", by=MERCHANT, chat=GROUP, via_bot=another)
    deliver_raw(world, "/pay 125", by=70_090_001)
    await caught_up(world)
    await caught_up(world, GROUP)
    assert posts(world) == []
    assert (len(shown(world)), len(shown(world, GROUP))) == (2, 1)  # in a private chat a hint, and no payment
    assert await dead_letters(world, "updates") == []


async def test_same_update_ten_times_is_one_payment_and_one_message(world: World) -> None:
    said = world.telegram.users.send
    first = said(speaking("/pay 125 Tea"))
    await reply(world, first["message_id"], "Waiting for payment")
    await world.control("telegram", "redeliver", {"update_id": first["update_id"], "times": 10})
    await world.until(lambda: not world.telegram.state.updates.pending())
    await caught_up(world)
    assert len(posts(world)) == 1
    assert len(shown(world)) == 2


async def test_the_same_update_ten_times_at_once_is_one_payment(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path, telegram_mode="webhook", public_url="http://127.0.0.1:8080") as world:
        world.telegram.users.send(speaking("/pay 125 Tea"))
        update = json.dumps(world.telegram.state.updates.pending()[0].body)
        secret = world.settings.update_secret.get_secret_value()
        headers = {"X-Telegram-Bot-Api-Secret-Token": secret, "Content-Type": "application/json"}

        async def bring() -> int:
            async with world.http.post(f"{world.service.base}/telegram/webhook", data=update, headers=headers) as got:
                return got.status

        assert await asyncio.gather(*(bring() for _ in range(10))) == [200] * 10
        await world.message("Waiting for payment")
        assert [await bring() for _ in range(3)] == [200] * 3
        assert len(posts(world)) == 1
        assert len(world.sent()) == 1


async def test_one_press_that_arrives_as_ten_updates_cancels_once(world: World) -> None:
    card = await reply(world, world.say("/pay 125"), "Waiting for payment")
    await world.answer(world.tap(card, "Cancel"))
    question = await world.message("Nothing has been cancelled yet")
    assert posts(world)[-1].rpartition("/")[2] != "cancel"
    data = button(question, "Cancel the request")["callback_data"]
    answers = [await world.answer(query) for query in [press(world, question, data) for _ in range(10)]]
    assert "is cancelled" in answers[0]
    assert all("is closed" in answer for answer in answers[1:])
    assert [path.rpartition("/")[2] for path in posts(world)].count("cancel") == 1


async def late(world: World, text: str, seconds: float = TEN_MINUTES + 1, **words: int) -> int:
    """Something that was said while Kvit was away."""
    await world.stop()
    said = send_message(world, text, **words)
    world.advance(seconds)
    await world.begin()
    return said


async def test_a_command_of_ten_minutes_ago_is_still_carried_out(world: World) -> None:
    said = await late(world, "/pay 125 Tea", TEN_MINUTES)
    await reply(world, said, "Waiting for payment")
    assert len(posts(world)) == 1


async def test_older_command_runs_once_after_confirmation(world: World) -> None:
    said = await late(world, "/pay 125 <b>Tea</b>")
    question = await reply(world, said, "This command arrived late: /pay 125 <b>Tea</b>")
    assert labels(question) == ["Do it now", "Skip it"]
    assert posts(world) == []
    yes, no = (button(question, label)["callback_data"] for label in ("Do it now", "Skip it"))
    for query in [press(world, question, data) for data in (yes, no, yes)]:
        await world.answer(query)
    card = await world.message("Waiting for payment")
    await caught_up(world)
    assert card["reply_to_message"]["message_id"] == question["reply_to_message"]["message_id"]
    assert labels(await world.message("Handled now")) == []
    assert len(posts(world)) == 1


async def test_older_command_is_dropped_after_refusal(world: World) -> None:
    question = await reply(world, await late(world, "/pay 125"), "This command arrived late")
    yes, no = (button(question, label)["callback_data"] for label in ("Do it now", "Skip it"))
    for query in [press(world, question, data) for data in (no, yes, yes)]:
        await world.answer(query)
    await world.message("Not done.")
    await caught_up(world)
    assert posts(world) == []


async def test_a_late_cancel_ends_the_request_it_replied_to_and_a_late_status_just_answers(world: World) -> None:
    card = await reply(world, world.say("/pay 125"), "Waiting for payment")
    question = await reply(world, await late(world, "/cancel", reply_to_message_id=card["message_id"]), "arrived late")
    await world.answer(world.tap(question, "Do it now"))
    await world.message("It was cancelled by the shop")
    await reply(world, await late(world, "/status"), "Everything is working.")


async def test_a_late_command_that_cannot_be_done_says_why_however_long_it_is(world: World) -> None:
    question = await reply(world, await late(world, "/pay 125 " + "🦆" * 4080), "This command arrived late")
    assert "at most 200 characters" in await alert_text(world, world.tap(question, "Do it now"))
    assert posts(world) == []


async def test_a_late_command_of_somebody_who_lost_his_role_is_refused_at_the_tap(world: World) -> None:
    await open_shop(world)
    question = await reply(world, await late(world, "/pay 125", by=MERCHANT, chat=GROUP), "arrived late", chat=GROUP)
    assert "for someone else" in await alert_text(world, world.tap(question, "Do it now", by=OWNER))
    await remove_roles(world, MERCHANT)
    assert f"Your Telegram ID is {MERCHANT}" in await alert_text(world, world.tap(question, "Do it now", by=MERCHANT))
    assert posts(world) == []


async def test_an_amount_without_a_command_is_offered_by_one_button_in_a_private_chat_only(world: World) -> None:
    await open_shop(world)
    world.say("125 coffee", chat=GROUP)
    offer = await reply(world, world.say("125 coffee"), "Request this amount?")
    assert labels(offer) == ["DKK 125.00 – coffee"]
    assert posts(world) == []
    await world.answer(world.tap(offer, "125.00"))
    await world.answer(world.tap(offer, "125.00"))
    await world.message("Waiting for payment")
    assert "write the amount first" in await reply_text(world, "how are you?")
    assert labels(await reply(world, world.say("12 500 g coffee"))) == [
        "DKK 12,500.00 – g coffee",
        "DKK 12.00 – 500 g coffee",
    ]
    assert f"give your Telegram ID {STRANGER} to an admin" in await reply_text(world, "125 coffee", by=STRANGER)
    await caught_up(world, GROUP)
    assert len(shown(world, GROUP)) == 1
    assert len(posts(world)) == 1


BROKEN: list[Json] = [
    {},
    {"text": "/pay 125"},
    {"message_id": 7, "date": "soon", "chat": {"id": OWNER, "type": "private"}, "text": "/pay 125"},
    {"message_id": 7, "date": 1, "chat": [OWNER], "text": "/pay 125"},
    {"message_id": 7, "date": 1, "chat": {"id": OWNER, "type": "private"}, "from": {"id": OWNER}, "text": "/pay 125"},
]


async def test_unreadable_update_blocks_no_other_and_alerts_the_owner(world: World) -> None:
    await open_shop(world)
    for content in BROKEN:
        world.telegram.state.add_update("message", content, OWNER)
        world.telegram.state.add_update("callback_query", content, OWNER)
    await reply(world, world.say("/pay 125"), "Waiting for payment")
    await reply(world, world.say("/pay 125", by=MERCHANT, chat=GROUP), "Waiting for payment", chat=GROUP)
    reasons = await dead_letters(world, "updates")
    assert len(reasons) >= len(BROKEN)
    assert all("unreadable" in reason for reason in reasons)
    await world.message("Kvit could not finish a task (receiving Telegram messages)")
    assert len(posts(world)) == 2


def speaking(text: str) -> UserMessage:
    return UserMessage(OWNER, OWNER, text)


async def test_handled_updates_keep_no_text(world: World) -> None:
    await open_shop(world)
    await reply(world, world.say("/pay 125 Tea", chat=GROUP), "Waiting for payment", chat=GROUP)
    world.say("nobody else's business", by=STRANGER, chat=GROUP)
    await idle(world)
    kept = rows(world, "SELECT DISTINCT state, length(payload) AS size FROM jobs")
    assert kept == [{"state": "done", "size": 0}]


def rename(world: World, username: str) -> None:
    """The owner renames the bot in @BotFather; no update says so."""
    world.telegram.state.bot["username"] = username


async def test_bot_that_was_renamed_answers_to_its_new_name_and_no_longer_to_the_old_one(world: World) -> None:
    await open_shop(world)
    world.say("/id@OtherBot", chat=GROUP)
    await caught_up(world, GROUP)
    rename(world, "CafeNoirBot")
    await reply(world, world.say("/pay@CafeNoirBot 125", chat=GROUP), "Waiting for payment", chat=GROUP)
    world.say("/pay@KvitDemoBot 125 Tea", chat=GROUP)
    world.say("/pay@OtherBot 125", chat=GROUP)
    await caught_up(world, GROUP)
    assert len(posts(world)) == 1


async def test_invitation_after_a_renaming_names_the_bot_as_it_is(world: World) -> None:
    await open_shop(world)
    rename(world, "CafeNoirBot")
    assert "https://t.me/CafeNoirBot?start=invite-" in (await reply(world, world.say("/invite merchant")))["text"]


async def test_renaming_is_noticed_within_an_hour_and_outlives_a_restart(world: World) -> None:
    rename(world, "CafeNoirBot")
    world.advance(3601)
    await eventually(lambda: rows(world, "SELECT 1 FROM installation_settings WHERE value = 'CafeNoirBot'"))
    await world.stop()
    await world.control("telegram", "faults", {"method": "getMe", "how": "500", "times": 3})
    await world.begin()
    await reply(world, world.say("/pay@CafeNoirBot 125"), "Waiting for payment")


async def test_commands_for_other_bots_ask_telegram_about_each_name_once(world: World) -> None:
    await open_shop(world)
    before = getme(world)
    for _ in range(5):
        world.say("/id@OtherBot", chat=GROUP)
    await caught_up(world, GROUP)
    assert getme(world) == before + 1
    for number in range(30):
        world.say(f"/id@Other{number}Bot", chat=GROUP)
    await caught_up(world, GROUP)
    assert getme(world) <= before + 10


def getme(world: World) -> int:
    return sum(entry.method == "getMe" for entry in world.telegram.transcript)
