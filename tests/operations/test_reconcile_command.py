"""`python -m bot reconcile`: its output and its exit codes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.sandbox.fake_stripe import payouts
from bot.sandbox.fake_stripe.state import RequestCause
from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.models.job import DeadLetter, NewJob
from tests.support.terminal import Terminal, installed, opened


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    async with installed(tmp_path) as running:
        yield running


async def test_reconcile_without_work_prints_zeros(terminal: Terminal) -> None:
    ended = await terminal.run("reconcile")
    assert ended.code == 0
    assert ended.output.splitlines() == [
        "Stripe events that no webhook delivered: 0.",
        "Payments and refunds checked: 0, changed: 0.",
    ]


async def test_retry_dead_prints_the_number_of_jobs_put_back(terminal: Terminal) -> None:
    ended = await terminal.run("reconcile", "--retry-dead")
    assert (ended.code, ended.output.splitlines()[-1]) == (0, "Dead jobs put back: 0.")


async def test_movements_are_read_from_a_day_on_and_only_once(terminal: Terminal) -> None:
    state = terminal.stripe.state
    payouts.charge_fee(state, RequestCause(state.now()), "dkk", 3500, "MobilePay monthly fee")
    payouts.pay(state, RequestCause(state.now()), payouts.create(state, RequestCause(state.now()), "dkk", 100))
    read = ("reconcile", "--movements", "--since", f"{terminal.clock.now():%Y-%m-%d}")
    ended = await terminal.run(*read)
    assert (ended.code, ended.output) == (0, "Balance transactions new or changed: 2, payouts new or changed: 1.\n")
    ended = await terminal.run(*read)
    assert (ended.code, ended.output) == (0, "Balance transactions new or changed: 0, payouts new or changed: 0.\n")
    terminal.stripe.options.missing_permissions = ("payouts.read",)
    ended = await terminal.run(*read)
    assert ended.code == 1
    assert ended.errors.endswith("Not everything was read: the Stripe key lacks the right Payouts: Read.\n")


@pytest.mark.parametrize("options", [("--movements",), ("--since", "2026-11-01"), ("--movements", "--since", "soon")])
async def test_movements_need_a_day(terminal: Terminal, options: tuple[str, ...]) -> None:
    assert (await terminal.run("reconcile", *options)).code == 2


async def test_dead_jobs_are_listed_with_their_reasons(terminal: Terminal, tmp_path: Path) -> None:
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    db = Database(f"sqlite:///{tmp_path}/kvit.db")
    queue = JobQueue(db, "updates")
    await queue.enqueue(NewJob("7:1", "70010001", "message", b"{}"), now=at)
    [job] = await queue.claim(now=at, limit=1, lease_seconds=60)
    await queue.finish(job, DeadLetter("unreadable: KeyError"), now=at)
    await db.close()
    said = (await terminal.run("reconcile")).output.splitlines()
    assert said[-2].startswith("Dead jobs: 1.")
    assert said[-1] == f"  2026-11-24 12:00 UTC, job {job.id} in updates (message): unreadable: KeyError"


async def test_reconcile_with_a_rejected_key_exits_with_1(terminal: Terminal) -> None:
    ended = await terminal.run("reconcile", stripe_api_key="sk_test_of_somebody_else")
    assert (ended.code, ended.output) == (1, "")


async def test_reconcile_without_database_or_settings_exits_with_2(tmp_path: Path) -> None:
    async with opened(tmp_path) as terminal:
        assert (await terminal.run("reconcile")).code == 2
        assert (await terminal.run("reconcile", telegram_bot_token=None)).code == 2
