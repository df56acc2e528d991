"""Looks at everything that can be wrong with an installation, and says what to do about what is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict, replace

from bot.checks import machine, stripe, telegram
from bot.checks.findings import Finding, fine, wrong
from bot.redaction import redactor
from bot.settings import Settings, SettingsRefused
from handlers.clock import Clock

SETTINGS = "settings"


async def check(settings: Settings, clock: Clock) -> list[Finding]:
    """Every finding, in the order in which things are set up; nothing is changed anywhere."""
    parts = await asyncio.gather(machine.look(settings), stripe.look(settings, clock), telegram.look(settings))
    found = [fine(SETTINGS, "They can be read."), *(finding for part in parts for finding in part)]
    redact = redactor(settings.secrets())
    return [replace(it, detail=redact(it.detail), remedy=redact(it.remedy)) for it in found]


def unreadable(refused: SettingsRefused) -> list[Finding]:
    """Settings that cannot be used, one finding for each of them; nothing else can be looked at then."""
    return [wrong(SETTINGS, one.detail, one.remedy) for one in refused.wrong]


def as_lines(found: Iterable[Finding]) -> str:
    """For whoever reads it on a terminal."""
    return "\n".join(finding.line for finding in found)


def as_json(found: Iterable[Finding]) -> str:
    """For a program: a list of name, ok, detail, remedy."""
    return json.dumps([asdict(finding) for finding in found], indent=2, ensure_ascii=False)
