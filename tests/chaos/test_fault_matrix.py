"""Every boundary meets every fault by name: once it is healed, every invariant holds and the story has its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.crash_world import mortal
from tests.chaos.fault_kinds import (
    TOO_LATE,
    TWO_HOURS,
    Fault,
    asked_again,
    back,
    busy,
    crash,
    disk_full,
    doubled,
    held_back,
    outrun_look,
    overtaken,
    passes,
    play,
    polled,
    redelivered,
    relayed,
    unknown,
    vendor,
)
from tests.chaos.fault_places import LATE, PLACES, Place
from tests.chaos.fault_state_cells import STATES
from tests.chaos.stop_points import Moment
from tests.chaos.stories import PAID
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

ANYWHERE = Place("connect")
CALLS = ("create", "confirm", "retrieve", "cancel", "capture", "refund", "send", "edit")
STRIPE = CALLS[:6]
Cells = dict[tuple[str, str], Fault | str]
UNKNOWABLE = {
    "send": (TOO_LATE,),
    "confirm": ("says aging at",),  # the link is taken to be as old as the request for it
    "cancel": ("the attempts of", "was lapsed at"),  # the attempt lapsed while the wish was on its way
}
"""What becomes false or true while a request is on its way for ten minutes, and is judged as of its arrival."""


def cells_of_a_call(boundary: str) -> Cells:
    """What can happen to a request that a vendor gets from us."""
    place = PLACES[boundary]
    found: dict[str, Fault | str] = {
        "crash-before": crash(place, "before"),
        "crash-after": crash(place, "after"),
        "timeout-though-it-happened": vendor(place, "timeout", "after"),
        "timeout-and-it-did-not": vendor(place, "timeout", "before"),
        "429": vendor(place, "429", "before"),
        "5xx": vendor(place, "500", "after" if boundary in STRIPE else "before"),
        "duplicate": doubled(place),
        "reordered": outrun_look(place) if boundary == "retrieve" else overtaken(place),
        "ten-minutes-late": passes(place.before, LATE, excuses=UNKNOWABLE.get(boundary, ())),
        "database-busy": busy(place.after),
        "disk-full": disk_full(place.after),
        "clock-forward": passes(place.after, TWO_HOURS, excuses=(TOO_LATE,)),
        "clock-back": back(place.after),
    }
    if boundary in {"send", "edit"}:
        found["reordered"] = "a chat has one lane: the next message leaves when the one before was answered"
    if boundary == "send":
        found["duplicate"] = "a message has no key: two requests are two messages, which only a timeout may bring about"
    return {(boundary, fault): cell for fault, cell in found.items()}


def cells_of_intake() -> Cells:
    """What can happen to that which comes in, until it is kept."""
    update, event = PLACES["update"], PLACES["event"]
    down = "No updates from Telegram"
    return {
        ("update", "crash-before"): crash(update, "before"),
        ("update", "crash-after"): crash(update, "after"),
        ("update", "timeout-though-it-happened"): polled("drop", "after", down),
        ("update", "timeout-and-it-did-not"): polled("drop", "before", down),
        ("update", "429"): polled("429", "before", "poll less often"),
        ("update", "5xx"): polled("500", "before", down),
        ("update", "duplicate"): redelivered(),
        ("update", "reordered"): "Telegram hands updates out by their rising numbers, the next after the last is kept",
        ("update", "ten-minutes-late"): asked_again(None, LATE),
        ("update", "database-busy"): busy(update.before),
        ("update", "disk-full"): disk_full(update.before),
        ("update", "clock-forward"): asked_again(update.before, TWO_HOURS),
        ("update", "clock-back"): back(update.before),
        ("event", "crash-before"): crash(event, "before"),
        ("event", "crash-after"): crash(event, "after"),
        ("event", "timeout-though-it-happened"): relayed("after"),
        ("event", "timeout-and-it-did-not"): relayed("before"),
        ("event", "429"): relayed("429"),
        ("event", "5xx"): relayed("502"),
        ("event", "duplicate"): relayed("twice"),
        ("event", "reordered"): relayed("reversed"),
        ("event", "ten-minutes-late"): held_back(),
        ("event", "database-busy"): busy(event.before),
        ("event", "disk-full"): disk_full(event.before),
        ("event", "clock-forward"): passes(event.before, TWO_HOURS),
        ("event", "clock-back"): back(event.before),
    }


def cells_within() -> Cells:
    """What can happen to that which is kept, and to a commit."""
    kept, commit, put = PLACES["kept"], PLACES["commit"], Moment(1, "after", "commit mail")
    no_wire = "no vendor is asked here: it is between this process and its own file"
    return {
        ("kept", "crash-before"): crash(kept, "before"),
        ("kept", "crash-after"): crash(kept, "after"),
        ("kept", "timeout-though-it-happened"): unknown(kept, "after"),
        ("kept", "timeout-and-it-did-not"): unknown(kept, "before"),
        ("kept", "429"): no_wire,
        ("kept", "5xx"): no_wire,
        ("kept", "duplicate"): "a mail is one row under a unique key; two who hold it are the boundary `lease`",
        ("kept", "reordered"): "a lane is strict: nothing is handed out before what came earlier",
        ("kept", "ten-minutes-late"): asked_again(kept.before, LATE),
        ("kept", "database-busy"): busy(put),
        ("kept", "disk-full"): disk_full(put),
        ("kept", "clock-forward"): asked_again(kept.after, TWO_HOURS),
        ("kept", "clock-back"): back(kept.before),
        ("commit", "crash-before"): crash(commit, "before"),
        ("commit", "crash-after"): crash(commit, "after"),
        ("commit", "timeout-though-it-happened"): unknown(commit, "after"),
        ("commit", "timeout-and-it-did-not"): unknown(commit, "before"),
        ("commit", "429"): no_wire,
        ("commit", "5xx"): no_wire,
        ("commit", "duplicate"): "whoever commits again does so since he does not know: that is the timeout",
        ("commit", "reordered"): "writers take turns, and the file has one lock",
        ("commit", "ten-minutes-late"): passes(commit.before, LATE),
        ("commit", "database-busy"): busy(kept.after),
        ("commit", "disk-full"): disk_full(kept.after),
        ("commit", "clock-forward"): passes(commit.after, TWO_HOURS),
        ("commit", "clock-back"): back(commit.before),
    }


CELLS: Cells = {key: cell for call in CALLS for key, cell in cells_of_a_call(call).items()}
CELLS |= cells_of_intake() | cells_within()
CELLS |= {(boundary, fault): cell for boundary, cells in STATES.items() for fault, cell in cells.items()}
BOUNDARIES = ("update", "event", "kept", *CALLS, "commit", *STATES)
TESTED = {f"{boundary}-{fault}": key for key in CELLS for boundary, fault in [key] if not isinstance(CELLS[key], str)}


@pytest.mark.parametrize("key", sampled(TESTED, every=8))
async def test_whatever_fails_wherever_everything_holds_in_the_end(key: tuple[str, str], tmp_path: Path) -> None:
    cell = CELLS[key]
    assert isinstance(cell, Fault)
    await play(tmp_path, PLACES.get(key[0], ANYWHERE), cell)


async def test_a_request_that_was_begun_before_a_death_goes_on_however_late_and_is_not_asked_for(
    tmp_path: Path,
) -> None:
    async with mortal(tmp_path, ends=(PLACES["create"].after,)) as world:
        world.say(PAID.command)
        await world.fate.died.wait()
        await world.die()
        world.advance(LATE)
        await world.begin()
        await world.quiet()
        assert (world.sent("This command arrived late"), len(world.sent("The link expired"))) == ([], 1)
        assert violations(world.evidence()) == []


def test_each_pair_of_boundary_and_fault_is_a_test_or_has_its_reason() -> None:
    assert set(CELLS) == {(boundary, fault) for boundary in BOUNDARIES for fault in FAULTS}
    assert all(len(reason.split()) > 5 for reason in CELLS.values() if isinstance(reason, str))
