"""Runs each round in processes of its own, so that one that hangs can be inspected, killed and counted."""

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

from tests.chaos.storm import Report, play_round, save
from tests.chaos.storm_watchdog import STACKS, TASKS, descendants, dump_on_signal
from tests.chaos.storm_world import PortTaken, StormWorld

LOAD_TIMEOUT = 120.0
EXIT_TIMEOUT = 10.0


@dataclass(frozen=True)
class RoundSpec:
    """What a round is. One with problems is kept in `keep_folder`.

    It may take `limit` real seconds; then its programs have `dump_seconds` each for tasks and stacks.
    """

    payments: int
    pace: float
    pages: bool
    keep_folder: Path
    limit: float
    dump_seconds: float = 2.0


def run_round(spec: RoundSpec, seed: int) -> Report:
    """Runs one round in a folder of its own, which is kept only if the round has problems; returns its report."""
    folder = Path(tempfile.mkdtemp(prefix="kvit-storm-"))
    report = _run_in_processes(spec, folder, seed)
    if report.problems or report.not_judged:
        (folder / "report.json").write_text(json.dumps(asdict(report), indent=1))
        shutil.copytree(folder, spec.keep_folder / str(seed), dirs_exist_ok=True)
    shutil.rmtree(folder)
    return report


def _run_in_processes(spec: RoundSpec, folder: Path, seed: int) -> Report:
    """Runs it in a process group of its own, which is killed at the end."""
    receiver, sender = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_play_in_process, args=(sender, spec, folder, seed))
    process.start()
    sender.close()
    started = time.monotonic()
    try:
        report = _receive(receiver, LOAD_TIMEOUT) and _receive(receiver, spec.limit)
        if isinstance(report, Report):
            return report
        if report is None:
            _dump_state(process, spec.dump_seconds)
            return Report(seed, "", {}, hung=True, seconds=round(time.monotonic() - started, 1))
        return Report(seed, "", {}, violations=[f"the round exited with code {_exit_code(process)}"])
    finally:
        _kill(process)
        receiver.close()


def _receive(receiver: Connection, timeout: float) -> Report | bool | None:
    """The next message of the round: that it is loaded, or its report. None after the timeout, False if it is gone."""
    try:
        return receiver.recv() if receiver.poll(timeout) else None
    except EOFError:
        return False


def _play_in_process(sender: Connection, spec: RoundSpec, folder: Path, seed: int) -> None:
    """In the other process: reports that it is loaded, plays the round, and sends the report."""
    os.setsid()
    worlds: list[tuple[StormWorld, Report]] = []

    def save_all() -> None:
        for world, report in worlds:
            save(world, report)

    with (folder / "harness").open("w") as dump_file:
        dump_on_signal(dump_file, save_all)
        sender.send(True)
        coroutine = play_round(
            folder,
            seed,
            payments=spec.payments,
            pace=spec.pace,
            pages=spec.pages,
            on_start=lambda world, report: worlds.append((world, report)),
        )
        try:
            report = asyncio.run(coroutine)
        except PortTaken as error:
            report = Report(seed, "", {}, not_judged=str(error))
        except Exception as error:
            summary = f"the round failed: {type(error).__name__}: {error}"
            report = Report(seed, "", {}, violations=[summary, traceback.format_exc()])
        sender.send(report)


def _dump_state(process: BaseProcess, dump_seconds: float) -> None:
    """Makes all its processes write their tasks, and then their stacks.

    Stacks come last, for a thread that runs while its stack is written can end the process.
    """
    pids = [*descendants(process.pid or 0)]
    for signal_number in (signal.SIGCONT, TASKS, STACKS):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal_number)
        time.sleep(0 if signal_number == signal.SIGCONT else dump_seconds)


def _kill(process: BaseProcess) -> None:
    """Kills what is left of it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.kill()
    process.join()


def _exit_code(process: BaseProcess) -> int | None:
    process.join(EXIT_TIMEOUT)
    return process.exitcode
