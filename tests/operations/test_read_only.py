"""A folder or a file that may not be written is named at the start, in plain words, and nothing in it is harmed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.process_world import outside
from tests.support.world import OWNER

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="root gives up its rights by Linux's own means"),
]


POWERLESS = ("tests.support.unprivileged", "bot", "serve")
REFUSALS = {
    "folder": (2, "DATABASE_URL: This user may not write in "),
    "file": (2, "DATABASE_URL: This user may not read and write data/kvit.db. Give the file to this user"),
}


@pytest.mark.long
@pytest.mark.parametrize(("what", "refusal"), REFUSALS.items(), ids=REFUSALS.keys())
async def test_what_may_not_be_written_is_said_at_the_start_and_is_served_once_it_may(
    tmp_path: Path, what: str, refusal: tuple[int, str]
) -> None:
    async with outside(tmp_path / "kvit", DATABASE_URL="sqlite:///data/kvit.db") as world:
        folder = world.folder / "data"
        folder.mkdir()
        assert (await world.ended(await world.begin("bot", "migrate")))[0] == 0
        before = (folder / "kvit.db").read_bytes()
        (folder if what == "folder" else folder / "kvit.db").chmod(0o500 if what == "folder" else 0o400)
        code, words = refusal
        assert await world.ended(await world.begin(*POWERLESS)) == (code, "")
        assert words in world.log
        assert "Traceback" not in world.log
        folder.chmod(0o700)
        for path in folder.iterdir():  # SQLite gives its -wal and -shm the rights of the file
            path.chmod(0o600)
        assert (folder / "kvit.db").read_bytes() == before
        process = await world.ready(*POWERLESS)
        world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
        await world.message("Waiting for payment")
        await world.stopped(process)
