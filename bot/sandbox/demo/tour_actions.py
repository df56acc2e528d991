"""The tour's hands and eyes: acts as people do, over HTTP, and waits until the chat shows what it has to show."""

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


class StepFailed(Exception):
    """A step of the tour did not come out; the text says what was expected and what there is instead."""


@dataclass(frozen=True)
class BotMessage:
    """A message of the bot as it stands at the moment."""

    message: Json

    @property
    def id(self) -> int:
        return int(self.message["message_id"])

    @property
    def reference(self) -> str:
        """The payment's, as it stands on the card."""
        found = re.search(r"#\w+", self.message["text"])
        return found[0] if found else "#?"

    @property
    def link(self) -> str:
        """Where the button to pay leads; empty without one."""
        return str((self.button("Pay") or self.button("Reserve") or {}).get("url", ""))

    def has_word(self, word: str) -> bool:
        """Whether `word` stands in the first line, however it is written."""
        return re.search(rf"\b{word}\b", self.message["text"].partition("\n")[0], re.IGNORECASE) is not None

    def button(self, label: str) -> Json | None:
        """The first button whose label begins like this."""
        return next((button for text, button in buttons(self.message).items() if text.startswith(label)), None)


class TourClient:
    """One run of the tour; `steps` counts what came out right. The owner writes in her private chat."""

    def __init__(self, market: DemoStack, http: aiohttp.ClientSession, say: WriteLine, patience: float) -> None:
        """`patience` is the real seconds after which a step has failed; it may change between steps."""
        self.steps = 0
        self.step_timeout = patience
        self._stack = market
        self._http = http
        self._printer = TranscriptPrinter(self._telegram, say)
        self._owner = seed_users.OWNER.id

    @property
    def _telegram(self) -> FakeTelegram:
        return self._stack.services.telegram

    async def request_payment(self, words: str) -> BotMessage:
        """Step: the owner asks for money and gets a card that can be paid and shared."""
        said = await self.send(words)
        return await self.wait_for(
            "a card that can be paid", lambda: _first(self._bot_messages_after(said), _is_payable)
        )

    async def send(self, words: str, *, reply_to: BotMessage | None = None) -> int:
        """Let the owner write, and return the message's id."""
        body = {"chat_id": self._owner, "from_id": self._owner, "text": words}
        if reply_to is not None:
            body["reply_to_message_id"] = reply_to.id
        return int((await self._control(self._telegram.base, "messages", body))["message_id"])

    async def press_button(self, card: BotMessage, label: str) -> None:
        """Step: the owner taps a button, and the tap is answered."""
        button = self._current(card).button(label)
        if button is None or "callback_data" not in button:
            raise self._step_failed(f"a button {label!r} to tap on the card")
        self._printer.print_action(seed_users.OWNER.name, f"taps {label}")
        body = {"message_id": card.id, "from_id": self._owner, "data": button["callback_data"]}
        query = (await self._control(self._telegram.base, "taps", body))["callback_query_id"]
        await self.wait_for(
            f"an answer to the tap on {label!r}", lambda: self._telegram.state.callback_queries[query].answer
        )

    async def expect_message(self, card: BotMessage, word: str, *, button: str = "") -> BotMessage:
        """Step: the card itself says `word` in its first line and, if one is named, has such a button."""

        def found() -> BotMessage | None:
            now = self._current(card)
            return now if now.has_word(word) and (not button or now.button(button)) else None

        return await self.wait_for(f"a card that says {word!r}" + (f" with {button!r} on it" if button else ""), found)

    async def expect_reply(self, card: BotMessage, *words: str) -> BotMessage:
        """Step: a reply to the card says all of these words."""

        def fits(message: BotMessage) -> bool:
            replied = message.message.get("reply_to_message", {}).get("message_id")
            return replied == card.id and all(word.lower() in message.message["text"].lower() for word in words)

        return await self.wait_for(f"a reply to the card with {' and '.join(words)!r}", lambda: self._newest(fits))

    async def expect_answer(self, said: int, *words: str) -> BotMessage:
        """Step: after the message `said` the bot writes something with all of these words."""

        def found() -> BotMessage | None:
            return _first(
                self._bot_messages_after(said), lambda card: all(word in card.message["text"] for word in words)
            )

        return await self.wait_for(f"an answer with {' and '.join(words)!r}", found)

    async def approve(self, card: BotMessage) -> None:
        """Step: the customer opens the link on the card, approves, and lands on Kvit's page."""
        await self._decide_in_wallet(card, "authorize", "approves in MobilePay")

    async def decline(self, card: BotMessage) -> None:
        """Step: the customer opens the link on the card, declines, and lands on Kvit's page."""
        await self._decide_in_wallet(card, "fail", "declines in MobilePay")

    async def advance_minutes(self, minutes: int) -> None:
        """Move the pretend time on, for everybody at once."""
        self._printer.print_action("", f"{minutes} minutes go by")
        await self._control(self._stack.services.stripe.base, "clock", {"advance": minutes * 60})

    async def wait_for(self, what: str, found: Callable[[], T | None]) -> T:
        """Step: wait until `found` says something; raises StepFailed if it never does."""

        def look(_: FakeTelegram) -> T | None:
            self._printer.print_new()
            return found()

        try:
            seen = await self._telegram.wait_until(look, self.step_timeout)
        except TimeoutError:
            raise self._step_failed(what) from None
        self.steps += 1
        return seen

    async def _decide_in_wallet(self, card: BotMessage, answer: str, words: str) -> None:
        link = self._current(card).link
        if not link:
            raise self._step_failed("a button to pay with on the card")
        self._printer.print_action(seed_users.CUSTOMER.name, f"opens the link and {words}")
        await self.submit_decision(link, answer)

    async def submit_decision(self, link: str, answer: str) -> None:
        """Step: the wallet's page is there, takes the answer, and leads to Kvit's own page."""
        async with self._http.get(link) as page:
            seen = page.status
        if link.startswith(self._stack.service.base):  # the page, which leads to the wallet
            async with self._http.post(link) as page:
                link = str(page.url)
        async with self._http.post(link, data={"answer": answer}) as page:
            landed = str(page.url).startswith(self._stack.service.base) and page.status == 200
        if seen != 200 or not landed:
            raise self._step_failed(
                f"the wallet's page, then Kvit's own; there was {seen}, then {page.status} {page.url}"
            )
        self.steps += 1

    async def _control(self, base: str, what: str, body: Json) -> Json:
        async with self._http.post(f"{base}/_control/{what}", json=body) as answer:
            said: Json = await answer.json()
        if answer.status != 200:
            raise self._step_failed(f"the pretend world to take {what}, which says: {said.get('error')}")
        return said

    def _messages(self) -> list[Json]:
        return list(self._telegram.state.chats[self._owner].messages.values())

    def _current(self, card: BotMessage) -> BotMessage:
        return BotMessage(self._telegram.state.chats[self._owner].messages.get(card.id, card.message))

    def _bot_messages_after(self, message_id: int) -> list[BotMessage]:
        mine = self._telegram.state.chats[self._owner].bot_message_ids
        return [BotMessage(m) for m in self._messages() if m["message_id"] in mine and m["message_id"] > message_id]

    def _newest(self, fits: Callable[[BotMessage], bool]) -> BotMessage | None:
        return _first(self._bot_messages_after(0)[::-1], fits)

    def _step_failed(self, expected: str) -> StepFailed:
        self._printer.print_new()
        lines = [line for message in self._messages() for line in _chat_lines(message)]
        return StepFailed("\n".join([f"expected: {expected}", "the chat ends with:", *lines[-MAX_CHAT_LINES:]]))


def _is_payable(card: BotMessage) -> bool:
    copy, share = card.button("Copy link"), card.button("Share")
    return bool(card.link and copy and "copy_text" in copy and share and "url" in share)


def _first(cards: list[BotMessage], fits: Callable[[BotMessage], bool]) -> BotMessage | None:
    return next((card for card in cards if fits(card)), None)


def _chat_lines(message: Json) -> list[str]:
    who = message.get("from", {}).get("first_name", "?")
    labels = "".join(f" [{label}]" for label in buttons(message))
    return [f"  | {who}: {line}" for line in str(message.get("text", "(a file)")).splitlines()] + (
        [f"  |  {labels}"] if labels else []
    )
