"""What docs/operations.md has an operator type does what it says: install, run a command, bring back, update."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from handlers.operations.reconciler import DEAD_JOB_RETENTION, EVENTS_KEPT, JOB_RETENTION
from storage.schema.types import metadata
from tests.project.test_deploy import DEPLOY, ROOT, UNITS, unit


def blocks(heading: str) -> list[str]:
    """What a reader of the page for operators may copy into his shell below a heading."""
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    _, _, section = text.partition(f"\n## {heading}\n")
    return re.findall(r"^```sh\n(.*?)^```$", section.partition("\n## ")[0], re.MULTILINE | re.DOTALL)


def test_an_install_begins_with_the_clone_and_makes_the_folder_of_the_settings() -> None:
    lines = blocks("Install")[0].splitlines()
    assert lines[0].startswith("git clone ")
    assert lines[0].endswith(" /opt/kvit")
    assert lines[1] == "cd /opt/kvit"
    [installed] = [shlex.split(line) for line in lines if line.startswith("install ")]
    assert "-D" in installed
    assert installed[-1] == unit("kvit.service")["Service"]["EnvironmentFile"]


def shell(script: str, tmp_path: Path) -> int:
    """Run it where `systemctl` and `docker` only write down what they were told; returns the exit code.

    What `docker compose run` was to run in the container is run in the folder that stands for its volume.
    """
    said = f'echo "$*" >>{tmp_path}/told\n'
    within = (
        f'case "$*" in *" run "*) shift $(($# - 1)); /bin/sh -ec "$(echo "$1" | sed s,/data,{tmp_path}/kvit,)";; esac\n'
    )
    for name, more in (("systemctl", ""), ("docker", within)):
        (tmp_path / name).write_text(f"#!/bin/sh\n{said}{more}")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    return subprocess.run(["/bin/sh", "-c", script], env=environment, cwd=tmp_path, timeout=60, check=False).returncode


@pytest.mark.parametrize("number", [0, 1], ids=["systemd", "container"])
def test_a_backup_is_brought_back_by_the_lines_of_the_page(tmp_path: Path, number: int) -> None:
    """Twice, on a folder that belongs to somebody else if we may give it away: each puts aside what was there."""
    state = tmp_path / "kvit"
    (state / "backups").mkdir(parents=True)
    owner = 4321 if os.geteuid() == 0 and number == 0 else os.getuid()
    os.chown(state, owner, -1)
    script = blocks("Bring it back")[number].replace("/var/lib/kvit", str(state))
    assert shell(script, tmp_path) != 0, "there is no such backup"
    for text in ("first", "second"):
        for name in ("kvit.db", "kvit.db-wal", "kvit.db-shm"):
            (state / name).write_text(f"before the {text}")
        for backup in (state / "backups" / "NAME.db", tmp_path / "NAME.db"):
            backup.write_text(text)
        assert shell(script, tmp_path) == 0
        assert ((state / "kvit.db").read_text(), (state / "kvit.db").stat().st_uid) == (text, owner)
        assert {path.name for path in state.glob("*.db*")} == {"kvit.db"}
    kept = [{path.read_text() for path in aside.iterdir()} for aside in state.glob("aside.*")]
    assert sorted(map(sorted, kept)) == [["before the first"], ["before the second"]]


def test_nothing_is_started_before_a_backup_is_back_and_no_other_is_made_meanwhile(tmp_path: Path) -> None:
    state = tmp_path / "kvit"
    (state / "backups").mkdir(parents=True)
    script = blocks("Bring it back")[0].replace("/var/lib/kvit", str(state))
    stops, starts = "stop kvit-backup.timer kvit-backup.service kvit.service", "start kvit-backup.timer kvit.service"
    assert shell(script, tmp_path) != 0
    assert (tmp_path / "told").read_text().splitlines() == [stops]
    (state / "backups" / "NAME.db").write_text("before")
    assert shell(script, tmp_path) == 0
    assert (tmp_path / "told").read_text().splitlines() == [stops, stops, starts]


def test_an_update_takes_a_backup_first_and_then_a_new_version_with_what_it_needs() -> None:
    lines = blocks("Bring it up to date")[0].splitlines()
    steps = [
        "kvit-backup.service",
        "git fetch",
        "stop kvit",
        "git pull",
        "bootstrap.py run",
        "/etc/systemd/system/",
        "daemon-reload",
    ]
    at = [next(number for number, line in enumerate(lines) if step in line) for step in steps]
    assert at == sorted(at)
    assert lines[-1] == "systemctl start kvit-backup.timer kvit.service"
    assert [line.endswith(" &&") for line in lines] == [True] * (len(lines) - 1) + [False]
    assert set(re.findall(r"deploy/([\w.-]+)", " ".join(lines))) == {*UNITS, "kvit-backup.timer"}
    [backup, *_] = blocks("Bring it up to date")[1].splitlines()
    assert re.search(r'backup "/data/backups/kvit-\$\(date [^)]*\)\.db" &&$', backup), (
        "it goes with the others of its name"
    )


def test_the_command_beside_the_service_has_its_user_settings_and_database(tmp_path: Path) -> None:
    (tmp_path / "systemd-run").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (tmp_path / "systemd-run").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [str(DEPLOY / "kvit"), "backup", "a file.db"]
    words = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    lines = words.stdout.splitlines()
    asked = dict(line.removeprefix("--property=").split("=", 1) for line in lines if line.startswith("--property="))
    service = unit("kvit.service")["Service"]
    assert {"User", "DynamicUser", "StateDirectory", "EnvironmentFile", "WorkingDirectory"} <= asked.keys()
    assert asked == {name: service[name].replace("%S", "/var/lib") for name in asked}
    given = {line.removeprefix("--setenv=") for line in lines if line.startswith("--setenv=")}
    text = (DEPLOY / "kvit.service").read_text("utf-8").replace("%S", "/var/lib")
    assert given == set(re.findall(r"^Environment=(.*)$", text, re.MULTILINE)) - {"LOG_FORMAT=json"}
    assert {"--pipe", "--wait"} <= set(lines)
    assert lines[-6:] == [*shlex.split(service["ExecStart"])[:-1], "backup", "a file.db"]


def test_the_page_says_of_every_table_how_long_it_is_kept() -> None:
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    _, _, section = text.partition("\n## What is kept, and for how long\n")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", section.partition("\n## ")[0], re.MULTILINE)
    assert {name for _, names, _ in rows for name in re.findall(r"`(\w+)`", names)} == set(metadata.tables)
    said = {what.partition(":")[0].partition(",")[0]: how_long for what, _, how_long in reversed(rows)}
    assert f"the key {EVENTS_KEPT.days} days" in said["Stripe's events"]
    assert f"{JOB_RETENTION.days} days" in said["what was written to the bot"]
    assert f"{JOB_RETENTION.days} days" in said["choices by button"]
    assert f"{DEAD_JOB_RETENTION.days} days" in said["what was set aside for a human"]
    [kept] = re.findall(r"-mtime \+(\d+)", (DEPLOY / "kvit-backup.service").read_text("utf-8"))
    assert f"-mtime +{kept} " in (DEPLOY / "compose.yaml").read_text("utf-8")
    assert said["all of that"] == f"{kept} days"
