"""The users of the sandbox, one for each role, and their group."""

from __future__ import annotations

from dataclasses import dataclass

from bot.sandbox.fake_telegram import FakeTelegram


@dataclass(frozen=True)
class SandboxUser:
    """A Telegram user; `role` is the role in the shop, or customer or guest."""

    id: int
    name: str
    role: str


OWNER = SandboxUser(70_010_001, "Olivia", "owner")
MERCHANT = SandboxUser(70_010_002, "Mikkel", "merchant")
ADMIN = SandboxUser(70_010_003, "Astrid", "admin")
CUSTOMER = SandboxUser(70_010_004, "Clara", "customer")
GUEST = SandboxUser(70_010_005, "Sven", "guest")
SECOND_ADMIN = SandboxUser(70_010_006, "Birgit", "admin")
"""Approves refunds above the limit that another admin requests."""

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
"""The members of the group with their Telegram status; the guest is not one of them."""


def add_users(telegram: FakeTelegram) -> None:
    """Create the users, and the group with the bot in it.

    Shop members have started the bot, as an accepted invitation does; otherwise the bot could not write to them.
    """
    for user in USERS:
        telegram.state.ensure_user(user.id, first_name=user.name, language_code="en")
    for user_id, _, _ in memberships():
        telegram.users.private_chat(user_id)
    group = telegram.users.group(GROUP, "supergroup")
    group.info["title"] = GROUP_TITLE
    group.members.update({user.id: status for user, status in GROUP_MEMBERS.items()})


def memberships() -> list[tuple[int, str, str]]:
    """The shop's members besides the owner: id, name, role."""
    return [(user.id, user.name, user.role) for user in (MERCHANT, ADMIN, SECOND_ADMIN)]
