"""People without a role: customers who write to the bot, colleagues who wait for one, the owner in an untied group."""

from __future__ import annotations

from bot.sandbox.fake_telegram.users import UserMessage
from tests.support.evidence import idle, rows
from tests.support.people import (
    ADMIN,
    GROUP,
    MERCHANT,
    NO_SHOP,
    STRANGER,
    caught_up,
    chat_of,
    dead_letters,
    open_second_shop,
    open_shop,
    posts,
    reply,
    reply_text,
    shown,
)
from tests.support.world import OWNER, World

CUSTOMER = 70_010_088


async def test_customer_is_led_to_the_payment_link_and_to_the_shop_before_anything_about_roles(world: World) -> None:
    await open_shop(world)
    for text in ("/start", "hello, did my payment arrive?", "/help"):
        said = await reply_text(world, text, by=CUSTOMER)
        assert "role" not in said.partition("Telegram ID")[0]
    said = await reply_text(world, "I paid twice!", by=CUSTOMER)
    assert said.index("Open the link that you were sent") < said.index("/paysupport") < said.index(str(CUSTOMER))


async def test_paysupport_names_the_shop_and_how_to_reach_it(world: World) -> None:
    await open_shop(world)
    assert "payment to Kvit?" in await reply_text(world, "/paysupport", by=CUSTOMER)
    for setting in ("contact hej@cafe-noir.example", "seller Noir <ApS>"):
        await reply_text(world, f"/settings {setting}")
    for chat, person in ((CUSTOMER, CUSTOMER), (GROUP, CUSTOMER), (ADMIN, ADMIN)):
        said = await reply_text(world, "/paysupport", by=person, chat=chat)
        assert "payment to Noir <ApS>?" in said
        assert "Contact: hej@cafe-noir.example" in said


async def test_paysupport_of_several_shops_names_none_to_a_stranger(world: World) -> None:
    await open_shop(world)
    await open_second_shop(world)
    said = await reply_text(world, "/paysupport", by=CUSTOMER)
    assert "on the payment page and on the receipt" in said
    assert "Second" not in said
    assert "Kvit" not in said


async def test_number_that_a_stranger_gives_to_an_admin_is_all_that_the_admin_needs(world: World) -> None:
    await open_shop(world)
    command = (await reply_text(world, "/start", by=STRANGER)).partition("/invite ")[2].split(".")[0]
    assert command == f"merchant {STRANGER}"
    said = world.say(f"/invite {command}", by=ADMIN)
    assert f"{STRANGER} is now merchant of Kvit" in (await reply(world, said, chat=ADMIN))["text"]
    await world.message("You are now merchant of Kvit", chat=STRANGER)
    await reply(world, world.say("/pay 125 Tea", by=STRANGER), "Waiting for payment", chat=STRANGER)
    [row] = rows(world, "SELECT role, invited_by FROM members WHERE user_id = :who", who=STRANGER)
    assert row == {"role": 1, "invited_by": ADMIN}
    assert "Nothing was changed" in await reply_text(world, f"/invite merchant {STRANGER}", by=ADMIN)
    assert f"{STRANGER} is now admin" in await reply_text(world, f"/invite admin {STRANGER}")
    assert f"{STRANGER} is no longer admin" in await reply_text(world, f"/revoke {STRANGER}")


async def test_admin_who_gives_the_role_of_an_admin_is_reported_to_the_owner(world: World) -> None:
    await open_shop(world)
    await reply_text(world, f"/invite merchant {CUSTOMER}", by=ADMIN)
    await reply_text(world, f"/invite admin {STRANGER}", by=ADMIN)
    reported = await world.message("has invited another admin")
    assert f"({ADMIN})" in reported["text"]
    assert len([one for one in shown(world) if "has invited" in one["text"]]) == 1


async def test_role_for_somebody_who_never_wrote_to_the_bot_is_no_trouble(world: World) -> None:
    await open_shop(world)
    assert "is now merchant" in await reply_text(world, f"/invite merchant {CUSTOMER}", by=ADMIN)
    await idle(world)
    assert await dead_letters(world) == []
    assert "Waiting" in (await reply(world, world.say("/pay 5", by=CUSTOMER), chat=CUSTOMER))["text"]


async def test_number_that_is_nobodys_gets_no_role_and_a_merchant_gives_none(world: World) -> None:
    await open_shop(world)
    for number in (1_087_968_824, 136_817_688, 777_000, 0):
        assert "not the Telegram ID of one person" in await reply_text(world, f"/invite merchant {number}", by=ADMIN)
    for words in (f"merchant {GROUP}", "merchant Ada", f"merchant {STRANGER} please", f"{STRANGER}", "merchant 1" * 9):
        assert "Which role?" in await reply_text(world, f"/invite {words}", by=ADMIN)
    assert "OWNER_IDS" in await reply_text(world, f"/invite owner {STRANGER}")
    assert "already has this role" in await reply_text(world, f"/invite admin {OWNER}", by=ADMIN)
    assert "Your Telegram ID is" in await reply_text(world, f"/invite merchant {STRANGER}", by=MERCHANT)
    assert rows(world, "SELECT 1 FROM members WHERE user_id = :who", who=STRANGER) == []


async def test_same_invitation_update_twice_gives_one_role_and_one_welcome(world: World) -> None:
    await open_shop(world)
    await reply_text(world, "/id", by=STRANGER)
    said = world.telegram.users.send(UserMessage(OWNER, OWNER, f"/invite merchant {STRANGER}"))
    await world.message("is now merchant")
    await world.control("telegram", "redeliver", {"update_id": said["update_id"], "times": 3})
    await world.until(lambda: not world.telegram.state.updates.pending())
    await idle(world)
    assert len([one for one in shown(world, STRANGER) if "You are now" in one["text"]]) == 1


async def test_owner_in_an_untied_group_learns_how_to_tie_it_and_nobody_else_is_answered(world: World) -> None:
    await open_shop(world)
    assert "Link it with /setup" in await reply_text(world, "/pay 125 Tea", chat=NO_SHOP)
    for person in (ADMIN, STRANGER):
        world.say("/pay 125 Tea", by=person, chat=NO_SHOP)
    world.say("good morning", chat=NO_SHOP)
    world.say("/pay@SomeOtherBot 125", chat=NO_SHOP)
    await caught_up(world, NO_SHOP)
    assert len(shown(world, NO_SHOP)) == 2
    assert posts(world) == []
    assert chat_of(world, NO_SHOP).id == NO_SHOP
