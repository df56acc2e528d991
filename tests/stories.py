"""What a merchant and a customer do, told so that it comes to its end whatever dies or breaks meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.fake_telegram import Entry
from tests.checker_chat import REF_LINE, REF_WITHIN
from tests.mortal_world import MortalWorld
from tests.world import OWNER, Json

HESITATION = 130
"""Seconds after which a merchant goes on: by then everything is told."""

PATIENCE = 60
"""So often somebody looks at the chat, some seconds apart, until he stops waiting."""


SHOWN = {"approve": "Paid", "decline": "That attempt failed", "lapse": "The link expired"}


class Stuck(AssertionError):
    """The story does not go on."""


class GivenUp(Exception):  # the story ends early, and rightly so
    """Kvit could not tell whether a card arrived, sent it once more, and left the rest to its owner."""


@dataclass(frozen=True)
class Story:
    """`/pay`, then what the customer does with one link after the other, then perhaps `/cancel`."""

    name: str
    customer: tuple[str, ...]
    cancels: bool = False
    ends: str = "Paid"
    settings: dict[str, Any] = field(default_factory=dict)


PAID = Story("paid", ("approve",))
STORIES = (
    PAID,
    Story("failed, then paid", ("decline", "approve")),
    Story("lapsed, then paid", ("lapse", "approve")),
    Story("canceled", (), cancels=True, ends="Canceled"),
    Story("ended by time", ("lapse",), ends="The request has ended", settings={"request_hours": 0.12}),
)


async def tell(world: MortalWorld, story: Story, *, patience: int = PATIENCE) -> None:
    """Play the story to its end, while the service is raised again each time it dies, and until all is quiet.

    Raises:
        Stuck: somebody waited in vain.
    """
    await _beside(world.keep_alive(), _play(Stage(world, patience), story))


async def _beside(keeper: Any, play: Awaitable[None]) -> None:
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
    stage.world.say("/pay 149,50 Coffee")
    for what in story.customer:
        await stage.link()
        await stage.decide(what)
    if story.cancels:
        await stage.link()
        await stage.cancel()
    await stage.shows(story.ends)


@dataclass(frozen=True)
class Stage:
    """Where the story is played; its people see the chat and the links, and nothing else."""

    world: MortalWorld
    patience: int

    async def link(self) -> None:
        """The merchant sees to it that there is a link that can be paid."""
        for _ in range(self.patience):
            await self._rest()
            card = self.card or {}
            if _button(card, "Pay") and self._is_open:
                return
            if tap := _button(card, "New link"):
                self.world.telegram.tap(card["message_id"], OWNER, tap["callback_data"], OWNER)
                await self.world.rest()
                if _button(self.card or {}, "Pay"):
                    continue
            await self.world.pass_time(10)
        raise Stuck(f"there is no link: {self.card}")

    async def decide(self, what: str) -> None:
        """The customer does something with the link, or nothing; the merchant sees it, and takes his time."""
        if what == "lapse":
            await self.world.pass_time(300)
        else:
            await self.world.decide(what)
        await self.shows(SHOWN[what])
        if what != "approve":
            await self.world.pass_time(HESITATION)

    async def cancel(self) -> None:
        """The merchant replies to the card; if that is a card too many, he names the reference when he is asked to."""
        card = self.card or {}
        said = self.world.say("/cancel", reply_to=card["message_id"])
        answers: list[str] = []
        for _ in range(self.patience):
            await self._rest()
            if answers := [entry.params["text"] for entry in self.world.sent() if _answers(entry, said)]:
                break
            await self.world.pass_time(10)
        if any("Which payment?" in answer for answer in answers):
            self.world.say(f"/cancel {REF_WITHIN.findall(card['text'])[0]}")

    async def shows(self, head: str) -> None:
        """The card says so."""
        for _ in range(self.patience):
            await self._rest()
            if self.card and head in self.card["text"].partition("\n")[0]:
                return
            await self.world.pass_time(20)
        raise Stuck(f"the card does not say {head!r}: {self.card}")

    async def _rest(self) -> None:
        await self.world.rest()
        if self.world.sent("could not finish something (outbox, card)"):
            raise GivenUp

    @property
    def card(self) -> Json | None:
        """The newest card in the chat."""
        chat = self.world.telegram.world.chats[OWNER]
        mine = [message for number, message in chat.messages.items() if number in chat.mine]
        cards = [message for message in mine if REF_LINE.search(message["text"])]
        return cards[-1] if cards else None

    @property
    def _is_open(self) -> bool:
        """Whether the customer, who opens the newest link, can still use it."""
        intents = list(self.world.stripe.ledger.intents)
        return bool(intents) and self.world.stripe.ledger.open_attempt(intents[-1]) is not None


def _answers(entry: Entry, said: int) -> bool:
    return isinstance(entry.result, dict) and entry.result.get("reply_to_message", {}).get("message_id") == said


def _button(message: Json, label: str) -> Json | None:
    rows: list[list[Json]] = message.get("reply_markup", {}).get("inline_keyboard", [])
    return next((button for row in rows for button in row if button["text"].startswith(label)), None)
