"""Text that people wrote is shown without anything that hides or imitates; characters and sentences stay whole."""

from __future__ import annotations

import pytest

from handlers.access.membership import MAX_NAME_LENGTH, Actor
from handlers.i18n import language_of
from handlers.text_cleaning import clean_name, clean_text, shorten, whole_sentences

SCOTLAND, WALES, TEXAS = (
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in letters) + "\U000e007f"
    for letters in ("gbsct", "gbwls", "ustx")
)


@pytest.mark.parametrize("flag", [SCOTLAND, WALES, TEXAS])
def test_flag_of_a_part_of_a_country_is_kept_whole(flag: str) -> None:
    assert clean_text(f"Whisky {flag}{flag} fair") == f"Whisky {flag}{flag} fair"
    for length in range(1, 20):
        cut = shorten(f"Whisky {flag} fair", length)
        assert len(cut) <= length
        assert flag in cut or not set(flag) & set(cut)


@pytest.mark.parametrize(
    "hidden",
    [
        "\U000e0067\U000e0062",
        "\U0001f3f4\U000e0067",
        "\U000e007f",
        "\u202e",
        "\u2066",
        "\u200b",
        "\ufeff",
        "\x1b",
        "\u00ad",
    ],
)
def test_hidden_characters_are_left_out(hidden: str) -> None:
    assert clean_text(f"a{hidden}b") == ("a\U0001f3f4b" if "\U0001f3f4" in hidden else "ab")


NAMES = [
    ("Åse", "Åse"),
    ("A\u030ase", "Åse"),
    ("Jean-Luc O’Neill 2nd", "Jean-Luc O’Neill 2nd"),
    ("<test/>", "<test/>"),
    ("\u202eeviL", "eviL"),
    ("✅ Paid: DKK 500", "Paid: DKK 500"),
    ("⚠️ Kvit\n\nStripe is down", "Kvit Stripe is down"),
    ("🚨👩‍👩‍👧🇩🇰1️⃣ Anna 🏽", "1 Anna"),
    ("Anna" + " \u00a0" * 30 + "Berg", "Anna Berg"),
    ("\u3164\u2800\u115f", ""),
    ("Z" + "\u0337" * 40, "Z\u0337\u0337"),
    ("نیما\u200cزاده", "نیما\u200cزاده"),
    (SCOTLAND, ""),
    ("‼️ Alarm ⁉️", "Alarm"),
    ("ℹ️ Kvit", "Kvit"),
    ("→ Refund ↔ √", "Refund"),
    ("• #K7F3", "K7F3"),
    ("Anna + Bo <O'Neil-Åse> & Co.", "Anna + Bo <O'Neil-Åse> & Co."),
    ("x" * 300, "x" * MAX_NAME_LENGTH),
]


@pytest.mark.parametrize(("chosen", "shown"), NAMES)
def test_name_is_shown_as_plain_words(chosen: str, shown: str) -> None:
    assert clean_name(chosen, MAX_NAME_LENGTH) == shown == Actor(1, chosen).name


def test_long_toast_ends_with_a_whole_sentence() -> None:
    text = "No money has moved. Ask an admin.\nThen try again."
    assert whole_sentences(text, 200) == text
    assert whole_sentences(text, 45) == "No money has moved. Ask an admin."
    assert whole_sentences(text, 19) == "No money has moved."
    assert whole_sentences(text, 10) == "No money…"


def test_every_norwegian_tag_is_norwegian() -> None:
    assert {language_of(tag) for tag in ("no", "nb", "nn", "NN-no", "nb_NO")} == {"nb"}
