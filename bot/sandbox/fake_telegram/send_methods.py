"""The methods that send a message or a chat action."""

from __future__ import annotations

from bot.sandbox.fake_telegram import message_content
from bot.sandbox.fake_telegram.api_error import Json, bad_request
from bot.sandbox.fake_telegram.call import Call, Method
from bot.sandbox.fake_telegram.state import Chat

GENERAL_TOPIC = 1
MAX_ALBUM = 10
CHAT_ACTIONS = {
    "typing",
    "upload_photo",
    "record_video",
    "upload_video",
    "record_voice",
    "upload_voice",
    "upload_document",
    "choose_sticker",
    "find_location",
    "record_video_note",
    "upload_video_note",
}


def send_message(call: Call) -> Json:
    chat = call.writable_chat()
    thread = _thread(call, chat)
    reply = _reply(call, chat)
    shown = message_content.text_of(call, "message is too long")
    if preview := call.params.nested("link_preview_options", "link preview options"):
        shown["link_preview_options"] = preview
    return _send(call, chat, thread, reply | shown)


def send_photo(call: Call) -> Json:
    return _send_file(call, "photo")


def send_document(call: Call) -> Json:
    return _send_file(call, "document")


def send_media_group(call: Call) -> list[Json]:
    """An album of 2 to 10 photos or documents, one message each; documents cannot be mixed with photos."""
    chat = call.writable_chat()
    media = call.params.nested("media", "InputMedia")
    if not isinstance(media, list) or not all(isinstance(item, dict) for item in media):
        raise bad_request("parameter media is required" if media is None else "array expected as media")
    if not 2 <= len(media) <= MAX_ALBUM:
        raise bad_request("group send failed" if media else "there are no messages to send")
    kinds = {str(item.get("type")) for item in media}
    if not kinds <= {"photo", "document"} or len(kinds) > 1:
        raise bad_request("document can't be mixed with other media types" if "document" in kinds else "wrong media")
    thread, reply = _thread(call, chat), _reply(call, chat)
    contents = [_album_item(call, item) for item in media]
    group = str(call.state.unix_time()) + str(chat.last_id + 1)
    return [_send(call, chat, thread, reply | shown | {"media_group_id": group}) for shown in contents]


def _album_item(call: Call, item: Json) -> Json:
    kind = str(item["type"])
    file = message_content.file_of(call, kind, str(item.get("media", "")))
    shown = message_content.photo(file) if kind == "photo" else message_content.document(file)
    return shown | message_content.caption_of(call.state, item, "message caption is too long")


def pin_chat_message(call: Call) -> bool:
    """Pin a message. In a group the bot has to be an administrator."""
    chat, number = call.writable_chat(), call.params.number("message_id")
    if number not in chat.messages:
        raise bad_request("message to pin not found")
    if chat.type != "private" and chat.bot_status != "administrator":
        raise bad_request("not enough rights to manage pinned messages in the chat")
    chat.info["pinned_message"] = without_reply(chat.messages[number])
    return True


def unpin_chat_message(call: Call) -> bool:
    chat = call.writable_chat()
    if chat.type != "private" and chat.bot_status != "administrator":
        raise bad_request("not enough rights to manage pinned messages in the chat")
    chat.info.pop("pinned_message", None)
    return True


def send_chat_action(call: Call) -> bool:
    _thread(call, call.writable_chat())
    if call.params.text("action") not in CHAT_ACTIONS:
        raise bad_request("wrong parameter action in request")
    return True


def _send_file(call: Call, kind: str) -> Json:
    chat = call.writable_chat()
    thread = _thread(call, chat)
    reply = _reply(call, chat)
    source = {name: call.params.text(name) for name in ("caption", "parse_mode")}
    given = {"caption_entities": call.params.nested("caption_entities", "entities")}
    caption = message_content.caption_of(call.state, source | given, "message caption is too long")
    file = message_content.file_of(call, kind, call.params.text(kind))
    shown = message_content.photo(file) if kind == "photo" else message_content.document(file)
    return _send(call, chat, thread, reply | shown | caption)


def _send(call: Call, chat: Chat, thread: int | None, shown: Json) -> Json:
    author: Json = {"sender_chat": dict(chat.info)} if chat.type == "channel" else {"from": dict(call.state.bot)}
    return call.state.add_message(
        chat, author | shown | message_content.keyboard_of(call, chat), thread=thread, from_bot=True
    )


def _thread(call: Call, chat: Chat) -> int | None:
    """The topic's thread id; a group without topics ignores it (Bot API server). The General topic has none."""
    number = call.params.number("message_thread_id")
    if not number or (chat.type in ("group", "supergroup", "channel") and not chat.info.get("is_forum")):
        return None
    if number == GENERAL_TOPIC or number not in chat.topics:
        raise bad_request("message thread not found")
    if number in chat.closed_topics and chat.bot_status != "administrator":
        raise bad_request("TOPIC_CLOSED")
    return number


def _reply(call: Call, chat: Chat) -> Json:
    """`reply_to_message`; raises ApiError for a missing message unless `allow_sending_without_reply`."""
    reply_parameters = call.params.nested("reply_parameters", "reply parameters")
    if reply_parameters is not None and not isinstance(reply_parameters, dict):
        raise bad_request("object expected as reply parameters")
    deprecated: Json = {
        "message_id": call.params.number("reply_to_message_id"),
        "allow_sending_without_reply": call.params.text("allow_sending_without_reply"),
    }
    reply: Json = reply_parameters or deprecated
    number = reply.get("message_id")
    if not number:
        return {}
    if type(number) is not int:
        raise bad_request('can\'t parse reply parameters: field "message_id" must be a valid Number')
    replied = chat.messages.get(number)
    if replied is None:
        if str(reply.get("allow_sending_without_reply", "")).lower() in ("true", "1", "yes"):
            return {}
        raise bad_request("message to be replied not found")
    return {"reply_to_message": without_reply(replied)}


def without_reply(message: Json) -> Json:
    """The message without its own `reply_to_message`, as it is nested in another one."""
    return {name: value for name, value in message.items() if name != "reply_to_message"}


METHODS: dict[str, Method] = {
    "sendMessage": send_message,
    "sendPhoto": send_photo,
    "sendDocument": send_document,
    "sendMediaGroup": send_media_group,
    "sendChatAction": send_chat_action,
    "pinChatMessage": pin_chat_message,
    "unpinChatMessage": unpin_chat_message,
}
