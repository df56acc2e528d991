"""An amount keeps its currency and its last cent."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.models.money import CURRENCIES, MIN_AMOUNT, CurrencyMismatch, Money

ROOT = Path(__file__).resolve().parent.parent.parent
PRETEND = ROOT / "bot" / "sandbox"
FLOORS = ("storage", "handlers", "bot")
any_money = st.builds(Money, st.integers(-(10**15), 10**15), st.sampled_from(CURRENCIES))


def test_an_amount_says_its_currency_in_logs() -> None:
    assert str(Money(12500, "DKK")) == "125.00 DKK"
    assert str(Money(5, "EUR")) == "0.05 EUR"
    assert str(Money(-150, "SEK")) == "-1.50 SEK"


@given(any_money)
def test_the_logged_form_holds_every_cent(money: Money) -> None:
    digits, currency = str(money).split(" ")
    assert Money(int(digits.replace(".", "")), currency) == money


@pytest.mark.parametrize("minor", [1.0, True, "1", None])
def test_an_amount_that_is_not_an_int_cannot_be_made(minor: Any) -> None:
    with pytest.raises(TypeError):
        Money(minor, "DKK")


@pytest.mark.parametrize("currency", ["dkk", "USD", "", "kr", "ISK", None])
def test_an_unknown_currency_cannot_be_made(currency: Any) -> None:
    with pytest.raises(ValueError):
        Money(100, currency)


@given(st.integers(), st.integers(), st.sampled_from(CURRENCIES))
def test_amounts_of_one_currency_count_like_their_minor_units(a: int, b: int, currency: str) -> None:
    left, right = Money(a, currency), Money(b, currency)
    assert (left + right).minor == a + b
    assert (left - right).minor == a - b
    assert (left < right, left <= right, left > right, left >= right) == (a < b, a <= b, a > b, a >= b)


def test_two_currencies_never_mix() -> None:
    krone, euro = Money(100, "DKK"), Money(100, "EUR")
    assert krone != euro
    for mix in (Money.__add__, Money.__sub__, Money.__lt__, Money.__le__, Money.__gt__, Money.__ge__):
        with pytest.raises(CurrencyMismatch):
            mix(krone, euro)


def test_every_currency_has_a_minimum() -> None:
    assert set(MIN_AMOUNT) == set(CURRENCIES)


def test_no_module_turns_kroner_into_oere_by_hand() -> None:
    scaled = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in modules()
        if path != ROOT / "storage/models/money.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp) and is_scaling(node)
    ]
    assert scaled == []


def test_no_float_comes_near_an_amount() -> None:
    near = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in modules()
        if path.name == "money.py" or path.name.startswith("amount") or path.name == "i18n.py"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.Name) and node.id == "float")
    ]
    assert near == []


def test_no_floor_makes_a_float_of_text_or_of_an_amount() -> None:
    made = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, tree in modules()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in {"float", "round"}
        and any(is_amount(inner) for argument in call.args for inner in ast.walk(argument))
    ]
    assert made == []


def modules() -> list[tuple[Path, ast.Module]]:
    """Every module of the three floors; the pretend Stripe counts in its own way, lest it share our mistakes."""
    paths = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))
    return [(path, ast.parse(path.read_text("utf-8"))) for path in paths if PRETEND not in path.parents]


def is_scaling(node: ast.BinOp) -> bool:
    """Whether something is multiplied or divided by a hundred; a status may be asked for its hundreds."""
    if 100 not in [side.value for side in (node.left, node.right) if isinstance(side, ast.Constant)]:
        return False
    counts_money = any(is_amount(inner) for inner in ast.walk(node))
    return isinstance(node.op, ast.Mult | ast.Div) or (isinstance(node.op, ast.FloorDiv | ast.Mod) and counts_money)


def is_amount(node: ast.AST) -> bool:
    """Whether a name speaks of money."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in {"minor", "amount", "money", "received", "refunded", "decimal"}
