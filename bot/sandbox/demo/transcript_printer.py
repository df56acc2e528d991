"""Tells what happens in the chats of the pretend Telegram, line by line, as somebody would who looks over shoulders."""

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
    """Each entry of the transcript is told once; `say` gets the lines."""

    def __init__(self, telegram: FakeTelegram, say: WriteLine) -> None:
        self._telegram = telegram
        self._write_line = say
        self._printed = 0

    def print_new(self) -> None:
        """Tell what has happened since the last time."""
        for entry in self._telegram.transcript[self._printed :]:
            for line in self._lines(entry):
                self._write_line(line)
        self._printed = len(self._telegram.transcript)

    def print_action(self, who: str, what: str) -> None:
        """Tell something that no transcript knows of, after all that happened before it."""
        self.print_new()
        self._write_line(_format_line(who, f"({what})"))

    def _lines(self, entry: TranscriptEntry) -> Iterator[str]:
        if entry.direction == "in":
            if entry.method == "message":
                yield _format_line(self._name(entry.params["from_id"]), entry.params["text"])
        elif entry.fault or not _succeeded(entry):
            yield _format_line(self._bot, f"({entry.method} fails: {entry.fault or entry.result['description']})")
        elif entry.method in SEND_METHODS:
            yield from self._message(entry.result, "in reply" if "reply_to_message" in entry.result else "")
        elif entry.method in EDIT_METHODS and isinstance(entry.result, dict):
            yield from self._message(entry.result, "edited")
        elif entry.method == "answerCallbackQuery" and entry.params.get("text"):
            yield _format_line(self._bot, f"(for a moment) {entry.params['text']}")

    def _message(self, message: Json, how: str) -> Iterator[str]:
        """A message of the bot: its text, and its buttons in one line."""
        words = message.get("text") or message.get("caption") or "(a file)"
        ahead = f"({how}) " if how else ""
        yield _format_line(self._bot, ahead + words)
        if labels := buttons(message):
            yield _format_line("", "  ".join(f"[{label}]" for label in labels))

    def _name(self, user_id: int) -> str:
        return str(self._telegram.state.users[user_id]["first_name"])

    @property
    def _bot(self) -> str:
        return str(self._telegram.state.bot["first_name"])


def buttons(message: Json) -> Json:
    """The buttons under a message by their labels."""
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return {button["text"]: button for row in rows for button in row}


def _succeeded(entry: TranscriptEntry) -> bool:
    return not (isinstance(entry.result, dict) and entry.result.get("ok") is False)


def _format_line(who: str, what: str) -> str:
    """`who` in a column of its own, all lines of `what` beside it."""
    lines = [piece for line in what.splitlines() for piece in WRAPPER.wrap(line) or [""]]
    names = [who, *[""] * len(lines)]
    return "\n".join(f"  {name:{NAME_WIDTH}}  {line}".rstrip() for name, line in zip(names, lines, strict=False))
