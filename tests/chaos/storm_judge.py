"""Plays a story while things go wrong, and has the checker judge what came of it.

`KVIT_TORTURE=full` tries every call of every story; `KVIT_SEED=N` plays the random runs of that seed again.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from tests.chaos.crash_world import PATIENCE, MortalWorld, mortal
from tests.chaos.stop_points import Moment
from tests.chaos.stories import Story, tell
from tests.invariants.checker import given_up, repeats, violations

FULL = os.environ.get("KVIT_TORTURE") == "full"
AT_ONCE = 4
EVERY_DAY = 251_126
"""The seed where nobody asks for another: a change is to be judged by itself, not by luck."""

SILENCE = 1.0
"""Real seconds after which Kvit gives a silent vendor up."""

CREATE, CONFIRM = "POST /v1/payment_intents", "POST /v1/payment_intents/:id/confirm"
LOOK, CANCEL = "GET /v1/payment_intents/:id", "POST /v1/payment_intents/:id/cancel"
REFUND, REFUNDS, CAPTURE = "POST /v1/refunds", "GET /v1/refunds", "POST /v1/payment_intents/:id/capture"
TELEGRAM = ("sendMessage", "editMessageText", "answerCallbackQuery", "getUpdates")
METHODS = {"stripe": (CREATE, CONFIRM, LOOK, CANCEL), "telegram": TELEGRAM}
OUT = {"stripe": (REFUND, REFUND, REFUNDS, CAPTURE, CANCEL, LOOK), "telegram": TELEGRAM[:3]}
"""Where money goes out; not `getUpdates`: while it is silent in real seconds, a draft's time is over in ours."""

ON_PAY = {"stripe": (CREATE, LOOK), "telegram": ("sendMessage", "editMessageText", "getUpdates")}
WEBHOOKS: Sequence[dict[str, Any]] = ({}, {"double": True, "shuffle": True}, {"mode": "lose"}, {"mode": "hold"})
Methods = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Trouble:
    """What goes wrong in a run: the `ends` of its lives, faults ordered of the vendors, and what webhooks do."""

    ends: tuple[Moment, ...] = ()
    faults: tuple[tuple[str, str, int, str, str], ...] = ()
    webhooks: tuple[tuple[str, Any], ...] = ()

    async def befall(self, world: MortalWorld) -> None:
        """Order it."""
        for whose, method, nth, when, how in self.faults:
            await world.control(whose, "faults", {"method": method, "nth": nth, "when": when, "how": how})
        if self.webhooks:
            await world.control("stripe", "webhooks", dict(self.webhooks))

    @property
    def is_twofold(self) -> bool:
        """Whether a message may be in doubt for the second time, and left to a human."""
        return len(self.ends) + len(self.faults) > 1

    @property
    def patience(self) -> float:
        return SILENCE if any(fault[-1] == "timeout" for fault in self.faults) else PATIENCE


async def run(folder: Path, story: Story, trouble: Trouble) -> tuple[list[str], list[str], int]:
    """Play a story with its trouble; returns what does not hold, the calls of the first life, and the repeats."""
    folder.mkdir()
    async with mortal(folder, ends=trouble.ends, patience=trouble.patience, **story.settings) as world:
        life = world.fate
        await trouble.befall(world)
        try:
            await tell(world, story)
        except (AssertionError, TimeoutError) as stuck:
            return [f"the story {story.name!r} got stuck: {stuck}"], life.calls, 0
        evidence = world.evidence()
        lost = [] if trouble.is_twofold else [f"for one trouble it gave up {what}" for what in given_up(evidence)]
        return [*violations(evidence), *lost], life.calls, repeats(evidence)


async def survives(folder: Path, runs: Iterable[tuple[Story, Trouble]]) -> None:
    """Some runs side by side, each in a world of its own."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, story: Story, trouble: Trouble) -> list[str]:
        async with turns:
            wrong, calls, _ = await run(folder / str(number), story, trouble)
        return [f"{story.name}, {trouble} (last call {calls[-1:]}): {line}" for line in wrong]

    found: list[Awaitable[list[str]]] = [one(number, *each) for number, each in enumerate(runs)]
    wrong = [line for lines in await asyncio.gather(*found) for line in lines]
    assert not wrong, "\n".join(wrong)


async def die_anywhere(folder: Path, story: Story, *, places: int, late: bool = False) -> None:
    """Play the story well, and then with one death at each of its calls, or at so many of them, `late` ones only."""
    wrong, calls, repeated = await run(folder / "clean", story, Trouble())
    assert (wrong, repeated) == ([], 0)
    moments = [Moment(*place) for place in product(range(1, len(calls) + 1), ("before", "after"))]
    if not FULL:
        chosen = [moment for moment in moments if not late or moment.number > len(calls) // 2]
        moments = random.Random(story.name).sample(chosen, places)
    await survives(folder, [(story, Trouble((moment,))) for moment in moments])


async def play_by_chance(folder: Path, stories: Sequence[Story], methods: Methods, *, runs: int) -> None:
    """So many runs, each of some story with one to four troubles; the seed is told where one fails."""
    seed = int(os.environ.get("KVIT_SEED") or (random.SystemRandom().randrange(10**6) if FULL else EVERY_DAY))
    print(f"KVIT_SEED={seed} plays these runs again")  # noqa: T201 - pytest shows it where one fails
    chance = random.Random(seed)
    chosen = [(chance.choice(stories), together(chance, 60, methods, chance.randint(1, 4))) for _ in range(runs)]
    webhooks = [tuple(chance.choice(WEBHOOKS).items()) for _ in chosen]
    await survives(folder, [(s, Trouble(t.ends, t.faults, w)) for (s, t), w in zip(chosen, webhooks, strict=True)])


def together(chance: random.Random, calls: int, methods: Methods, number: int, *, first: int = 1) -> Trouble:
    """So many troubles, each a death, from the `first` call on, or a fault of a vendor."""
    ends: list[Moment] = []
    faults: list[tuple[str, str, int, str, str]] = []
    for _ in range(number):
        when = chance.choice(("before", "after"))
        if chance.random() < 0.5:
            ends.append(Moment(chance.randint(first, calls), when))
        else:
            whose = chance.choice(("stripe", "telegram"))
            how = chance.choice(("timeout", "drop", "429", "500"))
            when = "before" if how == "429" else when  # a vendor who is too busy has done nothing
            faults.append((whose, chance.choice(methods[whose]), chance.randint(1, 3), when, how))
    return Trouble(tuple(ends), tuple(faults))
