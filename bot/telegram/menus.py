"""The bot's command menus and descriptions, in every language."""

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
"""For each menu scope, the role and chat whose commands it lists. Permissions are checked when a command is run."""

NORWEGIAN = (("no", "nb"), ("nn", "nb"))
"""Other codes that Telegram's apps report for Norwegian."""

MAX_RETRY_AFTER = 10.0


async def set_bot_menus(request: AiohttpRequest, *, wallet: str) -> None:
    """Sets menus and descriptions, which name the wallet. Running it again changes nothing.

    Raises:
        TelegramError: Telegram cannot be reached or rejects a request; what was set before stays set.
    """
    for code, language in menu_languages():
        for scope, (role, chat) in SCOPES.items():
            commands = menu_commands(language, role, chat)
            await call_with_retry_after(
                request, "setMyCommands", commands=commands, scope={"type": scope}, language_code=code
            )
        description = text(language, "bot.description", wallet=wallet)
        short = text(language, "bot.short_description", wallet=wallet)
        await call_with_retry_after(request, "setMyDescription", description=description, language_code=code)
        await call_with_retry_after(request, "setMyShortDescription", short_description=short, language_code=code)


def menu_languages() -> list[tuple[str, str]]:
    """Telegram's language code and Kvit's language; the empty code is for users with any other language."""
    translated = [language for language in LANGUAGES if (LOCALES_DIR / language / "kvit.po").exists()]
    codes = [(language, language) for language in translated]
    return [
        ("", DEFAULT_LANGUAGE),
        *codes,
        *((code, language) for code, language in NORWEGIAN if language in translated),
    ]


def menu_commands(language: str, role: Role, chat: ChatKind) -> list[dict[str, str]]:
    """The commands that this role may use in such a chat, with short descriptions."""
    return [
        {"command": it.name, "description": text(language, f"menu.{it.name}")} for it in available_commands(role, chat)
    ]


async def call_with_retry_after(request: AiohttpRequest, method: str, **parameters: Any) -> Any:
    """Calls a method; if Telegram asks to wait for at most `MAX_RETRY_AFTER` seconds, waits and calls once more.

    Raises:
        TelegramError: Telegram cannot be reached, rejects the request, or asks for a longer wait.
    """
    try:
        return await request.call(method, **parameters)
    except RetryAfter as error:
        if retry_after_seconds(error) > MAX_RETRY_AFTER:
            raise
        await asyncio.sleep(retry_after_seconds(error))
    return await request.call(method, **parameters)
