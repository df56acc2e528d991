"""The requirements files against pyproject.toml, and the check that guards them against planted faults; no network."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUN: list[str] = PYPROJECT["project"]["dependencies"]
DEV: list[str] = PYPROJECT["dependency-groups"]["dev"]


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", text, re.MULTILINE))


def check(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts" / "requirements.py"), "check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in ("requirements", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("dependency", RUN + DEV)
def test_a_direct_dependency_has_a_floor_so_that_no_resolver_digs_up_an_old_one(dependency: str) -> None:
    assert any(limit.operator in (">=", "==", "~=") for limit in Requirement(dependency).specifier)


@pytest.mark.parametrize(
    ("name", "dependency"), [("run", line) for line in RUN] + [("dev", line) for line in RUN + DEV]
)
def test_what_is_pinned_is_what_pyproject_allows(name: str, dependency: str) -> None:
    wanted = Requirement(dependency)
    assert wanted.specifier.contains(pins(name)[canonicalize_name(wanted.name)])


def test_the_tools_come_on_top_of_the_same_packages_that_run() -> None:
    assert pins("run").items() <= pins("dev").items()


@pytest.mark.parametrize("name", ["run", "dev"])
def test_no_address_option_or_path_stands_in_a_file_and_every_pin_has_a_hash(name: str) -> None:
    header, *entries = re.split(r"^(?=[^#\s])", (ROOT / "requirements" / f"{name}.txt").read_text(), flags=re.MULTILINE)
    assert not re.search(r"://|(?:^|\s)[-/~]|\.\./", header)
    whole = re.compile(r"[a-z0-9-]+==[^ /]+( ; [^/]+?)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n")
    assert [entry for entry in entries if not whole.fullmatch(entry)] == []


def test_the_check_is_content_with_the_files_as_they_are(copy: Path) -> None:
    done = check(copy)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_check_notices_a_dependency_that_was_added_later(copy: Path) -> None:
    replace(copy / "pyproject.toml", "dependencies = [", 'dependencies = [\n    "left-pad>=1",')
    told = check(copy)
    assert told.returncode == 1
    assert "requirements/run.txt was not made from today's pyproject.toml." in told.stderr
    assert "Remedy: make lock" in told.stderr


def test_the_check_notices_a_tool_that_was_added_later_and_leaves_run_alone(copy: Path) -> None:
    replace(copy / "pyproject.toml", "dev = [", 'dev = [\n    "left-pad>=1",')
    told = check(copy).stderr
    assert "requirements/dev.txt" in told
    assert "requirements/run.txt" not in told


@pytest.mark.parametrize(
    "planted",
    [
        "--index-url https://packages.example/simple\n",
        "--find-links /home/me/wheels\n",
        "# by /home/me/bin/uv\n",
        "left-pad @ https://packages.example/left-pad.whl\n",
        "left-pad==1.0\n",
        "left-pad==1.0 \\\n",
    ],
)
def test_the_check_notices_what_is_neither_a_pin_nor_its_hash(copy: Path, planted: str) -> None:
    with (copy / "requirements" / "run.txt").open("a") as listed:
        listed.write(planted)
    told = check(copy)
    assert told.returncode == 1
    assert "requirements/run.txt" in told.stderr


def test_the_check_notices_another_version_for_the_tools(copy: Path) -> None:
    replace(copy / "requirements" / "dev.txt", f"stripe=={pins('dev')['stripe']}", "stripe==16.0.9")
    told = check(copy)
    assert told.returncode == 1
    assert "requirements/dev.txt lacks what requirements/run.txt has: stripe." in told.stderr


def test_the_check_notices_a_file_that_is_missing(copy: Path) -> None:
    (copy / "requirements" / "dev.txt").unlink()
    assert "requirements/dev.txt is missing." in check(copy).stderr


def test_making_the_files_without_uv_says_how_to_get_it(copy: Path) -> None:
    command = [sys.executable, "scripts/requirements.py", "lock"]
    told = subprocess.run(command, cwd=copy, env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert "pip install uv" in told.stderr
