"""The chat's transcript: what the bot showed and when, what each message states, and what users did."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.sandbox.fake_telegram import TranscriptEntry
from tests.invariants import refund_texts

REFERENCE = r"#([A-Z][0-9][0-9A-Z]{2,6})"
REFERENCE_LINE = re.compile(rf"^{REFERENCE}$", re.MULTILINE)
REFERENCE_WITHIN = re.compile(REFERENCE)
AMOUNT = re.compile(r"\b(DKK|EUR|NOK|SEK)\s(\d[\d,]*)\.(\d\d)\b")
NONCE = re.compile(r"pa_nonce_\w+")
DISPLAY_STATES = {
    "Creating link": "creating",
    "Creating new link": "requested",
    "Waiting for Stripe": "error",
    "Waiting for payment": "ready",
    "Waiting for payment · the first link expired, this link still works": "waiting",
    "The link is expiring": "ending",
    "Payment attempt failed": "failed",
    "The link expired": "expired",
    "Approved, not confirmed yet": "processing",
    "Reserved": "reserved",
    "Paid": "paid",
    "Charging the reserved amount": "capturing",
    "Disputed": "disputed",
    "Partly refunded": "partly_refunded",
    "Refunded": "refunded",
    "Cancelling": "canceling",
    "Cancelled": "canceled",
    "Request closed": "ended",
    "Stripe did not accept this request": "rejected",
}
NOTIFICATION_STATES = {
    "✅": "paid",
    "🔒": "reserved",
    "❌": "failed",
    "⌛": "expired",
    "🏁": "ended",
    "🚫": "canceled",
}


@dataclass(frozen=True)
class BotMessage:
    """One version of a message: as it was sent, or as an `edit` left it. `fault` is what disturbed the response."""

    at: datetime
    chat: int
    message_id: int
    edit: bool
    text: str
    buttons: tuple[dict[str, Any], ...]
    reply_to: int | None
    fault: str

    @property
    def outcome_unknown(self) -> bool:
        """Whether the sender cannot know that it arrived; a 429 means that it did not."""
        return self.fault.endswith("after") and not self.fault.startswith("429")


@dataclass(frozen=True)
class Statement:
    """What a message states about a payment.

    `kind` is payment_message, notification, refund_notification (of refunds, holds and disputes), admin_details,
    refund_draft, prompt or answer. `state` is a value of the tables above, or a state of `refund_texts`.
    """

    message: BotMessage
    kind: str
    reference: str
    state: str


@dataclass(frozen=True)
class UserAction:
    """A user sent `text` as `message_id`, or pressed a button with `data` under it; `query` is the query id."""

    at: datetime
    chat: int
    by: int
    message_id: int
    text: str = ""
    data: str = ""
    query: str = ""


def bot_messages(transcript: Iterable[TranscriptEntry]) -> list[BotMessage]:
    """All that the bot showed in chats, each version at its time."""
    shown = [e for e in transcript if e.direction == "out" and e.method in {"sendMessage", "editMessageText"}]
    return [_bot_message(entry) for entry in shown if isinstance(entry.result, dict) and "message_id" in entry.result]


def user_actions(transcript: Iterable[TranscriptEntry]) -> list[UserAction]:
    """All messages and button presses of users."""
    found = []
    for e in transcript:
        if e.direction == "in" and e.method == "message":
            written = (e.at, e.params["chat_id"], e.params["from_id"], e.result["message_id"])
            found.append(UserAction(*written, text=e.params["text"]))
        if e.direction == "in" and e.method == "callback_query" and "chat_id" in e.params:
            pressed = (e.at, e.params["chat_id"], e.params["from_id"], e.params["message_id"])
            found.append(UserAction(*pressed, data=e.params["data"], query=e.result["callback_query_id"]))
    return found


def callback_answers(transcript: Iterable[TranscriptEntry]) -> list[tuple[datetime, str, str]]:
    """The time, query id and text of each answer to a button press."""
    answers = [e for e in transcript if e.method == "answerCallbackQuery" and e.result is True]
    return [(e.at, str(e.params["callback_query_id"]), str(e.params.get("text", ""))) for e in answers]


def statements(messages: Iterable[BotMessage], actions: Iterable[UserAction]) -> Iterator[Statement]:
    """What the messages state about payments. The answer to /status looks like a payment message and is left out."""
    status_commands = {(action.chat, action.message_id) for action in actions if action.text.startswith("/status")}
    for message in messages:
        if (message.chat, message.reply_to) in status_commands:
            continue
        if sentence := refund_texts.read(message.text):
            yield Statement(message, sentence.kind, sentence.reference, sentence.state)
            continue
        own_line, within = REFERENCE_LINE.search(message.text), REFERENCE_WITHIN.search(message.text)
        icon, _, head = message.text.partition("\n")[0].removesuffix(" · TEST").partition(" ")
        if own_line:
            yield Statement(message, "payment_message", own_line[1], DISPLAY_STATES.get(head, head))
        elif within and (kind := _kind_by_buttons(message)):
            yield Statement(message, kind, within[1], "")
        elif within and icon in NOTIFICATION_STATES:
            yield Statement(message, "notification", within[1], NOTIFICATION_STATES[icon])
        elif within:
            yield Statement(message, "answer", within[1], "canceled" if " is cancelled" in message.text else "")


def _kind_by_buttons(message: BotMessage) -> str:
    """Whether it is a refund draft, or a prompt whether to capture or release a hold; empty if neither."""
    data = [str(button.get("callback_data", "")) for button in message.buttons]
    if any(each.startswith("y:") for each in data):
        return "refund_draft"
    return "prompt" if any(each.startswith("q:") for each in data) else ""


def first_amount(text: str) -> tuple[int, str] | None:
    """The first amount in a text, in minor units, and its currency."""
    found = AMOUNT.search(text)
    return (int(found[2].replace(",", "") + found[3]), found[1]) if found else None


def nonces(message: BotMessage) -> set[str]:
    """The secret parts of all Stripe links in the text and the buttons."""
    texts = [message.text, *(str(button) for button in message.buttons)]
    return {nonce for text in texts for nonce in NONCE.findall(text)}


def _bot_message(entry: TranscriptEntry) -> BotMessage:
    shown = entry.result
    rows = shown.get("reply_markup", {}).get("inline_keyboard", [])
    return BotMessage(
        entry.at,
        shown["chat"]["id"],
        shown["message_id"],
        entry.method != "sendMessage",
        shown["text"],
        tuple(button for row in rows for button in row),
        (shown.get("reply_to_message") or {}).get("message_id"),
        entry.fault,
    )
