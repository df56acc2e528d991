"""Runs all checks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace

from bot.checks import machine, stripe, telegram
from bot.findings import Finding, failure, ok
from bot.redaction import redactor
from bot.settings import InvalidSettings, Settings
from handlers.clock import Clock

SETTINGS = "settings"


async def run_checks(settings: Settings, clock: Clock) -> list[Finding]:
    """All findings, in the order of setup, without secrets. Nothing is changed."""
    parts = await asyncio.gather(
        machine.check_machine(settings), stripe.check_stripe(settings, clock), telegram.check_telegram(settings)
    )
    findings = [ok(SETTINGS, "They are valid."), *(finding for part in parts for finding in part)]
    redact = redactor(settings.secrets())
    return [replace(it, detail=redact(it.detail), hint=redact(it.hint)) for it in findings]


def settings_errors(error: InvalidSettings) -> list[Finding]:
    """One finding for each invalid setting; nothing else can be checked."""
    return [failure(SETTINGS, it.detail, it.hint) for it in error.errors]


def as_lines(findings: Iterable[Finding]) -> str:
    """One line for each finding."""
    return "\n".join(finding.line for finding in findings)


def as_json(findings: Iterable[Finding]) -> str:
    """A JSON list of objects with name, ok, detail and remedy (the hint)."""
    objects = [{"name": it.name, "ok": it.ok, "detail": it.detail, "remedy": it.hint} for it in findings]
    return json.dumps(objects, indent=2, ensure_ascii=False)
