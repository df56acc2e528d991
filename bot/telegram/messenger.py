"""Brings messages out to Telegram, and says in our own words why one did not arrive."""

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
GENERAL_TOPIC = 1
"""A forum's first topic: Telegram has it in updates, and refuses it as `message_thread_id`."""

INVALID_TOKEN_WAIT = 60.0
_NOT_MODIFIED = "message is not modified"
_TOO_OLD = "query is too old"
_DELETED = "message to delete not found"
_GONE = (
    "message to edit not found",
    "message can't be edited",
    "message_id_invalid",
    "message thread not found",
    "topic_deleted",
)
_CLOSED = ("chat not found", "user not found", "peer_id_invalid", "group chat was deactivated", "not enough rights")
_TOPIC = ("topic_closed", "topic_hidden")
_LINK = re.compile(r"\w+://[^\s'\"]+")


class BotTokenRejected(DeliveryError):
    """Telegram does not know the bot's token (401, 404): everything waits, nothing is lost, until it is set right.

    It carries a `wait`, so that whoever sends comes again at no cost and drops nothing.
    """

    def __init__(self) -> None:
        super().__init__("token refused", retry_after=INVALID_TOKEN_WAIT)


class TelegramMessenger:
    """`handlers.stripe.gateway.Messenger` by PTB's `Bot`.

    It sends what it is given: the HTML is escaped by whoever wrote it. Telegram refuses a message with a button whose
    address has no dot in its host or an unknown scheme (`http://localhost/…`, `mobilepay://…`); the cards offer no
    such button, and one that slips through is a permanent failure that says so.
    """

    def __init__(self, request: AiohttpRequest) -> None:
        """`request` is shared with the intake and closed by `close`."""
        self._request = request
        # Both of PTB's backends are ours, or it would make a second pool for getUpdates.
        self._bot = Bot(PLACEHOLDER_TOKEN, base_url=request.address, request=request, get_updates_request=request)
        self.username = ""
        self.bot_id = request.bot_id

    async def get_me(self) -> None:
        """Ask Telegram who we are (getMe) and set `username`, `bot_id`; may be called again after a failure.

        Raises:
            TokenRefused: the token is wrong.
            DeliveryFailed: Telegram is out of reach.
        """
        with _translate_errors():
            await self._request.initialize()
            me = await self._bot.get_me()
        self.username, self.bot_id = me.username or "", me.id

    async def close(self) -> None:
        """Close the connections."""
        await self._request.shutdown()

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        """Post a message and return its id; a `reply_to` that is gone does not hinder it."""
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
        """Post a picture with the letter below it, and return its id; a `reply_to` that is gone does not hinder it."""
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

    async def delete(self, chat: ChatTarget, message_id: int) -> None:
        """Take a message of ours away; one that is gone is no failure."""
        with _translate_errors(), _ignore_error(_DELETED):
            await self._bot.delete_message(chat.chat_id, message_id)

    async def edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        """Show this instead; "not modified" is success. Without buttons the old ones go."""
        keyboard = to_inline_keyboard(message.keyboard)
        with _translate_errors(), _ignore_error(_NOT_MODIFIED):
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
        """Answer an inline query, for this person alone and unremembered; one that is too old is no failure."""
        with _translate_errors(), _ignore_error(_TOO_OLD):
            await self._bot.answer_inline_query(
                query_id, [_article(result) for result in results], cache_time=0, is_personal=True
            )

    async def answer_callback(self, callback_id: str, text: str = "", *, alert: bool = False) -> None:
        """End the waiting of a tapped button; one that is too old is no failure."""
        with _translate_errors(), _ignore_error(_TOO_OLD):
            await self._bot.answer_callback_query(callback_id, text or None, show_alert=alert or None)


def to_inline_keyboard(keyboard: Keyboard) -> InlineKeyboardMarkup | None:
    """Our rows of buttons as Telegram's; None without any."""
    return InlineKeyboardMarkup([[_button(button) for button in row] for row in keyboard]) if keyboard else None


def _topic(chat: ChatTarget) -> int | None:
    return None if chat.thread_id == GENERAL_TOPIC else chat.thread_id


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
    said = InputTextMessageContent(result.message.html, ParseMode.HTML, link_preview_options=NO_PREVIEW)
    keyboard = to_inline_keyboard(result.message.keyboard)
    return InlineQueryResultArticle(
        result.id, result.title, said, reply_markup=keyboard, description=result.description or None
    )


@contextmanager
def _ignore_error(answer: str) -> Iterator[None]:
    """Take this refusal for success. PTB changes the case of Telegram's sentences, so case does not count."""
    try:
        yield
    except BadRequest as error:
        if answer not in str(error).lower():
            raise


@contextmanager
def _translate_errors() -> Iterator[None]:
    # Not "from error": what Telegram says may quote a payment's link, and the reason below tells the rest.
    try:
        yield
    except TelegramError as error:
        raise to_delivery_error(error) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # "200" without a `result`, or one that PTB cannot make a message of: it may well have been sent.
        raise DeliveryError(
            f"Telegram's answer makes no sense ({type(error).__name__})", outcome_unknown=True
        ) from None


def to_delivery_error(error: TelegramError) -> DeliveryError:
    """What a refusal of Telegram means for a message; BadRequest comes first, for PTB calls it a NetworkError."""
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
            return DeliveryError(f"Telegram is out of reach: {error}")
        case OutcomeUnknown():
            return DeliveryError(f"Telegram is silent: {error}", outcome_unknown=True)
        case _:
            # A JSON answer with another status (409, 413, 429 without a time) says that it was not done; one that
            # cannot be read says nothing, and has no class of its own.
            return DeliveryError(_plain(error), outcome_unknown=type(error) is TelegramError)


def retry_after_seconds(error: RetryAfter) -> float:
    """For how long Telegram asks us to be quiet."""
    wait = error.retry_after
    return wait.total_seconds() if isinstance(wait, timedelta) else float(wait)


def _rejection(error: Forbidden | BadRequest) -> DeliveryError:
    said = str(error).lower()
    if "button" in said and "url" in said:
        return DeliveryError("Telegram does not accept the address of a button", permanent=True)
    closed = isinstance(error, Forbidden) or any(words in said for words in _CLOSED)
    return DeliveryError(
        _plain(error),
        permanent=True,
        message_gone=any(words in said for words in _GONE),
        chat_unavailable=closed,
        topic_closed=any(words in said for words in _TOPIC),
    )


def _plain(error: TelegramError) -> str:
    """Telegram's sentence, short and without links: a payment's link is for the customer only."""
    return _LINK.sub("[link]", str(error))[:200]
