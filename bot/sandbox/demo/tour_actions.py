"""The steps of the tour: act as the owner and the customer over HTTP, and wait for the expected chat messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp

from bot.sandbox import seed_users
from bot.sandbox.demo.stack import DemoStack
from bot.sandbox.demo.transcript_printer import TranscriptPrinter, WriteLine, buttons
from bot.sandbox.fake_telegram import FakeTelegram

Json = dict[str, Any]
T = TypeVar("T")
MAX_CHAT_LINES = 14
"""Lines of the chat that a failed step prints."""


class StepFailed(Exception):
    """A step failed; the text gives the expectation and the end of the chat."""


@dataclass(frozen=True)
class BotMessage:
    """A message of the bot, as Telegram has it now."""

    message: Json

    @property
    def id(self) -> int:
        return int(self.message["message_id"])

    @property
    def text(self) -> str:
        return str(self.message["text"])

    @property
    def reference(self) -> str:
        """The payment's reference, like #K7F3."""
        found = re.search(r"#\w+", self.text)
        return found[0] if found else "#?"

    @property
    def link(self) -> str:
        """The URL of the Pay or Reserve button; empty without one."""
        return str((self.button("Pay") or self.button("Reserve") or {}).get("url", ""))

    def has_word(self, word: str) -> bool:
        """Whether the first line has `word`, in upper or lower case."""
        return re.search(rf"\b{word}\b", self.text.partition("\n")[0], re.IGNORECASE) is not None

    def button(self, label: str) -> Json | None:
        """The first button whose label starts with `label`."""
        return next((button for text, button in buttons(self.message).items() if text.startswith(label)), None)


class TourClient:
    """One run of the tour. The owner writes in the private chat with the bot; `steps` counts the completed steps."""

    def __init__(
        self, stack: DemoStack, http: aiohttp.ClientSession, write_line: WriteLine, step_timeout: float
    ) -> None:
        """A step fails after `step_timeout` real seconds; a test may change it between steps."""
        self.steps = 0
        self.step_timeout = step_timeout
        self._stack = stack
        self._http = http
        self._printer = TranscriptPrinter(self._telegram, write_line)
        self._owner = seed_users.OWNER.id

    @property
    def _telegram(self) -> FakeTelegram:
        return self._stack.services.telegram

    async def request_payment(self, text: str) -> BotMessage:
        """Step: the owner sends the command and gets a payment message with its link buttons."""
        command = await self.send(text)
        return await self.wait_for(
            "a payment message with Pay or Reserve, Copy link and Share",
            lambda: _first(self._bot_messages_after(command), _is_payable),
        )

    async def send(self, text: str, *, reply_to: BotMessage | None = None) -> int:
        """Send a message as the owner; returns its id."""
        body = {"chat_id": self._owner, "from_id": self._owner, "text": text}
        if reply_to is not None:
            body["reply_to_message_id"] = reply_to.id
        return int((await self._control(self._telegram.base, "messages", body))["message_id"])

    async def press_button(self, message: BotMessage, label: str) -> None:
        """Step: the owner presses a button, and the bot answers the callback query."""
        button = self._current(message).button(label)
        if button is None or "callback_data" not in button:
            raise self._step_failed(f"a button {label!r} under the message")
        self._printer.print_action(seed_users.OWNER.name, f"presses {label}")
        body = {"message_id": message.id, "from_id": self._owner, "data": button["callback_data"]}
        query = (await self._control(self._telegram.base, "taps", body))["callback_query_id"]
        await self.wait_for(
            f"an answer to the button {label!r}", lambda: self._telegram.state.callback_queries[query].answer
        )

    async def expect_message(self, message: BotMessage, word: str, *, button: str = "") -> BotMessage:
        """Step: the message has `word` in its first line and, if a label is given, this button."""

        def matching() -> BotMessage | None:
            current = self._current(message)
            return current if current.has_word(word) and (not button or current.button(button)) else None

        expected = f"a message with {word!r} in its first line" + (f" and the button {button!r}" if button else "")
        return await self.wait_for(expected, matching)

    async def expect_reply(self, message: BotMessage, *words: str) -> BotMessage:
        """Step: a reply to the message has all of `words`, in upper or lower case."""

        def matches(reply: BotMessage) -> bool:
            replied = reply.message.get("reply_to_message", {}).get("message_id")
            return replied == message.id and all(word.lower() in reply.text.lower() for word in words)

        return await self.wait_for(
            f"a reply to the message with {' and '.join(words)!r}",
            lambda: _first(self._bot_messages_after(0)[::-1], matches),
        )

    async def expect_answer(self, command: int, *words: str) -> BotMessage:
        """Step: a message of the bot after the message `command` has all of `words`."""
        return await self.wait_for(
            f"an answer with {' and '.join(words)!r}",
            lambda: _first(
                self._bot_messages_after(command), lambda message: all(word in message.text for word in words)
            ),
        )

    async def approve(self, payment_message: BotMessage) -> None:
        """Step: the customer opens the link, approves, and returns to Kvit's page."""
        await self._decide_in_wallet(payment_message, "authorize", "approves in MobilePay")

    async def decline(self, payment_message: BotMessage) -> None:
        """Step: the customer opens the link, declines, and returns to Kvit's page."""
        await self._decide_in_wallet(payment_message, "fail", "declines in MobilePay")

    async def advance_minutes(self, minutes: int) -> None:
        """Move the fake clock forward, for Stripe, Telegram and Kvit."""
        self._printer.print_action("", f"{minutes} minutes pass")
        await self._control(self._stack.services.stripe.base, "clock", {"advance": minutes * 60})

    async def wait_for(self, expected: str, find: Callable[[], T | None]) -> T:
        """Step: wait until `find` returns a value; raises StepFailed after `step_timeout`."""

        def print_and_find(_: FakeTelegram) -> T | None:
            self._printer.print_new()
            return find()

        try:
            found = await self._telegram.wait_until(print_and_find, self.step_timeout)
        except TimeoutError:
            raise self._step_failed(expected) from None
        self.steps += 1
        return found

    async def _decide_in_wallet(self, payment_message: BotMessage, decision: str, description: str) -> None:
        link = self._current(payment_message).link
        if not link:
            raise self._step_failed("a Pay or Reserve button under the message")
        self._printer.print_action(seed_users.CUSTOMER.name, f"opens the link and {description}")
        await self.submit_decision(link, decision)

    async def submit_decision(self, link: str, decision: str) -> None:
        """Step: the page at `link` opens, the wallet takes the decision, and the customer returns to Kvit's page."""
        async with self._http.get(link) as page:
            first_status = page.status
        if link.startswith(self._stack.service.base):  # Kvit's page redirects to the wallet
            async with self._http.post(link) as page:
                link = str(page.url)
        async with self._http.post(link, data={"answer": decision}) as page:
            returned = str(page.url).startswith(self._stack.service.base) and page.status == 200
        if first_status != 200 or not returned:
            raise self._step_failed(
                f"the wallet's page, then Kvit's page; got {first_status}, then {page.status} {page.url}"
            )
        self.steps += 1

    async def _control(self, base: str, path: str, body: Json) -> Json:
        async with self._http.post(f"{base}/_control/{path}", json=body) as response:
            result: Json = await response.json()
        if response.status != 200:
            raise self._step_failed(f"the control route {path} to succeed; it fails with: {result.get('error')}")
        return result

    def _messages(self) -> list[Json]:
        return list(self._telegram.state.chats[self._owner].messages.values())

    def _current(self, message: BotMessage) -> BotMessage:
        return BotMessage(self._telegram.state.chats[self._owner].messages.get(message.id, message.message))

    def _bot_messages_after(self, message_id: int) -> list[BotMessage]:
        own = self._telegram.state.chats[self._owner].bot_message_ids
        return [BotMessage(m) for m in self._messages() if m["message_id"] in own and m["message_id"] > message_id]

    def _step_failed(self, expected: str) -> StepFailed:
        self._printer.print_new()
        lines = [line for message in self._messages() for line in _chat_lines(message)]
        return StepFailed("\n".join([f"expected: {expected}", "the chat ends with:", *lines[-MAX_CHAT_LINES:]]))


def _is_payable(message: BotMessage) -> bool:
    copy, share = message.button("Copy link"), message.button("Share")
    return bool(message.link and copy and "copy_text" in copy and share and "url" in share)


def _first(messages: list[BotMessage], matches: Callable[[BotMessage], bool]) -> BotMessage | None:
    return next((message for message in messages if matches(message)), None)


def _chat_lines(message: Json) -> list[str]:
    author = message.get("from", {}).get("first_name", "?")
    labels = "".join(f" [{label}]" for label in buttons(message))
    return [f"  | {author}: {line}" for line in str(message.get("text", "(a file)")).splitlines()] + (
        [f"  |  {labels}"] if labels else []
    )
