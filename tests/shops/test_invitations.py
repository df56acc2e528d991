"""How colleagues come in: a link that works once, for a day, in a private chat, and is nowhere to be read again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import idle, rows
from tests.support.invitations import LINK, deliver_again, digest, invited, join, links, memberships, trail
from tests.support.people import (
    ADMIN,
    GROUP,
    MERCHANT,
    OTHER_GROUP,
    caught_up,
    deliver_raw,
    open_second_shop,
    open_shop,
    posts,
    remove_roles,
    reply,
    reply_text,
    send_message,
    shown,
)
from tests.support.world import OWNER, World, labels, opened

GUEST, OTHER = 70_030_001, 70_030_002
DAY = 24 * 3600
REFUSED = "has been used, is too old or was withdrawn. Nothing was changed."


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


@pytest.mark.parametrize(("role", "number"), [("merchant", 1), ("admin", 2), ("ADMIN", 2)])
async def test_opened_link_gives_the_role_and_tells_the_inviter(world: World, role: str, number: int) -> None:
    payload = await invited(world, role)
    world.telegram.state.ensure_user(GUEST, first_name="Gerda <b>")
    said = await join(world, payload, by=GUEST)
    assert said["text"].startswith(f"You are now {role.lower()} of Kvit.")
    assert memberships(world, GUEST) == [(1, number, ADMIN)]
    told = (await world.message("accepted your invitation", chat=ADMIN))["text"]
    assert told.startswith(f"Gerda <b> ({GUEST}) accepted your invitation and is now {role.lower()} of Kvit.")
    await reply(world, world.say("/pay 125", by=GUEST), "Waiting", chat=GUEST)
    assert trail(world, "invited", "joined") == [(f"user:{ADMIN}", "invited"), (f"user:{GUEST}", "joined")]


async def test_the_link_is_telegrams_own_and_the_database_knows_only_its_digest(world: World, tmp_path: Path) -> None:
    payload = await invited(world)
    message = next(m for m in shown(world, ADMIN) if payload in m["text"])
    found = LINK.search(message["text"])
    assert found is not None
    assert found[1] == world.telegram.state.bot["username"]
    assert len(payload) <= 64
    assert len(found[3]) * 6 >= 128
    assert "until 25 Nov 2026, 13:00" in message["text"]
    assert labels(message) == ["Share"]
    [kept] = rows(world, "SELECT * FROM invitations")
    assert (kept["token_hash"], kept["role"], kept["used_by"]) == (digest(payload), 1, None)
    await world.stop()
    written = b"".join(path.read_bytes() for path in tmp_path.glob("kvit.db*"))
    assert found[3].encode() not in written


async def test_a_link_works_once(world: World) -> None:
    payload = await invited(world)
    await join(world, payload, by=GUEST)
    assert REFUSED in (await join(world, payload, by=OTHER))["text"]
    assert REFUSED in (await join(world, payload, by=GUEST))["text"]
    assert (len(memberships(world, GUEST)), memberships(world, OTHER)) == (1, [])


async def test_link_opened_twice_at_once_admits_one(world: World) -> None:
    payload = await invited(world)
    first, second = (world.say(f"/start {payload}", by=who) for who in (GUEST, OTHER))
    said = await asyncio.gather(reply(world, first, chat=GUEST), reply(world, second, chat=OTHER))
    assert sorted(REFUSED in one["text"] for one in said) == [False, True]
    assert len(memberships(world, GUEST) + memberships(world, OTHER)) == 1


async def test_a_link_works_for_a_day(world: World) -> None:
    early, late = await invited(world), await invited(world)
    world.advance(DAY - 1)
    assert "You are now merchant" in (await join(world, early, by=GUEST))["text"]
    world.advance(1)
    assert REFUSED in (await join(world, late, by=OTHER))["text"]
    assert memberships(world, OTHER) == []


@pytest.mark.parametrize("payload", ["invite-", "invite-x", "invite-" + "A" * 32, "invite-Ω\udfff", "invite- "])
async def test_unknown_payload_is_refused(world: World, payload: str) -> None:
    await invited(world)
    said = await join(world, payload.encode("utf-8", "replace").decode(), by=GUEST)
    assert REFUSED in said["text"]
    assert memberships(world, GUEST) == []


async def test_a_link_that_was_opened_in_a_group_is_void(world: World) -> None:
    payload = await invited(world)
    assert "only in your private chat" in (await join(world, payload, by=GUEST, chat=GROUP))["text"]
    assert memberships(world, GUEST) == []
    assert REFUSED in (await join(world, payload, by=GUEST))["text"]


async def test_shared_accounts_and_forwarded_messages_get_no_role(world: World) -> None:
    payload = await invited(world)
    said = send_message(world, f"/start {payload}x", by=GUEST, chat=GROUP, sender_chat=GROUP)
    assert "it no longer works" in (await reply(world, said, chat=GROUP))["text"]
    payload = await invited(world)
    origin = {"type": "hidden_user", "sender_user_name": "Somebody", "date": 1}
    said = deliver_raw(world, f"/start {payload}", by=GUEST, forward_origin=origin)
    assert "was forwarded" in (await reply(world, said, chat=GUEST))["text"]
    assert rows(world, "SELECT user_id FROM members WHERE invited_by IS NOT NULL") == []


async def test_link_lowers_no_role_and_is_not_used_up_by_its_maker(world: World) -> None:
    payload = await invited(world)
    for person in (ADMIN, MERCHANT, OWNER):
        said = await join(world, payload, by=person)
        assert "already have this role in Kvit, or a higher one" in said["text"]
    assert [memberships(world, person) for person in (ADMIN, MERCHANT, OWNER)] == [[(1, 2, None)], [(1, 1, None)], []]
    assert "You are now merchant" in (await join(world, payload, by=GUEST))["text"]


async def test_invitation_promotes_a_merchant(world: World) -> None:
    assert "You are now admin of Kvit." in (await join(world, await invited(world, "admin"), by=MERCHANT))["text"]
    assert memberships(world, MERCHANT) == [(1, 2, ADMIN)]
    assert "Currency: DKK" in await reply_text(world, "/settings", by=MERCHANT)


async def test_owners_are_made_by_owner_ids_alone(world: World) -> None:
    for person in (ADMIN, OWNER):
        assert "Owners are set with OWNER_IDS" in await reply_text(world, "/invite owner", by=person)
    assert rows(world, "SELECT * FROM invitations") == []


@pytest.mark.parametrize("text", ["/invite", "/invite boss", "/invite merchant admin", "/invite <b>"])
async def test_what_names_no_role_is_answered_with_what_to_type(world: World, text: str) -> None:
    assert "Write /invite merchant for someone who requests payments" in await reply_text(world, text, by=ADMIN)
    assert rows(world, "SELECT * FROM invitations") == []


async def test_a_role_may_be_named_in_ones_own_language(world: World) -> None:
    said = send_message(world, "/invite sælger", by=ADMIN, language_code="da")
    assert "bliver sælger i Kvit" in (await reply(world, said, chat=ADMIN))["text"]
    assert rows(world, "SELECT role FROM invitations") == [{"role": 1}]


async def test_in_a_group_the_link_goes_to_the_inviter_alone_and_the_group_gets_one_sentence(world: World) -> None:
    await reply_text(world, "/id", by=ADMIN)
    said = world.say("/invite merchant", by=ADMIN, chat=GROUP)
    answer = await reply(world, said, chat=GROUP)
    assert answer["text"] == (
        "The link is in your private chat with me. Anyone who has it gets the role, so it is not shown here."
    )
    await idle(world)
    assert (len(links(world, ADMIN)), links(world, GROUP), len(shown(world, GROUP))) == (1, [], 1)


@pytest.mark.parametrize("known", [False, True])
async def test_inviter_without_a_private_chat_is_told_what_to_do(world: World, known: bool) -> None:
    if known:
        await reply_text(world, "/id", by=ADMIN)
    else:
        world.telegram.state.ensure_user(ADMIN, first_name="Ada")
    await world.control("telegram", "block", {"user_id": ADMIN, "blocked": True})
    said = world.say("/invite admin", by=ADMIN, chat=GROUP)
    answer = (await reply(world, said, chat=GROUP))["text"]
    username = world.telegram.state.bot["username"]
    assert answer == (
        "I can't write to you privately, so nobody was invited."
        f" Open https://t.me/{username}, tap Start and write /invite there."
    )
    await idle(world)
    assert len(shown(world, GROUP)) == 1
    [kept] = rows(world, "SELECT expires_at - invited_at AS lasted FROM invitations")
    assert kept["lasted"] < 60_000_000
    await world.control("telegram", "block", {"user_id": ADMIN, "blocked": False})
    assert "You are now admin" in (await join(world, await invited(world, "admin"), by=GUEST))["text"]


async def test_owners_are_told_once_when_an_admin_invites_an_admin(world: World) -> None:
    await reply_text(world, "/id")
    await invited(world, "merchant")
    await invited(world, "admin", by=OWNER)
    await idle(world)
    assert not any("another admin" in m["text"] for m in shown(world))
    await invited(world, "admin")
    told = (await world.message("another admin"))["text"]
    assert told.startswith(f"⚠️ {world.telegram.state.users[ADMIN]['first_name']} ({ADMIN}), an admin of Kvit,")
    await idle(world)
    assert len([m for m in shown(world) if "another admin" in m["text"]]) == 1


async def test_repeated_message_makes_one_invitation(world: World) -> None:
    payload = await invited(world)
    await deliver_again(world, "/invite merchant")
    await caught_up(world, ADMIN, by=ADMIN)
    await idle(world)
    assert links(world, ADMIN) == [payload]
    assert len(rows(world, "SELECT * FROM invitations")) == 1
    assert trail(world, "invited") == [(f"user:{ADMIN}", "invited")]


async def test_repeated_opening_is_answered_once(world: World) -> None:
    await join(world, await invited(world), by=GUEST)
    await deliver_again(world, "/start invite-")
    await caught_up(world, GUEST, by=GUEST)
    await idle(world)
    assert [m["text"].partition(".")[0] for m in shown(world, GUEST)][:-1] == ["You are now merchant of Kvit"]
    assert len([m for m in shown(world, ADMIN) if "accepted your invitation" in m["text"]]) == 1


async def test_invitation_of_a_former_member_is_void(world: World) -> None:
    payload = await invited(world)
    await remove_roles(world, ADMIN)
    assert REFUSED in (await join(world, payload, by=GUEST))["text"]
    assert memberships(world, GUEST) == []


async def test_invitation_of_a_former_owner_is_void(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path, owner_ids=f"{OWNER},{OTHER}") as world:
        await open_shop(world)
        payload = await invited(world, by=OTHER)
        await world.stop()
        world.settings = world.settings.model_copy(update={"owner_ids": frozenset({OWNER})})
        await world.begin()
        assert REFUSED in (await join(world, payload, by=GUEST))["text"]


async def test_an_invitation_is_into_the_shop_of_its_chat_and_somebody_with_two_is_asked_once(world: World) -> None:
    await open_second_shop(world)
    payload = await invited(world, by=OWNER, chat=OTHER_GROUP)
    assert "merchant of Second" in (await join(world, payload, by=MERCHANT))["text"]
    assert memberships(world, MERCHANT) == [(1, 1, None), (2, 1, OWNER)]
    question = await reply(world, world.say("/pay 125", by=MERCHANT), chat=MERCHANT)
    assert labels(question) == ["Kvit", "Second"]
    await world.answer(world.tap(question, "Second", by=MERCHANT))
    await reply(world, world.say("/pay 125", by=MERCHANT), "Waiting", chat=MERCHANT)
    assert world.intent()["currency"] == "eur"
    assert len(posts(world)) == 1
