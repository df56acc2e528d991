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

from bot.telegram.http_client import PRETEND_TOKEN, AiohttpRequest, NotSent, PerhapsSent
from handlers.telegram.messenger import Button, DeliveryFailed, Keyboard, Letter, Offer
from storage.models.payment import Place

NO_PREVIEW = LinkPreviewOptions(is_disabled=True)
GENERAL_TOPIC = 1
"""A forum's first topic: Telegram has it in updates, and refuses it as `message_thread_id`."""

REFUSED_TOKEN_SECONDS = 60.0
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


class TokenRefused(DeliveryFailed):
    """Telegram does not know the bot's token (401, 404): everything waits, nothing is lost, until it is set right.

    It carries a `wait`, so that whoever sends comes again at no cost and drops nothing.
    """

    def __init__(self) -> None:
        super().__init__("token refused", wait=REFUSED_TOKEN_SECONDS)


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
        self._bot = Bot(PRETEND_TOKEN, base_url=request.address, request=request, get_updates_request=request)
        self.username = ""
        self.bot_id = request.bot_id

    async def connect(self) -> None:
        """Ask Telegram who we are (getMe) and set `username`, `bot_id`; may be called again after a failure.

        Raises:
            TokenRefused: the token is wrong.
            DeliveryFailed: Telegram is out of reach.
        """
        with _in_our_words():
            await self._request.initialize()
            me = await self._bot.get_me()
        self.username, self.bot_id = me.username or "", me.id

    async def close(self) -> None:
        """Close the connections."""
        await self._request.shutdown()

    async def send(self, place: Place, letter: Letter, *, reply_to: int | None = None, silent: bool = False) -> int:
        """Post a message and return its id; a `reply_to` that is gone does not hinder it."""
        keyboard = markup(letter.keyboard)
        with _in_our_words():
            message = await self._bot.send_message(
                place.chat_id,
                letter.html,
                parse_mode=ParseMode.HTML,
                link_preview_options=NO_PREVIEW,
                message_thread_id=_topic(place),
                reply_parameters=_reply(reply_to),
                disable_notification=silent or None,
                reply_markup=keyboard,
            )
        return message.message_id

    async def send_photo(self, place: Place, png: bytes, letter: Letter, *, reply_to: int | None = None) -> int:
        """Post a picture with the letter below it, and return its id; a `reply_to` that is gone does not hinder it."""
        keyboard = markup(letter.keyboard)
        with _in_our_words():
            message = await self._bot.send_photo(
                place.chat_id,
                png,
                letter.html,
                parse_mode=ParseMode.HTML,
                message_thread_id=_topic(place),
                reply_parameters=_reply(reply_to),
                reply_markup=keyboard,
                filename="qr.png",
            )
        return message.message_id

    async def delete(self, place: Place, message_id: int) -> None:
        """Take a message of ours away; one that is gone is no failure."""
        with _in_our_words(), _harmless(_DELETED):
            await self._bot.delete_message(place.chat_id, message_id)

    async def edit(self, place: Place, message_id: int | None, letter: Letter) -> None:
        """Show this instead; "not modified" is success. Without buttons the old ones go."""
        keyboard = markup(letter.keyboard)
        with _in_our_words(), _harmless(_NOT_MODIFIED):
            await self._bot.edit_message_text(
                letter.html,
                None if place.inline_id else place.chat_id,
                None if place.inline_id else message_id,
                place.inline_id,
                parse_mode=ParseMode.HTML,
                link_preview_options=NO_PREVIEW,
                reply_markup=keyboard,
            )

    async def offer(self, query_id: str, offers: Sequence[Offer]) -> None:
        """Answer an inline query, for this person alone and unremembered; one that is too old is no failure."""
        results = [_result(offer) for offer in offers]
        with _in_our_words(), _harmless(_TOO_OLD):
            await self._bot.answer_inline_query(query_id, results, cache_time=0, is_personal=True)

    async def answer(self, callback_id: str, text: str = "", *, alert: bool = False) -> None:
        """End the waiting of a tapped button; one that is too old is no failure."""
        with _in_our_words(), _harmless(_TOO_OLD):
            await self._bot.answer_callback_query(callback_id, text or None, show_alert=alert or None)


def markup(keyboard: Keyboard) -> InlineKeyboardMarkup | None:
    """Our rows of buttons as Telegram's; None without any."""
    return InlineKeyboardMarkup([[_button(button) for button in row] for row in keyboard]) if keyboard else None


def _topic(place: Place) -> int | None:
    return None if place.thread_id == GENERAL_TOPIC else place.thread_id


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


def _result(offer: Offer) -> InlineQueryResultArticle:
    said = InputTextMessageContent(offer.letter.html, ParseMode.HTML, link_preview_options=NO_PREVIEW)
    keyboard = markup(offer.letter.keyboard)
    return InlineQueryResultArticle(
        offer.id, offer.title, said, reply_markup=keyboard, description=offer.description or None
    )


@contextmanager
def _harmless(answer: str) -> Iterator[None]:
    """Take this refusal for success. PTB changes the case of Telegram's sentences, so case does not count."""
    try:
        yield
    except BadRequest as error:
        if answer not in str(error).lower():
            raise


@contextmanager
def _in_our_words() -> Iterator[None]:
    # Not "from error": what Telegram says may quote a payment's link, and the reason below tells the rest.
    try:
        yield
    except TelegramError as error:
        raise failure_of(error) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # "200" without a `result`, or one that PTB cannot make a message of: it may well have been sent.
        raise DeliveryFailed(f"Telegram's answer makes no sense ({type(error).__name__})", unsure=True) from None


def failure_of(error: TelegramError) -> DeliveryFailed:
    """What a refusal of Telegram means for a message; BadRequest comes first, for PTB calls it a NetworkError."""
    match error:
        case RetryAfter():
            return DeliveryFailed("too many messages", wait=seconds_of(error))
        case ChatMigrated():
            return DeliveryFailed("the group became a supergroup", moved_to=error.new_chat_id)
        case InvalidToken():
            return TokenRefused()
        case Forbidden() | BadRequest():
            return _refusal(error)
        case NotSent():
            return DeliveryFailed(f"Telegram is out of reach: {error}")
        case PerhapsSent():
            return DeliveryFailed(f"Telegram is silent: {error}", unsure=True)
        case _:
            # A JSON answer with another status (409, 413, 429 without a time) says that it was not done; one that
            # cannot be read says nothing, and has no class of its own.
            return DeliveryFailed(_plain(error), unsure=type(error) is TelegramError)


def seconds_of(error: RetryAfter) -> float:
    """For how long Telegram asks us to be quiet."""
    wait = error.retry_after
    return wait.total_seconds() if isinstance(wait, timedelta) else float(wait)


def _refusal(error: Forbidden | BadRequest) -> DeliveryFailed:
    said = str(error).lower()
    if "button" in said and "url" in said:
        return DeliveryFailed("Telegram does not accept the address of a button", permanent=True)
    closed = isinstance(error, Forbidden) or any(words in said for words in _CLOSED)
    return DeliveryFailed(
        _plain(error),
        permanent=True,
        gone=any(words in said for words in _GONE),
        closed=closed,
        closed_topic=any(words in said for words in _TOPIC),
    )


def _plain(error: TelegramError) -> str:
    """Telegram's sentence, short and without links: a payment's link is for the customer only."""
    return _LINK.sub("[link]", str(error))[:200]
