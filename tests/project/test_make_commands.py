"""The make commands of the README: arguments, choice of Python, a folder with spaces; programs are stand-ins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fresh_tree import FreshTree, fresh_tree, put_program

PRINT_ARGUMENTS = 'for given in "$@"; do printf "[%s]" "$given"; done; echo'


@pytest.fixture
def tree(tmp_path: Path) -> FreshTree:
    """A tree whose Pythons (of the system and of .venv) only print their arguments."""
    tree = fresh_tree(tmp_path)
    put_program(tree.python.parent, "python", PRINT_ARGUMENTS)
    put_program(tmp_path / "my tools", "python3", PRINT_ARGUMENTS)
    return FreshTree(tree.root, tree.shelf, {"PY": str(tmp_path / "my tools" / "python3")})


def test_make_demo_sets_up_first_and_passes_arguments_on(tree: FreshTree) -> None:
    printed = tree.run("make", "demo", "ARGS=--tour").stdout.splitlines()
    assert printed == ["[scripts/bootstrap.py][run]", "[-m][bot][demo][--tour]"]


def test_make_test_sets_up_tools_and_keeps_quoted_arguments_whole(tree: FreshTree) -> None:
    printed = tree.run("make", "test", "ARGS=-k 'money or jobs'").stdout.splitlines()
    assert printed == [
        "[scripts/bootstrap.py][dev]",
        "[-m][pytest][-n][auto][--dist][worksteal][-m][not long][-k][money or jobs]",
    ]


def test_make_test_all_runs_every_test(tree: FreshTree) -> None:
    printed = tree.run("make", "test-all").stdout.splitlines()
    assert printed == ["[scripts/bootstrap.py][dev]", "[-m][pytest][-n][auto][--dist][worksteal]"]


def test_make_check_runs_quick_checks_first(tree: FreshTree) -> None:
    printed = [line for line in tree.run("make", "-s", "-j4", "check").stdout.splitlines() if line.startswith("[-m]")]
    assert [line.split("]")[1] for line in printed] == ["[ruff", "[ruff", "[mypy", "[pytest"]


def test_make_uses_the_given_python(tree: FreshTree) -> None:
    result = tree.run("make", "demo", "PY=/nowhere/python3.11")
    assert result.returncode == 2
    assert result.stderr.startswith("There is no /nowhere/python3.11 here: install Python 3.11 or newer, or set PY=")


def test_make_without_target_lists_the_targets(tree: FreshTree) -> None:
    printed = tree.run("make").stdout
    assert all(f"make {name}" in printed for name in ("demo", "test", "test-all", "check", "format", "lock"))
