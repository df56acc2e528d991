"""Plays each round in a process of its own, so that one that hangs can be looked into, ended and counted."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.chaos.storm import Report, keep, play
from tests.chaos.storm_watchdog import STACKS, TASKS, descendants, on_signal
from tests.chaos.storm_world import PortTaken, TortureWorld

LOADED_WITHIN = 120.0
ENDED_WITHIN = 10.0


@dataclass(frozen=True)
class Order:
    """What a round is to be. One that is not right is kept in the folder `kept`.

    It may last `limit` real seconds; then its programs have `telling` seconds each time to write where they are.
    """

    payments: int
    pace: float
    pages: bool
    kept: Path
    limit: float
    telling: float = 2.0


def played(order: Order, seed: int) -> Report:
    """What came of one round, whatever became of it. It has a folder of its own, which stays only if it is wrong."""
    folder = Path(tempfile.mkdtemp(prefix="kvit-torture-"))
    report = _alone(order, folder, seed)
    if report.wrong or report.not_judged:
        (folder / "report.json").write_text(json.dumps(asdict(report), indent=1))
        shutil.copytree(folder, order.kept / str(seed), dirs_exist_ok=True)
    shutil.rmtree(folder)
    return report


def _alone(order: Order, folder: Path, seed: int) -> Report:
    """Play it in a group of processes of its own, of which none is left in the end."""
    here, there = get_context("spawn").Pipe()
    round_ = get_context("spawn").Process(target=_play, args=(there, order, folder, seed))
    round_.start()
    there.close()
    began = time.monotonic()
    try:
        report = _heard(here, LOADED_WITHIN) and _heard(here, order.limit)
        if isinstance(report, Report):
            return report
        if report is None:
            _where_are_they(round_, order.telling)
            return Report(seed, "", {}, hung=True, seconds=round(time.monotonic() - began, 1))
        return Report(seed, "", {}, violations=[f"the round broke off with the code {_code(round_)}"])
    finally:
        _end(round_)
        here.close()


def _heard(here: Connection, within: float) -> Report | bool | None:
    """What the round says next: that it begins, or what came of it. None if nothing in time, False if it is gone."""
    try:
        return here.recv() if here.poll(within) else None
    except EOFError:
        return False


def _play(there: Connection, order: Order, folder: Path, seed: int) -> None:
    """In the other process: say that it begins, play it, and say what came of it."""
    os.setsid()
    worlds: list[tuple[TortureWorld, Report]] = []

    def keep_all() -> None:
        for world, report in worlds:
            keep(world, report)

    with (folder / "harness").open("w") as where:
        on_signal(where, keep_all)
        there.send(True)
        asked = play(
            folder,
            seed,
            payments=order.payments,
            pace=order.pace,
            pages=order.pages,
            shown=lambda world, report: worlds.append((world, report)),
        )
        try:
            report = asyncio.run(asked)
        except PortTaken as taken:
            report = Report(seed, "", {}, not_judged=str(taken))
        except Exception as error:
            broken = f"the round broke off: {type(error).__name__}: {error}"
            report = Report(seed, "", {}, violations=[broken, traceback.format_exc()])
        there.send(report)


def _where_are_they(round_: BaseProcess, telling: float) -> None:
    """Have all of its processes write their stacks, before that the tasks of those that still answer; wait a moment.

    The stacks come last, for a thread that runs on while its stack is written can end the process.
    """
    pids = [*descendants(round_.pid or 0)]
    for name in (signal.SIGCONT, TASKS, STACKS):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, name)
        time.sleep(0 if name == signal.SIGCONT else telling)


def _end(round_: BaseProcess) -> None:
    """Kill whatever is left of it."""
    with suppress(ProcessLookupError):
        os.killpg(round_.pid or 0, signal.SIGKILL)
    round_.kill()
    round_.join()


def _code(round_: BaseProcess) -> int | None:
    round_.join(ENDED_WITHIN)
    return round_.exitcode
