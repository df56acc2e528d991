"""What a merchant and a customer do, told so that it comes to its end whatever dies or breaks meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.fake_telegram import TranscriptEntry
from tests.chaos.crash_world import MortalWorld
from tests.invariants.transcript import REF_LINE, REF_WITHIN
from tests.support.world import OWNER, PAY_LABELS, Json

HESITATION = 130
"""Seconds after which a merchant goes on: by then everything is told."""

PATIENCE = 60
"""So often somebody looks at the chat, some seconds apart, until he stops waiting."""


SHOWN = {"decline": "Payment attempt failed", "expire": "The link expired"}


class Stuck(AssertionError):
    """The story does not go on."""


GIVEN_UP_KINDS = ("payment_message", "message")
"""Kinds of jobs without which a story cannot go on."""


class GivenUp(Exception):  # the story ends early, and rightly so
    """Kvit could not tell whether a card arrived, sent it once more, and left the rest to its owner."""


@dataclass(frozen=True)
class Story:
    """A command for money, then what the customer does with one link after the other, then perhaps `/cancel`.

    `ends` is what the card says then, `after` what happens with the money, `by` who asked for it in which `chat`.
    """

    name: str
    customer: tuple[str, ...]
    cancels: bool = False
    ends: str = "Paid"
    settings: dict[str, Any] = field(default_factory=dict)
    command: str = "/pay 149,50 Coffee"
    chat: int = OWNER
    by: int = OWNER
    after: Callable[[Stage], Awaitable[None]] | None = None


PAID = Story("paid", ("approve",))
STORIES = (
    PAID,
    Story("failed, then paid", ("decline", "approve")),
    Story("lapsed, then paid", ("expire", "approve")),
    Story("canceled", (), cancels=True, ends="Cancelled"),
    Story("ended by time", ("expire",), ends="Request closed", settings={"request_hours": 0.12}),
)


async def tell(world: MortalWorld, story: Story, *, patience: int = PATIENCE) -> None:
    """Play the story to its end, while the service is raised again each time it dies, and until all is quiet.

    Raises:
        Stuck: somebody waited in vain.
    """
    await beside(world.keep_alive(), _play(Stage(world, patience, story.chat, story.by), story))


async def beside(keeper: Any, play: Awaitable[None]) -> None:
    """Run both; the play's end is the end, and so is a failure of the keeper."""
    tasks = [asyncio.ensure_future(keeper), asyncio.ensure_future(play)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _play(stage: Stage, story: Story) -> None:
    with suppress(GivenUp):
        await _act(stage, story)
    await stage.world.quiet()


async def _act(stage: Stage, story: Story) -> None:
    stage.say(story.command)
    for what in story.customer:
        await stage.link()
        await stage.decide(what, SHOWN.get(what, story.ends))
    if story.cancels:
        await stage.link()
        await stage.cancel()
    await stage.shows(story.ends)
    if story.after is not None:
        await story.after(stage)


@dataclass(frozen=True)
class Stage:
    """Where the story is played; its people see the chat and the links, and nothing else."""

    world: MortalWorld
    patience: int
    chat: int = OWNER
    by: int = OWNER

    def say(self, text: str, *, by: int | None = None, reply_to: int | None = None) -> int:
        """Somebody writes into the chat; returns the message's id."""
        return self.world.say(text, by=by or self.by, chat=self.chat, reply_to=reply_to)

    def tap(self, message: Json, label: str, *, by: int | None = None) -> str:
        """Somebody presses the button that begins so; returns the query's id."""
        wanted = _button(message, label) or {}
        return self.world.telegram.press_button(
            message["message_id"], by or self.by, wanted["callback_data"], self.chat
        )

    async def link(self) -> None:
        """The merchant sees to it that there is a link that can be paid."""
        for _ in range(self.patience):
            await self._rest()
            card = self.card or {}
            if _button(card, *PAY_LABELS) and self._is_open:
                return
            if _button(card, "New link"):
                self.tap(card, "New link")
                await self.world.rest()
                if _button(self.card or {}, *PAY_LABELS):
                    continue
            await self.world.pass_time(10)
        raise Stuck(f"there is no link: {self.card}")

    async def decide(self, what: str, shown: str) -> None:
        """The customer does something with the link, or nothing; the merchant sees it, and takes his time."""
        if what == "expire":
            await self.world.pass_time(300)
        else:
            await self.world.decide(what)
        await self.shows(shown)
        if what != "approve":
            await self.world.pass_time(HESITATION)

    async def cancel(self) -> None:
        """The merchant replies to the card; if that is a card too many, he names the reference when he is asked to."""
        card = self.card or {}
        said = self.say("/cancel", reply_to=card["message_id"])
        answers: list[str] = []
        for _ in range(self.patience):
            await self._rest()
            if answers := [entry.params["text"] for entry in self.world.sent() if _answers(entry, said)]:
                break
            await self.world.pass_time(10)
        if any("Which payment?" in answer for answer in answers):
            self.say(f"/cancel {REF_WITHIN.findall(card['text'])[0]}")

    async def shows(self, head: str, within: str = "") -> None:
        """The card's first line says so, and another one says what is `within`."""
        for _ in range(self.patience):
            await self._rest()
            first, _, more = self.text.partition("\n")
            if head in first and within in more:
                return
            await self.world.pass_time(20)
        raise Stuck(f"the card does not say {head!r}: {self.card}")

    async def message(self, words: str, *, since: int = 0) -> Json:
        """The newest message of the bot, posted after `since`, that says so and has a button."""
        for _ in range(self.patience):
            await self._rest()
            if found := [m for m in self.messages if m["message_id"] > since and words in m["text"] and _rows(m)]:
                return found[-1]
            await self.world.pass_time(10)
        raise Stuck(f"nobody says {words!r}")

    async def _rest(self) -> None:
        await self.world.rest()
        alerts = self.world.sent("could not finish a task (sending messages)")
        if any(f"({kind}) in the log" in alert.params["text"] for alert in alerts for kind in GIVEN_UP_KINDS):
            raise GivenUp

    @property
    def messages(self) -> list[Json]:
        """What the bot said in the chat, as it stands now."""
        chat = self.world.telegram.state.chats[self.chat]
        return [message for number, message in chat.messages.items() if number in chat.bot_message_ids]

    @property
    def card(self) -> Json | None:
        """The newest card in the chat."""
        cards = [message for message in self.messages if REF_LINE.search(message["text"])]
        return cards[-1] if cards else None

    @property
    def text(self) -> str:
        """What the newest card says, with plain spaces."""
        return str(self.card["text"]).replace("\u00a0", " ") if self.card else ""

    @property
    def ref(self) -> str:
        """The reference on the card."""
        return str(REF_LINE.findall(self.text)[0])

    @property
    def _is_open(self) -> bool:
        """Whether the customer, who opens the newest link, can still use it."""
        intents = list(self.world.stripe.store.intents)
        return bool(intents) and self.world.stripe.store.open_attempt(intents[-1]) is not None


def _answers(entry: TranscriptEntry, said: int) -> bool:
    return isinstance(entry.result, dict) and entry.result.get("reply_to_message", {}).get("message_id") == said


def _rows(message: Json) -> list[list[Json]]:
    rows: list[list[Json]] = message.get("reply_markup", {}).get("inline_keyboard", [])
    return rows


def _button(message: Json, *labels: str) -> Json | None:
    return next((button for row in _rows(message) for button in row if button["text"].startswith(labels)), None)
