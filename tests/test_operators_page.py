"""What docs/operations.md has an operator type does what it says: install, run a command, bring back, update."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

from handlers.reconcile import EVENTS_KEPT, KEPT
from storage import money_out_tables, tables  # noqa: F401 - all that is kept
from storage.columns import metadata
from tests.test_deploy import DEPLOY, ROOT, UNITS, unit


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


def test_a_backup_is_brought_back_by_the_lines_of_the_page(tmp_path: Path) -> None:
    """They are run one after the other, on a folder that belongs to somebody else if we may give it away."""
    state = tmp_path / "kvit"
    (state / "backups").mkdir(parents=True)
    (state / "backups" / "NAME.db").write_text("before")
    for name in ("kvit.db", "kvit.db-wal", "kvit.db-shm"):
        (state / name).write_text("after")
    owner = 4321 if os.geteuid() == 0 else os.getuid()
    os.chown(state, owner, -1)
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$1 $2" >>{tmp_path}/told\n')
    (tmp_path / "systemctl").chmod(0o755)
    script = "set -e\n" + blocks("Bring it back")[0].replace("/var/lib/kvit", str(state))
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["/bin/sh", "-c", script], env=environment, check=True, timeout=60)
    assert (tmp_path / "told").read_text().splitlines() == ["stop kvit.service", "start kvit.service"]
    assert ((state / "kvit.db").read_text(), (state / "kvit.db").stat().st_uid) == ("before", owner)
    assert {path.name for path in state.glob("kvit.db*")} == {"kvit.db"}


def test_an_update_takes_a_backup_first_and_then_a_new_version_with_what_it_needs() -> None:
    lines = blocks("Bring it up to date")[0].splitlines()
    steps = [
        "kvit-backup.service",
        "stop kvit",
        "git pull",
        "bootstrap.py run",
        "/etc/systemd/system/",
        "daemon-reload",
    ]
    at = [next(number for number, line in enumerate(lines) if step in line) for step in steps]
    assert at == sorted(at)
    assert lines[-1] == "systemctl start kvit.service"
    assert set(re.findall(r"deploy/([\w.-]+)", " ".join(lines))) == {*UNITS, "kvit-backup.timer"}
    assert "backup" in blocks("Bring it up to date")[1].splitlines()[0]


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
    said = {what.partition(":")[0].partition(",")[0]: how_long for what, _, how_long in rows}
    assert f"the key {EVENTS_KEPT.days} days" in said["Stripe's events"]
    assert f"{KEPT.days} days" in said["what was written to the bot"]
    assert f"{KEPT.days} days" in said["choices by button"]
    [kept] = re.findall(r"-mtime \+(\d+)", (DEPLOY / "kvit-backup.service").read_text("utf-8"))
    assert f"-mtime +{kept} " in (DEPLOY / "compose.yaml").read_text("utf-8")
    assert said["all of that"] == f"{kept} days"
