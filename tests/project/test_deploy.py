"""deploy/: the files parse, name files and settings that exist, and use metrics that exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.registry import Collector

from bot.cli import main
from bot.sandbox.shared.fake_clock import FakeClock
from bot.settings import Settings
from bot.settings_validators import trusted_proxies
from handlers.operations.metrics import GaugeCollector, Metrics
from handlers.runtime.heartbeats import Heartbeats
from storage.database.database import Database

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
SETTINGS = {name.upper() for name in Settings.model_fields}
FOREIGN_METRICS = re.compile(r"(up|process_\w+)")
PROMQL = {"sum", "max", "rate", "increase", "delta", "histogram_quantile", "absent", "and", "or", "unless", "time"}
UNITS = ["kvit.service", "kvit-backup.service"]
HARDENED = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "UMask": "0077",
    "CapabilityBoundingSet": "",
}


def load_yaml(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text("utf-8"))


def unit(name: str) -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / name, "utf-8")
    return parser


def exported() -> dict[str, set[str]]:
    """The name of every sample that `/metrics` can show, with its labels."""
    db = Database("sqlite:///nowhere.db")
    clock = FakeClock()
    metrics = Metrics(clock)
    GaugeCollector(db, metrics, [], Heartbeats(), clock)
    found: dict[str, set[str]] = {}
    collectors: dict[Collector, list[str]] = metrics.registry._collector_to_names
    for collector, names in collectors.items():
        labels = set(getattr(collector, "_labelnames", ()))
        for name in names:
            found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Every query of the alerts and the dashboard, with the alert or panel it belongs to."""
    for group in load_yaml("alerts.yml")["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    board = json.loads((DEPLOY / "grafana" / "kvit.json").read_text("utf-8"))
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_query_uses_only_existing_metrics_and_labels(where: str, expression: str) -> None:
    known = exported()
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|by \([^)]*\)|on\(\)", "", expression)
    named = set(re.findall(r"[a-z_][a-z0-9_]+", bare)) - PROMQL
    assert named, where
    for name in named:
        assert name in known or FOREIGN_METRICS.fullmatch(name), f"{where} uses {name}"
    for name, selector in re.findall(r"([a-z_0-9]+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+)(?:=~|!=|=|!~)", selector))
        assert labels <= known.get(name, set()) | {"job"}, f"{where} selects by {labels}"
    for opening, closing in ("()", "[]", "{}"):
        assert expression.count(opening) == expression.count(closing), where


def test_every_metric_is_used_by_an_alert_or_a_panel() -> None:
    queries = " ".join(expression for _, expression in expressions())
    ours = {re.sub(r"_(total|created|bucket|count|sum)$", "", name) for name in exported() if name.startswith("kvit_")}
    assert {name for name in ours if name not in queries} == set()


def test_every_alert_has_severity_summary_and_description() -> None:
    rules = [rule for group in load_yaml("alerts.yml")["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 10
    for rule in rules:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_panels_have_unique_ids_and_do_not_overlap() -> None:
    panels = json.loads((DEPLOY / "grafana" / "kvit.json").read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells
    source = load_yaml("grafana/datasource.yml")["datasources"][0]["uid"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source}


@pytest.mark.parametrize("name", UNITS)
def test_unit_runs_a_known_command_with_known_settings_and_hardening(name: str) -> None:
    service = unit(name)["Service"]
    words = shlex.split(service["ExecStart"].replace("'", ""))
    command = words[words.index("bot") + 1]
    assert command in main.commands
    lines = (DEPLOY / name).read_text("utf-8").splitlines()
    given = {line.split("=", 2)[1] for line in lines if line.startswith("Environment=")}
    assert given - {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"} <= SETTINGS
    assert {key: service.get(key) for key in HARDENED} == HARDENED
    assert service["DynamicUser"] == "yes"


@pytest.mark.parametrize("name", UNITS)
def test_unit_reads_no_settings_from_the_clone(name: str, tmp_path: Path) -> None:
    """Runs the unit's command line with `migrate`; the unreadable .env of the clone would make it fail."""
    places = {"/opt/kvit/.venv/bin/python": sys.executable, "/opt/kvit": f"{tmp_path}/clone", "%S": f"{tmp_path}/state"}
    lines = (DEPLOY / name).read_text("utf-8")
    for place, here in places.items():
        lines = lines.replace(place, here)
    given = dict(re.findall(r"^Environment=(\w+)=(.*)$", lines, re.MULTILINE))
    [folder] = re.findall(r"^WorkingDirectory=(.*)$", lines, re.MULTILINE)
    [begins] = re.findall(r"^ExecStart=(?:/bin/sh -c 'exec )?(.*) -m bot ", lines, re.MULTILINE)
    (tmp_path / "clone").mkdir()
    for part in ("bot", "handlers", "storage", "pyproject.toml"):
        (tmp_path / "clone" / part).symlink_to(ROOT / part)
    (tmp_path / "clone" / ".env").write_bytes(b"\xff")
    (tmp_path / "state" / "kvit").mkdir(parents=True)
    from_etc = {"TELEGRAM_BOT_TOKEN": f"7700000001:{'x' * 35}", "STRIPE_API_KEY": "rk_test_1"}
    command = [*shlex.split(begins), "-m", "bot", "migrate"]
    ended = subprocess.run(
        command, cwd=folder, env=given | from_etc, capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [path.name for path in (tmp_path / "state" / "kvit").glob("*.db")] == ["kvit.db"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("name", ["kvit.service", "kvit-backup.service", "kvit-backup.timer"])
def test_systemd_accepts_every_line_of_a_unit(name: str, tmp_path: Path) -> None:
    for path in DEPLOY.glob("kvit*"):  # with a program that exists everywhere
        text = path.read_text("utf-8").replace("/opt/kvit/.venv/bin/python", "/bin/true")
        (tmp_path / path.name).write_text(text)
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert [line for line in result.stderr.splitlines() if name in line] == []


def instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_image_copies_existing_files_and_no_secrets() -> None:
    copied = [words.split()[:-1] for verb, words in instructions() if verb == "COPY" and "--from" not in words]
    sources = [source for group in copied for source in group]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignored
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert set(sources) == allowed
    for source in sources:
        assert (ROOT / source).exists()
    assert not any(".env" in source for source in sources)


def test_image_runs_serve_as_an_unprivileged_user() -> None:
    verbs = dict(instructions())
    assert verbs["USER"] == "kvit"
    assert json.loads(verbs["ENTRYPOINT"]) == ["python", "-m", "bot"]
    assert json.loads(verbs["CMD"])[0] in main.commands
    health = json.loads(verbs["HEALTHCHECK"].partition("CMD")[2])
    compile(health[2], "HEALTHCHECK", "exec")
    assert "/readyz" in health[2]
    wanted = re.search(r"python:(\d+\.\d+)", verbs["FROM"])
    assert wanted is not None
    assert f'>={wanted[1]}"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_compose_builds_the_image_and_keeps_the_database_on_a_volume() -> None:
    compose = load_yaml("compose.yaml")
    kvit = compose["services"]["kvit"]
    assert (DEPLOY / kvit["build"]["context"] / kvit["build"]["dockerfile"]).is_file()
    assert set(kvit["environment"]) <= SETTINGS
    folder = Path(kvit["environment"]["DATABASE_URL"].removeprefix("sqlite:///")).parent
    assert kvit["volumes"] == [f"data:{folder}"]
    assert (kvit["read_only"], kvit["cap_drop"]) == (True, ["ALL"])
    for name, service in compose["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).is_file(), f"{name} mounts {source}"


def test_compose_services_restart_after_a_reboot() -> None:
    """A container that was stopped by Docker's shutdown did not fail, so `on-failure` would not restart it."""
    assert {service["restart"] for service in load_yaml("compose.yaml")["services"].values()} == {"unless-stopped"}


def test_proxy_on_the_host_of_the_container_is_trusted() -> None:
    compose = load_yaml("compose.yaml")
    [pool] = compose["networks"]["default"]["ipam"]["config"]
    assert ip_address(pool["gateway"]) in ip_network(pool["subnet"])
    trusted = trusted_proxies(compose["services"]["kvit"]["environment"]["TRUSTED_PROXIES"])
    assert trusted == (ip_network("127.0.0.1"), ip_network("::1"), ip_network(pool["gateway"]))


@pytest.mark.long
def test_compose_backup_script_makes_a_backup_and_deletes_old_ones(tmp_path: Path) -> None:
    """Runs the script with other paths; it exits where it would sleep for an hour."""
    backup = load_yaml("compose.yaml")["services"]["backup"]
    assert backup["entrypoint"] == ["/bin/sh", "-c"]
    [script] = backup["command"]
    old = tmp_path / "backups" / "kvit-20200101T000000Z.db"
    old.parent.mkdir()
    old.touch()
    os.utime(old, (0, 0))
    for it, here in {"/data": str(tmp_path), "sleep 60": ":", "sleep 3600": "exit", "$$": "$"}.items():
        assert it in script
        script = script.replace(it, here)
    url = backup["environment"]["DATABASE_URL"].replace("/data", str(tmp_path))
    script = script.replace("python ", f"{sys.executable} ")
    needed = {"TELEGRAM_BOT_TOKEN": f"7700000001:{'x' * 35}", "STRIPE_API_KEY": "rk_test_1", "DATABASE_URL": url}
    environment = os.environ | needed | {"PYTHONPATH": str(ROOT)}
    script = f"{sys.executable} -m bot migrate\n{script}"
    subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, env=environment, check=True, timeout=60)
    [made] = old.parent.iterdir()
    assert re.fullmatch(r"kvit-\d{8}T\d{6}Z\.db", made.name)
    assert made.stat().st_size


def compose_pruning(folder: Path) -> str:
    """The lines of the compose script after the backup, for this folder."""
    [script] = load_yaml("compose.yaml")["services"]["backup"]["command"]
    return str(script.partition('.db"\n')[2].partition("sleep 3600")[0].replace("/data/backups", str(folder)))


def systemd_pruning(folder: Path) -> str:
    """What the unit runs after a backup that was made or failed, for this folder."""
    command = unit("kvit-backup.service")["Service"]["ExecStopPost"]
    assert "ExecStartPost" not in unit("kvit-backup.service")["Service"], "it does not run after a failure"
    return shlex.split(command.replace("%S/kvit/backups", str(folder)))[2]


@pytest.mark.parametrize("script", [compose_pruning, systemd_pruning])
def test_old_backups_are_deleted_after_a_failure_too_but_not_the_last_one(
    tmp_path: Path, script: Callable[[Path], str]
) -> None:
    now, folder = time.time(), tmp_path / "backups"

    def left(**days: int) -> set[str]:
        folder.mkdir()
        for name, age in {**days, "notes": 200}.items():
            file = folder / ("notes.txt" if name == "notes" else f"kvit-{name}.db")
            file.touch()
            os.utime(file, (now - age * 86400, now - age * 86400))
        subprocess.run(["/bin/sh", "-c", script(folder).replace("$$", "$")], check=False)
        names = {path.stem.removeprefix("kvit-") for path in folder.iterdir()}
        shutil.rmtree(folder)
        assert "notes" in names
        return names - {"notes"}

    assert left(a=100, b=20, c=13, d=0) == {"c", "d"}
    assert left(a=100, b=20, c=16) == {"c"}
    assert left(a=100) == set()
    assert left() == set()


def test_prometheus_scrapes_the_compose_service_with_its_token() -> None:
    (job,) = load_yaml("prometheus.yml")["scrape_configs"]
    compose = load_yaml("compose.yaml")
    name, _, port = job["static_configs"][0]["targets"][0].partition(":")
    assert compose["services"][name]["environment"]["PORT"] == port
    assert job["metrics_path"] == "/metrics"
    secret = Path(job["authorization"]["credentials_file"]).name
    assert compose["secrets"][secret] == {"environment": "METRICS_TOKEN"}
    assert compose["services"]["prometheus"]["secrets"] == [secret]
    assert (DEPLOY / load_yaml("prometheus.yml")["rule_files"][0]).is_file()


def test_operations_page_names_only_existing_metrics_commands_settings_and_files() -> None:
    page = ROOT / "docs" / "operations.md"
    text = page.read_text("utf-8")
    known = exported()
    named = {name for name in re.findall(r"kvit_[a-z_]+", text) if not (DEPLOY / name).exists()}
    assert named
    assert {name for name in named if name not in known and f"{name}_count" not in known} == set()
    assert set(re.findall(r"-m bot ([a-z-]+)", text)) <= main.commands.keys()
    assert set(re.findall(r"`([A-Z]+_[A-Z_]+)`", text)) <= SETTINGS
    for file in re.findall(r"`(deploy/[\w./-]+)`", text):
        assert (ROOT / file).exists(), file
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (page.parent / target).is_file(), target
