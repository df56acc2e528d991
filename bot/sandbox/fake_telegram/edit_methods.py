"""The methods that edit, delete or react to a message."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bot.sandbox.fake_telegram import message_content
from bot.sandbox.fake_telegram.api_error import Json, bad_request
from bot.sandbox.fake_telegram.call import Call, Method
from bot.sandbox.fake_telegram.state import Chat

NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a current "
    "content and reply markup of the message"
)
CONTENT_FIELDS = ("text", "entities", "photo", "document", "caption", "caption_entities", "link_preview_options")
COMPARED_FIELDS = ("text", "entities", "photo", "document", "caption", "caption_entities", "reply_markup")
MEDIA = ("photo", "document")
DELETE_WINDOW = timedelta(hours=48)
_EMOJI = (
    "👍 👎 ❤ 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤‍🔥 🌚 🌭 💯 🤣 ⚡ 🍌 🏆 "
    "💔 🤨 😐 🍓 🍾 💋 🖕 😈 😴 😭 🤓 👻 👨‍💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 "
    "😘 💊 🙊 😎 👾 🤷‍♂ 🤷 🤷‍♀ 😡"
)
REACTIONS = frozenset(_EMOJI.split())


def edit_message_text(call: Call) -> Json | bool:
    chat, message = _target(call)
    content = message_content.text_of(call, "MESSAGE_TOO_LONG")
    if "text" not in message:
        raise bad_request("there is no text in the message to edit")
    if preview := call.params.nested("link_preview_options", "link preview options"):
        content["link_preview_options"] = preview
    return _replace_content(call, chat, message, content)


def edit_message_caption(call: Call) -> Json | bool:
    chat, message = _target(call)
    if not any(kind in message for kind in MEDIA):
        raise bad_request("there is no caption in the message to edit")
    source = {name: call.params.text(name) for name in ("caption", "parse_mode")}
    given = {"caption_entities": call.params.nested("caption_entities", "entities")}
    caption = message_content.caption_of(call.state, source | given, "MEDIA_CAPTION_TOO_LONG")
    return _replace_content(call, chat, message, {kind: message[kind] for kind in MEDIA if kind in message} | caption)


def edit_message_media(call: Call) -> Json | bool:
    """A text message can become a photo or document, but not the other way round."""
    chat, message = _target(call)
    media = call.params.nested("media", "input media")
    if not isinstance(media, dict):
        raise bad_request("can't parse InputMedia: InputMedia must be an Object")
    if media.get("type") not in MEDIA:
        raise bad_request(f'can\'t parse InputMedia: type "{media.get("type")}" is unsupported')
    file = message_content.file_of(call, "media", str(media.get("media") or ""))
    content = message_content.photo(file) if media["type"] == "photo" else message_content.document(file)
    caption = message_content.caption_of(call.state, media, "MEDIA_CAPTION_TOO_LONG")
    return _replace_content(call, chat, message, content | caption)


def edit_message_reply_markup(call: Call) -> Json | bool:
    chat, message = _target(call)
    return _replace_content(call, chat, message, {name: message[name] for name in CONTENT_FIELDS if name in message})


def delete_message(call: Call) -> bool:
    chat = call.writable_chat()
    message = call.message(chat, "delete")
    number = int(message["message_id"])
    if number not in chat.bot_message_ids and chat.type != "private" and chat.bot_status != "administrator":
        raise bad_request("message can't be deleted")
    if call.state.unix_time() - message["date"] >= DELETE_WINDOW.total_seconds():
        raise bad_request("message can't be deleted for everyone")
    call.state.delete_message(chat, number)
    return True


def set_message_reaction(call: Call) -> bool:
    """At most one reaction, from Telegram's list."""
    chat = call.editable_chat()
    message = call.message(chat, "react")
    requested = call.params.nested("reaction", "reaction") or []
    if not isinstance(requested, list) or not all(isinstance(reaction, dict) for reaction in requested):
        raise bad_request("array expected as reactions")
    if len(requested) > 1:
        raise bad_request("REACTIONS_TOO_MANY")
    if any(reaction.get("type") != "emoji" or reaction.get("emoji") not in REACTIONS for reaction in requested):
        raise bad_request("REACTION_INVALID")
    chat.reactions[int(message["message_id"])] = requested
    call.state.changes.notify()
    return True


def _target(call: Call) -> tuple[Chat | None, Json]:
    inline = call.params.text("inline_message_id")
    if inline and not call.params.text("chat_id"):
        if inline not in call.state.inline_messages:
            raise bad_request("MESSAGE_ID_INVALID")
        return None, call.state.inline_messages[inline]
    chat = call.editable_chat()
    message = call.message(chat, "edit")
    if message["message_id"] not in chat.bot_message_ids or chat.migrated_to is not None:
        raise bad_request("message can't be edited")
    return chat, message


def _replace_content(call: Call, chat: Chat | None, message: Json, content: Json) -> Json | bool:
    """Replace the content and the keyboard; a call without a keyboard removes it."""
    requested: dict[str, Any] = content | message_content.keyboard_of(call, chat)
    if all(message.get(name) == requested.get(name) for name in COMPARED_FIELDS):
        raise bad_request(NOT_MODIFIED)
    for name in (*CONTENT_FIELDS, "reply_markup"):
        message.pop(name, None)
    message |= requested | {"edit_date": call.state.unix_time()}
    call.state.changes.notify()
    return message if chat is not None else True


METHODS: dict[str, Method] = {
    "editMessageText": edit_message_text,
    "editMessageCaption": edit_message_caption,
    "editMessageMedia": edit_message_media,
    "editMessageReplyMarkup": edit_message_reply_markup,
    "deleteMessage": delete_message,
    "setMessageReaction": set_message_reaction,
}
