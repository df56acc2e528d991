"""An invitation or claim that is written in a group is void, whoever wrote it and however."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import idle
from tests.support.invitations import invited, join, memberships, trail
from tests.support.people import ADMIN, GROUP, MERCHANT, NO_SHOP, STRANGER, caught_up, deliver_raw, open_shop, reply
from tests.support.world import Json, World, opened

VOID = "it no longer works"


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        await caught_up(running, ADMIN, by=ADMIN)
        yield running


@pytest.mark.parametrize("chat", [GROUP, NO_SHOP])
@pytest.mark.parametrize("by", [ADMIN, MERCHANT, STRANGER])
@pytest.mark.parametrize(
    "text",
    [
        "/start {0}",
        "{0}",
        "https://t.me/KvitDemoBot?start={0}",
        "/start@KvitDemoBot {0}",
        "/start@OtherBot {0}",
        "/pay 125 {0}",
        "Carla, open ({0}).",
    ],
)
async def test_invitation_written_in_a_group_is_void_and_its_author_is_told(
    world: World, text: str, by: int, chat: int
) -> None:
    payload = await invited(world)
    written = world.say(text.format(payload), by=by, chat=chat)
    assert VOID in (await reply(world, written, chat=chat))["text"]
    told = await world.message("was written in a group", chat=ADMIN)
    assert "merchant of Kvit" in told["text"]
    await join(world, payload, by=STRANGER)
    assert memberships(world, STRANGER) == []
    assert trail(world, "invitation_voided") == [("system", "invitation_voided")]
    assert world.stripe.store.intents == {}


@pytest.mark.parametrize("place", ["entities", "caption_entities", "rich_message"])
@pytest.mark.parametrize(
    "link", ["https://t.me/KvitDemoBot?start={0}", "tg://resolve?domain=KvitDemoBot&start=%69nvite%2D{1}"]
)
async def test_invitation_behind_a_word_in_a_group_is_void(world: World, place: str, link: str) -> None:
    payload = await invited(world)
    url = link.format(payload, payload.removeprefix("invite-"))
    hidden: Json = {"type": "text_link", "offset": 0, "length": 4, "url": url}
    text = {"type": "text_link", "text": "here", "url": url}
    places: dict[str, Json] = {
        "entities": {"text": "here", "entities": [hidden]},
        "caption_entities": {"text": None, "caption": "here", "caption_entities": [hidden]},
        "rich_message": {"text": None, "rich_message": {"blocks": [{"type": "paragraph", "text": ["Join ", text]}]}},
    }
    written = deliver_raw(world, places[place].pop("text", None), by=ADMIN, chat=GROUP, **places[place])
    assert VOID in (await reply(world, written, chat=GROUP))["text"]
    await join(world, payload, by=STRANGER)
    assert memberships(world, STRANGER) == []


async def test_used_or_unknown_invitation_in_a_group_is_nothing_to_be_voided(world: World) -> None:
    payload = await invited(world)
    await join(world, payload, by=STRANGER)
    world.say(payload, by=STRANGER, chat=GROUP)
    world.say(f"invite-{'x' * 32}", by=STRANGER, chat=GROUP)
    await caught_up(world, GROUP)
    await idle(world)
    assert memberships(world, STRANGER) == [(1, 1, ADMIN)]
    assert not world.sent(VOID)


async def test_invitation_opened_in_private_still_works(world: World) -> None:
    payload = await invited(world)
    await join(world, payload, by=STRANGER)
    assert memberships(world, STRANGER) == [(1, 1, ADMIN)]


async def test_many_secrets_of_one_message_are_all_void(world: World) -> None:
    payloads = [await invited(world) for _ in range(3)]
    written = world.say(" ".join(payloads), by=MERCHANT, chat=GROUP)
    await reply(world, written, chat=GROUP)
    await join(world, payloads[2], by=STRANGER)
    assert memberships(world, STRANGER) == []
    assert len(world.sent("was written in a group")) == 3
