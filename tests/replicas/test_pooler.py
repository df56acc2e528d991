"""Behind pgbouncer in transaction mode the program works as before, and wake-ups take the way past it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.journeys import test_journeys
from tests.support.postgres import ACCOUNT, Server, free_port, opened_database, program, unprivileged, wait_for_port
from tests.support.world import opened

SETTINGS = """
[databases]
* = host=127.0.0.1 port={server} user=kvit
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = any
pool_mode = transaction
default_pool_size = 3
server_check_delay = 0
ignore_startup_parameters = extra_float_digits
"""


@pytest.fixture
def pooler(postgres: Server) -> Iterator[int]:
    """The port of a pgbouncer with three connections to the server."""
    command, port = program("pgbouncer"), free_port()
    with TemporaryDirectory(prefix="kvit-pool-") as folder:
        Path(folder).chmod(0o755)
        file = Path(folder, "pgbouncer.ini")
        file.write_text(SETTINGS.format(server=postgres.port, port=port) + f"user = {ACCOUNT}\n")
        process = subprocess.Popen([*unprivileged(), command, "-q", str(file)], stdout=subprocess.DEVNULL)
        try:
            wait_for_port(port)
            yield port
        finally:
            process.kill()
            process.wait()


async def test_a_whole_payment_happens_behind_a_pooler(
    clock: FakeClock, tmp_path: Path, postgres: Server, pooler: int
) -> None:
    url = await postgres.create(migrated=False)
    pooled = postgres.url(url.rpartition("/")[2], pooler)
    async with opened(clock, tmp_path, database_url=pooled, database_listen_url=url) as world:
        await test_journeys.test_a_request_becomes_a_payment_message_with_a_link_and_the_payment_message_becomes_paid(
            world
        )


async def test_pooler_as_the_way_of_wake_ups_is_noticed(postgres: Server, pooler: int) -> None:
    url = await postgres.create()
    pooled = postgres.url(url.rpartition("/")[2], pooler)
    async with opened_database(pooled, listen_url=url) as db:
        assert await db.can_listen()
    async with opened_database(pooled, listen_url=pooled, busy_seconds=2) as db:
        assert not await db.can_listen()
