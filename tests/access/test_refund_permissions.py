"""The cells of the table of authority for money that goes out: each role, in each chat, by each way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.access.permissions import Action, ChatKind, Trigger, is_allowed, is_available
from storage.models.shop import Role
from tests.support.authority_cells import PEOPLE, write
from tests.support.evidence import rest, rows
from tests.support.people import COLLEAGUE, GROUP, NO_SHOP, caught_up, open_shop, press, refused, reply
from tests.support.refund_steps import held, paid, ref_of
from tests.support.world import OWNER, Json, World, opened

SOMEBODY = 70_010_777
ASKED = "SELECT count(*) AS n FROM prompts WHERE kind = :kind"
DRAFTS = "SELECT count(*) AS n FROM refunds"
YES = (
    "SELECT count(*) AS n FROM refunds WHERE status NOT IN ('draft', 'awaiting_approval')"
    " OR second_approved_by IS NOT NULL"
)
CHATS = {ChatKind.PRIVATE: 0, ChatKind.GROUP: GROUP, ChatKind.UNLINKED_GROUP: NO_SHOP}


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        for person in PEOPLE.values():
            await refused(running, "/id", by=person)
        yield running


@dataclass
class Till:
    """A card in the group, and how often something was done about it so far."""

    world: World
    card: Json
    payment: str
    ref: str

    def count(self, query: str, **params: str) -> int:
        return int(rows(self.world, query, **params)[0]["n"])

    async def say(self, words: str, person: int, where: ChatKind, way: Trigger) -> None:
        """The command, by reference or as a reply to the card; a card stands in the group alone."""
        chat = CHATS[where] or person
        self.world.advance(61)
        replies = way is Trigger.REPLY and where is ChatKind.GROUP
        text = f"/{words}" if replies else f"/{words} {self.ref}"
        self.world.say(text, by=person, chat=chat, reply_to=self.card["message_id"] if replies else None)
        await caught_up(self.world, chat, by=person if chat > 0 else OWNER)
        await rest(self.world)

    async def press(self, data: str, person: int, where: ChatKind) -> None:
        """A button with this data, under whatever message of the bot stands in such a chat."""
        self.world.advance(61)
        chat = CHATS[where] or person
        by = person if chat > 0 else OWNER
        message = await reply(self.world, self.world.say("/id", by=by, chat=chat), chat=chat)
        await self.world.answer(press(self.world, message, data, by=person))
        await rest(self.world)


async def till(world: World, card: Json) -> Till:
    row = rows(world, "SELECT id FROM payments ORDER BY rowid DESC LIMIT 1")[0]
    return Till(world, card, row["id"], ref_of(card))


@pytest.mark.parametrize(
    ("action", "command", "message", "own"),
    [
        (Action.CAPTURE, "capture", "k", False),
        (Action.RELEASE_ANY, "release", "r", False),
        (Action.RELEASE_OWN, "release", "r", True),
    ],
)
async def test_who_may_take_a_hold_or_let_it_go(
    world: World, action: Action, command: str, message: str, own: bool
) -> None:
    stand = await till(world, await held(world, by=OWNER, chat=GROUP))
    for role, person in PEOPLE.items():
        whose = person if own and person != PEOPLE[Role.NONE] else COLLEAGUE
        await write(world, f"UPDATE payments SET created_by = {whose}")
        for where in CHATS:
            for way in (Trigger.COMMAND, Trigger.REPLY, Trigger.BUTTON):
                before = stand.count(ASKED, kind=command)
                if way is Trigger.BUTTON:
                    await stand.press(f"{message}:{stand.payment}", person, where)
                else:
                    await stand.say(command, person, where, way)
                done = stand.count(ASKED, kind=command) > before
                expected = is_allowed(role, action) and is_available(action, where, way)
                assert done is expected, f"{action}: {role.name} by {way} in a {where}"
    assert world.intent()["status"] == "requires_capture"


async def test_who_may_ask_for_a_refund(world: World) -> None:
    stand = await till(world, await paid(world, by=OWNER, chat=GROUP))
    for role, person in PEOPLE.items():
        for where in CHATS:
            for way in (Trigger.COMMAND, Trigger.REPLY):
                before = stand.count(DRAFTS)
                await stand.say("refund", person, where, way)
                done = stand.count(DRAFTS) > before
                await write(world, "UPDATE refunds SET status = 'declined', next_check_at = NULL")
                expected = is_allowed(role, Action.REQUEST_REFUND) and is_available(Action.REQUEST_REFUND, where, way)
                assert done is expected, f"{role.name} by {way} in a {where}"
    assert world.stripe.store.refunds == {}


@pytest.mark.parametrize("action", [Action.APPROVE_REFUND, Action.SECOND_APPROVAL])
async def test_who_may_approve_a_refund(world: World, action: Action) -> None:
    stand = await till(world, await paid(world, "/pay 900 Tea", by=OWNER, chat=GROUP))
    for role, person in PEOPLE.items():
        for where in CHATS:
            await stand.say("refund", COLLEAGUE, ChatKind.GROUP, Trigger.COMMAND)
            refund = rows(world, "SELECT id FROM refunds ORDER BY rowid DESC LIMIT 1")[0]["id"]
            await write(world, f"UPDATE refunds SET amount = 100 WHERE id = '{refund}'")
            if action is Action.SECOND_APPROVAL:
                first = f"approvals_needed = 2, approved_by = {SOMEBODY}, approved_at = 1"
                await write(world, f"UPDATE refunds SET {first} WHERE id = '{refund}'")
            before = stand.count(YES)
            await stand.press(f"y:{refund}", person, where)
            done = stand.count(YES) > before
            expected = is_allowed(role, action) and is_available(action, where, Trigger.BUTTON)
            assert done is expected, f"{role.name} in a {where}"
    refunded = len(world.stripe.store.refunds)
    assert refunded == (4 if action is Action.APPROVE_REFUND else 0)  # the first yes of two was nobody's
