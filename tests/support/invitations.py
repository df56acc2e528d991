"""Steps shared by the tests of members: invitation links, accepting them, and memberships."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from bot.sandbox.fake_telegram import FakeTelegram
from tests.support.evidence import rows
from tests.support.people import ADMIN, open_database, reply, shown
from tests.support.world import PATIENCE, Json, World

LINK = re.compile(r"https://t\.me/(\w+)\?start=(invite-([A-Za-z0-9_-]+))")


def links(world: World, chat: int) -> list[str]:
    """The start payloads of all invitations in a chat, oldest first."""
    if chat not in world.telegram.state.chats:
        return []
    return [found[2] for message in shown(world, chat) for found in LINK.finditer(message["text"])]


async def invited(world: World, role: str = "merchant", *, by: int = ADMIN, chat: int | None = None) -> str:
    """Invites a user; returns the start payload that the inviter received in private."""
    before = len(links(world, by))
    world.say(f"/invite {role}", by=by, chat=chat)

    def new_links(_: FakeTelegram) -> list[str]:
        return links(world, by)[before:]

    found: list[str] = await world.telegram.wait_until(new_links, timeout=PATIENCE)
    return found[0]


async def join(world: World, payload: str, *, by: int, chat: int | None = None, **fields: Any) -> Json:
    """Opens a link; returns the answer of the bot."""
    return await reply(world, world.say(f"/start {payload}", by=by, chat=chat, **fields), chat=chat or by)


def memberships(world: World, user_id: int) -> list[tuple[int, int, int | None]]:
    """Shop, role and inviter of each membership of a user."""
    query = "SELECT shop_id, role, invited_by FROM members WHERE user_id = :user_id ORDER BY shop_id"
    return [(row["shop_id"], row["role"], row["invited_by"]) for row in rows(world, query, user_id=user_id)]


def trail(world: World, *actions: str) -> list[tuple[str, str]]:
    """Actor and action of the audit entries with these actions, oldest first."""
    found = rows(world, "SELECT actor, action FROM audit_log ORDER BY id")
    return [(row["actor"], row["action"]) for row in found if not actions or row["action"] in actions]


def digest(payload: str) -> str:
    """The hash of a token that the database stores."""
    return hashlib.sha256(payload.removeprefix("invite-").encode()).hexdigest()


async def deliver_again(world: World, text: str) -> None:
    """Delivers the newest message with this text again, as after a crash before its job was finished."""
    received = [entry for entry in world.telegram.transcript if entry.direction == "in" and text in str(entry.params)]
    number = received[-1].result["update_id"]
    statement = "DELETE FROM jobs WHERE queue = 'updates' AND key LIKE ?"
    async with open_database(world) as db:
        assert await db.write(lambda tx: tx.exec_driver_sql(statement, (f"%:{number}",)).rowcount) == 1
    await world.control("telegram", "redeliver", {"update_id": number})
