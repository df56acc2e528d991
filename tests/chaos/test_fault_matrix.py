"""Every boundary with every fault: after it is removed, every invariant holds and the scenario has come to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.crash_world import crash_world
from tests.chaos.fault_boundaries import BOUNDARIES, TEN_MINUTES, Boundary
from tests.chaos.fault_kinds import (
    LINK_EXPIRED_IN_FLIGHT,
    TWO_HOURS,
    Fault,
    clock_set_back,
    commit_outcome_unknown,
    crash,
    database_busy,
    disk_full,
    event_before_response,
    events_held_back,
    late_command,
    payment_during_retrieve,
    play_with_fault,
    poll_fault,
    request_sent_twice,
    time_passes,
    update_redelivered,
    vendor_fault,
    webhook_fault,
)
from tests.chaos.fault_state_cells import STATES
from tests.chaos.scenarios import PAID
from tests.chaos.stop_points import StopPoint
from tests.invariants.checker import violations
from tests.support.sample import sampled

FAULTS = (
    "crash-before",
    "crash-after",
    "timeout-though-it-happened",
    "timeout-and-it-did-not",
    "429",
    "5xx",
    "duplicate",
    "reordered",
    "ten-minutes-late",
    "database-busy",
    "disk-full",
    "clock-forward",
    "clock-back",
)

AT_START = Boundary("get_me")
CALLS = ("create", "confirm", "retrieve", "cancel", "capture", "refund", "send", "edit")
STRIPE_CALLS = CALLS[:6]
Cells = dict[tuple[str, str], Fault | str]
EXCUSED = {
    "send": (LINK_EXPIRED_IN_FLIGHT,),
    "confirm": ("shows ending at",),  # the link counts as old as its request
    "cancel": ("the attempts of", "was expired at"),  # the attempt expired while the cancel was under way
}
"""What becomes false or true while a request is under way for ten minutes, and is judged as of its arrival."""


def call_cells(name: str) -> Cells:
    """The faults of a request to a vendor."""
    boundary = BOUNDARIES[name]
    cells: dict[str, Fault | str] = {
        "crash-before": crash(boundary, "before"),
        "crash-after": crash(boundary, "after"),
        "timeout-though-it-happened": vendor_fault(boundary, "timeout", "after"),
        "timeout-and-it-did-not": vendor_fault(boundary, "timeout", "before"),
        "429": vendor_fault(boundary, "429", "before"),
        "5xx": vendor_fault(boundary, "500", "after" if name in STRIPE_CALLS else "before"),
        "duplicate": request_sent_twice(boundary),
        "reordered": payment_during_retrieve(boundary) if name == "retrieve" else event_before_response(boundary),
        "ten-minutes-late": time_passes(boundary.before, TEN_MINUTES, excuses=EXCUSED.get(name, ())),
        "database-busy": database_busy(boundary.after),
        "disk-full": disk_full(boundary.after),
        "clock-forward": time_passes(boundary.after, TWO_HOURS, excuses=(LINK_EXPIRED_IN_FLIGHT,)),
        "clock-back": clock_set_back(boundary.after),
    }
    if name in {"send", "edit"}:
        cells["reordered"] = "messages of a chat are sent one at a time, each after the response to the one before"
    if name == "send":
        cells["duplicate"] = (
            "a message has no idempotency key: two requests are two messages, which only a timeout may cause"
        )
    return {(name, fault): cell for fault, cell in cells.items()}


def intake_cells() -> Cells:
    """The faults of updates and events until they are stored."""
    update, event = BOUNDARIES["update"], BOUNDARIES["event"]
    outage = "No updates from Telegram"
    return {
        ("update", "crash-before"): crash(update, "before"),
        ("update", "crash-after"): crash(update, "after"),
        ("update", "timeout-though-it-happened"): poll_fault("drop", "after", outage),
        ("update", "timeout-and-it-did-not"): poll_fault("drop", "before", outage),
        ("update", "429"): poll_fault("429", "before", "poll less often"),
        ("update", "5xx"): poll_fault("500", "before", outage),
        ("update", "duplicate"): update_redelivered(),
        ("update", "reordered"): "Telegram delivers updates in ascending order, the next one after the last is stored",
        ("update", "ten-minutes-late"): late_command(None, TEN_MINUTES),
        ("update", "database-busy"): database_busy(update.before),
        ("update", "disk-full"): disk_full(update.before),
        ("update", "clock-forward"): late_command(update.before, TWO_HOURS),
        ("update", "clock-back"): clock_set_back(update.before),
        ("event", "crash-before"): crash(event, "before"),
        ("event", "crash-after"): crash(event, "after"),
        ("event", "timeout-though-it-happened"): webhook_fault("after"),
        ("event", "timeout-and-it-did-not"): webhook_fault("before"),
        ("event", "429"): webhook_fault("429"),
        ("event", "5xx"): webhook_fault("502"),
        ("event", "duplicate"): webhook_fault("twice"),
        ("event", "reordered"): webhook_fault("reversed"),
        ("event", "ten-minutes-late"): events_held_back(),
        ("event", "database-busy"): database_busy(event.before),
        ("event", "disk-full"): disk_full(event.before),
        ("event", "clock-forward"): time_passes(event.before, TWO_HOURS),
        ("event", "clock-back"): clock_set_back(event.before),
    }


def queue_cells() -> Cells:
    """The faults of stored jobs and of commits."""
    job, commit, after_insert = BOUNDARIES["job"], BOUNDARIES["commit"], StopPoint(1, "after", "commit jobs")
    no_vendor = "no vendor is called here: it is between this process and its own file"
    return {
        ("job", "crash-before"): crash(job, "before"),
        ("job", "crash-after"): crash(job, "after"),
        ("job", "timeout-though-it-happened"): commit_outcome_unknown(job, "after"),
        ("job", "timeout-and-it-did-not"): commit_outcome_unknown(job, "before"),
        ("job", "429"): no_vendor,
        ("job", "5xx"): no_vendor,
        ("job", "duplicate"): "a job is one row with a unique key; two workers with one job are the boundary `lease`",
        ("job", "reordered"): "jobs with the same ordering key run one at a time, in order of creation",
        ("job", "ten-minutes-late"): late_command(job.before, TEN_MINUTES),
        ("job", "database-busy"): database_busy(after_insert),
        ("job", "disk-full"): disk_full(after_insert),
        ("job", "clock-forward"): late_command(job.after, TWO_HOURS),
        ("job", "clock-back"): clock_set_back(job.before),
        ("commit", "crash-before"): crash(commit, "before"),
        ("commit", "crash-after"): crash(commit, "after"),
        ("commit", "timeout-though-it-happened"): commit_outcome_unknown(commit, "after"),
        ("commit", "timeout-and-it-did-not"): commit_outcome_unknown(commit, "before"),
        ("commit", "429"): no_vendor,
        ("commit", "5xx"): no_vendor,
        ("commit", "duplicate"): "a commit is repeated only when its outcome is unknown: that is the timeout",
        ("commit", "reordered"): "writes run one at a time, and the file has one lock",
        ("commit", "ten-minutes-late"): time_passes(commit.before, TEN_MINUTES),
        ("commit", "database-busy"): database_busy(job.after),
        ("commit", "disk-full"): disk_full(job.after),
        ("commit", "clock-forward"): time_passes(commit.after, TWO_HOURS),
        ("commit", "clock-back"): clock_set_back(commit.before),
    }


CELLS: Cells = {key: cell for call in CALLS for key, cell in call_cells(call).items()}
CELLS |= intake_cells() | queue_cells()
CELLS |= {(boundary, fault): cell for boundary, cells in STATES.items() for fault, cell in cells.items()}
BOUNDARY_NAMES = ("update", "event", "job", *CALLS, "commit", *STATES)
TESTED = {f"{boundary}-{fault}": key for key in CELLS for boundary, fault in [key] if not isinstance(CELLS[key], str)}


@pytest.mark.parametrize("key", sampled(TESTED, every=8))
async def test_fault_at_boundary_breaks_no_invariant(key: tuple[str, str], tmp_path: Path) -> None:
    fault = CELLS[key]
    assert isinstance(fault, Fault)
    await play_with_fault(tmp_path, BOUNDARIES.get(key[0], AT_START), fault)


async def test_request_started_before_crash_continues_without_confirmation(tmp_path: Path) -> None:
    async with crash_world(tmp_path, crash_at=(BOUNDARIES["create"].after,)) as world:
        world.say(PAID.command)
        await world.process.crashed.wait()
        await world.crash()
        world.advance(TEN_MINUTES)
        await world.begin()
        await world.wait_until_quiet()
        assert (world.sent("This command arrived late"), len(world.sent("The link expired"))) == ([], 1)
        assert violations(world.evidence()) == []


def test_each_pair_of_boundary_and_fault_is_tested_or_has_a_reason() -> None:
    assert set(CELLS) == {(boundary, fault) for boundary in BOUNDARY_NAMES for fault in FAULTS}
    assert all(len(reason.split()) > 5 for reason in CELLS.values() if isinstance(reason, str))
