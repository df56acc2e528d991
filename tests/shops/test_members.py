"""Who is in a shop and who is not any more: `/team`, `/revoke`, and which of several shops a private chat acts for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from storage import shops
from storage.models.shop import Role
from tests.support.evidence import idle, rows
from tests.support.invitations import deliver_again, invited, join, memberships, trail
from tests.support.people import (
    ADMIN,
    COLLEAGUE,
    GROUP,
    MERCHANT,
    NO_SHOP,
    OTHER_GROUP,
    STRANGER,
    alert_text,
    caught_up,
    open_database,
    open_second_shop,
    open_shop,
    posts,
    press,
    reply,
    reply_text,
    shown,
)
from tests.support.world import OWNER, World, labels, opened

GUEST, OTHER_ADMIN = 70_030_001, 70_030_002


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def give(world: World, shop_id: int, *people: tuple[int, Role, str]) -> None:
    """Seat people as somebody else's hand would."""
    async with open_database(world) as db:
        for person, role, name in people:
            await db.write(shops.set_member, shop_id, person, role, name=name, now=world.clock.now())


async def test_team_shows_everybody_with_role_number_and_since_when_and_the_open_invitations(world: World) -> None:
    await invited(world, "admin")
    lines = (await reply_text(world, "/team", by=ADMIN)).splitlines()
    assert lines == [
        "People in Kvit:",
        f"{OWNER} · owner, set by OWNER_IDS",
        f"Ada {ADMIN} · admin, since 24 Nov 2026",
        f"Mads {MERCHANT} · merchant, since 24 Nov 2026",
        f"Carla {COLLEAGUE} · merchant, since 24 Nov 2026",
        "",
        "Open invitations: 1",
        f"admin, until 25 Nov 2026, 13:00, by Ada ({ADMIN})",
    ]
    world.advance(24 * 3600)
    assert "invitation" not in await reply_text(world, "/team", by=ADMIN, chat=GROUP)


async def test_a_name_in_the_team_is_shown_harmlessly(world: World) -> None:
    payload = await invited(world)
    world.telegram.state.ensure_user(GUEST, first_name="<b>\u202eada</b>\n\x00&amp; " + "x" * 80)
    await join(world, payload, by=GUEST)
    line = next(it for it in (await reply_text(world, "/team", by=ADMIN)).splitlines() if str(GUEST) in it)
    assert line.startswith("<b>ada</b> &amp; xxx")
    assert "\u202e" not in line
    assert line.endswith(f"x {GUEST} · merchant, since 24 Nov 2026")


async def test_a_large_team_is_shown_in_pages(world: World) -> None:
    await give(world, 1, *((GUEST + number, Role.MERCHANT, f"N{number}") for number in range(40)))
    sheet = await reply(world, world.say("/team", by=ADMIN), chat=ADMIN)
    assert (labels(sheet), len(sheet["text"].splitlines())) == (["Show more"], 21)
    for label in ("Show more", "Show more"):
        await world.answer(world.tap(sheet, label, by=ADMIN))
        await caught_up(world, ADMIN, by=ADMIN)
        sheet = next(m for m in shown(world, ADMIN) if m["message_id"] == sheet["message_id"])
    assert (labels(sheet), len(sheet["text"].splitlines())) == (["Back"], 5)
    for forged in ("m:99", "m:", "m:-1", "m:x", "m:99999999999", "m:٣"):
        assert await world.answer(press(world, sheet, forged, by=ADMIN)) == ""


async def test_a_role_is_taken_away_at_once_with_its_invitations_and_the_tie_of_its_private_chat(world: World) -> None:
    await reply_text(world, "/setup", by=ADMIN)
    assert rows(world, "SELECT shop_id FROM shop_chats WHERE chat_id = :a", a=ADMIN) == [{"shop_id": 1}]
    payload = await invited(world, "admin")
    sheet = await reply(world, world.say("/settings", by=ADMIN), chat=ADMIN)
    said = await reply_text(world, f"/revoke {ADMIN}", by=OWNER, chat=GROUP)
    assert said == f"Ada ({ADMIN}) is no longer admin of Kvit. Invitations that this person sent no longer work."
    assert memberships(world, ADMIN) == []
    assert rows(world, "SELECT * FROM shop_chats WHERE chat_id = :a", a=ADMIN) == []
    assert f"Your Telegram ID is {ADMIN}" in await alert_text(world, world.tap(sheet, "EUR", by=ADMIN))
    assert f"Your Telegram ID is {ADMIN}" in await reply_text(world, "/pay 125", by=ADMIN)
    assert f"give your Telegram ID {ADMIN}" in await reply_text(world, "/start", by=ADMIN)
    assert "withdrawn. Nothing was changed." in (await join(world, payload, by=GUEST))["text"]
    await give(world, 1, (ADMIN, Role.ADMIN, "Ada"))
    assert "Open invitations" not in await reply_text(world, "/team", by=ADMIN)
    assert "withdrawn. Nothing was changed." in (await join(world, payload, by=GUEST))["text"]
    assert trail(world, "revoked") == [(f"user:{OWNER}", "revoked")]
    assert posts(world) == []


async def test_an_admin_takes_roles_from_merchants_and_admins_but_not_from_owners(world: World) -> None:
    await give(world, 1, (OTHER_ADMIN, Role.ADMIN, "Åse"), (OWNER, Role.MERCHANT, "Olaf"))
    for person, name in ((MERCHANT, "Mads"), (OTHER_ADMIN, "Åse")):
        assert f"{name} ({person}) is no longer" in await reply_text(world, f"/revoke {person}", by=ADMIN)
    assert "Owners are set with OWNER_IDS" in await reply_text(world, f"/revoke {OWNER}", by=ADMIN)
    assert "Currency: DKK" in await reply_text(world, "/settings", by=OWNER)


@pytest.mark.parametrize("number", [STRANGER, 0, 1087968824, 999_999_999_999_999])
async def test_a_number_that_holds_no_role_is_refused(world: World, number: int) -> None:
    said = await reply_text(world, f"/revoke {number}", by=ADMIN)
    assert said.startswith(f"Nobody with Telegram ID {number} has a role in this shop. Nothing was changed.")


@pytest.mark.parametrize("rest", ["", " Mads", " -1", " ٣", " 1234567890123456", f" {MERCHANT} now", " @mads"])
async def test_what_is_no_number_is_answered_with_what_to_type(world: World, rest: str) -> None:
    assert "Whose role? Write the Telegram ID" in await reply_text(world, f"/revoke{rest}", by=ADMIN)
    assert len(memberships(world, MERCHANT)) == 1


async def test_member_may_leave_if_an_admin_remains(world: World) -> None:
    assert f"Ada ({ADMIN}) is no longer admin" in await reply_text(world, f"/revoke {ADMIN}", by=ADMIN)
    assert f"Your Telegram ID is {ADMIN}" in await reply_text(world, "/team", by=ADMIN)


async def test_the_last_admin_of_a_shop_without_owners_stays(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path) as world:
        await open_shop(world)
        await world.stop()
        world.settings = world.settings.model_copy(update={"owner_ids": frozenset()})
        await world.begin()
        said = await reply_text(world, f"/revoke {ADMIN}", by=ADMIN)
        assert said.startswith("You are the last admin here")
        assert "Nothing was changed." in said
        await join(world, await invited(world, "admin"), by=GUEST)
        assert "is no longer admin" in await reply_text(world, f"/revoke {ADMIN}", by=ADMIN)


async def test_two_admins_revoking_each_other_leave_one(world: World) -> None:
    await give(world, 1, (OTHER_ADMIN, Role.ADMIN, "Åse"))
    first = world.say(f"/revoke {OTHER_ADMIN}", by=ADMIN)
    second = world.say(f"/revoke {ADMIN}", by=OTHER_ADMIN)
    said = await asyncio.gather(reply(world, first, chat=ADMIN), reply(world, second, chat=OTHER_ADMIN))
    assert sum("is no longer admin" in one["text"] for one in said) == 1
    assert len(memberships(world, ADMIN) + memberships(world, OTHER_ADMIN)) == 1


async def test_repeated_revocation_is_announced_once(world: World) -> None:
    await reply_text(world, f"/revoke {MERCHANT}", by=ADMIN)
    await deliver_again(world, "/revoke ")
    await caught_up(world, ADMIN, by=ADMIN)
    await idle(world)
    assert [m["text"].partition(" is ")[0] for m in shown(world, ADMIN)][:-1] == [f"Mads ({MERCHANT})"]
    assert trail(world, "revoked") == [(f"user:{ADMIN}", "revoked")]


async def test_a_role_in_another_shop_stays(world: World) -> None:
    await open_second_shop(world, MERCHANT)
    await reply_text(world, f"/revoke {MERCHANT}", by=ADMIN)
    assert memberships(world, MERCHANT) == [(2, 1, None)]
    await reply(world, world.say("/pay 125", by=MERCHANT), "Waiting", chat=MERCHANT)
    assert world.intent()["currency"] == "eur"
    said = await reply_text(world, f"/revoke {MERCHANT}", by=ADMIN)
    assert said.startswith(f"Nobody with Telegram ID {MERCHANT}")


async def test_somebody_of_two_shops_chooses_again_in_private_among_his_own_alone(world: World) -> None:
    await open_second_shop(world, MERCHANT)
    await reply_text(world, "/setup NEW Third", chat=NO_SHOP)
    for label, currency in (("Second", "eur"), ("Kvit", "dkk")):
        question = await reply(world, world.say("/setup", by=MERCHANT), chat=MERCHANT)
        assert labels(question) == ["Kvit", "Second"]
        await world.answer(world.tap(question, label, by=MERCHANT))
        await reply(world, world.say("/pay 125", by=MERCHANT), "Waiting", chat=MERCHANT)
        assert world.intent()["currency"] == currency
        world.advance(1)
    assert f"Your Telegram ID is {MERCHANT}" in await alert_text(world, press(world, question, "s:3", by=MERCHANT))
    assert rows(world, "SELECT shop_id FROM shop_chats WHERE chat_id = :a", a=MERCHANT) == [{"shop_id": 1}]


async def test_in_a_group_and_for_another_shop_only_an_owner_sets_up(world: World) -> None:
    await open_second_shop(world, MERCHANT)
    for person in (MERCHANT, ADMIN):
        for chat in (GROUP, NO_SHOP):
            assert f"Your Telegram ID is {person}" in await reply_text(world, "/setup", by=person, chat=chat)
        assert f"Your Telegram ID is {person}" in await reply_text(world, "/setup NEW Mine", by=person)
    assert f"Your Telegram ID is {STRANGER}" in await reply_text(world, "/setup", by=STRANGER)
    assert [row["name"] for row in rows(world, "SELECT name FROM shops")] == ["Kvit", "Second"]
    assert rows(world, "SELECT shop_id FROM shop_chats WHERE chat_id = :a", a=OTHER_GROUP) == [{"shop_id": 2}]
