"""`/status` of a payment with a long history is answered within Telegram's limit, and raises no alarm."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from tests.support.evidence import alerts, idle, rows
from tests.support.people import reply
from tests.support.refund_steps import ref_of
from tests.support.world import World


def lengthen_history(world: World, entries: int) -> None:
    """Adds entries to the audit log of the only payment, as failed attempts and refunds would."""
    payment = rows(world, "SELECT id, shop_id FROM payments")[0]
    with closing(sqlite3.connect(world.database)) as db, db:
        for number in range(entries):
            detail = {"refund": f"r{number}", "refund_status": "failed", "amount": 1000 + number, "currency": "DKK"}
            values = (payment["id"], payment["shop_id"], 0, "stripe", "refund_synced", json.dumps(detail))
            statement = "INSERT INTO audit_log (payment_id, shop_id, at, actor, action, detail)"
            db.execute(f"{statement} VALUES (?, ?, ?, ?, ?, ?)", values)


async def test_status_of_a_long_history_lists_the_newest_changes_and_where_the_others_are(world: World) -> None:
    message = await reply(world, world.say("/pay 125 " + "Tea and cake " * 12), "Waiting for payment")
    ref = ref_of(message)
    lengthen_history(world, 300)
    for _ in range(2):
        answer = (await reply(world, world.say(f"/status {ref}"), "earlier changes"))["text"]
        assert len(answer) < 4096
        assert f"/log {ref}" in answer
        assert "12.99" in answer  # the newest
        assert "10.00" not in answer
    await idle(world)
    assert alerts(world) == []
