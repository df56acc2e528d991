"""Checks the buttons of a message by Telegram's rules (TDLib, ReplyMarkup; Bot API server, InlineKeyboardButton)."""

from __future__ import annotations

from typing import Any

from bot.sandbox.fake_telegram import links
from bot.sandbox.fake_telegram.api_error import ApiError, Json, bad_request

ACTIONS = (
    "url",
    "callback_data",
    "web_app",
    "login_url",
    "switch_inline_query",
    "switch_inline_query_current_chat",
    "switch_inline_query_chosen_chat",
    "copy_text",
    "callback_game",
    "pay",
)
TEXTS = ("url", "callback_data", "switch_inline_query", "switch_inline_query_current_chat")
OBJECTS = ("web_app", "login_url", "switch_inline_query_chosen_chat", "copy_text")
STYLES = ("danger", "success", "primary")


def inline_keyboard(markup: Any, *, private: bool) -> Json | None:
    """The inline keyboard as the message will show it; None without one, or for another kind of markup.

    Raises the errors of the Bot API. One is stricter: a button with two actions is rejected here; Telegram documents
    "exactly one" and silently takes the first.
    """
    if markup is None or markup == "":
        return None
    if not isinstance(markup, dict):
        raise bad_request("object expected as reply markup")
    rows = markup.get("inline_keyboard")
    if rows is None:
        return None
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise bad_request('field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays')
    shown = [[_button(button, private) for button in row if _has_text(button)] for row in rows]
    return {"inline_keyboard": [row for row in shown if row]} if any(shown) else None


def _has_text(button: Any) -> bool:
    if not isinstance(button, dict):
        raise _parse_error("InlineKeyboardButton must be an Object")
    if not isinstance(button.get("text"), str):
        raise _parse_error('Can\'t find field "text"')
    return bool(button["text"])


def _button(button: Json, private: bool) -> Json:
    actions = [name for name in ACTIONS if button.get(name) not in (None, "") or _may_be_empty(name, button)]
    if not actions:
        raise _parse_error("Text buttons are unallowed in the inline keyboard")
    if len(actions) > 1:
        raise _parse_error(f"exactly one action is allowed in a button, found {' and '.join(actions)}")
    if actions[0] in TEXTS and not isinstance(button[actions[0]], str):
        raise _parse_error(f'Field "{actions[0]}" must be of type String')
    if actions[0] in OBJECTS and not isinstance(button[actions[0]], dict):
        raise _parse_error(f'Field "{actions[0]}" must be of type Object')
    if button.get("style") not in (None, "", *STYLES):
        raise _parse_error("Unsupported button style specified")
    return button | _ACTION_RULES.get(actions[0], _unchanged)(button, private)


def _may_be_empty(name: str, button: Json) -> bool:
    return name.startswith("switch_inline") and name in button


def _url(button: Json, _: bool) -> Json:
    if (user := links.mentioned_user_id(button["url"])) is not None:
        return {"url": f"tg://user?id={user}"}
    try:
        return {"url": links.normalize(button["url"])}
    except ValueError as error:
        raise bad_request(f"Inline keyboard button {error}") from None


def _callback(button: Json, _: bool) -> Json:
    if len(str(button["callback_data"]).encode()) > 64:
        raise bad_request("BUTTON_DATA_INVALID")
    return {}


def _copy_text(button: Json, _: bool) -> Json:
    copied = button["copy_text"].get("text")
    if not isinstance(copied, str):
        raise _parse_error('Can\'t find field "text"')
    if not 1 <= len(copied) <= 256:
        raise bad_request("BUTTON_COPY_TEXT_INVALID")
    return {}


def _web_app(button: Json, private: bool) -> Json:
    try:
        links.normalize(str(button["web_app"].get("url", "")), https_only=True)
    except ValueError as error:
        raise bad_request(f"Inline keyboard button Web App {error}") from None
    if not private:
        raise bad_request("BUTTON_TYPE_INVALID")
    return {}


def _unchanged(_: Json, __: bool) -> Json:
    return {}


_ACTION_RULES = {"url": _url, "callback_data": _callback, "copy_text": _copy_text, "web_app": _web_app}


def _parse_error(description: str) -> ApiError:
    return bad_request(f"can't parse inline keyboard button: {description}")
