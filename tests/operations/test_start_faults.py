"""What is wrong with the machine is one plain line with a remedy: at the start of each command, and by `check`."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.process_world import ROOT, Outside, outside
from tests.support.terminal import Terminal, installed, serving

pytestmark = pytest.mark.timeout(300)

OLD_SQLITE = """
import sqlite3
sqlite3.sqlite_version, sqlite3.sqlite_version_info = "3.34.1", (3, 34, 1)
"""
WITHOUT_STDERR = "tests.support.without_stderr"


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    async with installed(tmp_path) as running:
        yield running


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Outside]:
    async with outside(tmp_path / "kvit") as opened:
        yield opened


async def test_old_sqlite_is_refused_by_each_command_and_by_the_bootstrap(world: Outside) -> None:
    (world.folder / "sitecustomize.py").write_text(OLD_SQLITE)
    path = f"{world.folder}:{ROOT}"
    expected = "SQLite 3.34.1 is too old: Kvit needs 3.37 or newer. Set up Kvit with a Python that has a newer one"
    for command in ("serve", "migrate"):
        logged_before = len(world.log) if (world.folder / "stderr").exists() else 0
        assert await world.ended(await world.begin("bot", command, PYTHONPATH=path)) == (2, "")
        [line] = world.log[logged_before:].splitlines()
        assert line.startswith(f"DATABASE_URL: {expected}")
    code, output = await world.ended(await world.begin("bot", "check", PYTHONPATH=path))
    assert (code, f"FAIL  database: {expected}" in output) == (1, True), output
    assert not (world.folder / "kvit.db").exists()
    bootstrap = [sys.executable, str(ROOT / "scripts" / "bootstrap.py"), "run"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path}
    done = subprocess.run(bootstrap, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Kvit needs SQLite 3.37 or newer, and this Python ({sys.executable}) has 3.34.1. "
        "Set PY=/path/to/another/python3 before the command.\n"
    )


async def test_service_runs_without_stderr_and_no_file_takes_its_number(world: Outside) -> None:
    process = await world.ready(WITHOUT_STDERR, "bot", "serve")
    if sys.platform == "linux":
        assert Path(f"/proc/{process.pid}/fd/2").readlink() == Path("/dev/null")
    await world.stopped(process)
    assert world.log == ""


async def test_start_error_without_stderr_is_shown_on_stdout_with_its_exit_code(world: Outside) -> None:
    wrong = await world.begin(WITHOUT_STDERR, "bot", "serve", PORT="eighty")
    code, output = await world.ended(wrong)
    assert (code, output) == (
        2,
        "PORT is not a whole number. It must be a whole number from 0 (any free port) to 65535.\n",
    )


async def test_output_that_the_terminal_cannot_encode_is_escaped(world: Outside) -> None:
    narrow = {"PYTHONIOENCODING": "cp1252", "DATABASE_URL": "sqlite:///møntørł.db"}
    for utf8 in ("0", "1"):
        process = await world.begin("bot", "check", PYTHONUTF8=utf8, **narrow)
        assert process.stdout is not None
        lines = (await process.stdout.read()).decode("cp1252").splitlines()
        assert any("There is no møntør\\u0142.db yet." in line for line in lines), lines
    process = await world.begin("bot", "check", "--json", **narrow)
    assert process.stdout is not None
    found = json.loads((await process.stdout.read()).decode("ascii"))
    assert any("There is no møntørł.db yet." in it["detail"] for it in found)
    assert "Traceback" not in world.log


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("nowhere/deep/kvit.db", "does not exist. Create that folder for this user, or set"),
        ("file/kvit.db", "is a file, not a folder. Create that folder for this user, or set"),
        ("folder", "is a folder, not a file. Set DATABASE_URL to a file in it, like sqlite:///"),
        ("loop/kvit.db", "does not exist. Create that folder"),
        ("a" * 300, "cannot be opened: File name too long. Write another name into DATABASE_URL"),
    ],
)
async def test_path_that_cannot_hold_a_database_is_one_line(
    terminal: Terminal, tmp_path: Path, path: str, problem: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    url = f"sqlite:///{tmp_path}/{path}"
    checked = await terminal.run("check", database_url=url)
    assert (checked.code, problem in checked.lines["database"]) == (1, True), checked.output
    for command in ("migrate", "reconcile"):
        ended = await terminal.run(command, database_url=url)
        assert ended.code == 2, command
        [line] = ended.errors.splitlines()
        assert line.startswith("DATABASE_URL: ")
        assert problem in line


async def test_check_names_a_port_that_another_program_uses(terminal: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = await terminal.run("check", port=port)
    assert ended.code == 1
    assert ended.lines["port"] == (
        f"FAIL Kvit cannot listen on 127.0.0.1:{port} (the port is in use). "
        "Stop the program that uses it, or set PORT to another one (0: any free port)."
    )
    assert "port" not in (await terminal.run("check", port=port)).lines


async def test_check_names_a_host_that_is_not_of_this_machine(terminal: Terminal) -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        assert "Set HOST to an address of this machine" in (await terminal.run("check", host=host)).lines["port"]


async def test_check_accepts_the_port_of_a_running_service(tmp_path: Path) -> None:
    async with serving(tmp_path) as (terminal, _):
        assert "port" not in (await terminal.run("check")).lines


async def test_check_names_unknown_settings_and_a_readable_file(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("STRIPE_API_KYE=rk_test_1\nPORT=0\nGRAFANA_PASSWORD=x\n")
    file.chmod(0o644)
    ended = await terminal.run("check")
    assert (ended.code, ended.lines["settings"]) == (0, f"ok   They are valid, from the environment and {file}.")
    assert ended.lines["settings file"].splitlines() == [
        f"note {file} has GRAFANA_PASSWORD, which is no setting of Kvit. Remove it, unless another program reads it.",
        f"note {file} has STRIPE_API_KYE, which is no setting of Kvit. If STRIPE_API_KEY is meant, write that.",
        f"note Every user of this machine can read {file}, which holds the keys. Run `chmod 600 {file}`.",
    ]
    file.write_text("PORT=0\n")
    file.chmod(0o600)
    assert "settings file" not in (await terminal.run("check")).lines
    file.unlink()
    assert (await terminal.run("check")).lines["settings"] == f"ok   They are valid; there is no {file}."


async def test_check_shows_the_public_url_as_it_is_used(terminal: Terminal) -> None:
    shown = (await terminal.run("check", public_url="HTTPS://BØF.example.dk")).lines["public address"]
    assert shown == "ok   https://xn--bf-lka.example.dk."


async def test_unknown_time_zone_costs_no_message_and_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as (terminal, world):
        world.say("/pay 125 Coffee")
        await world.message("Waiting for payment")
        with closing(sqlite3.connect(world.database, isolation_level=None)) as db:
            db.execute("UPDATE shops SET time_zone = 'Mars/Base'")
        world.say("/pay 149,50 Coffee")
        await world.message("149.50")
        world.say("/status")
        await world.message("Paid today: nothing yet")
        zones = (await terminal.run("check")).lines["time zones"]
    assert zones.startswith(
        "note This machine does not know Mars/Base, so times are shown in UTC. Update the package tzdata"
    )
