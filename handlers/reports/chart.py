"""The picture of a report, drawn in a process of its own so that the service never loads the drawing library."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

TIMEOUT = 30.0
"""Seconds until a picture that is not ready is given up."""

_ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class BarChart:
    """The bars of one currency. `values` are decimal numbers of whole kroner or euro."""

    title: str
    labels: tuple[str, ...]
    values: tuple[str, ...]


class DrawingFailed(Exception):
    """The picture could not be drawn; the report is complete without it."""


async def draw(title: str, charts: Sequence[BarChart]) -> bytes:
    """A PNG, 1080 pixels wide, dark on white, with a chart below the other.

    Raises:
        DrawingFailed: the process failed or took longer than `TIMEOUT`.
    """
    order = json.dumps({"title": title, "charts": [asdict(chart) for chart in charts]}).encode()
    with tempfile.TemporaryDirectory(prefix="kvit-chart-") as folder:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "handlers.reports.draw_chart",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=_ROOT,
            env={"MPLCONFIGDIR": folder, "PATH": os.environ.get("PATH", ""), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        try:
            async with asyncio.timeout(TIMEOUT):
                png, errors = await process.communicate(order)
        except TimeoutError as error:
            raise DrawingFailed("it took too long") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode != 0:
        raise DrawingFailed(errors.decode(errors="replace").strip().rpartition("\n")[2])
    return png
