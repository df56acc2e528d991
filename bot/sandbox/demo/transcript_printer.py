"""Prints the chats of the fake Telegram line by line, as a person reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from textwrap import TextWrapper
from typing import Any

from bot.sandbox.fake_telegram import FakeTelegram, TranscriptEntry

Json = dict[str, Any]
WriteLine = Callable[[str], None]
NAME_WIDTH = 8
WRAPPER = TextWrapper(100 - NAME_WIDTH - 4, break_long_words=False, break_on_hyphens=False)
SEND_METHODS = ("sendMessage", "sendPhoto", "sendDocument")
EDIT_METHODS = ("editMessageText", "editMessageCaption", "editMessageMedia", "editMessageReplyMarkup")


class TranscriptPrinter:
    """Prints each entry of the transcript once, by `write_line`."""

    def __init__(self, telegram: FakeTelegram, write_line: WriteLine) -> None:
        self._telegram = telegram
        self._write_line = write_line
        self._printed = 0

    def print_new(self) -> None:
        """Print the entries since the last call."""
        for entry in self._telegram.transcript[self._printed :]:
            for line in self._lines(entry):
                self._write_line(line)
        self._printed = len(self._telegram.transcript)

    def print_action(self, name: str, action: str) -> None:
        """Print something that the transcript does not have, after the entries so far."""
        self.print_new()
        self._write_line(_format_line(name, f"({action})"))

    def _lines(self, entry: TranscriptEntry) -> Iterator[str]:
        if entry.direction == "in":
            if entry.method == "message":
                yield _format_line(self._name(entry.params["from_id"]), entry.params["text"])
        elif entry.fault or not _succeeded(entry):
            yield _format_line(self._bot, f"({entry.method} fails: {entry.fault or entry.result['description']})")
        elif entry.method in SEND_METHODS:
            yield from self._message(entry.result, "reply" if "reply_to_message" in entry.result else "")
        elif entry.method in EDIT_METHODS and isinstance(entry.result, dict):
            yield from self._message(entry.result, "edited")
        elif entry.method == "answerCallbackQuery" and entry.params.get("text"):
            yield _format_line(self._bot, f"(notification) {entry.params['text']}")

    def _message(self, message: Json, note: str) -> Iterator[str]:
        """The text of a message, then its buttons in one line."""
        text = message.get("text") or message.get("caption") or "(a file)"
        yield _format_line(self._bot, (f"({note}) " if note else "") + text)
        if labels := buttons(message):
            yield _format_line("", "  ".join(f"[{label}]" for label in labels))

    def _name(self, user_id: int) -> str:
        return str(self._telegram.state.users[user_id]["first_name"])

    @property
    def _bot(self) -> str:
        return str(self._telegram.state.bot["first_name"])


def buttons(message: Json) -> Json:
    """The buttons under a message, by label."""
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return {button["text"]: button for row in rows for button in row}


def _succeeded(entry: TranscriptEntry) -> bool:
    return not (isinstance(entry.result, dict) and entry.result.get("ok") is False)


def _format_line(name: str, text: str) -> str:
    """`name` in the first column, the wrapped lines of `text` in the second."""
    lines = [piece for line in text.splitlines() for piece in WRAPPER.wrap(line) or [""]]
    names = [name, *[""] * len(lines)]
    return "\n".join(f"  {cell:{NAME_WIDTH}}  {line}".rstrip() for cell, line in zip(names, lines, strict=False))
