"""Shared by the benchmarks: programs in processes of their own, their CPU and memory, and statistics."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


class Program:
    """A Python program that is measured from outside."""

    def __init__(self, arguments: Sequence[str], **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a program ended before it printed a line")
        return line.strip()

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def megabytes(self) -> float:
        """Resident memory in MB."""
        fields = Path(f"/proc/{self._process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> None:
        """Ends it and waits for that."""
        self._process.terminate()
        self._process.wait(30)


@contextmanager
def running(arguments: Sequence[str], **environment: str) -> Iterator[Program]:
    """Runs a program while the block lasts."""
    program = Program(arguments, **environment)
    try:
        yield program
    finally:
        program.stop()


def median(numbers: Sequence[float]) -> float:
    return statistics.median(numbers)


def percentile(numbers: Sequence[float], fraction: float) -> float:
    """The value below which that fraction of the numbers lies."""
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))]


def spread(numbers: Sequence[float], format_spec: str = ".2f") -> str:
    """Median and range as text."""
    return f"{median(numbers):{format_spec}} [{min(numbers):{format_spec}}..{max(numbers):{format_spec}}]"


def now() -> float:
    return time.perf_counter()
