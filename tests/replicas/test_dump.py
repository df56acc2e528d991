"""The commands of docs/operations.md that dump a PostgreSQL database and restore it into a new one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage.move import inventory
from tests.project.test_operations_doc import blocks
from tests.support.postgres import Server, opened_database, program
from tests.support.refund_steps import held, paid
from tests.support.world import World

SECONDS = 60


async def test_dump_restored_into_a_new_database_is_complete_and_a_service_works_on_it(
    world: World, postgres: Server, tmp_path: Path
) -> None:
    await paid(world, "/pay 149,50 Kaffe med æ")
    await held(world)
    await world.stop()
    old, new = world.settings.database_url, await postgres.create(migrated=False)
    async with opened_database(old) as db:
        before = await db.read(inventory)
    path = f"{Path(program('pg_dump')).parent}:{os.environ['PATH']}"
    dump, restore = [block for block in blocks("PostgreSQL and replicas") if "kvit.dump" in block]
    environment = os.environ | {"PATH": path, "DATABASE_URL": old, "NEW_URL": new}
    for script in (dump, restore):
        subprocess.run(["/bin/sh", "-ec", script], cwd=tmp_path, env=environment, check=True, timeout=SECONDS)
    async with opened_database(new) as db:
        after = await db.read(inventory)
        assert after | {"installation_settings": 0} == before | {"installation_settings": 0}
        assert after["installation_settings"][0] == before["installation_settings"][0] + 1
        with pytest.raises(sa.exc.IntegrityError, match="append-only"):
            await db.write(sa.Connection.exec_driver_sql, "DELETE FROM audit_log")
    world.settings = world.settings.model_copy(update={"database_url": new})
    await world.begin()
    await world.message("runs on a backup")
    world.advance(6)
    await paid(world, "/pay 12,50 Tea")
