"""The people of the pretend state and the group they share: somebody for each thing that one may be."""

from __future__ import annotations

from dataclasses import dataclass

from bot.sandbox.fake_telegram import FakeTelegram


@dataclass(frozen=True)
class SandboxUser:
    """Somebody on Telegram; `part` is the role that Kvit knows, or customer or stranger."""

    id: int
    name: str
    role: str


OWNER = SandboxUser(70_010_001, "Olivia", "owner")
MERCHANT = SandboxUser(70_010_002, "Mikkel", "merchant")
ADMIN = SandboxUser(70_010_003, "Astrid", "admin")
CUSTOMER = SandboxUser(70_010_004, "Clara", "customer")
GUEST = SandboxUser(70_010_005, "Sven", "stranger")
SECOND_ADMIN = SandboxUser(70_010_006, "Birgit", "admin")
"""What one admin asks for beyond the limit, another one has to approve."""

USERS = (OWNER, MERCHANT, ADMIN, SECOND_ADMIN, CUSTOMER, GUEST)

GROUP = -1_001_700_100_200
GROUP_TITLE = "Café Torvet"
GROUP_MEMBERS = {
    OWNER: "creator",
    ADMIN: "administrator",
    SECOND_ADMIN: "member",
    MERCHANT: "member",
    CUSTOMER: "member",
}
"""Who is in the group, and as what; the stranger is not."""


def add_users(telegram: FakeTelegram) -> None:
    """Let everybody be known to Telegram, and the group be there with the bot in it.

    The shop's people have pressed Start, as all do who follow an invitation; else the bot could not write to them.
    """
    for player in USERS:
        telegram.state.ensure_user(player.id, first_name=player.name, language_code="en")
    for user_id, _, _ in memberships():
        telegram.users.private_chat(user_id)
    group = telegram.users.group(GROUP, "supergroup")
    group.info["title"] = GROUP_TITLE
    group.members.update({player.id: status for player, status in GROUP_MEMBERS.items()})


def memberships() -> list[tuple[int, str, str]]:
    """Whom the shop knows besides its owner: id, name, role."""
    return [(player.id, player.name, player.role) for player in (MERCHANT, ADMIN, SECOND_ADMIN)]
