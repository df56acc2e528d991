"""Movements that do not add up to Stripe's ledger must be reported."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tests.chaos.crash_world import crash_world
from tests.chaos.refund_scenarios import REFUNDED
from tests.chaos.scenarios import play
from tests.invariants.checker import Evidence, violations
from tests.invariants.test_mutations import reports

COPY = (
    "INSERT INTO movements SELECT id + 9, key || '-', shop_id, payment_id, kind, stripe_id, source, amount, currency,"
    " livemode, at, recorded_at, NULL, NULL FROM movements"
)


def tampered(evidence: Evidence, folder: Path, change: str) -> list[str]:
    """What the checker reports after a change of the rows that the database itself refuses."""
    copy = folder / "tampered.db"
    shutil.copy(evidence.database, copy)
    with closing(sqlite3.connect(copy)) as db, db:
        for verb in ("update", "delete", "insert"):
            db.execute(f"DROP TRIGGER movements_no_{verb}")
        assert db.execute(change).rowcount == 1
    return violations(replace(evidence, database=str(copy)))


async def test_movement_that_is_missing_doubled_or_altered(tmp_path: Path) -> None:
    async with crash_world(tmp_path, **REFUNDED.settings) as world:
        await play(world, REFUNDED)
        evidence = world.evidence()
    assert violations(evidence) == []
    for change, text in {
        "DELETE FROM movements WHERE kind = 'payment'": "the movements of #",
        "UPDATE movements SET amount = amount + 1 WHERE kind = 'refund'": "and at Stripe it is",
        "UPDATE movements SET kind = 'dispute' WHERE kind = 'refund'": "'refunded': 0, 'disputed': -",
        "UPDATE movements SET at = at + 1000000 WHERE kind = 'refund'": "which is not Stripe's time",
        "UPDATE movements SET credit_note_number = 2 WHERE kind = 'refund'": "are numbered [2]",
        f"{COPY} WHERE kind = 'payment'": "moved money 2 times",
    }.items():
        assert reports(tampered(evidence, tmp_path, change), 4, text), change
    other_mode = "UPDATE movements SET livemode = 1 WHERE kind = 'payment'"
    assert reports(tampered(evidence, tmp_path, other_mode), 3, "another shop, currency or mode")
