"""What the bot looks like before anybody wrote to it: its menus of commands and its descriptions, in every language."""

from __future__ import annotations

import asyncio
from typing import Any

from telegram.error import RetryAfter

from bot.telegram.http_client import AiohttpRequest
from bot.telegram.messenger import seconds_of
from handlers.access.permissions import Where
from handlers.chat.routes import available_commands
from handlers.i18n import CATALOGUES, FALLBACK, LANGUAGES, text
from storage.models.shop import Role

SCOPES = {
    "default": (Role.STRANGER, Where.PRIVATE),
    "all_private_chats": (Role.OWNER, Where.PRIVATE),
    "all_group_chats": (Role.MERCHANT, Where.GROUP),
    "all_chat_administrators": (Role.OWNER, Where.GROUP),
}
"""Up to whose commands in which chat a menu shows. It is a help: who may do what is looked up when he does it."""

LONGEST_WAIT = 10.0


async def dress(request: AiohttpRequest) -> None:
    """Set menus and descriptions; the same again changes nothing.

    Raises:
        TelegramError: Telegram is out of reach or refuses; what was set before stays set.
    """
    for code, language in tongues():
        for scope, shown_to in SCOPES.items():
            commands, place = menu(language, *shown_to), {"type": scope}
            await patiently(request, "setMyCommands", commands=commands, scope=place, language_code=code)
        description, short = text(language, "bot.description"), text(language, "bot.short_description")
        await patiently(request, "setMyDescription", description=description, language_code=code)
        await patiently(request, "setMyShortDescription", short_description=short, language_code=code)


def tongues() -> list[tuple[str, str]]:
    """Telegram's code and our language; the empty code is for everybody who speaks none of ours."""
    written = [language for language in LANGUAGES if (CATALOGUES / language / "kvit.po").exists()]
    return [("", FALLBACK), *((language, language) for language in written)]


def menu(language: str, role: Role, where: Where) -> list[dict[str, str]]:
    """The commands that somebody with this role may use there, each with a short line."""
    return [
        {"command": it.name, "description": text(language, f"menu.{it.name}")} for it in available_commands(role, where)
    ]


async def patiently(request: AiohttpRequest, method: str, **parameters: Any) -> Any:
    """Call, and if Telegram asks to wait a little, wait and call once more.

    Raises:
        TelegramError: refused, out of reach, or the wait is longer than anybody watches a terminal for.
    """
    try:
        return await request.call(method, **parameters)
    except RetryAfter as error:
        if seconds_of(error) > LONGEST_WAIT:
            raise
        await asyncio.sleep(seconds_of(error))
    return await request.call(method, **parameters)
