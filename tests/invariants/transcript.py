"""What the chat's transcript says: what the bot showed and when, what each of it claims, and what people did."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.sandbox.fake_telegram import TranscriptEntry
from tests.invariants import refund_texts

REF = r"#([A-Z][0-9][0-9A-Z]{2,6})"
REF_LINE = re.compile(rf"^{REF}$", re.MULTILINE)
REF_WITHIN = re.compile(REF)
AMOUNT = re.compile(r"\b(DKK|EUR|NOK|SEK)\s(\d[\d,]*)\.(\d\d)\b")
NONCE = re.compile(r"pa_nonce_\w+")
CARD_STATES = {
    "Creating link": "creating",
    "Creating new link": "requested",
    "Waiting for Stripe": "error",
    "Waiting for payment": "open",
    "The link is expiring": "aging",
    "Payment attempt failed": "failed",
    "The link expired": "expired",
    "Approved, not confirmed yet": "processing",
    "Reserved": "reserved",
    "Paid": "paid",
    "Charging the reserved amount": "capturing",
    "Partly refunded": "partly refunded",
    "Refunded": "refunded",
    "Cancelling": "canceling",
    "Cancelled": "canceled",
    "Request closed": "ended",
    "Stripe did not accept this request": "rejected",
}
NOTICE_STATES = {"✅": "paid", "🔒": "reserved", "❌": "failed", "⌛": "expired", "🏁": "ended", "🚫": "canceled"}


@dataclass(frozen=True)
class Said:
    """One message as it was posted, or shown anew (`edit`). `fault` is what kept us from hearing that it was."""

    at: datetime
    chat: int
    message_id: int
    edit: bool
    text: str
    buttons: tuple[dict[str, Any], ...]
    reply_to: int | None
    fault: str

    @property
    def doubtful(self) -> bool:
        """Whether whoever sent it cannot know that it arrived; a 429 says that it did not."""
        return self.fault.endswith("after") and not self.fault.startswith("429")


@dataclass(frozen=True)
class Claim:
    """What a message says of a payment; `state` is one of the words above, or of those of `checker_news`.

    `kind` is card, notice or answer; news or details of what goes out; draft or question where a tap is wanted.
    """

    said: Said
    kind: str
    ref: str
    state: str


@dataclass(frozen=True)
class Act:
    """Somebody wrote `text`, or tapped a button with `data`; `query` is the tap's id, `message_id` what he wrote."""

    at: datetime
    chat: int
    by: int
    message_id: int
    text: str = ""
    data: str = ""
    query: str = ""


def said(transcript: Iterable[TranscriptEntry]) -> list[Said]:
    """Everything that stood in a chat through the bot, each version at its time."""
    shown = [e for e in transcript if e.direction == "out" and e.method in {"sendMessage", "editMessageText"}]
    return [_said(entry) for entry in shown if isinstance(entry.result, dict) and "message_id" in entry.result]


def acts(transcript: Iterable[TranscriptEntry]) -> list[Act]:
    """What people wrote and tapped."""
    found = []
    for e in transcript:
        if e.direction == "in" and e.method == "message":
            found.append(Act(e.at, e.params["chat_id"], e.params["from_id"], e.result["message_id"], e.params["text"]))
        if e.direction == "in" and e.method == "callback_query" and "chat_id" in e.params:
            tap = (e.at, e.params["chat_id"], e.params["from_id"], e.params["message_id"])
            found.append(Act(*tap, data=e.params["data"], query=e.result["callback_query_id"]))
    return found


def toasts(transcript: Iterable[TranscriptEntry]) -> list[tuple[datetime, str, str]]:
    """When which tap was answered with which words."""
    answers = [e for e in transcript if e.method == "answerCallbackQuery" and e.result is True]
    return [(e.at, str(e.params["callback_query_id"]), str(e.params.get("text", ""))) for e in answers]


def claims(messages: Iterable[Said], people: Iterable[Act]) -> Iterator[Claim]:
    """What is said of payments; an answer to /status shows a card and is none."""
    asked = {(act.chat, act.message_id) for act in people if act.text.startswith("/status")}
    for message in messages:
        if (message.chat, message.reply_to) in asked:
            continue
        if told := refund_texts.read(message.text):
            yield Claim(message, told.kind, told.ref, told.state)
            continue
        own_line, within = REF_LINE.search(message.text), REF_WITHIN.search(message.text)
        mark, _, head = message.text.partition("\n")[0].removesuffix(" · TEST").partition(" ")
        if own_line:
            yield Claim(message, "card", own_line[1], CARD_STATES.get(head, head))
        elif within and (kind := _wants_a_tap(message)):
            yield Claim(message, kind, within[1], "")
        elif within and mark in NOTICE_STATES:
            yield Claim(message, "notice", within[1], NOTICE_STATES[mark])
        elif within:
            yield Claim(message, "answer", within[1], "canceled" if " is cancelled" in message.text else "")


def _wants_a_tap(message: Said) -> str:
    """Whether a message is the draft of a refund, or asks whether to take a hold or to let it go."""
    data = [str(button.get("callback_data", "")) for button in message.buttons]
    if any(each.startswith("y:") for each in data):
        return "draft"
    return "question" if any(each.startswith("q:") for each in data) else ""


def amount(text: str) -> tuple[int, str] | None:
    """The first amount that a text names, in minor units, and its currency."""
    found = AMOUNT.search(text)
    return (int(found[2].replace(",", "") + found[3]), found[1]) if found else None


def nonces(message: Said) -> set[str]:
    """The secret parts of all of Stripe's links in the text and the buttons."""
    places = [message.text, *(str(button) for button in message.buttons)]
    return {nonce for place in places for nonce in NONCE.findall(place)}


def _said(entry: TranscriptEntry) -> Said:
    shown = entry.result
    rows = shown.get("reply_markup", {}).get("inline_keyboard", [])
    return Said(
        entry.at,
        shown["chat"]["id"],
        shown["message_id"],
        entry.method != "sendMessage",
        shown["text"],
        tuple(button for row in rows for button in row),
        (shown.get("reply_to_message") or {}).get("message_id"),
        entry.fault,
    )
