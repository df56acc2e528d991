"""The commands as plain data: their names, what they are for, and which of them move money."""

from __future__ import annotations

from dataclasses import dataclass

from handlers.access.permissions import Action, Way, Where, asked_for, least
from storage.models.shop import Role


@dataclass(frozen=True)
class Command:
    """`name` without the slash; `actions` is what it can be asked for, and says who may use it where.

    `about_money` ones are not carried out when they come late; `command.NAME` is the key of the line in /help.
    """

    name: str
    actions: tuple[Action, ...]
    about_money: bool = False

    @property
    def role(self) -> Role:
        """The least role that may use it somewhere."""
        return min(least(action) for action in self.actions)

    @property
    def homeless(self) -> bool:
        """Whether it works in a group that belongs to no shop."""
        return self.role_in(Where.HOMELESS) is not None

    @property
    def needs_shop(self) -> bool:
        """Whether there has to be a shop that it is about."""
        return self.role > Role.STRANGER and not self.homeless

    def role_in(self, where: Where) -> Role | None:
        """The least role that may use it in such a chat; None where nobody does."""
        return min((least(one) for one in self.actions if asked_for(one, where, Way.COMMAND)), default=None)

    def open_to(self, role: Role, where: Where) -> bool:
        """Whether somebody with this role may use it in such a chat."""
        needed = self.role_in(where)
        return needed is not None and role >= needed


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command("pay", (Action.ASK,), about_money=True),
        Command("hold", (Action.HOLD,), about_money=True),
        Command("capture", (Action.CAPTURE,), about_money=True),
        Command("release", (Action.RELEASE_OWN, Action.RELEASE_ANY), about_money=True),
        Command("refund", (Action.ASK_REFUND,), about_money=True),
        Command("status", (Action.LOOK,)),
        Command("cancel", (Action.CANCEL_OWN, Action.CANCEL_ANY), about_money=True),
        Command("open", (Action.LOOK,)),
        Command("again", (Action.AGAIN,), about_money=True),
        Command("team", (Action.TEAM,)),
        Command("invite", (Action.INVITE,)),
        Command("revoke", (Action.REVOKE,)),
        Command("log", (Action.LOG,)),
        Command("settings", (Action.SETTINGS,)),
        Command("setup", (Action.CHOOSE_SHOP, Action.TIE, Action.OPEN_SHOP)),
        Command("start", (Action.GREET, Action.JOIN, Action.CLAIM)),
        Command("help", (Action.GREET,)),
        Command("id", (Action.GREET,)),
        Command("terms", (Action.INFORM,)),
        Command("paysupport", (Action.INFORM,)),
        Command("privacy", (Action.INFORM,)),
    )
}
"""In the order in which /help and the menus list them."""


def open_to(role: Role, where: Where) -> list[Command]:
    """The commands that somebody with this role may use in such a chat."""
    return [command for command in COMMANDS.values() if command.open_to(role, where)]
