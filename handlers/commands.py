"""The commands as plain data: their names, who may use them, and which of them move money."""

from __future__ import annotations

from dataclasses import dataclass

from storage.people import Role


@dataclass(frozen=True)
class Command:
    """`name` without the slash; `role` is the least that may use it. `homeless` ones work in a group without a shop.

    `about_money` ones are not carried out when they come late; `command.NAME` is the key of the line in /help.
    """

    name: str
    role: Role
    homeless: bool = False
    about_money: bool = False

    @property
    def needs_shop(self) -> bool:
        """Whether there has to be a shop that it is about."""
        return self.role > Role.STRANGER and not self.homeless


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command("pay", Role.MERCHANT, about_money=True),
        Command("status", Role.MERCHANT),
        Command("cancel", Role.MERCHANT, about_money=True),
        Command("open", Role.MERCHANT),
        Command("again", Role.MERCHANT, about_money=True),
        Command("settings", Role.ADMIN),
        Command("setup", Role.OWNER, homeless=True),
        Command("start", Role.STRANGER, homeless=True),
        Command("help", Role.STRANGER, homeless=True),
        Command("id", Role.STRANGER, homeless=True),
        Command("terms", Role.STRANGER),
        Command("paysupport", Role.STRANGER),
        Command("privacy", Role.STRANGER),
    )
}
"""In the order in which /help and the menus list them."""


def open_to(role: Role) -> list[Command]:
    """The commands that somebody with this role may use."""
    return [command for command in COMMANDS.values() if command.role <= role]
