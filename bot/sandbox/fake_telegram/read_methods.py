"""The methods that only read: the bot, chats, members and files."""

from __future__ import annotations

from bot.sandbox.fake_telegram.api_error import Json, bad_request, forbidden
from bot.sandbox.fake_telegram.call import Call, Method
from bot.sandbox.fake_telegram.state import Chat

ADMINS = ("creator", "administrator")
NO_GIFTS = (
    "unlimited_gifts",
    "limited_gifts",
    "unique_gifts",
    "premium_subscription",
    "gifts_from_channels",
)


def get_me(call: Call) -> Json:
    able = {
        "can_join_groups": True,
        "can_read_all_group_messages": not call.state.privacy,
        "supports_inline_queries": True,
        "can_connect_to_business": False,
        "has_main_web_app": False,
    }
    return call.state.bot | able


RESTRICTIONS = (
    "can_send_messages",
    "can_send_audios",
    "can_send_documents",
    "can_send_photos",
    "can_send_videos",
    "can_send_video_notes",
    "can_send_voice_notes",
    "can_send_polls",
    "can_send_other_messages",
    "can_add_web_page_previews",
    "can_change_info",
    "can_invite_users",
    "can_pin_messages",
    "can_manage_topics",
    "can_edit_tag",
    "can_react_to_messages",
)
"""Fields of a restricted member; a muted one may do none of it."""


def get_chat(call: Call) -> Json:
    chat = call.chat()
    _check_not_kicked(chat)
    gifts = dict.fromkeys(NO_GIFTS, False)
    return chat.info | {"accent_color_id": 0, "max_reaction_count": 11, "accepted_gift_types": gifts}


def get_chat_member(call: Call) -> Json:
    chat = call.chat()
    _check_not_kicked(chat)
    user = call.params.number("user_id")
    if user == call.state.bot["id"]:
        return member(call.state.bot, chat.bot_status)
    if user not in call.state.users:
        raise bad_request("user not found")
    return _member(call, chat, user)


def get_chat_administrators(call: Call) -> list[Json]:
    chat = call.chat()
    _check_not_kicked(chat)
    if chat.type == "private":
        raise bad_request("there are no administrators in the private chat")
    return [_member(call, chat, user) for user, status in chat.members.items() if status in ADMINS]


def get_file(call: Call) -> Json:
    file = call.state.files.get(call.params.text("file_id"))
    if file is None:
        raise bad_request("invalid file_id")
    place = {"file_path": f"files/{file.id}"}
    return {"file_id": file.id, "file_unique_id": f"u{file.id[-6:]}", "file_size": len(file.content)} | place


def member(user: Json, status: str) -> Json:
    """A ChatMember with the fields of its status."""
    extra: dict[str, Json] = {
        "creator": {"is_anonymous": False},
        "kicked": {"until_date": 0},
        "restricted": {"is_member": True, "until_date": 0} | dict.fromkeys(RESTRICTIONS, False),
    }
    return {"user": dict(user), "status": status} | extra.get(status, {})


def _member(call: Call, chat: Chat, user: int) -> Json:
    return member(call.state.users[user], chat.members.get(user, "left"))


def _check_not_kicked(chat: Chat) -> None:
    if chat.bot_status == "kicked":
        raise forbidden(f"bot was kicked from the {chat.type} chat")


METHODS: dict[str, Method] = {
    "getMe": get_me,
    "getChat": get_chat,
    "getChatMember": get_chat_member,
    "getChatAdministrators": get_chat_administrators,
    "getFile": get_file,
}
