"""What the README types: make with its arguments, its Python and a folder with spaces, told by stand-ins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fresh_tree import FreshTree, fresh_tree, put_program

SAY_ARGUMENTS = 'for given in "$@"; do printf "[%s]" "$given"; done; echo'


@pytest.fixture
def tree(tmp_path: Path) -> FreshTree:
    """A tree whose Pythons, the one that sets up and the one that is set up, only say their arguments."""
    tree = fresh_tree(tmp_path)
    put_program(tree.python.parent, "python", SAY_ARGUMENTS)
    put_program(tmp_path / "my tools", "python3", SAY_ARGUMENTS)
    return FreshTree(tree.root, tree.shelf, {"PY": str(tmp_path / "my tools" / "python3")})


def test_demo_sets_up_what_it_runs_with_and_passes_arguments_on(tree: FreshTree) -> None:
    said = tree.run("make", "demo", "ARGS=--tour").stdout.splitlines()
    assert said == ["[scripts/bootstrap.py][run]", "[-m][bot][demo][--tour]"]


def test_test_sets_up_the_tools_and_keeps_quoted_arguments_whole(tree: FreshTree) -> None:
    said = tree.run("make", "test", "ARGS=-k 'money or mail'").stdout.splitlines()
    assert said == ["[scripts/bootstrap.py][dev]", "[-m][pytest][-n][auto][-m][not long][-k][money or mail]"]


def test_test_all_leaves_nothing_out(tree: FreshTree) -> None:
    said = tree.run("make", "test-all").stdout.splitlines()
    assert said == ["[scripts/bootstrap.py][dev]", "[-m][pytest][-n][auto]"]


def test_check_goes_from_the_quick_to_the_slow(tree: FreshTree) -> None:
    said = [line for line in tree.run("make", "-s", "-j4", "check").stdout.splitlines() if line.startswith("[-m]")]
    assert [line.split("]")[1] for line in said] == ["[ruff", "[ruff", "[mypy", "[pytest"]


def test_make_picks_the_python_it_is_told_to(tree: FreshTree) -> None:
    told = tree.run("make", "demo", "PY=/nowhere/python3.11")
    assert told.returncode == 2
    assert told.stderr.startswith("There is no /nowhere/python3.11 here: install Python 3.11 or newer, or set PY=")


def test_make_alone_says_what_there_is(tree: FreshTree) -> None:
    said = tree.run("make").stdout
    assert all(f"make {name}" in said for name in ("demo", "test", "test-all", "check", "format", "lock"))
