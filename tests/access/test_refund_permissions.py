"""The permissions for captures, releases and refunds: each role, in each kind of chat, by each trigger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.access.permissions import Action, ChatKind, Trigger, is_allowed, is_available
from storage.models.shop import Role
from tests.support.authority_cells import PEOPLE, write
from tests.support.evidence import idle, rows
from tests.support.people import COLLEAGUE, GROUP, NO_SHOP, caught_up, open_shop, press, reply, reply_text
from tests.support.refund_steps import held, paid, ref_of
from tests.support.world import OWNER, Json, World, opened

OTHER_ADMIN = 70_010_777
PROMPTS = "SELECT count(*) AS n FROM prompts WHERE kind = :kind"
REFUNDS = "SELECT count(*) AS n FROM refunds"
APPROVALS = (
    "SELECT count(*) AS n FROM refunds WHERE status NOT IN ('draft', 'awaiting_approval')"
    " OR second_approved_by IS NOT NULL"
)
CHATS = {ChatKind.PRIVATE: 0, ChatKind.GROUP: GROUP, ChatKind.UNLINKED_GROUP: NO_SHOP}


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        for person in PEOPLE.values():
            await reply_text(running, "/id", by=person)
        yield running


@dataclass
class PaymentInGroup:
    """A payment with its message in the group, and counts of what was done about it."""

    world: World
    message: Json
    payment_id: str
    reference: str

    def count(self, query: str, **params: str) -> int:
        return int(rows(self.world, query, **params)[0]["n"])

    async def send(self, command: str, person: int, kind: ChatKind, trigger: Trigger) -> None:
        """Sends the command with the reference, or in the group as a reply to the payment message."""
        chat = CHATS[kind] or person
        self.world.advance(61)
        replies = trigger is Trigger.REPLY and kind is ChatKind.GROUP
        text = f"/{command}" if replies else f"/{command} {self.reference}"
        self.world.say(text, by=person, chat=chat, reply_to=self.message["message_id"] if replies else None)
        await caught_up(self.world, chat, by=person if chat > 0 else OWNER)
        await idle(self.world)

    async def press(self, data: str, person: int, kind: ChatKind) -> None:
        """Presses a button with this data under some message of the bot in such a chat."""
        self.world.advance(61)
        chat = CHATS[kind] or person
        by = person if chat > 0 else OWNER
        message = await reply(self.world, self.world.say("/id", by=by, chat=chat), chat=chat)
        await self.world.answer(press(self.world, message, data, by=person))
        await idle(self.world)


async def payment_in_group(world: World, message: Json) -> PaymentInGroup:
    row = rows(world, "SELECT id FROM payments ORDER BY rowid DESC LIMIT 1")[0]
    return PaymentInGroup(world, message, row["id"], ref_of(message))


@pytest.mark.parametrize(
    ("action", "command", "prefix", "is_own"),
    [
        (Action.CAPTURE, "capture", "k", False),
        (Action.RELEASE_ANY, "release", "r", False),
        (Action.RELEASE_OWN, "release", "r", True),
    ],
)
async def test_hold_is_captured_or_released_only_as_the_table_allows(
    world: World, action: Action, command: str, prefix: str, is_own: bool
) -> None:
    payment = await payment_in_group(world, await held(world, by=OWNER, chat=GROUP))
    for role, person in PEOPLE.items():
        creator = person if is_own and person != PEOPLE[Role.NONE] else COLLEAGUE
        await write(world, f"UPDATE payments SET created_by = {creator}")
        for kind in CHATS:
            for trigger in (Trigger.COMMAND, Trigger.REPLY, Trigger.BUTTON):
                before = payment.count(PROMPTS, kind=command)
                if trigger is Trigger.BUTTON:
                    await payment.press(f"{prefix}:{payment.payment_id}", person, kind)
                else:
                    await payment.send(command, person, kind, trigger)
                done = payment.count(PROMPTS, kind=command) > before
                expected = is_allowed(role, action) and is_available(action, kind, trigger)
                assert done is expected, f"{action}: {role.name} by {trigger} in a {kind}"
    assert world.intent()["status"] == "requires_capture"


async def test_refund_is_requested_only_as_the_table_allows(world: World) -> None:
    payment = await payment_in_group(world, await paid(world, by=OWNER, chat=GROUP))
    for role, person in PEOPLE.items():
        for kind in CHATS:
            for trigger in (Trigger.COMMAND, Trigger.REPLY):
                before = payment.count(REFUNDS)
                await payment.send("refund", person, kind, trigger)
                done = payment.count(REFUNDS) > before
                await write(world, "UPDATE refunds SET status = 'declined', next_check_at = NULL")
                expected = is_allowed(role, Action.REQUEST_REFUND) and is_available(
                    Action.REQUEST_REFUND, kind, trigger
                )
                assert done is expected, f"{role.name} by {trigger} in a {kind}"
    assert world.stripe.store.refunds == {}


@pytest.mark.parametrize("action", [Action.APPROVE_REFUND, Action.SECOND_APPROVAL])
async def test_refund_is_approved_only_as_the_table_allows(world: World, action: Action) -> None:
    payment = await payment_in_group(world, await paid(world, "/pay 900 Tea", by=OWNER, chat=GROUP))
    for role, person in PEOPLE.items():
        for kind in CHATS:
            await payment.send("refund", COLLEAGUE, ChatKind.GROUP, Trigger.COMMAND)
            refund = rows(world, "SELECT id FROM refunds ORDER BY rowid DESC LIMIT 1")[0]["id"]
            await write(world, f"UPDATE refunds SET amount = 100 WHERE id = '{refund}'")
            if action is Action.SECOND_APPROVAL:
                first = f"approvals_needed = 2, approved_by = {OTHER_ADMIN}, approved_at = 1"
                await write(world, f"UPDATE refunds SET {first} WHERE id = '{refund}'")
            before = payment.count(APPROVALS)
            await payment.press(f"y:{refund}", person, kind)
            done = payment.count(APPROVALS) > before
            expected = is_allowed(role, action) and is_available(action, kind, Trigger.BUTTON)
            assert done is expected, f"{role.name} in a {kind}"
    refunded = len(world.stripe.store.refunds)
    assert refunded == (
        4 if action is Action.APPROVE_REFUND else 0
    )  # the first approver is no admin, so no refund is made
