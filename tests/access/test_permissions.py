"""The table of authority, cell by cell: what it allows is done, and what it does not allow changes nothing."""

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
from tests.support.evidence import rest, rows
from tests.support.people import ADMIN, COLLEAGUE, GROUP, MERCHANT, open_shop, refused
from tests.support.world import OWNER, World, opened

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "authority.md"
MONEY_OUT = {
    Action.CAPTURE,
    Action.RELEASE_OWN,
    Action.RELEASE_ANY,
    Action.REQUEST_REFUND,
    Action.APPROVE_REFUND,
    Action.SECOND_APPROVAL,
}
"""Their cells are sent in tests/access/test_refund_permissions.py."""

BY_A_LINK = {Action.CLAIM_OWNERSHIP, Action.ACCEPT_INVITATION}
"""Not a matter of roles: tests/chat/test_open_payments.py and tests/shops/test_invitations.py open the links."""


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        for person in PEOPLE.values():  # so that the bot may write to each of them in private
            await refused(running, "/id", by=person)
        yield running


LONG = {Action.CANCEL_ANY, Action.LOG, Action.REPEAT_PAYMENT, Action.REQUEST_PAYMENT, Action.VIEW}
"""Each takes several seconds, and has an action like it that does not: CANCEL_OWN, SETTINGS, NEW_LINK, HOLD, TEAM."""


def marks(action: Action) -> list[pytest.MarkDecorator]:
    return [pytest.mark.long] if action in LONG else []


def cells(action: Action) -> list[tuple[ChatKind, Trigger]]:
    """Every way by which the action could be asked for, in every kind of chat in which one can ask so."""
    ways = {way for of_where in PERMISSIONS[action].triggers.values() for way in of_where}
    found = [(where, way) for where in ChatKind for way in Trigger if way in ways and possible(where, way)]
    return [(where, way) for where, way in found if not is_the_other(action, where, way)]


def possible(where: ChatKind, way: Trigger) -> bool:
    return way is Trigger.BUTTON or (way is Trigger.INLINE_RESULT) == (where is ChatKind.INLINE)


def is_the_other(action: Action, where: ChatKind, way: Trigger) -> bool:
    return action in ALIKE and is_available(ALIKE[action], where, way)


@pytest.mark.parametrize("action", [pytest.param(a, id=a.name.lower(), marks=marks(a)) for a in ASKINGS])
async def test_whoever_may_does_it_and_nobody_else(world: World, action: Action) -> None:
    number = 100
    for where, way in cells(action):
        for role, person in PEOPLE.items():
            number += 1
            world.advance(61)  # in a group a stranger is answered once a minute
            await before_each(world, action)
            expected = is_allowed(role, action) and is_available(action, where, way)
            cell = Cell(world, ASKINGS[action], where, way, person, number)
            assert await was_done(cell) is expected, f"{action.name}: {role.name} by {way} in a {where}"


async def before_each(world: World, action: Action) -> None:
    """The shop as it was: whoever was shown the door sits there again, and chats act for what they acted for."""
    for statement in ASKINGS[action].undo:
        await write(world, statement)
    if action is Action.REVOKE:
        await write(world, f"INSERT OR IGNORE INTO members VALUES (1, {COLLEAGUE}, 1, 'Carla', 0, NULL)")


async def was_done(cell: Cell) -> bool:
    """Send it; whatever was not done has been refused or passed over in silence, and left everything as it was."""
    asking, seen = cell.asking, Watch(cell)
    answer = await seen.send()
    refusal = (answer == SILENT and cell.way is not Trigger.BUTTON) or any(words in answer for words in NO)
    if refusal:
        assert seen.after == seen.before, f"refused with {answer!r}, and yet something changed"
        return False
    assert asking.says in answer
    if asking.done:
        assert seen.counted[0] != seen.counted[1], f"{answer!r}, and yet nothing was done"
    return True


class Watch:
    """What stood in the books just before the act itself, after everything that only leads up to it, and afterwards."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self.before: list[object] = []
        self.after: list[object] = []
        self.counted: list[object] = []

    async def send(self) -> str:
        self._cell.about_to_act = self._look_before
        answer = await self._cell.send()
        await rest(self._cell.world)
        self.after = standing(self._cell.world)
        self._count()
        return answer

    async def _look_before(self) -> None:
        await rest(self._cell.world)
        self.before = standing(self._cell.world)
        self._count()

    def _count(self) -> None:
        if self._cell.asking.done:
            self.counted.append(rows(self._cell.world, self._cell.asking.done))


def test_no_action_is_without_a_test_of_its_cells() -> None:
    assert set(ASKINGS) | MONEY_OUT | BY_A_LINK == set(Action) == set(PERMISSIONS)


def test_the_document_shows_the_table_of_the_code() -> None:
    assert as_markdown() in DOCUMENT.read_text("utf-8"), "print handlers.authority.table() into docs/authority.md"


def test_every_command_and_every_button_stands_in_the_table() -> None:
    assert all(route.actions for route in COMMANDS.values())
    for prefix, button in CALLBACKS.items():
        if not isinstance(button, RefundButton):
            assert any(Trigger.BUTTON in ways for ways in PERMISSIONS[button.action].triggers.values()), prefix


def test_no_role_is_written_in_a_door() -> None:
    folder = Path(routes.__file__).parent
    named = {path.name for path in folder.rglob("*.py") if "Role.ADMIN" in path.read_text("utf-8")}
    assert named <= {"members.py"}  # which reads the name of a role from what somebody typed


@pytest.mark.parametrize("role", Role)
def test_each_role_may_all_that_those_below_it_may(role: Role) -> None:
    for lower in [one for one in Role if one < role]:
        assert {action for action in Action if is_allowed(lower, action)} <= {
            action for action in Action if is_allowed(role, action)
        }


async def test_a_menu_and_help_show_what_can_be_used_there(world: World) -> None:
    for person, role in ((MERCHANT, Role.MERCHANT), (ADMIN, Role.ADMIN), (OWNER, Role.OWNER)):
        for chat, where in ((person, ChatKind.PRIVATE), (GROUP, ChatKind.GROUP)):
            listed = await refused(world, "/help", by=person, chat=chat)
            named = [line.split()[0][1:] for line in listed.splitlines()[1:]]
            assert named == [name for name, command in COMMANDS.items() if command.is_available(role, where)]
