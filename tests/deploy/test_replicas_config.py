"""The files of deploy/ for replicas on PostgreSQL: they agree with those for one process, and with each other."""

from __future__ import annotations

import os
import re
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from bot.settings import Settings
from bot.settings_validators import trusted_proxies
from tests.deploy.proxies import CADDY, DEPLOY

REPLICAS = (DEPLOY / "Caddyfile.replicas").read_text("utf-8")
NAMES = ("kvit1", "kvit2")


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.postgres.yaml").read_text("utf-8"))


def settings_of(conf: str) -> set[str]:
    """The lines that set something, without their indentation."""
    return {line.strip() for line in conf.splitlines() if line.strip() and not line.strip().startswith("#")}


def test_proxy_of_replicas_has_the_limits_of_the_proxy_of_one_process() -> None:
    missing = settings_of(CADDY) - settings_of(REPLICAS)
    assert missing == {
        "pay.example.dk {",
        "reverse_proxy 127.0.0.1:8080 {",
        "@restart expression `{http.error.status_code} in [502, 504]`",
    }


def test_compose_starts_two_equal_replicas_that_trust_the_proxy_in_front_of_them() -> None:
    services = compose()["services"]
    one, two = (services[name] for name in NAMES)
    assert one == two
    assert set(one["environment"]) <= {name.upper() for name in Settings.model_fields}
    assert one["environment"]["DATABASE_URL"].startswith("postgresql://kvit:${POSTGRES_PASSWORD")
    assert one["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert (one["read_only"], one["cap_drop"], "ports" in one) == (True, ["ALL"], False)
    port = one["environment"]["PORT"]
    assert f"reverse_proxy {' '.join(f'{name}:{port}' for name in NAMES)} {{" in REPLICAS
    address = services["caddy"]["networks"]["default"]["ipv4_address"]
    [pool] = compose()["networks"]["default"]["ipam"]["config"]
    assert ip_address(address) in ip_network(pool["subnet"])
    assert trusted_proxies(one["environment"]["TRUSTED_PROXIES"]) == (ip_network(address),)
    for service in services.values():
        assert service["restart"] == "unless-stopped"
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in compose()["volumes"] or (DEPLOY / source).is_file(), source


def test_compose_keeps_the_newest_dump_and_those_of_two_weeks(tmp_path: Path) -> None:
    [script] = compose()["services"]["backup"]["command"]
    pruning = "newest=" + script.partition("newest=")[2].partition("sleep 3600")[0]
    for name, days in (("kvit-1.dump", 30), ("kvit-2.dump", 20), ("notes", 99)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, (tmp_path / name).stat().st_mtime - days * 86400))
    run = pruning.replace("$$", "$").replace("/backups", str(tmp_path))
    subprocess.run(["/bin/sh", "-c", run], check=True, timeout=60)
    assert {path.name for path in tmp_path.iterdir()} == {"kvit-2.dump", "notes"}


def test_unit_of_a_replica_is_that_of_one_process_with_a_port() -> None:
    one, replica = (
        set(re.sub(r"^#.*\n", "", (DEPLOY / name).read_text("utf-8"), flags=re.MULTILINE).splitlines())
        for name in ("kvit.service", "kvit@.service")
    )
    assert replica - one == {
        "Description=Kvit, payment links for Telegram, on port %i",
        "StateDirectory=kvit/%i",
        "WorkingDirectory=%S/kvit/%i",
        "Environment=PORT=%i",
        "Environment=DRAIN_SECONDS=6",
        "TimeoutStopSec=35",
    }
    assert len(one - replica) == 5
