"""scripts/bootstrap.py on a fresh machine, with real Pythons and small local packages; no network."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fresh_tree import BASE, ROOT, FreshTree, fresh_tree, put_program

# Debian's Python without its venv package: creates half an environment and exits with Debian's message.
VENV_WITHOUT_ENSUREPIP = """
import pathlib, sys
half = pathlib.Path(sys.argv[-1], "bin"); half.mkdir(parents=True); (half / "python").symlink_to(sys.executable)
sys.exit("The virtual environment was not created successfully because ensurepip is not available.")
"""
# Creating an environment takes seconds, mostly for pip; copying one takes none.
VENV_BY_COPY = """
import shutil, sys
shutil.copytree({made!r}, sys.argv[-1], symlinks=True, dirs_exist_ok=True)
"""
OLD_PYTHON = """
import runpy, sys
sys.version_info, sys.version, sys.executable = (3, 8, 10, "final", 0), "3.8.10 (default)", "/usr/bin/python3.8"
sys.argv = ["scripts/bootstrap.py", "run"]
runpy.run_path("scripts/bootstrap.py", run_name="__main__")
"""
ANOTHER_PYTHON = """
import runpy, sys
sys.version = "3.12.99 (another)"
sys.argv, sys.path[0] = ["scripts/bootstrap.py", "run"], "scripts"
runpy.run_path("scripts/bootstrap.py", run_name="__main__")
"""


@pytest.fixture
def tree(tmp_path: Path) -> FreshTree:
    return fresh_tree(tmp_path)


@pytest.fixture(scope="module")
def set_up_once(tmp_path_factory: pytest.TempPathFactory) -> FreshTree:
    tree = fresh_tree(tmp_path_factory.mktemp("set-up"))
    done = tree.bootstrap("dev")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return tree


@pytest.fixture(scope="module")
def quick(set_up_once: FreshTree) -> str:
    """A PYTHONPATH with which `python -m venv` copies the environment of `set_up_once`."""
    made = str(set_up_once.root / ".venv")
    return put_venv_module(set_up_once.shelf, VENV_BY_COPY.format(made=made))


def put_venv_module(folder: Path, text: str) -> str:
    (folder / "venv").mkdir()
    (folder / "venv" / "__init__.py").touch()
    (folder / "venv" / "__main__.py").write_text(text)
    return str(folder)


@pytest.fixture
def ready(set_up_once: FreshTree, tmp_path: Path) -> FreshTree:
    """A tree that was set up and then moved."""
    shutil.copytree(set_up_once.root, tmp_path / "moved to Fåborg", symlinks=True)
    return FreshTree(tmp_path / "moved to Fåborg", set_up_once.shelf)


def imports(tree: FreshTree, *packages: str) -> bool:
    return tree.run(str(tree.python), "-c", f"import {', '.join(packages)}").returncode == 0


def test_old_python_is_refused_with_the_remedy(tree: FreshTree) -> None:
    result = tree.run(BASE, "-c", OLD_PYTHON)
    assert result.returncode == 1
    assert result.stderr == (
        "Kvit needs Python 3.11 or newer, and this is Python 3.8.10 (/usr/bin/python3.8). "
        "Set PY=/path/to/python3.11 before the command.\n"
    )


def test_bootstrap_parses_on_old_pythons_up_to_the_version_check() -> None:
    source = (ROOT / "scripts" / "bootstrap.py").read_text()
    nodes = list(ast.walk(ast.parse(source, feature_version=(3, 4))))
    assert not [node for node in nodes if isinstance(node, ast.JoinedStr | ast.FunctionDef)]
    imported = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    assert [node.module for node in imported] == ["environment"], (
        "code that old Pythons cannot parse is imported after the check"
    )


def test_unknown_requirement_set_prints_the_usage(tree: FreshTree) -> None:
    assert "usage: python3 scripts/bootstrap.py run|dev" in tree.bootstrap("tset").stderr


def test_dev_setup_installs_run_and_dev_packages(set_up_once: FreshTree) -> None:
    assert imports(set_up_once, "tiny", "tool")


def test_second_setup_does_nothing_and_prints_nothing(ready: FreshTree) -> None:
    for name in ("dev", "run"):
        again = ready.bootstrap(name, PIP_FIND_LINKS="/nowhere")
        assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


@pytest.mark.long
def test_environment_works_after_the_tree_moved(ready: FreshTree) -> None:
    assert imports(ready, "tiny", "tool")
    assert ready.run(str(ready.python), "-m", "pip", "--version").returncode == 0


@pytest.mark.long
def test_changed_requirements_are_installed_into_the_same_environment(ready: FreshTree) -> None:
    (ready.root / ".venv" / "kept").touch()
    ready.require("tiny", "another", to="run")
    assert ready.bootstrap("run").returncode == 0
    assert imports(ready, "tiny", "another")
    assert (ready.root / ".venv" / "kept").exists()


@pytest.mark.long
def test_failed_install_is_reported_and_continued_by_the_next_run(ready: FreshTree) -> None:
    ready.require("tiny", "late", to="run")
    failed = ready.bootstrap("run", PIP_FIND_LINKS="/nowhere")
    assert failed.returncode == 1
    assert "Run the same command again; it goes on where it stopped." in failed.stderr
    assert ready.bootstrap("run").returncode == 0
    assert imports(ready, "late")


@pytest.mark.long
def test_package_with_another_hash_is_refused(ready: FreshTree) -> None:
    listed = ready.root / "requirements" / "run.txt"
    ready.require("forged", to="run")
    listed.write_text(listed.read_text().replace("sha256:", "sha256:" + "0" * 64)[:-65] + "\n")
    assert ready.bootstrap("run").returncode == 1
    assert not imports(ready, "forged")


@pytest.mark.long
def test_reverted_requirements_are_installed_again_after_a_failure(ready: FreshTree) -> None:
    earlier = (ready.root / "requirements" / "run.txt").read_text()
    ready.require("tiny", "late", to="run")
    assert ready.bootstrap("run", PIP_FIND_LINKS="/nowhere").returncode == 1
    (ready.root / "requirements" / "run.txt").write_text(earlier)
    assert "Setting up .venv" in ready.bootstrap("run").stderr


@pytest.mark.long
@pytest.mark.parametrize("harm", ["cut short", "interpreter gone", "another kind of machine"])
def test_broken_environment_is_replaced(ready: FreshTree, quick: str, harm: str) -> None:
    if harm == "cut short":
        (ready.root / ".venv" / ".installed").unlink()
        (ready.root / ".venv" / ".unfinished").touch()
    elif harm == "interpreter gone":
        ready.python.unlink()
        ready.python.symlink_to("/nowhere/python3.11")
    else:
        (ready.root / ".venv" / ".installed").unlink()
        ready.python.unlink()
        ready.python.write_bytes(b"\x7fELF of another machine")
        ready.python.chmod(0o755)
    (ready.root / ".venv" / "rubbish").touch()
    assert ready.bootstrap("run", PYTHONPATH=quick).returncode == 0
    assert imports(ready, "tiny")
    assert not (ready.root / ".venv" / "rubbish").exists()


@pytest.mark.long
def test_other_python_version_replaces_the_environment(ready: FreshTree, quick: str) -> None:
    (ready.root / ".venv" / "of the first").touch()
    done = ready.run(BASE, "-c", ANOTHER_PYTHON, PYTHONPATH=quick)
    assert done.returncode == 0, done.stderr
    assert "Python 3.12.99" in done.stderr
    assert not (ready.root / ".venv" / "of the first").exists()


def test_missing_venv_module_is_reported_and_leaves_no_environment(tree: FreshTree, tmp_path: Path) -> None:
    result = tree.bootstrap("run", PYTHONPATH=put_venv_module(tmp_path, VENV_WITHOUT_ENSUREPIP))
    assert result.returncode == 1
    assert "sudo apt install python3-venv" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not (tree.root / ".venv").exists()


def unprivileged() -> list[str]:
    """A command prefix that drops root's power to write read-only files."""
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def test_read_only_environment_is_left_alone_with_a_remedy(ready: FreshTree) -> None:
    ready.require("tiny", "late", to="run")
    ready.python.parent.chmod(0o555)
    result = ready.run(*unprivileged(), BASE, "scripts/bootstrap.py", "run")
    ready.python.parent.chmod(0o755)
    assert result.returncode == 1
    assert "sudo rm -rf" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_read_only_tree_is_reported_in_one_line(tree: FreshTree) -> None:
    tree.root.chmod(0o555)
    result = tree.run(*unprivileged(), BASE, "scripts/bootstrap.py", "run")
    tree.root.chmod(0o755)
    assert result.returncode == 1
    assert result.stderr.startswith(f"You may not write in {tree.root}")
    assert len(result.stderr.splitlines()) == 1


def test_uv_gets_this_python_and_the_system_certificates(tree: FreshTree, tmp_path: Path) -> None:
    recorded = tmp_path / "recorded"
    makes = f'if [ "$1" = venv ]; then exec "{BASE}" -m venv --without-pip "{tree.root}/.venv"; fi'
    put_program(tmp_path / "tools", "uv", f'echo "$UV_SYSTEM_CERTS$UV_COMPILE_BYTECODE" "$@" >> "{recorded}"\n{makes}')
    assert tree.bootstrap("run", NO_UV="", PATH=f"{tmp_path}/tools:/usr/bin:/bin").returncode == 0
    made, synced = recorded.read_text().splitlines()
    assert made.startswith("11 venv ")
    assert f"--no-python-downloads --python {BASE} " in made
    assert synced.startswith("11 pip sync --quiet --require-hashes ")
    assert synced.endswith(f"{tree.root}/requirements/run.txt")


@pytest.mark.long
def test_failing_uv_falls_back_to_pip(tree: FreshTree, quick: str, tmp_path: Path) -> None:
    put_program(tmp_path / "tools", "uv", "exit 2")
    done = tree.bootstrap("run", NO_UV="", PATH=f"{tmp_path}/tools:/usr/bin:/bin", PYTHONPATH=quick)
    assert done.returncode == 0, done.stderr
    assert "uv could not install the packages; trying pip." in done.stderr
    assert imports(tree, "tiny")


@pytest.mark.long
def test_two_setups_at_once_create_one_environment(ready: FreshTree) -> None:
    ready.require("tiny", "twice", to="run")
    env = {"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(ready.shelf), "NO_UV": "1"}
    command = [sys.executable, str(ready.root / "scripts" / "bootstrap.py"), "run"]
    both = [subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    result = [process.communicate(timeout=100)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], result
    assert sum("Setting up .venv" in words for words in result) == 1
