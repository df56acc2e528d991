"""Storms: random faults of the real process and its vendors while users act, judged by the checker afterwards."""

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
from tests.chaos.crash_runs import CANCEL, CAPTURE, CONFIRM, CREATE, LIST_REFUNDS, REFUND, RETRIEVE
from tests.chaos.storm_people import RandomPeople
from tests.chaos.storm_world import RATE, RECONCILE_SECONDS, StormWorld, storm_world
from tests.invariants.case_file import CaseFile, PaymentCase
from tests.invariants.checker import Evidence, given_up, repeats, violations

STRIPE = (CREATE, CONFIRM, RETRIEVE, CANCEL, CAPTURE, REFUND, LIST_REFUNDS, "GET /v1/events")
TELEGRAM = ("sendMessage", "editMessageText", "answerCallbackQuery", "getUpdates")
FAULT_KINDS = ("timeout", "drop", "429", "500")
BACKFILL_WITHIN = WEBHOOK_GRACE + timedelta(seconds=(RUN_EVERY_N + 1) * RECONCILE_SECONDS)
"""The time within which an event is found whose webhook was lost."""

PACE = 0.12
"""Mean real seconds between two actions of users."""

MAX_CHECK_ATTEMPTS = 10
"""How often a moment without pending work is waited for."""

LONGER_THAN_LEASE = 6.5
"""Real seconds: a little more than two simulated minutes."""


@dataclass(frozen=True)
class FaultProfile:
    """How often each kind of fault occurs, and the mean pause between faults in real seconds."""

    name: str
    pause: float
    weights: dict[str, float]


PROFILES = (
    FaultProfile("kills", 0.15, {"kill": 8, "kill-after-change": 8, "webhooks": 1}),
    FaultProfile(
        "vendors", 0.25, {"kill": 2, "kill-after-change": 3, "vendor-fault": 8, "webhooks": 2, "vendor-down": 0.5}
    ),
    FaultProfile("database", 0.4, {"full-disk": 3, "locked-database": 3, "kill": 1, "vendor-fault": 2, "webhooks": 1}),
    FaultProfile(
        "suspensions", 0.5, {"long-suspension": 3, "suspension": 3, "kill": 2, "vendor-fault": 2, "webhooks": 1}
    ),
    FaultProfile(
        "everything",
        0.2,
        {
            "kill": 3,
            "kill-after-change": 1,
            "restart": 1,
            "vendor-fault": 4,
            "webhooks": 1,
            "vendor-down": 1,
            "full-disk": 1,
            "locked-database": 1,
            "suspension": 1,
            "long-suspension": 0.3,
        },
    ),
)


@dataclass
class Report:
    """The result of one round."""

    seed: int
    profile: str
    settings: dict[str, str]
    payments: int = 0
    paid: int = 0
    refunds: int = 0
    kills: int = 0
    stops: int = 0
    standstills: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    repeats: int = 0
    unread: int = 0
    given_up: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    hung: bool = False
    not_judged: str = ""
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        """Everything for which the round fails."""
        return [*self.violations, *self.unfinished, *(["the round hung"] if self.hung else [])]


class Storm:
    """Random faults; `counts` is the number of each kind."""

    def __init__(self, world: StormWorld, rng: random.Random, profile: FaultProfile) -> None:
        self._world, self._rng, self._profile = world, rng, profile
        self.counts: dict[str, int] = {}
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "kill": self._kill,
            "kill-after-change": self._kill_after_change,
            "restart": world.restart,
            "suspension": lambda: world.suspend(rng.uniform(0.1, 2)),
            "long-suspension": lambda: world.suspend(LONGER_THAN_LEASE + rng.random()),
            "vendor-fault": self._vendor_fault,
            "webhooks": self._webhooks,
            "vendor-down": self._vendor_down,
            "full-disk": self._full_disk,
            "locked-database": self._locked_database,
        }

    async def run(self, over: asyncio.Event) -> None:
        """Causes one fault after another until `over`; the last one is finished then."""
        names, weights = [*self._profile.weights], [*self._profile.weights.values()]
        while not over.is_set():
            [name] = self._rng.choices(names, weights)
            self.counts[name] = self.counts.get(name, 0) + 1
            await self._kinds[name]()
            await asyncio.sleep(self._rng.expovariate(1 / self._profile.pause))

    async def _kill(self) -> None:
        during_start = [self._rng.uniform(0, 0.4) for _ in range(self._rng.choice((0, 0, 0, 1, 2)))]
        await self._world.kill(*during_start)

    async def _kill_after_change(self) -> None:
        """Kills the process some milliseconds after a change at a vendor."""
        changes = self._world.telegram.subscribe()
        try:
            async with asyncio.timeout(2):
                for _ in range(self._rng.randint(1, 4)):
                    await anext(changes)
        except TimeoutError:
            pass
        await asyncio.sleep(self._rng.uniform(0, 0.02))
        await self._world.kill()

    async def _vendor_fault(self) -> None:
        vendor, method = self._rng.choice([("stripe", m) for m in STRIPE] + [("telegram", m) for m in TELEGRAM])
        how = self._rng.choice(FAULT_KINDS)
        when = "before" if how == "429" else self._rng.choice(("before", "after"))
        fault = {"method": method, "nth": self._rng.randint(1, 3), "when": when, "how": how}
        await self._world.control(vendor, "faults", fault | {"times": self._rng.choice((1, 1, 1, 3))})

    async def _webhooks(self) -> None:
        mode = self._rng.choice(("deliver", "deliver", "lose", "hold"))
        behaviour = {"mode": mode, "double": self._rng.random() < 0.5, "shuffle": self._rng.random() < 0.5}
        await self._world.control("stripe", "webhooks", behaviour)
        await self._world.control("stripe", "webhooks/release", {})

    async def _vendor_down(self) -> None:
        vendor = self._rng.choice(("stripe", "telegram"))
        await self._world.control(vendor, "down", {"down": True})
        await asyncio.sleep(self._rng.uniform(0.2, 2))
        await self._world.control(vendor, "down", {"down": False})

    async def _full_disk(self) -> None:
        async with self._world.full_disk():
            await asyncio.sleep(self._rng.uniform(0.1, 1.5))
            if self._rng.random() < 0.3:
                await self._world.kill()

    async def _locked_database(self) -> None:
        async with self._world.locked_database():
            await asyncio.sleep(self._rng.uniform(0.1, 1.5))


async def play_round(
    folder: Path,
    seed: int,
    *,
    payments: int,
    profile: FaultProfile | None = None,
    pace: float = PACE,
    pages: bool = False,
    on_start: Callable[[StormWorld, Report], None] = lambda world, report: None,
) -> Report:
    """Plays one round: so many requests during a storm, then no faults until all is quiet, then the checker.

    `on_start` gets the world and the report while the round goes on.

    Raises:
        PortTaken: another program took the port, so the round cannot be judged.
    """
    rng = random.Random(seed)
    profile = profile or rng.choice(PROFILES)
    settings = rng.choice(({}, {"REQUEST_HOURS": "0.2"}, {"REFUND_APPROVAL_ABOVE": "5000"}))
    report, started = Report(seed, profile.name, dict(settings)), time.monotonic()
    async with storm_world(folder, pages=pages, **settings) as world:
        on_start(world, report)
        storm, people = Storm(world, rng, profile), RandomPeople(world, random.Random(seed + 1), payments)
        await _run_together(storm, people, pace)
        await world.heal()
        if rng.random() < 0.5:  # a new process reads Stripe's list of events at once, a running one at intervals
            await world.wait_until_quiet(WEBHOOK_GRACE.total_seconds() + RECONCILE_SECONDS)
            await world.restart()
            report.unfinished = await world.wait_until_quiet()
        else:
            report.unfinished = await world.wait_until_quiet(BACKFILL_WITHIN.total_seconds())
        report.faults, report.payments = storm.counts, people.requested
        await _check_without_pending_work(world, report)
        report.seconds = round(time.monotonic() - started, 1)
        if report.violations or report.unfinished:
            save(world, report)
    return report


async def _run_together(storm: Storm, people: RandomPeople, pace: float) -> None:
    """Runs the storm until the users have finished."""
    over = asyncio.Event()

    async def act() -> None:
        await people.act_until_all_requested(pace)
        await people.finish(pace, people.requested)
        over.set()

    tasks = [asyncio.create_task(storm.run(over)), asyncio.create_task(act())]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _check_without_pending_work(world: StormWorld, report: Report) -> None:
    """Checks while the process is stopped; work that has just become due is waited for."""
    for _ in range(MAX_CHECK_ATTEMPTS):
        with world.stopped() as nothing_pending:
            if nothing_pending or report.unfinished:
                _check(world, report)
                return
        report.unfinished = await world.wait_until_quiet()
    report.unfinished.append("work was pending at each check")


def _check(world: StormWorld, report: Report) -> None:
    evidence = world.evidence()
    report.violations = unexcused_violations(world)
    report.repeats, report.given_up = repeats(evidence), given_up(evidence)
    report.kills, report.stops, report.standstills = world.kills, len(world.suspensions), len(world.standstills)
    report.unread = sum(entry.fault == LOST for entry in evidence.transcript)
    intents = world.stripe.store.intents.values()
    report.paid = sum(intent["amount_received"] > 0 for intent in intents)
    report.refunds = len(world.stripe.store.refunds)


LINK_AGE = re.compile(r"12: the payment message of #(\w+) shows (ready|ending) at ([\d:.]+), which is not true")
LAST_ATTEMPT = re.compile(
    r"4: the attempts of #(\w+) are \[(.*)'canceled'\] in the database and \[(.*)'\w+'\] at Stripe"
)
NOT_ANNOUNCED = re.compile(r"11: no message that #(\w+) was (failed|expired|reserved) at ([\d:.]+)")
DISPUTE_NOT_ANNOUNCED = re.compile(r"11: no message that the dispute about #(\w+) is (\w+)")
REFUND_NOT_ANNOUNCED = re.compile(
    r"11: \d+ refunds of (\d+) of #(\w+) were (pending|succeeded), and (\d+) are announced"
)
STRIPE_TIME_RESOLUTION = timedelta(seconds=1)
"""Stripe gives the creation of an intent in whole seconds, so its link may count as old that much too early."""

MAX_SEND_TIME = timedelta(seconds=2 * RATE)
"""Two real seconds between building a message and its arrival, while the machine does something else."""


def unexcused_violations(world: StormWorld) -> list[str]:
    """The violations, without those that the fast clock excuses."""
    evidence = world.evidence()
    # References are unique within a shop only: the checker cannot tell two payments with one reference apart.
    shared = "SELECT reference FROM payments GROUP BY reference HAVING count(*) > 1"
    ambiguous = [f"#{reference}" for [reference] in world.rows(shared)]
    found = [line for line in violations(evidence) if not any(reference in line for reference in ambiguous)]
    pauses = [*world.suspensions, *world.standstills]
    return [line for line in found if not is_excused(line, evidence, pauses)]


def is_excused(line: str, evidence: Evidence, pauses: Sequence[tuple[datetime, datetime]]) -> bool:
    """Whether a violation is only about moments, which the fast clock makes long.

    Those are:
    - whether a link was still usable when a message arrived, also one whose sending was suspended;
    - the outcome of the last attempt in the moments before its request was canceled or expired;
    - the outcome of an attempt while Kvit was down or suspended, if the next attempt or the end came meanwhile;
    - the status of a dispute or refund that changed again meanwhile.
    """
    cases = {case.row["reference"]: case for case in CaseFile(evidence).cases}
    if found := LAST_ATTEMPT.fullmatch(line):
        case = cases[found[1]]
        expired = case.row["cancellation_reason"] == "expired"
        return found[2] == found[3] and (expired or _was_canceled_before_hold(case))
    if found := NOT_ANNOUNCED.fullmatch(line):
        case = cases[found[1]]
        [at] = [c.at for c in case.changes if c.state == found[2] and f"{c.at:%H:%M:%S.%f}" == found[3]]
        away = [*((crash, crash) for crash in evidence.crashes), *pauses]
        return _was_canceled_before_hold(case) or _was_superseded_while_away(case, at, away)
    if found := DISPUTE_NOT_ANNOUNCED.fullmatch(line):
        case = cases[found[1]]
        last = case.dispute_changes[-1].status
        return last != found[2] and bool(case.statements_of("refund_notification", f"dispute_{last}"))
    if found := REFUND_NOT_ANNOUNCED.fullmatch(line):
        amount, reference, status, announced = found.groups()
        latest = {c.id: c.status for c in cases[reference].refund_changes if c.amount == int(amount)}
        return [*latest.values()].count(status) <= int(announced)
    if found := LINK_AGE.fullmatch(line):
        reference, state, time_of_day = found.groups()
        return _is_link_age_excused(cases[reference], state, time_of_day, pauses)
    return False


def _is_link_age_excused(
    case: PaymentCase, state: str, time_of_day: str, pauses: Sequence[tuple[datetime, datetime]]
) -> bool:
    shown_at = [statement.message.at for statement in case.statements_of("payment_message", state)]
    times = [at for at in shown_at if f"{at:%H:%M:%S.%f}" == time_of_day]
    if state == "ready" and times and all(any(start <= at <= end for start, end in pauses) for at in times):
        return True
    late = [at - change.link_usable_until for at in times for change in case.changes if change.attempt is not None]
    return any(by >= -STRIPE_TIME_RESOLUTION if state == "ending" else by <= MAX_SEND_TIME for by in late)


def _was_canceled_before_hold(case: PaymentCase) -> bool:
    """Whether a user canceled the request before the customer reserved anything."""
    if case.row["cancellation_reason"] != "requested":
        return False
    reserved = case.first("reserved")
    return reserved is None or bool(case.cancellations(reserved))


def _was_superseded_while_away(case: PaymentCase, at: datetime, away: Sequence[tuple[datetime, datetime]]) -> bool:
    """Whether another attempt or the end came while Kvit was away and could not announce the outcome before."""
    next_at = next((c.at for c in case.changes if c.state in {"open", "canceled"} and c.at > at), None)
    return next_at is not None and any(start <= next_at and at <= end for start, end in away)


def save(world: StormWorld, report: Report) -> None:
    """Writes report, transcript and ledger to the folder of the database."""
    (world.folder / "report.json").write_text(json.dumps(asdict(report), indent=1))
    entries = [entry.as_json() for entry in world.telegram.transcript]
    (world.folder / "transcript.json").write_text(json.dumps(entries, indent=1, default=str))
    (world.folder / "ledger.json").write_text(json.dumps(world.stripe.store.as_json(), indent=1, default=str))
