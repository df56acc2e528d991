"""Looks at everything that can be wrong with an installation, and says what to do about what is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict, replace

from bot.checks import machine, stripe, telegram
from bot.findings import Finding, failure, ok
from bot.redaction import redactor
from bot.settings import InvalidSettings, Settings
from handlers.clock import Clock

SETTINGS = "settings"


async def run_checks(settings: Settings, clock: Clock) -> list[Finding]:
    """Every finding, in the order in which things are set up; nothing is changed anywhere."""
    parts = await asyncio.gather(
        machine.check_machine(settings), stripe.check_stripe(settings, clock), telegram.check_telegram(settings)
    )
    found = [ok(SETTINGS, "They can be read."), *(finding for part in parts for finding in part)]
    redact = redactor(settings.secrets())
    return [replace(it, detail=redact(it.detail), hint=redact(it.hint)) for it in found]


def settings_errors(refused: InvalidSettings) -> list[Finding]:
    """Settings that cannot be used, one finding for each of them; nothing else can be looked at then."""
    return [failure(SETTINGS, one.detail, one.remedy) for one in refused.errors]


def as_lines(found: Iterable[Finding]) -> str:
    """For whoever reads it on a terminal."""
    return "\n".join(finding.line for finding in found)


def as_json(found: Iterable[Finding]) -> str:
    """For a program: a list of name, ok, detail, remedy."""
    return json.dumps([asdict(finding) for finding in found], indent=2, ensure_ascii=False)
