"""requirements/*.txt match pyproject.toml, and `scripts/requirements.py check` finds planted faults; no network."""

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
def test_direct_dependency_has_a_lower_bound(dependency: str) -> None:
    assert any(limit.operator in (">=", "==", "~=") for limit in Requirement(dependency).specifier)


@pytest.mark.parametrize(
    ("name", "dependency"), [("run", line) for line in RUN] + [("dev", line) for line in RUN + DEV]
)
def test_pinned_version_is_allowed_by_pyproject(name: str, dependency: str) -> None:
    wanted = Requirement(dependency)
    assert wanted.specifier.contains(pins(name)[canonicalize_name(wanted.name)])


def test_dev_pins_include_the_run_pins() -> None:
    assert pins("run").items() <= pins("dev").items()


@pytest.mark.parametrize("name", ["run", "dev"])
def test_requirements_file_holds_only_pins_with_hashes(name: str) -> None:
    header, *entries = re.split(r"^(?=[^#\s])", (ROOT / "requirements" / f"{name}.txt").read_text(), flags=re.MULTILINE)
    assert not re.search(r"://|(?:^|\s)[-/~]|\.\./", header)
    whole = re.compile(r"[a-z0-9-]+==[^ /]+( ; [^/]+?)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n")
    assert [entry for entry in entries if not whole.fullmatch(entry)] == []


def test_check_accepts_the_current_files(copy: Path) -> None:
    done = check(copy)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_finds_an_added_dependency(copy: Path) -> None:
    replace(copy / "pyproject.toml", "dependencies = [", 'dependencies = [\n    "left-pad>=1",')
    result = check(copy)
    assert result.returncode == 1
    assert "requirements/run.txt was not made from today's pyproject.toml." in result.stderr
    assert "Remedy: make lock" in result.stderr


def test_check_finds_an_added_tool_in_dev_only(copy: Path) -> None:
    replace(copy / "pyproject.toml", "dev = [", 'dev = [\n    "left-pad>=1",')
    result = check(copy).stderr
    assert "requirements/dev.txt" in result
    assert "requirements/run.txt" not in result


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
def test_check_finds_lines_that_are_neither_pin_nor_hash(copy: Path, planted: str) -> None:
    with (copy / "requirements" / "run.txt").open("a") as listed:
        listed.write(planted)
    result = check(copy)
    assert result.returncode == 1
    assert "requirements/run.txt" in result.stderr


def test_check_finds_different_versions_in_run_and_dev(copy: Path) -> None:
    replace(copy / "requirements" / "dev.txt", f"stripe=={pins('dev')['stripe']}", "stripe==16.0.9")
    result = check(copy)
    assert result.returncode == 1
    assert "requirements/dev.txt lacks what requirements/run.txt has: stripe." in result.stderr


def test_check_finds_a_missing_file(copy: Path) -> None:
    (copy / "requirements" / "dev.txt").unlink()
    assert "requirements/dev.txt is missing." in check(copy).stderr


def test_lock_without_uv_says_how_to_install_it(copy: Path) -> None:
    command = [sys.executable, "scripts/requirements.py", "lock"]
    result = subprocess.run(command, cwd=copy, env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "pip install uv" in result.stderr
