"""The content of a message: formatted text, caption, file, keyboard; with Telegram's checks."""

from __future__ import annotations

import struct
from typing import Any

from bot.sandbox.fake_telegram import entities, html_parser, markup
from bot.sandbox.fake_telegram.api_error import Json, bad_request
from bot.sandbox.fake_telegram.call import Call
from bot.sandbox.fake_telegram.state import Chat, FakeTelegramState, File

MAX_TEXT = 4096
MAX_CAPTION = 1024
MAX_PHOTO_BYTES = 10 * 1024 * 1024
PNG = b"\x89PNG\r\n\x1a\n"


def format_text(state: FakeTelegramState, text: str, mode: str, given: Any) -> tuple[str, list[Json]]:
    """The formatted text and all its entities; `given` are the entities of the call, used without a parse mode."""
    if len(text.encode(errors="surrogatepass")) > 1 << 15:
        raise bad_request("text is too long")
    found: list[Json] = []
    if mode.lower() == "html":
        try:
            text, found = html_parser.parse(text)
        except ValueError as error:
            raise bad_request(f"can't parse entities: {error}") from None
    elif mode and mode.lower() != "none":
        raise bad_request("unsupported parse_mode")  # this fake has no Markdown parser
    elif given:
        found = _check_entities(given)
    text, found = entities.trim(text, [entity for entity in found if _resolve_mention(state, entity)])
    return text, entities.find_entities(text, found)


def text_of(call: Call, too_long: str) -> Json:
    """`text` and `entities` of a text message; 1 to 4096 characters after parsing."""
    if not call.params.text("text"):
        raise bad_request("message text is empty")
    given = call.params.nested("entities", "entities")
    text, found = format_text(call.state, call.params.text("text"), call.params.text("parse_mode"), given)
    if not text:
        raise bad_request("text must be non-empty")
    if len(text) > MAX_TEXT:
        raise bad_request(too_long)
    return {"text": text} | ({"entities": found} if found else {})


def caption_of(state: FakeTelegramState, source: Json, too_long: str) -> Json:
    """`caption` and `caption_entities`, at most 1024 characters after parsing; empty without a caption."""
    mode, given = str(source.get("parse_mode") or ""), source.get("caption_entities")
    text, found = format_text(state, str(source.get("caption") or ""), mode, given)
    if len(text) > MAX_CAPTION:
        raise bad_request(too_long)
    return ({"caption": text} if text else {}) | ({"caption_entities": found} if found else {})


def keyboard_of(call: Call, chat: Chat | None) -> Json:
    """`reply_markup`, if the call has an inline keyboard."""
    requested = call.params.nested("reply_markup", "reply keyboard markup")
    shown = markup.inline_keyboard(requested, private=chat is not None and chat.type == "private")
    return {"reply_markup": shown} if shown else {}


def file_of(call: Call, name: str, source: str) -> File:
    """The file of a parameter: a part of the request, attach://PART, or the file_id of an earlier file."""
    part = source.removeprefix("attach://") if source.startswith("attach://") else name
    if upload := call.params.files.get(part):
        if not upload.content:
            raise bad_request("file must be non-empty")
        return call.state.store_file(upload.name, upload.content, upload.kind)
    if not source:
        raise bad_request(f"there is no {name} in the request")
    if source not in call.state.files:
        raise bad_request("wrong file identifier/HTTP URL specified")
    return call.state.files[source]


def photo(file: File) -> Json:
    """The `photo` field; raises ApiError above 10 MB or for dimensions that Telegram does not allow."""
    if len(file.content) > MAX_PHOTO_BYTES:
        raise bad_request("file is too big")
    width, height = _size(file.content)
    if width + height > 10000 or max(width, height) > 20 * min(width, height):
        raise bad_request("PHOTO_INVALID_DIMENSIONS")
    return {"photo": [_file_fields(file) | {"width": width, "height": height}]}


def document(file: File) -> Json:
    """The `document` field."""
    return {"document": _file_fields(file) | {"file_name": file.name, "mime_type": file.kind}}


def _file_fields(file: File) -> Json:
    return {"file_id": file.id, "file_unique_id": f"u{file.id[-6:]}", "file_size": len(file.content)}


def _size(content: bytes) -> tuple[int, int]:
    if content.startswith(PNG) and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
        return max(width, 1), max(height, 1)
    if content.startswith(b"\xff\xd8"):
        return 1280, 720  # the dimensions of a JPEG are not parsed
    raise bad_request("IMAGE_PROCESS_FAILED")


def _check_entities(listed: Any) -> list[Json]:
    if not isinstance(listed, list):
        raise bad_request("array expected as entities")
    for entity in listed:
        if not isinstance(entity, dict) or not isinstance(entity.get("type"), str):
            raise bad_request("can't parse MessageEntity: MessageEntity must be an Object")
        if type(entity.get("offset")) is not int or type(entity.get("length")) is not int:
            raise bad_request("can't parse MessageEntity: offset and length must be Integers")
    return listed


def _resolve_mention(state: FakeTelegramState, entity: Json) -> bool:
    """Whether to keep the entity; a text mention of an unknown user is dropped."""
    if entity["type"] == "text_mention":
        named = entity.get("user", {}).get("id") if isinstance(entity.get("user"), dict) else None
        entity["user"] = state.users.get(named) if type(named) is int else None
        return entity["user"] is not None
    return True
