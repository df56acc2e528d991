"""The table of permissions, cell by cell: what it allows is done, and anything else changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.access.permissions import PERMISSIONS, Action, ChatKind, Trigger, as_markdown, is_allowed, is_available
from handlers.chat import routes
from handlers.chat.routes import CALLBACKS, COMMANDS, RefundButton
from storage.models.shop import Role
from tests.support.authority_cells import ALIKE, ASKINGS, NO, PEOPLE, SILENT, Cell, standing, write
from tests.support.evidence import idle, rows
from tests.support.people import ADMIN, COLLEAGUE, GROUP, MERCHANT, open_shop, reply_text
from tests.support.world import OWNER, World, opened

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "authority.md"
OUTGOING_MONEY = {
    Action.REQUEST_CAPTURE,
    Action.CAPTURE,
    Action.RELEASE_OWN,
    Action.RELEASE_ANY,
    Action.REQUEST_REFUND,
    Action.APPROVE_REFUND,
    Action.SECOND_APPROVAL,
}
"""Tested in tests/access/test_refund_permissions.py and tests/chat/test_capture_requests.py."""

BY_LINK = {Action.CLAIM_OWNERSHIP, Action.ACCEPT_INVITATION}
"""Available without a role; tests/chat/test_open_payments.py and tests/shops/test_invitations.py open the links."""


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        for person in PEOPLE.values():  # so that the bot may write to each of them in private
            await reply_text(running, "/id", by=person)
        yield running


LONG = {Action.CANCEL_ANY, Action.LOG, Action.REPEAT_PAYMENT, Action.REQUEST_PAYMENT, Action.VIEW}
"""Each takes several seconds, and has an action like it that does not: CANCEL_OWN, SETTINGS, NEW_LINK, HOLD, TEAM."""


def marks(action: Action) -> list[pytest.MarkDecorator]:
    return [pytest.mark.long] if action in LONG else []


def cells(action: Action) -> list[tuple[ChatKind, Trigger]]:
    """Each trigger of the action, with each kind of chat in which it can be tried."""
    triggers = {trigger for of_chat in PERMISSIONS[action].triggers.values() for trigger in of_chat}
    found = [
        (chat, trigger) for chat in ChatKind for trigger in Trigger if trigger in triggers and can_try(chat, trigger)
    ]
    return [(chat, trigger) for chat, trigger in found if not is_other_action(action, chat, trigger)]


def can_try(chat: ChatKind, trigger: Trigger) -> bool:
    return trigger is Trigger.BUTTON or (trigger is Trigger.INLINE_RESULT) == (chat is ChatKind.INLINE)


def is_other_action(action: Action, chat: ChatKind, trigger: Trigger) -> bool:
    """Whether the same trigger leads to another action there."""
    return action in ALIKE and is_available(ALIKE[action], chat, trigger)


@pytest.mark.parametrize("action", [pytest.param(a, id=a.name.lower(), marks=marks(a)) for a in ASKINGS])
async def test_action_is_done_exactly_where_the_table_allows_it(world: World, action: Action) -> None:
    number = 100
    for chat, trigger in cells(action):
        for role, person in PEOPLE.items():
            number += 1
            world.advance(61)  # in a group a guest is answered once a minute
            await before_each(world, action)
            expected = is_allowed(role, action) and is_available(action, chat, trigger)
            cell = Cell(world, ASKINGS[action], chat, trigger, person, number)
            assert await is_done(cell) is expected, f"{action.name}: {role.name} by {trigger} in a {chat}"


async def before_each(world: World, action: Action) -> None:
    """Restores members and linked chats as they were before the previous cell."""
    for statement in ASKINGS[action].undo:
        await write(world, statement)
    if action is Action.REVOKE:
        await write(world, f"INSERT OR IGNORE INTO members VALUES (1, {COLLEAGUE}, 1, 'Carla', 0, NULL)")


async def is_done(cell: Cell) -> bool:
    """Triggers the action; asserts that one that was not done was denied or ignored, and changed nothing."""
    asking, observed = cell.asking, Observation(cell)
    answer = await observed.send()
    denied = (answer == SILENT and cell.way is not Trigger.BUTTON) or any(words in answer for words in NO)
    if denied:
        assert observed.after == observed.before, f"denied with {answer!r}, but something changed"
        return False
    assert asking.says in answer
    if asking.done:
        assert observed.counted[0] != observed.counted[1], f"{answer!r}, but nothing was done"
    return True


class Observation:
    """The database before the action itself, but after its preparation, and after the action."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self.before: list[object] = []
        self.after: list[object] = []
        self.counted: list[object] = []

    async def send(self) -> str:
        self._cell.about_to_act = self._look_before
        answer = await self._cell.send()
        await idle(self._cell.world)
        self.after = standing(self._cell.world)
        self._count()
        return answer

    async def _look_before(self) -> None:
        await idle(self._cell.world)
        self.before = standing(self._cell.world)
        self._count()

    def _count(self) -> None:
        if self._cell.asking.done:
            self.counted.append(rows(self._cell.world, self._cell.asking.done))


def test_every_action_has_a_test() -> None:
    assert set(ASKINGS) | OUTGOING_MONEY | BY_LINK == set(Action) == set(PERMISSIONS)


def test_authority_page_shows_the_table() -> None:
    assert as_markdown() in DOCUMENT.read_text("utf-8"), (
        "copy handlers.access.permissions.as_markdown() into docs/authority.md"
    )


def test_every_command_and_button_has_an_action_with_its_trigger() -> None:
    assert all(route.actions for route in COMMANDS.values())
    for prefix, button in CALLBACKS.items():
        if not isinstance(button, RefundButton):
            assert any(Trigger.BUTTON in triggers for triggers in PERMISSIONS[button.action].triggers.values()), prefix


def test_handlers_compare_no_roles_themselves() -> None:
    folder = Path(routes.__file__).parent
    named = {path.name for path in folder.rglob("*.py") if "Role.ADMIN" in path.read_text("utf-8")}
    assert named <= {"members.py"}  # it parses the name of a role


@pytest.mark.parametrize("role", Role)
def test_role_may_do_all_that_lower_roles_may(role: Role) -> None:
    for lower in [each for each in Role if each < role]:
        assert {action for action in Action if is_allowed(lower, action)} <= {
            action for action in Action if is_allowed(role, action)
        }


async def test_help_lists_the_commands_that_are_available_there(world: World) -> None:
    for person, role in ((MERCHANT, Role.MERCHANT), (ADMIN, Role.ADMIN), (OWNER, Role.OWNER)):
        for chat, kind in ((person, ChatKind.PRIVATE), (GROUP, ChatKind.GROUP)):
            listed = await reply_text(world, "/help", by=person, chat=chat)
            named = [line.split()[0][1:] for line in listed.splitlines() if line.startswith("/")]
            assert named == [name for name, command in COMMANDS.items() if command.is_available(role, kind)]
