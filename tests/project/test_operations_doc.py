"""The commands in docs/operations.md do what the page says: install, run a command, restore, update."""

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
    """The shell commands below a heading of docs/operations.md."""
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    _, _, section = text.partition(f"\n## {heading}\n")
    return re.findall(r"^```sh\n(.*?)^```$", section.partition("\n## ")[0], re.MULTILINE | re.DOTALL)


def test_install_clones_first_and_creates_the_settings_folder() -> None:
    lines = blocks("Install")[0].splitlines()
    assert lines[0].startswith("git clone ")
    assert lines[0].endswith(" /opt/kvit")
    assert lines[1] == "cd /opt/kvit"
    [installed] = [shlex.split(line) for line in lines if line.startswith("install ")]
    assert "-D" in installed
    assert installed[-1] == unit("kvit.service")["Service"]["EnvironmentFile"]


def shell(script: str, tmp_path: Path) -> int:
    """Runs a script with `systemctl` and `docker` replaced by recorders, and returns its exit code.

    The script of `docker compose run` runs in the folder that stands for the volume.
    """
    record = f'echo "$*" >>{tmp_path}/calls\n'
    within = (
        f'case "$*" in *" run "*) shift $(($# - 1)); /bin/sh -ec "$(echo "$1" | sed s,/data,{tmp_path}/kvit,)";; esac\n'
    )
    for name, more in (("systemctl", ""), ("docker", within)):
        (tmp_path / name).write_text(f"#!/bin/sh\n{record}{more}")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    return subprocess.run(["/bin/sh", "-c", script], env=environment, cwd=tmp_path, timeout=60, check=False).returncode


@pytest.mark.parametrize("number", [0, 1], ids=["systemd", "container"])
def test_restore_commands_replace_the_database_and_keep_the_old_one(tmp_path: Path, number: int) -> None:
    """Twice, on a folder of another user if this one may change owners: each restore moves the old database away."""
    state = tmp_path / "kvit"
    (state / "backups").mkdir(parents=True)
    owner = 4321 if os.geteuid() == 0 and number == 0 else os.getuid()
    os.chown(state, owner, -1)
    script = blocks("Restore")[number].replace("/var/lib/kvit", str(state))
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


def test_restore_stops_services_first_and_starts_them_only_after_success(tmp_path: Path) -> None:
    state = tmp_path / "kvit"
    (state / "backups").mkdir(parents=True)
    script = blocks("Restore")[0].replace("/var/lib/kvit", str(state))
    stops, starts = "stop kvit-backup.timer kvit-backup.service kvit.service", "start kvit-backup.timer kvit.service"
    assert shell(script, tmp_path) != 0
    assert (tmp_path / "calls").read_text().splitlines() == [stops]
    (state / "backups" / "NAME.db").write_text("before")
    assert shell(script, tmp_path) == 0
    assert (tmp_path / "calls").read_text().splitlines() == [stops, stops, starts]


def test_update_backs_up_first_and_then_installs_the_new_version() -> None:
    lines = blocks("Update")[0].splitlines()
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
    [backup, *_] = blocks("Update")[1].splitlines()
    assert re.search(r'backup "/data/backups/kvit-\$\(date [^)]*\)\.db" &&$', backup), (
        "its name matches the pattern by which old backups are deleted"
    )


def test_deploy_kvit_runs_commands_with_the_services_user_settings_and_database(tmp_path: Path) -> None:
    (tmp_path / "systemd-run").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (tmp_path / "systemd-run").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [str(DEPLOY / "kvit"), "backup", "a file.db"]
    words = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    lines = words.stdout.splitlines()
    properties = dict(
        line.removeprefix("--property=").split("=", 1) for line in lines if line.startswith("--property=")
    )
    service = unit("kvit.service")["Service"]
    assert {"User", "DynamicUser", "StateDirectory", "EnvironmentFile", "WorkingDirectory"} <= properties.keys()
    assert properties == {name: service[name].replace("%S", "/var/lib") for name in properties}
    given = {line.removeprefix("--setenv=") for line in lines if line.startswith("--setenv=")}
    text = (DEPLOY / "kvit.service").read_text("utf-8").replace("%S", "/var/lib")
    assert given == set(re.findall(r"^Environment=(.*)$", text, re.MULTILINE)) - {"LOG_FORMAT=json"}
    assert {"--pipe", "--wait"} <= set(lines)
    assert lines[-6:] == [*shlex.split(service["ExecStart"])[:-1], "backup", "a file.db"]


def test_data_retention_table_names_every_table_and_the_codes_durations() -> None:
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    _, _, section = text.partition("\n## Data retention\n")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", section.partition("\n## ")[0], re.MULTILINE)
    assert {name for _, names, _ in rows for name in re.findall(r"`(\w+)`", names)} == set(metadata.tables)
    documented = {what.partition(":")[0].partition(",")[0]: how_long for what, _, how_long in reversed(rows)}
    assert f"the key {EVENTS_KEPT.days} days" in documented["Stripe's events"]
    assert f"{JOB_RETENTION.days} days" in documented["updates from Telegram"]
    assert f"{JOB_RETENTION.days} days" in documented["questions with buttons"]
    assert f"{DEAD_JOB_RETENTION.days} days" in documented["dead jobs"]
    kept, newest = re.findall(r"-mtime \+(\d+)", (DEPLOY / "kvit-backup.service").read_text("utf-8"))
    assert re.findall(r"-mtime \+(\d+)", (DEPLOY / "compose.yaml").read_text("utf-8")) == [kept, newest]
    assert documented["all of that"] == f"{kept} days; the newest {newest} days, if no other can be made"
