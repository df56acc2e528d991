"""What the bot looks like before anybody wrote to it: its menus of commands and its descriptions, in every language."""

from __future__ import annotations

import asyncio
from typing import Any

from telegram.error import RetryAfter

from bot.telegram.http_client import AiohttpRequest
from bot.telegram.messenger import retry_after_seconds
from handlers.access.permissions import ChatKind
from handlers.chat.routes import available_commands
from handlers.i18n import DEFAULT_LANGUAGE, LANGUAGES, LOCALES_DIR, text
from storage.models.shop import Role

SCOPES = {
    "default": (Role.NONE, ChatKind.PRIVATE),
    "all_private_chats": (Role.OWNER, ChatKind.PRIVATE),
    "all_group_chats": (Role.MERCHANT, ChatKind.GROUP),
    "all_chat_administrators": (Role.OWNER, ChatKind.GROUP),
}
"""Up to whose commands in which chat a menu shows. It is a help: who may do what is looked up when he does it."""

LONGEST_WAIT = 10.0


async def set_bot_menus(request: AiohttpRequest, *, wallet: str) -> None:
    """Set menus and descriptions, which name the wallet; the same again changes nothing.

    Raises:
        TelegramError: Telegram is out of reach or refuses; what was set before stays set.
    """
    for code, language in menu_languages():
        for scope, shown_to in SCOPES.items():
            commands, place = menu_commands(language, *shown_to), {"type": scope}
            await call_with_retry_after(request, "setMyCommands", commands=commands, scope=place, language_code=code)
        description = text(language, "bot.description", wallet=wallet)
        short = text(language, "bot.short_description", wallet=wallet)
        await call_with_retry_after(request, "setMyDescription", description=description, language_code=code)
        await call_with_retry_after(request, "setMyShortDescription", short_description=short, language_code=code)


def menu_languages() -> list[tuple[str, str]]:
    """Telegram's code and our language; the empty code is for everybody who speaks none of ours."""
    written = [language for language in LANGUAGES if (LOCALES_DIR / language / "kvit.po").exists()]
    return [("", DEFAULT_LANGUAGE), *((language, language) for language in written)]


def menu_commands(language: str, role: Role, where: ChatKind) -> list[dict[str, str]]:
    """The commands that somebody with this role may use there, each with a short line."""
    return [
        {"command": it.name, "description": text(language, f"menu.{it.name}")} for it in available_commands(role, where)
    ]


async def call_with_retry_after(request: AiohttpRequest, method: str, **parameters: Any) -> Any:
    """Call, and if Telegram asks to wait a little, wait and call once more.

    Raises:
        TelegramError: refused, out of reach, or the wait is longer than anybody watches a terminal for.
    """
    try:
        return await request.call(method, **parameters)
    except RetryAfter as error:
        if retry_after_seconds(error) > LONGEST_WAIT:
            raise
        await asyncio.sleep(retry_after_seconds(error))
    return await request.call(method, **parameters)
