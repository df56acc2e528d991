"""Kvit as a process of its own, for signals, output and exit codes."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.world import PATIENCE

ROOT = Path(__file__).parent.parent.parent


@asynccontextmanager
async def running(*arguments: str, **environment: str) -> AsyncIterator[Process]:
    """Runs `python -m bot` with these arguments; it is killed at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "bot", *arguments),
        cwd=ROOT,
        env=os.environ | environment,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def first_line(process: Process) -> str:
    """The first line of its output."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        return (await process.stdout.readline()).decode()


async def ended(process: Process) -> tuple[int, str, str]:
    """Exit code, the rest of stdout, and stderr, after it has exited."""
    async with asyncio.timeout(PATIENCE):
        out, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()
