"""The messenger: sends and edits messages with python-telegram-bot; every failure is a `DeliveryError`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from telegram import (
    Bot,
    CopyTextButton,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InlineQueryResultArticle,
    InputTextMessageContent,
    LinkPreviewOptions,
    ReplyParameters,
)
from telegram.constants import ParseMode
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Forbidden,
    InvalidToken,
    RetryAfter,
    TelegramError,
)

from bot.telegram.http_client import PLACEHOLDER_TOKEN, AiohttpRequest, OutcomeUnknown, RequestNotSent
from handlers.telegram.messenger import Button, DeliveryError, InlineResult, Keyboard, Message
from storage.models.payment import ChatTarget

NO_PREVIEW = LinkPreviewOptions(is_disabled=True)
GENERAL_TOPIC_CLOSED = 1
"""The first topic of a forum: it is in updates, but Telegram rejects it as `message_thread_id`."""

INVALID_TOKEN_WAIT = 60.0
_MESSAGE_NOT_MODIFIED = "message is not modified"
_QUERY_TOO_OLD = "query is too old"
_MESSAGE_NOT_FOUND = "message to delete not found"
_MESSAGE_GONE = (
    "message to edit not found",
    "message can't be edited",
    "message_id_invalid",
    "message thread not found",
    "topic_deleted",
)
_CHAT_UNAVAILABLE = (
    "chat not found",
    "user not found",
    "peer_id_invalid",
    "group chat was deactivated",
    "not enough rights",
    "have no rights to send",
    "chat_write_forbidden",
    "chat_restricted",
    "chat_admin_required",
    "chat_send_plain_forbidden",
    "chat_guest_send_forbidden",
    "channel_private",
    "user_is_blocked",
    "input_user_deactivated",
    "need administrator rights",
)
_TOPIC_CLOSED = ("topic_closed", "topic_hidden")
_URL = re.compile(r"\w+://[^\s'\"]+")


class BotTokenRejected(DeliveryError):
    """Telegram rejects the bot's token (401, 404). `retry_after` keeps the messages pending until it is right."""

    def __init__(self) -> None:
        super().__init__("token rejected", retry_after=INVALID_TOKEN_WAIT)


class TelegramMessenger:
    """`handlers.telegram.messenger.Messenger` with python-telegram-bot's `Bot`.

    The caller escapes the HTML. Telegram rejects a message with a button whose URL has no dot in its host or an unknown
    scheme (`http://localhost/…`, `mobilepay://…`): a permanent failure.
    """

    def __init__(self, request: AiohttpRequest) -> None:
        """`request` is shared with the polling, and closed by `close`."""
        self._request = request
        # The same for both, or the library opens a second pool for getUpdates.
        self._bot = Bot(PLACEHOLDER_TOKEN, base_url=request.address, request=request, get_updates_request=request)
        self.username = ""
        self.bot_id = request.bot_id

    async def get_me(self) -> None:
        """Sets `username` and `bot_id` from `getMe`.

        Raises:
            BotTokenRejected: the token is wrong.
            DeliveryError: Telegram cannot be reached.
        """
        with _translate_errors():
            await self._request.initialize()
            me = await self._bot.get_me()
        self.username, self.bot_id = me.username or "", me.id

    async def close(self) -> None:
        """Closes the connections."""
        await self._request.shutdown()

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        """Sends a message and returns its id. If the message `reply_to` is gone, it is sent without a reply."""
        keyboard = to_inline_keyboard(message.keyboard)
        with _translate_errors():
            sent = await self._bot.send_message(
                chat.chat_id,
                message.html,
                parse_mode=ParseMode.HTML,
                link_preview_options=NO_PREVIEW,
                message_thread_id=_topic(chat),
                reply_parameters=_reply(reply_to),
                disable_notification=silent or None,
                reply_markup=keyboard,
            )
        return sent.message_id

    async def send_photo(self, chat: ChatTarget, png: bytes, message: Message, *, reply_to: int | None = None) -> int:
        """Sends a picture with the message as its caption, and returns its id; `reply_to` as in `send`."""
        keyboard = to_inline_keyboard(message.keyboard)
        with _translate_errors():
            sent = await self._bot.send_photo(
                chat.chat_id,
                png,
                message.html,
                parse_mode=ParseMode.HTML,
                message_thread_id=_topic(chat),
                reply_parameters=_reply(reply_to),
                reply_markup=keyboard,
                filename="qr.png",
            )
        return sent.message_id

    async def send_document(
        self, chat: ChatTarget, content: bytes, name: str, message: Message, *, reply_to: int | None = None
    ) -> int:
        """Sends a file with the message as its caption, and returns its id; `reply_to` as in `send`."""
        with _translate_errors():
            sent = await self._bot.send_document(
                chat.chat_id,
                content,
                message.html,
                parse_mode=ParseMode.HTML,
                message_thread_id=_topic(chat),
                reply_parameters=_reply(reply_to),
                reply_markup=to_inline_keyboard(message.keyboard),
                filename=name,
            )
        return sent.message_id

    async def delete(self, chat: ChatTarget, message_id: int) -> None:
        """Deletes one of the bot's messages. One that is gone already is no error."""
        with _translate_errors(), _ignore_error(_MESSAGE_NOT_FOUND):
            await self._bot.delete_message(chat.chat_id, message_id)

    async def edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        """Replaces text and buttons of a message. "Not modified" is success."""
        keyboard = to_inline_keyboard(message.keyboard)
        with _translate_errors(), _ignore_error(_MESSAGE_NOT_MODIFIED):
            await self._bot.edit_message_text(
                message.html,
                None if chat.inline_message_id else chat.chat_id,
                None if chat.inline_message_id else message_id,
                chat.inline_message_id,
                parse_mode=ParseMode.HTML,
                link_preview_options=NO_PREVIEW,
                reply_markup=keyboard,
            )

    async def answer_inline_query(self, query_id: str, results: Sequence[InlineResult]) -> None:
        """Answers an inline query, uncached and for this user only. A query that is too old is no error."""
        with _translate_errors(), _ignore_error(_QUERY_TOO_OLD):
            await self._bot.answer_inline_query(
                query_id, [_article(result) for result in results], cache_time=0, is_personal=True
            )

    async def answer_callback(self, callback_id: str, text: str = "", *, alert: bool = False) -> None:
        """Answers a callback query, which ends the button's spinner. A query that is too old is no error."""
        with _translate_errors(), _ignore_error(_QUERY_TOO_OLD):
            await self._bot.answer_callback_query(callback_id, text or None, show_alert=alert or None)


def to_inline_keyboard(keyboard: Keyboard) -> InlineKeyboardMarkup | None:
    """Telegram's keyboard for these rows of buttons; None without any."""
    return InlineKeyboardMarkup([[_button(button) for button in row] for row in keyboard]) if keyboard else None


def _topic(chat: ChatTarget) -> int | None:
    return None if chat.thread_id == GENERAL_TOPIC_CLOSED else chat.thread_id


def _reply(reply_to: int | None) -> ReplyParameters | None:
    return None if reply_to is None else ReplyParameters(reply_to, allow_sending_without_reply=True)


def _button(button: Button) -> InlineKeyboardButton:
    return InlineKeyboardButton(
        button.label,
        url=button.url,
        copy_text=None if button.copy is None else CopyTextButton(button.copy),
        callback_data=button.data,
        style=button.style or None,
    )


def _article(result: InlineResult) -> InlineQueryResultArticle:
    content = InputTextMessageContent(result.message.html, ParseMode.HTML, link_preview_options=NO_PREVIEW)
    keyboard = to_inline_keyboard(result.message.keyboard)
    return InlineQueryResultArticle(
        result.id, result.title, content, reply_markup=keyboard, description=result.description or None
    )


@contextmanager
def _ignore_error(text: str) -> Iterator[None]:
    """Treats a bad request with this text as success. Case is ignored: the library changes that of Telegram's texts."""
    try:
        yield
    except BadRequest as error:
        if text not in str(error).lower():
            raise


@contextmanager
def _translate_errors() -> Iterator[None]:
    # Not "from error": Telegram's text may contain the URL of a pay page.
    try:
        yield
    except TelegramError as error:
        raise to_delivery_error(error) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # Status 200 without a `result`, or with one that the library cannot parse: it may have been sent.
        raise DeliveryError(
            f"unexpected response from Telegram ({type(error).__name__})", outcome_unknown=True
        ) from None


def to_delivery_error(error: TelegramError) -> DeliveryError:
    """The `DeliveryError` for an error of the library. Its BadRequest is a NetworkError, so it is matched first."""
    match error:
        case RetryAfter():
            return DeliveryError("too many messages", retry_after=retry_after_seconds(error))
        case ChatMigrated():
            return DeliveryError("the group became a supergroup", moved_to=error.new_chat_id)
        case InvalidToken():
            return BotTokenRejected()
        case Forbidden() | BadRequest():
            return _rejection(error)
        case RequestNotSent():
            return DeliveryError(f"Telegram cannot be reached: {error}")
        case OutcomeUnknown():
            return DeliveryError(f"no response from Telegram: {error}", outcome_unknown=True)
        case _:
            # A JSON response with another status (409, 413, 429 without a time) means that the request had no effect.
            # A response that cannot be parsed means nothing; only for it the library raises the base class.
            return DeliveryError(_without_urls(error), outcome_unknown=type(error) is TelegramError)


def retry_after_seconds(error: RetryAfter) -> float:
    """The seconds that Telegram asks the bot to wait."""
    wait = error.retry_after
    return wait.total_seconds() if isinstance(wait, timedelta) else float(wait)


def _rejection(error: Forbidden | BadRequest) -> DeliveryError:
    text = str(error).lower()
    if "button" in text and "url" in text:
        return DeliveryError("Telegram rejects the URL of a button", permanent=True)
    unavailable = isinstance(error, Forbidden) or any(words in text for words in _CHAT_UNAVAILABLE)
    return DeliveryError(
        _without_urls(error),
        permanent=True,
        message_gone=any(words in text for words in _MESSAGE_GONE),
        chat_unavailable=unavailable,
        topic_closed=any(words in text for words in _TOPIC_CLOSED),
    )


def _without_urls(error: TelegramError) -> str:
    """The error's text, without URLs: that of a pay page is for the customer only."""
    return _URL.sub("[link]", str(error))[:200]
