"""The people of the pretend world and the group they share: one person for each thing that somebody may be."""

from __future__ import annotations

from dataclasses import dataclass

from bot.sandbox.fake_telegram import FakeTelegram


@dataclass(frozen=True)
class Player:
    """Somebody on Telegram; `part` is the role that Kvit knows, or customer or stranger."""

    id: int
    name: str
    part: str


OWNER = Player(70_010_001, "Olivia", "owner")
MERCHANT = Player(70_010_002, "Mikkel", "merchant")
ADMIN = Player(70_010_003, "Astrid", "admin")
CUSTOMER = Player(70_010_004, "Clara", "customer")
STRANGER = Player(70_010_005, "Sven", "stranger")
CAST = (OWNER, MERCHANT, ADMIN, CUSTOMER, STRANGER)

GROUP = -1_001_700_100_200
GROUP_TITLE = "Café Torvet"
STATUSES = {OWNER: "creator", ADMIN: "administrator", MERCHANT: "member", CUSTOMER: "member"}
"""Who is in the group, and as what; the stranger is not."""


def enter(telegram: FakeTelegram) -> None:
    """Let everybody be known to Telegram, and the group be there with the bot in it."""
    for player in CAST:
        telegram.world.person(player.id, first_name=player.name, language_code="en")
    group = telegram.people.group(GROUP, "supergroup")
    group.info["title"] = GROUP_TITLE
    group.members.update({player.id: status for player, status in STATUSES.items()})


def seats() -> list[tuple[int, str, str]]:
    """Whom the shop knows besides its owner: id, name, role."""
    return [(player.id, player.name, player.part) for player in (MERCHANT, ADMIN)]
