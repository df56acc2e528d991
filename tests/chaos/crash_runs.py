"""Plays scenarios with crashes and vendor faults, and asserts that the checker reports nothing.

`KVIT_STORM=full` crashes at every call of every scenario; `KVIT_SEED=N` repeats the random runs of that seed.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from tests.chaos.crash_world import VENDOR_TIMEOUT, CrashWorld, crash_world
from tests.chaos.scenarios import Scenario, play
from tests.chaos.stop_points import StopPoint
from tests.invariants.checker import given_up, repeats, violations

FULL = os.environ.get("KVIT_STORM") == "full"
MAX_PARALLEL_RUNS = 4
DEFAULT_SEED = 251_126
"""The same seed every time, so that a test result depends on the change under test and not on luck."""

SHORT_VENDOR_TIMEOUT = 1.0
"""Real seconds that Kvit waits for a vendor that does not respond on purpose."""

CREATE, CONFIRM = "POST /v1/payment_intents", "POST /v1/payment_intents/:id/confirm"
RETRIEVE, CANCEL = "GET /v1/payment_intents/:id", "POST /v1/payment_intents/:id/cancel"
REFUND, LIST_REFUNDS, CAPTURE = "POST /v1/refunds", "GET /v1/refunds", "POST /v1/payment_intents/:id/capture"
TELEGRAM = ("sendMessage", "editMessageText", "answerCallbackQuery", "getUpdates")
METHODS = {"stripe": (CREATE, CONFIRM, RETRIEVE, CANCEL), "telegram": TELEGRAM}
REFUND_METHODS = {
    "stripe": (REFUND, REFUND, LIST_REFUNDS, CAPTURE, CANCEL, RETRIEVE),
    "telegram": TELEGRAM[:3],
}
"""Without `getUpdates`: while it does not respond, in real seconds, a draft would expire on the test's clock."""

PAY_METHODS = {"stripe": (CREATE, RETRIEVE), "telegram": ("sendMessage", "editMessageText", "getUpdates")}
WEBHOOK_MODES: Sequence[dict[str, Any]] = ({}, {"double": True, "shuffle": True}, {"mode": "lose"}, {"mode": "hold"})
Methods = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Disruption:
    """What goes wrong in a run: where processes crash, vendor faults, and the mode of webhooks.

    A fault is vendor, method, number of the call, `before` or `after`, and kind.
    """

    crash_at: tuple[StopPoint, ...] = ()
    faults: tuple[tuple[str, str, int, str, str], ...] = ()
    webhooks: tuple[tuple[str, Any], ...] = ()

    async def apply(self, world: CrashWorld) -> None:
        """Configures the fake vendors."""
        for vendor, method, nth, when, how in self.faults:
            await world.control(vendor, "faults", {"method": method, "nth": nth, "when": when, "how": how})
        if self.webhooks:
            await world.control("stripe", "webhooks", dict(self.webhooks))

    @property
    def may_give_up(self) -> bool:
        """Whether the outcome of a message may be unknown twice, so that it is given up."""
        return len(self.crash_at) + len(self.faults) > 1

    @property
    def vendor_timeout(self) -> float:
        return SHORT_VENDOR_TIMEOUT if any(fault[-1] == "timeout" for fault in self.faults) else VENDOR_TIMEOUT


async def run(folder: Path, scenario: Scenario, disruption: Disruption) -> tuple[list[str], list[str], int]:
    """Plays a scenario with a disruption; returns violations, the calls of the first process, and repeated messages."""
    folder.mkdir()
    timeout = disruption.vendor_timeout
    async with crash_world(folder, crash_at=disruption.crash_at, vendor_timeout=timeout, **scenario.settings) as world:
        first = world.process
        await disruption.apply(world)
        try:
            await play(world, scenario)
        except (AssertionError, TimeoutError) as error:
            return [f"the scenario {scenario.name!r} got stuck: {error}"], first.calls, 0
        evidence = world.evidence()
        dead = [] if disruption.may_give_up else given_up(evidence)
        return [*violations(evidence), *(f"gave up {job}" for job in dead)], first.calls, repeats(evidence)


async def assert_invariants_hold(folder: Path, runs: Iterable[tuple[Scenario, Disruption]]) -> None:
    """Plays runs in parallel, each in a world of its own, and asserts that the checker reports nothing."""
    slots = asyncio.Semaphore(MAX_PARALLEL_RUNS)

    async def play_one(number: int, scenario: Scenario, disruption: Disruption) -> list[str]:
        async with slots:
            found, calls, _ = await run(folder / str(number), scenario, disruption)
        return [f"{scenario.name}, {disruption} (last call {calls[-1:]}): {line}" for line in found]

    results = await asyncio.gather(*(play_one(number, *each) for number, each in enumerate(runs)))
    found = [line for lines in results for line in lines]
    assert not found, "\n".join(found)


async def crash_at_any_call(folder: Path, scenario: Scenario, *, samples: int, late: bool = False) -> None:
    """Plays the scenario undisturbed, then with one crash at each call, or at so many `samples` of them.

    With `late` the samples are from the second half of the calls.
    """
    found, calls, repeated = await run(folder / "undisturbed", scenario, Disruption())
    assert (found, repeated) == ([], 0)
    points = [StopPoint(*point) for point in product(range(1, len(calls) + 1), ("before", "after"))]
    if not FULL:
        candidates = [point for point in points if not late or point.number > len(calls) // 2]
        points = random.Random(scenario.name).sample(candidates, samples)
    await assert_invariants_hold(folder, [(scenario, Disruption((point,))) for point in points])


async def play_random_runs(folder: Path, scenarios: Sequence[Scenario], methods: Methods, *, runs: int) -> None:
    """Plays so many random scenarios, each with one to four disruptions; the seed is printed."""
    seed = int(os.environ.get("KVIT_SEED") or (random.SystemRandom().randrange(10**6) if FULL else DEFAULT_SEED))
    print(f"KVIT_SEED={seed} repeats these runs")  # noqa: T201 - pytest shows it if one fails
    rng = random.Random(seed)
    chosen = [(rng.choice(scenarios), random_disruption(rng, 60, methods, rng.randint(1, 4))) for _ in range(runs)]
    modes = [tuple(rng.choice(WEBHOOK_MODES).items()) for _ in chosen]
    disrupted = [
        (scenario, Disruption(disruption.crash_at, disruption.faults, mode))
        for (scenario, disruption), mode in zip(chosen, modes, strict=True)
    ]
    await assert_invariants_hold(folder, disrupted)


def random_disruption(rng: random.Random, calls: int, methods: Methods, number: int, *, first: int = 1) -> Disruption:
    """So many disruptions, each a crash, from the `first` call on, or a vendor fault."""
    crash_at: list[StopPoint] = []
    faults: list[tuple[str, str, int, str, str]] = []
    for _ in range(number):
        when = rng.choice(("before", "after"))
        if rng.random() < 0.5:
            crash_at.append(StopPoint(rng.randint(first, calls), when))
        else:
            vendor = rng.choice(("stripe", "telegram"))
            how = rng.choice(("timeout", "drop", "429", "500"))
            when = "before" if how == "429" else when  # a vendor that answers 429 has executed nothing
            faults.append((vendor, rng.choice(methods[vendor]), rng.randint(1, 3), when, how))
    return Disruption(tuple(crash_at), tuple(faults))
