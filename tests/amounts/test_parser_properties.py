"""No input whatever makes a wrong amount: what is read is held against another way of reading it."""

from __future__ import annotations

import locale
import re
import string
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handlers.amounts import errors as refusals
from handlers.amounts.parser import AmbiguousAmount, RequestedAmount, check_amount
from handlers.text import MAX_TEXT_LENGTH
from tests.amounts.test_parser import LIMIT, read


def minor_by_hand(number: str) -> int | None:
    """Another way to the amount: from the right, sign by sign; None where the number is not clear."""
    tail = re.search(r"[.,](\d{1,2})$", number)
    decimals = tail[1] if tail else ""
    body = number[: -len(tail[0])] if tail else number
    signs = {sign for sign in body if not sign.isdigit()}
    kinds = {" " if unicodedata.category(sign) == "Zs" else "'" if sign in "'’" else sign for sign in signs}
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


NUMBERISH = st.text(alphabet="0123456789" * 3 + ".,' \u00a0\u202f’_-e−\u200b٣½", min_size=1, max_size=14)
TAILS = st.sampled_from(["", " ", "kr", " kr.", "€", " DKK", " USD", ",-", " Coffee", "\ncoffee", " 2 cups", " kr x"])


@given(NUMBERISH, TAILS)
@example("1.234", "")
@example("0.500", " kr")
def test_no_input_makes_a_wrong_amount(number: str, tail: str) -> None:
    try:
        found = read(number + tail, limit=10**15)
    except refusals.AmountError:
        return
    if isinstance(found, AmbiguousAmount):
        assert found.choices[0].money > found.choices[1].money
        assert re.match(r"[1-9]\d{0,2}\D+\d{3}(?!\d)", (number + tail).strip())
        return
    typed = (number + tail).replace("\u200b", "").replace("\n", " ").strip()
    consumed = typed.removesuffix(found.description)
    digits = re.match(r"\d[\d.,'’ \u00a0\u202f]*", consumed, re.ASCII)
    assert digits is not None
    plain = digits[0].rstrip()
    settled = consumed[len(plain) :].startswith("-") and plain[-1] in ",."
    by_hand = minor_by_hand(plain[:-1] + ",00" if settled else plain)
    assert found.money.minor == by_hand


@given(st.text(max_size=40))
@example("9" * 4400)
@example("1" + " 000" * 1000)
@example("kr" * 2000)
def test_any_text_is_read_or_refused_and_nothing_else_happens(text: str) -> None:
    try:
        found = read(text)
    except refusals.AmountError:
        return
    for choice in found.choices if isinstance(found, AmbiguousAmount) else (found,):
        choice.description.encode()
        assert len(choice.description) <= MAX_TEXT_LENGTH
        assert not any(unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"} for sign in choice.description)
    if isinstance(found, RequestedAmount):
        check_amount(found.money, limit=LIMIT)


@given(st.text(alphabet=st.characters(whitelist_categories=("Nd", "Nl", "No")), min_size=1, max_size=4))
def test_only_the_ten_ascii_digits_make_an_amount(digits: str) -> None:
    if all(digit in string.digits for digit in digits):
        return
    for text in (digits, f"12{digits}", f"{digits} kr", f"DKK {digits}", f"12,{digits}"):
        if not text.isascii():
            with pytest.raises(refusals.AmountError):
                read(text)


def test_the_machine_s_locale_changes_nothing() -> None:
    kept = locale.setlocale(locale.LC_ALL)
    texts = ["1.234,50", "1,234.50", "1 234,50", "125 kr"]
    plain = [read(text) for text in texts]
    try:
        for name in ("C", "C.UTF-8", ""):
            locale.setlocale(locale.LC_ALL, name)
            assert [read(text) for text in texts] == plain
    finally:
        locale.setlocale(locale.LC_ALL, kept)
