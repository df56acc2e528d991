"""No input gives a wrong amount: readings are compared with a second, independent parser."""

from __future__ import annotations

import locale
import re
import string
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handlers.amounts import errors
from handlers.amounts.parser import AmbiguousAmount, RequestedAmount, check_amount
from handlers.text_cleaning import MAX_TEXT_LENGTH
from tests.amounts.test_parser import LIMIT, parse


def independent_minor(number: str) -> int | None:
    """The amount in minor units, parsed from the right; None if the number is ambiguous or malformed."""
    tail = re.search(r"[.,](\d{1,2})$", number)
    decimals = tail[1] if tail else ""
    body = number[: -len(tail[0])] if tail else number
    separators = {char for char in body if not char.isdigit()}
    kinds = {" " if unicodedata.category(char) == "Zs" else "'" if char in "'’" else char for char in separators}
    parts = re.split(r"\D+", body)
    grouped = len(parts) > 1
    wrong_groups = grouped and (len(parts[0]) > 3 or parts[0][0] == "0" or any(len(part) != 3 for part in parts[1:]))
    if len(kinds) > 1 or wrong_groups or (tail and tail[0][0] in kinds) or not kinds <= {" ", "'", ".", ","}:
        return None
    if kinds <= {".", ","} and len(parts) == 2 and not decimals:
        return None
    kroner = 0
    for digit in "".join(parts):
        kroner = kroner * 10 + "0123456789".index(digit)
    oere = "0123456789".index(decimals[0]) * 10 if decimals else 0
    return kroner * 10 * 10 + oere + ("0123456789".index(decimals[1]) if len(decimals) == 2 else 0)


NUMBER_LIKE = st.text(alphabet="0123456789" * 3 + ".,' \u00a0\u202f’_-e−\u200b٣½", min_size=1, max_size=14)
TAILS = st.sampled_from(["", " ", "kr", " kr.", "€", " DKK", " USD", ",-", " Coffee", "\ncoffee", " 2 cups", " kr x"])


@given(NUMBER_LIKE, TAILS)
@example("1.234", "")
@example("0.500", " kr")
@example("1 ' ", "€")
def test_parsed_amount_agrees_with_an_independent_parser(number: str, tail: str) -> None:
    try:
        reading = parse(number + tail, limit=10**15)
    except errors.AmountError:
        return
    if isinstance(reading, AmbiguousAmount):
        larger, smaller = (choice.money for choice in reading.choices)
        if larger.currency != smaller.currency:  # the currency is in doubt, and not the number
            return
        assert larger > smaller
        assert re.match(r"[1-9]\d{0,2}\D+\d{3}(?!\d)", (number + tail).strip())
        return
    typed = (number + tail).replace("\u200b", "").replace("\n", " ").strip()
    consumed = typed.removesuffix(reading.description)
    digits = re.match(r"\d[\d.,'’ \u00a0\u202f]*", consumed, re.ASCII)
    assert digits is not None
    plain = digits[0].rstrip()
    is_complete = consumed[len(plain) :].startswith("-") and plain[-1] in ",."
    expected = independent_minor(plain[:-1] + ",00" if is_complete else plain)
    assert reading.money.minor == expected


@given(st.text(max_size=40))
@example("9" * 4400)
@example("1" + " 000" * 1000)
@example("kr" * 2000)
def test_any_text_is_parsed_or_rejected(text: str) -> None:
    try:
        reading = parse(text)
    except errors.AmountError:
        return
    for choice in reading.choices if isinstance(reading, AmbiguousAmount) else (reading,):
        choice.description.encode()
        assert len(choice.description) <= MAX_TEXT_LENGTH
        assert not any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in choice.description)
    if isinstance(reading, RequestedAmount):
        check_amount(reading.money, limit=LIMIT)


@given(st.text(alphabet=st.characters(whitelist_categories=("Nd", "Nl", "No")), min_size=1, max_size=4))
def test_only_ascii_digits_make_an_amount(digits: str) -> None:
    if all(digit in string.digits for digit in digits):
        return
    for text in (digits, f"12{digits}", f"{digits} kr", f"DKK {digits}", f"12,{digits}"):
        if not text.isascii():
            with pytest.raises(errors.AmountError):
                parse(text)


def test_parsing_does_not_depend_on_the_machines_locale() -> None:
    saved = locale.setlocale(locale.LC_ALL)
    texts = ["1.234,50", "1,234.50", "1 234,50", "125 kr"]
    expected = [parse(text) for text in texts]
    try:
        for name in ("C", "C.UTF-8", ""):
            locale.setlocale(locale.LC_ALL, name)
            assert [parse(text) for text in texts] == expected
    finally:
        locale.setlocale(locale.LC_ALL, saved)
