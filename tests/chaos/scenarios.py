"""What a merchant and a customer do, played so that it comes to an end whatever crashes or fails meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.fake_telegram import TranscriptEntry
from tests.chaos.crash_world import CrashWorld
from tests.invariants.transcript import REFERENCE_LINE, REFERENCE_WITHIN
from tests.support.world import OWNER, PAY_LABELS, Json

PAUSE_AFTER_FAILURE = 130
"""Seconds after which the merchant goes on: by then every notification is sent."""

MAX_WAITS = 60
"""How often a user looks into the chat, some seconds apart, before the scenario counts as stuck."""

HEADLINES = {"decline": "Payment attempt failed", "lapse": "The link expired"}


class ScenarioStuck(AssertionError):
    """A user waited in vain."""


class MessageGivenUp(Exception):  # the scenario ends early, as intended
    """Kvit could not know whether a message arrived, sent it once more, and reported the rest to the owner."""


@dataclass(frozen=True)
class Scenario:
    """A `command` for money, then what the customer does with one link after the other, then perhaps `/cancel`.

    `final_headline` is what the payment message shows then, `after` what follows. `by` requests the money in `chat`.
    """

    name: str
    customer: tuple[str, ...]
    cancels: bool = False
    final_headline: str = "Paid"
    settings: dict[str, Any] = field(default_factory=dict)
    command: str = "/pay 149,50 Coffee"
    chat: int = OWNER
    by: int = OWNER
    after: Callable[[ScenarioRunner], Awaitable[None]] | None = None


PAID = Scenario("paid", ("approve",))
SCENARIOS = (
    PAID,
    Scenario("failed, then paid", ("decline", "approve")),
    Scenario("expired, then paid", ("lapse", "approve")),
    Scenario("canceled", (), cancels=True, final_headline="Cancelled"),
    Scenario("ended by time", ("lapse",), final_headline="Request closed", settings={"request_hours": 0.12}),
)


async def play(world: CrashWorld, scenario: Scenario, *, max_waits: int = MAX_WAITS) -> None:
    """Plays a scenario and waits until all is quiet; the service is restarted after each crash.

    Raises:
        ScenarioStuck: a user waited in vain.
    """
    runner = ScenarioRunner(world, max_waits, scenario.chat, scenario.by)
    await run_beside(world.restart_after_crashes(), _play(runner, scenario))


async def run_beside(background: Coroutine[Any, Any, None], main: Coroutine[Any, Any, None]) -> None:
    """Runs both until `main` ends or either fails."""
    tasks = [asyncio.ensure_future(background), asyncio.ensure_future(main)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _play(runner: ScenarioRunner, scenario: Scenario) -> None:
    with suppress(MessageGivenUp):
        await _act(runner, scenario)
    await runner.world.wait_until_quiet()


async def _act(runner: ScenarioRunner, scenario: Scenario) -> None:
    runner.send(scenario.command)
    for action in scenario.customer:
        await runner.wait_for_link()
        await runner.decide(action, HEADLINES.get(action, scenario.final_headline))
    if scenario.cancels:
        await runner.wait_for_link()
        await runner.cancel()
    await runner.wait_for_headline(scenario.final_headline)
    if scenario.after is not None:
        await scenario.after(runner)


@dataclass(frozen=True)
class ScenarioRunner:
    """Acts as the users of one chat, who know only the chat and the links."""

    world: CrashWorld
    max_waits: int
    chat: int = OWNER
    by: int = OWNER

    def send(self, text: str, *, by: int | None = None, reply_to: int | None = None) -> int:
        """Sends a message to the bot; returns the message id."""
        return self.world.say(text, by=by or self.by, chat=self.chat, reply_to=reply_to)

    def press(self, message: Json, label: str, *, by: int | None = None) -> str:
        """Presses the button whose label begins so; returns the query id."""
        button = _button(message, label) or {}
        return self.world.telegram.press_button(
            message["message_id"], by or self.by, button["callback_data"], self.chat
        )

    async def wait_for_link(self) -> None:
        """Waits for a link that can be paid, and requests a new one when it is offered."""
        for _ in range(self.max_waits):
            await self._wait_until_idle()
            message = self.payment_message or {}
            if _button(message, *PAY_LABELS) and self._has_open_attempt:
                return
            if _button(message, "New link"):
                self.press(message, "New link")
                await self.world.wait_until_idle()
                if _button(self.payment_message or {}, *PAY_LABELS):
                    continue
            await self.world.pass_time(10)
        raise ScenarioStuck(f"there is no link: {self.payment_message}")

    async def decide(self, action: str, headline: str) -> None:
        """The customer uses the link or lets it expire; the merchant sees the headline and pauses after a failure."""
        if action == "lapse":
            await self.world.pass_time(300)
        else:
            await self.world.decide(action)
        await self.wait_for_headline(headline)
        if action != "approve":
            await self.world.pass_time(PAUSE_AFTER_FAILURE)

    async def cancel(self) -> None:
        """Replies /cancel to the payment message, and names the reference if Kvit asks for it."""
        message = self.payment_message or {}
        command = self.send("/cancel", reply_to=message["message_id"])
        answers: list[str] = []
        for _ in range(self.max_waits):
            await self._wait_until_idle()
            if answers := [entry.params["text"] for entry in self.world.sent() if _is_reply(entry, command)]:
                break
            await self.world.pass_time(10)
        if any("Which payment?" in answer for answer in answers):
            self.send(f"/cancel {REFERENCE_WITHIN.findall(message['text'])[0]}")

    async def wait_for_headline(self, headline: str, within: str = "") -> None:
        """Waits until the first line of the payment message contains the headline and the rest contains `within`."""
        for _ in range(self.max_waits):
            await self._wait_until_idle()
            first, _, rest = self.text.partition("\n")
            if headline in first and within in rest:
                return
            await self.world.pass_time(20)
        raise ScenarioStuck(f"the payment message does not show {headline!r}: {self.payment_message}")

    async def wait_for_message(self, text: str, *, since: int = 0) -> Json:
        """Waits for the newest message of the bot after `since` that contains the text and has a button."""
        for _ in range(self.max_waits):
            await self._wait_until_idle()
            newer = [message for message in self.messages if message["message_id"] > since]
            if found := [message for message in newer if text in message["text"] and _rows(message)]:
                return found[-1]
            await self.world.pass_time(10)
        raise ScenarioStuck(f"no message contains {text!r}")

    async def _wait_until_idle(self) -> None:
        await self.world.wait_until_idle()
        alerts = self.world.sent("could not finish a task (sending messages)")
        kinds = ("payment_message", "message")
        if any(f"({kind}) in the log" in alert.params["text"] for alert in alerts for kind in kinds):
            raise MessageGivenUp

    @property
    def messages(self) -> list[Json]:
        """The bot's messages in the chat as they are now."""
        chat = self.world.telegram.state.chats[self.chat]
        return [message for number, message in chat.messages.items() if number in chat.bot_message_ids]

    @property
    def payment_message(self) -> Json | None:
        """The newest payment message in the chat."""
        found = [message for message in self.messages if REFERENCE_LINE.search(message["text"])]
        return found[-1] if found else None

    @property
    def text(self) -> str:
        """The text of the newest payment message, with plain spaces."""
        return str(self.payment_message["text"]).replace("\u00a0", " ") if self.payment_message else ""

    @property
    def reference(self) -> str:
        """The reference in the newest payment message."""
        return str(REFERENCE_LINE.findall(self.text)[0])

    @property
    def _has_open_attempt(self) -> bool:
        """Whether the link of the newest intent can still be used."""
        intents = list(self.world.stripe.store.intents)
        return bool(intents) and self.world.stripe.store.open_attempt(intents[-1]) is not None


def _is_reply(entry: TranscriptEntry, message_id: int) -> bool:
    return isinstance(entry.result, dict) and entry.result.get("reply_to_message", {}).get("message_id") == message_id


def _rows(message: Json) -> list[list[Json]]:
    rows: list[list[Json]] = message.get("reply_markup", {}).get("inline_keyboard", [])
    return rows


def _button(message: Json, *labels: str) -> Json | None:
    return next((button for row in _rows(message) for button in row if button["text"].startswith(labels)), None)
