"""What befalls the real process by chance while a market is open, and the judgement once everything is quiet again."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from bot.sandbox.fake_telegram.transcript import LOST
from handlers.stripe_events.backfill import RUN_EVERY_N, WEBHOOK_GRACE
from tests.chaos.storm_judge import CANCEL, CAPTURE, CONFIRM, CREATE, LOOK, REFUND, REFUNDS
from tests.chaos.storm_people import Crowd
from tests.chaos.storm_world import RATE, RECONCILE_SECONDS, TortureWorld, torture_world
from tests.invariants.case_file import Case, File
from tests.invariants.checker import Evidence, given_up, repeats, violations

STRIPE = (CREATE, CONFIRM, LOOK, CANCEL, CAPTURE, REFUND, REFUNDS, "GET /v1/events")
TELEGRAM = ("sendMessage", "editMessageText", "answerCallbackQuery", "getUpdates")
HOWS = ("timeout", "drop", "429", "500")
FOUND_BY = WEBHOOK_GRACE + timedelta(seconds=(RUN_EVERY_N + 1) * RECONCILE_SECONDS)
"""So late an event is found whose webhook was lost."""

PACE = 0.12
"""Real seconds between two things that people do, on the average."""

RESTS = 10
"""So often it is tried to find a moment in which nothing is under way."""

PAST_ITS_LEASE = 6.5
"""Real seconds: two pretend minutes and a bit."""


@dataclass(frozen=True)
class Climate:
    """How often each kind of trouble comes, and how long it is in between, in real seconds."""

    name: str
    pause: float
    weights: dict[str, float]


CLIMATES = (
    Climate("massacre", 0.15, {"kill": 8, "aimed": 8, "webhooks": 1}),
    Climate("plagues", 0.25, {"kill": 2, "aimed": 3, "fault": 8, "webhooks": 2, "down": 0.5}),
    Climate("drought", 0.4, {"full": 3, "locked": 3, "kill": 1, "fault": 2, "webhooks": 1}),
    Climate("sleep", 0.5, {"sleep": 3, "nap": 3, "kill": 2, "fault": 2, "webhooks": 1}),
    Climate("everything", 0.2, dict.fromkeys(("kill", "aimed", "restart", "fault", "webhooks", "down", "full"), 1.0)
            | {"locked": 1.0, "nap": 1.0, "sleep": 0.3, "fault": 4.0, "kill": 3.0}),
)  # fmt: skip


@dataclass
class Report:
    """What came of one round."""

    seed: int
    climate: str
    settings: dict[str, str]
    payments: int = 0
    paid: int = 0
    refunds: int = 0
    kills: int = 0
    stops: int = 0
    standstills: int = 0
    troubles: dict[str, int] = field(default_factory=dict)
    repeats: int = 0
    unread: int = 0
    given_up: list[str] = field(default_factory=list)
    unrest: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    hung: bool = False
    not_judged: str = ""
    seconds: float = 0.0

    @property
    def wrong(self) -> list[str]:
        """All that may not be, in plain words."""
        return [*self.violations, *self.unrest, *(["it hung: it did not come to its end"] if self.hung else [])]


class Storm:
    """Troubles by chance; `counted` says how many of each."""

    def __init__(self, world: TortureWorld, chance: random.Random, climate: Climate) -> None:
        self._world, self._chance, self._climate = world, chance, climate
        self.counted: dict[str, int] = {}
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "kill": self._kill,
            "aimed": self._aimed,
            "restart": world.restart,
            "nap": lambda: world.stop_for(chance.uniform(0.1, 2)),
            "sleep": lambda: world.stop_for(PAST_ITS_LEASE + chance.random()),
            "fault": self._fault,
            "webhooks": self._webhooks,
            "down": self._down,
            "full": self._full,
            "locked": self._locked,
        }

    async def rage(self, over: asyncio.Event) -> None:
        """One trouble after the other, until it is over; a trouble that has begun then goes on to its end."""
        names, weights = [*self._climate.weights], [*self._climate.weights.values()]
        while not over.is_set():
            [name] = self._chance.choices(names, weights)
            self.counted[name] = self.counted.get(name, 0) + 1
            await self._kinds[name]()
            await asyncio.sleep(self._chance.expovariate(1 / self._climate.pause))

    async def _kill(self) -> None:
        cradles = [self._chance.uniform(0, 0.4) for _ in range(self._chance.choice((0, 0, 0, 1, 2)))]
        await self._world.kill(*cradles)

    async def _aimed(self) -> None:
        """Kill it some milliseconds after something has happened at a vendor."""
        watch = self._world.telegram.subscribe()
        try:
            async with asyncio.timeout(2):
                for _ in range(self._chance.randint(1, 4)):
                    await anext(watch)
        except TimeoutError:
            pass
        await asyncio.sleep(self._chance.uniform(0, 0.02))
        await self._world.kill()

    async def _fault(self) -> None:
        whose, method = self._chance.choice([("stripe", m) for m in STRIPE] + [("telegram", m) for m in TELEGRAM])
        how = self._chance.choice(HOWS)
        when = "before" if how == "429" else self._chance.choice(("before", "after"))
        order = {"method": method, "nth": self._chance.randint(1, 3), "when": when, "how": how}
        await self._world.control(whose, "faults", order | {"times": self._chance.choice((1, 1, 1, 3))})

    async def _webhooks(self) -> None:
        mode = self._chance.choice(("deliver", "deliver", "lose", "hold"))
        order = {"mode": mode, "double": self._chance.random() < 0.5, "shuffle": self._chance.random() < 0.5}
        await self._world.control("stripe", "webhooks", order)
        await self._world.control("stripe", "webhooks/release", {})

    async def _down(self) -> None:
        whose = self._chance.choice(("stripe", "telegram"))
        await self._world.control(whose, "down", {"down": True})
        await asyncio.sleep(self._chance.uniform(0.2, 2))
        await self._world.control(whose, "down", {"down": False})

    async def _full(self) -> None:
        async with self._world.full_disk():
            await asyncio.sleep(self._chance.uniform(0.1, 1.5))
            if self._chance.random() < 0.3:
                await self._world.kill()

    async def _locked(self) -> None:
        async with self._world.locked():
            await asyncio.sleep(self._chance.uniform(0.1, 1.5))


async def play(
    folder: Path,
    seed: int,
    *,
    payments: int,
    climate: Climate | None = None,
    pace: float = PACE,
    pages: bool = False,
    shown: Callable[[TortureWorld, Report], None] = lambda world, report: None,
) -> Report:
    """One round: a market of so many requests in a storm, then peace, and the checker's word on all of it.

    Whoever wants to look into it while it goes on is `shown` its world. Raises PortTaken if it cannot be judged.
    """
    chance = random.Random(seed)
    climate = climate or chance.choice(CLIMATES)
    settings = chance.choice(({}, {"REQUEST_HOURS": "0.2"}, {"REFUND_APPROVAL_ABOVE": "5000"}))
    report, began = Report(seed, climate.name, dict(settings)), time.monotonic()
    async with torture_world(folder, pages=pages, **settings) as world:
        shown(world, report)
        storm, crowd = Storm(world, chance, climate), Crowd(world, random.Random(seed + 1), payments)
        await _through(storm, crowd, pace)
        await world.heal()
        if chance.random() < 0.5:  # a new life reads Stripe's list of events at once, an old one only now and then
            await world.quiet(WEBHOOK_GRACE.total_seconds() + RECONCILE_SECONDS)
            await world.restart()
            report.unrest = await world.quiet()
        else:
            report.unrest = await world.quiet(FOUND_BY.total_seconds())
        report.troubles, report.payments = storm.counted, crowd.asked
        await _judge_at_rest(world, report)
        report.seconds = round(time.monotonic() - began, 1)
        if report.violations or report.unrest:
            keep(world, report)
    return report


async def _through(storm: Storm, crowd: Crowd, pace: float) -> None:
    """The market in the storm, until it closes."""
    over = asyncio.Event()

    async def market() -> None:
        await crowd.live(pace)
        await crowd.finish(pace, crowd.asked)
        over.set()

    raging = asyncio.create_task(storm.rage(over))
    trading = asyncio.create_task(market())
    try:
        await asyncio.gather(raging, trading)
    finally:
        for task in (raging, trading):
            task.cancel()
        await asyncio.gather(raging, trading, return_exceptions=True)


async def _judge_at_rest(world: TortureWorld, report: Report) -> None:
    """Judge it while it is stopped; a request whose time was over at this very moment is waited for."""
    for _ in range(RESTS):
        with world.still() as at_rest:
            if at_rest or report.unrest:
                _judge(world, report)
                return
        report.unrest = await world.quiet()
    report.unrest.append("it did not come to rest")


def _judge(world: TortureWorld, report: Report) -> None:
    evidence = world.evidence()
    report.violations = wrong(world)
    report.repeats, report.given_up = repeats(evidence), given_up(evidence)
    report.kills, report.stops, report.standstills = world.kills, len(world.sleeps), len(world.standstills)
    report.unread = sum(entry.fault == LOST for entry in evidence.transcript)
    intents = world.stripe.store.intents.values()
    report.paid = sum(intent["amount_received"] > 0 for intent in intents)
    report.refunds = len(world.stripe.store.refunds)


FRESHNESS = re.compile(r"12: the card of #(\w+) says (open|aging) at ([\d:.]+), which is not so")
LAST_ATTEMPT = re.compile(r"4: the attempts of #(\w+) are \[(.*)'canceled'\] in the book and \[(.*)'\w+'\] at Stripe")
NOT_TOLD = re.compile(r"11: nobody was told that #(\w+) was (failed|expired|reserved) at ([\d:.]+)")
DISPUTE_NOT_TOLD = re.compile(r"11: nobody was told that the dispute about #(\w+) is (\w+)")
GONE_ON = re.compile(r"11: \d+ refunds of (\d+) of #(\w+) were (pending|succeeded), and (\d+) are told")
WHOLE_SECONDS = timedelta(seconds=1)
"""Stripe tells when an intent was made in whole seconds, so its link is called old so much too early."""

ON_ITS_WAY_AT_MOST = timedelta(seconds=2 * RATE)
"""Two real seconds: so late a card may arrive that was true when it was made, while the machine does something else."""


def wrong(world: TortureWorld) -> list[str]:
    """What does not hold, and is not excused."""
    evidence = world.evidence()
    # References are a shop's own: where both shops drew the same one, the judge takes the two requests for one.
    twins = [f"#{ref}" for [ref] in world.rows("SELECT reference FROM payments GROUP BY reference HAVING count(*) > 1")]
    found = [line for line in violations(evidence) if not any(twin in line for twin in twins)]
    return [line for line in found if not is_excused(line, evidence, [*world.sleeps, *world.standstills])]


def is_excused(line: str, evidence: Evidence, sleeps: Sequence[tuple[datetime, datetime]]) -> bool:
    """Whether a judgement is about moments, which the fast clock makes long, and about nothing else.

    Those are:
    - how fresh a link was when a card arrived, also one whose sending was slept through;
    - what became of the last attempt in the moments before its request was canceled or its time was over;
    - how an attempt ended while Kvit was dead or asleep, if by the time it was back the next one or the end had come;
    - how a dispute or a refund stood that went on meanwhile.
    """
    file = File(evidence)
    cases = {case.row["reference"]: case for case in file.cases}
    if found := LAST_ATTEMPT.fullmatch(line):
        case = cases[found[1]]
        return found[2] == found[3] and (case.row["cancellation_reason"] == "expired" or _ended_as_wanted(case))
    if found := NOT_TOLD.fullmatch(line):
        case = cases[found[1]]
        [at] = [turn.at for turn in case.turns if turn.state == found[2] and f"{turn.at:%H:%M:%S.%f}" == found[3]]
        away = [*((death, death) for death in evidence.deaths), *sleeps]
        return _ended_as_wanted(case) or _gone_on_meanwhile(case, at, away)
    if found := DISPUTE_NOT_TOLD.fullmatch(line):
        case = cases[found[1]]
        last = case.disputes[-1].state
        return last != found[2] and bool(case.said("news", f"dispute_{last}"))
    if found := GONE_ON.fullmatch(line):
        stands = {move.id: move.state for move in cases[found[2]].moves if move.amount == int(found[1])}
        return [*stands.values()].count(found[3]) <= int(found[4])
    if (found := FRESHNESS.fullmatch(line)) is None:
        return False
    ref, state, time_of_day = found.groups()
    times = [c.said.at for c in cases[ref].said("card", state) if f"{c.said.at:%H:%M:%S.%f}" == time_of_day]
    if state == "open" and times and all(any(began <= at <= until for began, until in sleeps) for at in times):
        return True
    late = [at - turn.fresh_until for at in times for turn in cases[ref].turns if turn.attempt is not None]
    return any(by >= -WHOLE_SECONDS if state == "aging" else by <= ON_ITS_WAY_AT_MOST for by in late)


def _ended_as_wanted(case: Case) -> bool:
    """Whether a request was canceled by its people, who had said so before the customer reserved anything."""
    reserved = case.first("reserved")
    wanted = [act.at for act in case.acts if act.data.startswith("c:") or act.text.startswith("/cancel")]
    return case.row["cancellation_reason"] == "requested" and (reserved is None or min(wanted) < reserved)


def _gone_on_meanwhile(case: Case, at: datetime, away: Sequence[tuple[datetime, datetime]]) -> bool:
    """Whether another attempt began, or all ended, before Kvit, which was away, could tell how the last one went."""
    next_at = next((turn.at for turn in case.turns if turn.state in {"open", "canceled"} and turn.at > at), None)
    return next_at is not None and any(began <= next_at and at <= until for began, until in away)


def keep(world: TortureWorld, report: Report) -> None:
    """Write down beside the database what is needed to look into a round."""
    (world.folder / "report.json").write_text(json.dumps(asdict(report), indent=1))
    entries = [entry.as_json() for entry in world.telegram.transcript]
    (world.folder / "transcript.json").write_text(json.dumps(entries, indent=1, default=str))
    (world.folder / "ledger.json").write_text(json.dumps(world.stripe.store.as_json(), indent=1, default=str))
