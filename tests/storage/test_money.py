"""Money: exact minor units, one currency, and no floats in the product."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.models.money import CURRENCIES, MIN_AMOUNT, CurrencyMismatch, Money

ROOT = Path(__file__).resolve().parent.parent.parent
SANDBOX = ROOT / "bot" / "sandbox"
LAYERS = ("storage", "handlers", "bot")
any_money = st.builds(Money, st.integers(-(10**15), 10**15), st.sampled_from(CURRENCIES))


def test_money_as_text_has_its_currency() -> None:
    assert str(Money(12500, "DKK")) == "125.00 DKK"
    assert str(Money(5, "EUR")) == "0.05 EUR"
    assert str(Money(-150, "SEK")) == "-1.50 SEK"


@given(any_money)
def test_money_as_text_has_every_cent(money: Money) -> None:
    digits, currency = str(money).split(" ")
    assert Money(int(digits.replace(".", "")), currency) == money


@pytest.mark.parametrize("minor", [1.0, True, "1", None])
def test_money_of_a_non_integer_is_rejected(minor: Any) -> None:
    with pytest.raises(TypeError):
        Money(minor, "DKK")


@pytest.mark.parametrize("currency", ["dkk", "USD", "", "kr", "ISK", None])
def test_money_of_an_unknown_currency_is_rejected(currency: Any) -> None:
    with pytest.raises(ValueError):
        Money(100, currency)


@given(st.integers(), st.integers(), st.sampled_from(CURRENCIES))
def test_money_of_one_currency_calculates_in_minor_units(a: int, b: int, currency: str) -> None:
    left, right = Money(a, currency), Money(b, currency)
    assert (left + right).minor == a + b
    assert (left - right).minor == a - b
    assert (left < right, left <= right, left > right, left >= right) == (a < b, a <= b, a > b, a >= b)


def test_money_of_two_currencies_is_never_mixed() -> None:
    krone, euro = Money(100, "DKK"), Money(100, "EUR")
    assert krone != euro
    for operation in (Money.__add__, Money.__sub__, Money.__lt__, Money.__le__, Money.__gt__, Money.__ge__):
        with pytest.raises(CurrencyMismatch):
            operation(krone, euro)


def test_every_currency_has_a_minimum() -> None:
    assert set(MIN_AMOUNT) == set(CURRENCIES)


def test_no_module_converts_to_minor_units_itself() -> None:
    scaled = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in modules()
        if path != ROOT / "storage/models/money.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp) and is_scaling(node)
    ]
    assert scaled == []


def test_money_modules_use_no_float() -> None:
    floats = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in modules()
        if path.name in {"money.py", "i18n.py"} or path.parent.name == "amounts"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.Name) and node.id == "float")
    ]
    assert floats == []


def test_no_module_converts_an_amount_to_float() -> None:
    conversions = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, tree in modules()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in {"float", "round"}
        and any(is_amount(inner) for argument in call.args for inner in ast.walk(argument))
    ]
    assert conversions == []


def modules() -> list[tuple[Path, ast.Module]]:
    """Every module of the product without the sandbox, whose own arithmetic does not share our mistakes."""
    paths = sorted(path for floor in LAYERS for path in (ROOT / floor).rglob("*.py"))
    return [(path, ast.parse(path.read_text("utf-8"))) for path in paths if SANDBOX not in path.parents]


def is_scaling(node: ast.BinOp) -> bool:
    """Whether the expression multiplies or divides by 100. `status // 100` is no amount."""
    if 100 not in [side.value for side in (node.left, node.right) if isinstance(side, ast.Constant)]:
        return False
    is_about_money = any(is_amount(inner) for inner in ast.walk(node))
    return isinstance(node.op, ast.Mult | ast.Div) or (isinstance(node.op, ast.FloorDiv | ast.Mod) and is_about_money)


def is_amount(node: ast.AST) -> bool:
    """Whether the node is a name of an amount."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in {"minor", "money", "refunded", "refundable", "vat", "decimal"} or "amount" in name
