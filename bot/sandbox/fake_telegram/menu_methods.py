"""The methods for command menus, the bot's name and descriptions, and the menu button."""

from __future__ import annotations

import json
import re
from typing import Any

from bot.sandbox.fake_telegram.api_error import Json, bad_request
from bot.sandbox.fake_telegram.call import Call, Method

COMMAND = re.compile(r"[a-z0-9_]{1,32}")
LANGUAGE = re.compile(r"[a-z]{2}|")
SCOPES = {
    "default": (),
    "all_private_chats": (),
    "all_group_chats": (),
    "all_chat_administrators": (),
    "chat": ("chat_id",),
    "chat_administrators": ("chat_id",),
    "chat_member": ("chat_id", "user_id"),
}
MAX_COMMANDS = 100


def set_my_commands(call: Call) -> bool:
    listed = call.params.nested("commands", "commands")
    if not isinstance(listed, list):
        raise bad_request("expected an Array of BotCommand")
    if len(listed) > MAX_COMMANDS:
        raise bad_request("BOT_COMMANDS_TOO_MUCH")
    call.state.menus[_scope_key(call)] = [_command(command) for command in listed]
    return True


def get_my_commands(call: Call) -> list[Json]:
    """The menu of exactly this scope and language."""
    return call.state.menus.get(_scope_key(call), [])


def delete_my_commands(call: Call) -> bool:
    call.state.menus.pop(_scope_key(call), None)
    return True


def set_chat_menu_button(call: Call) -> bool:
    button = call.params.nested("menu_button", "menu button") or {"type": "default"}
    if not isinstance(button, dict) or button.get("type") not in ("commands", "web_app", "default"):
        raise bad_request("can't parse menu button: MenuButton has unsupported type")
    call.state.menu_buttons[call.chat().id if call.params.text("chat_id") else None] = button
    return True


def get_chat_menu_button(call: Call) -> Json:
    general = call.state.menu_buttons.get(None, {"type": "commands"})
    return call.state.menu_buttons.get(call.params.number("chat_id"), general)


def _scope_key(call: Call) -> tuple[str, str]:
    scope = call.params.nested("scope", "BotCommandScope") or {"type": "default"}
    if not isinstance(scope, dict) or str(scope.get("type")) not in SCOPES:
        raise bad_request("can't parse BotCommandScope: unsupported type specified")
    return json.dumps({name: scope.get(name) for name in ("type", *SCOPES[scope["type"]])}), _language(call)


def _language(call: Call) -> str:
    language = call.params.text("language_code")
    if not LANGUAGE.fullmatch(language):
        raise bad_request("invalid language code specified")
    return language


def _command(command: Any) -> Json:
    if not isinstance(command, dict):
        raise bad_request("can't parse BotCommand: expected an Object")
    name = str(command.get("command", "")).removeprefix("/")
    if not COMMAND.fullmatch(name):
        raise bad_request("BOT_COMMAND_INVALID")
    if not 1 <= len(str(command.get("description", ""))) <= 256:
        raise bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
    return command | {"command": name}


def _setter(field: str, max_length: int) -> Method:
    def method(call: Call) -> bool:
        text = call.params.text(field)
        if len(text) > max_length:
            raise bad_request(f"bot {field.replace('_', ' ')} is too long")
        call.state.descriptions[field, _language(call)] = text
        return True

    return method


def _getter(field: str) -> Method:
    def method(call: Call) -> Json:
        descriptions = call.state.descriptions
        return {field: descriptions.get((field, _language(call))) or descriptions.get((field, ""), "")}

    return method


METHODS: dict[str, Method] = {
    "setMyCommands": set_my_commands,
    "getMyCommands": get_my_commands,
    "deleteMyCommands": delete_my_commands,
    "setMyDescription": _setter("description", 512),
    "getMyDescription": _getter("description"),
    "setMyShortDescription": _setter("short_description", 120),
    "getMyShortDescription": _getter("short_description"),
    "setMyName": _setter("name", 64),
    "getMyName": _getter("name"),
    "setChatMenuButton": set_chat_menu_button,
    "getChatMenuButton": get_chat_menu_button,
}
