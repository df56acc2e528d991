"""Classifies the words next to a number, so that no currency is taken for text and no text for a currency."""

from __future__ import annotations

import unicodedata
from enum import Enum

CURRENCY_SIGN = "[$¢-¥֏؋৲৳৻૱௹฿៛₠-⃀꠸﷼﹩＄￠￡￥￦]"
WORD = rf"(?:(?:[^\W\d_]|[\u0300-\u036f])+{CURRENCY_SIGN}?|{CURRENCY_SIGN})"
"""A run of letters, a currency sign, or both (`US$`)."""

KRONE = "kr"
"""A krone without its country: the shop's own currency, if that is a krone."""


class WordKind(Enum):
    """The kinds of words next to a number that are no supported currency."""

    TEXT = "text"
    OTHER_MONEY = "other money"
    MULTIPLE = "multiple"


SUPPORTED: dict[str, str] = {
    **dict.fromkeys(("kr", "krone", "kroner", "krona", "kronor", "kruunu", "kruunua"), KRONE),
    **dict.fromkeys(("dkk", "dkr"), "DKK"),
    **dict.fromkeys(("sek", "skr"), "SEK"),
    **dict.fromkeys(("nok", "nkr"), "NOK"),
    **dict.fromkeys(("eur", "€", "euro", "euros", "euroa"), "EUR"),
}

ISO_4217 = """
    aed afn all amd aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd btn bwp byn bzd cad cdf chf
    clp cny cop crc cup cve czk djf dop dzd egp ern etb fjd fkp gbp gel ghs gip gmd gnf gtq gyd hkd hnl hrk htg huf
    idr ils inr iqd irr isk jmd jod jpy kes kgs khr kmf kpw krw kwd kyd kzt lak lbp lkr lrd lsl lyd mad mdl mga mkd
    mmk mnt mop mru mur mvr mwk mxn myr mzn nad ngn nio npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf
    sar sbd scr sdg sgd shp sle sos srd ssp std stn svc syp szl thb tjs tmt tnd top try ttd twd tzs uah ugx usd uyu
    uzs ves vnd vuv wst xaf xcd xof xpf yer zar zmw zwl btc eth usdt usdc"""
ISO_CODES = frozenset(ISO_4217.split())
"""ISO 4217's active codes without the supported ones, and a few cryptocurrencies."""

WORD_CODES = "all bam bob cop cup ern gel lak mad mop mur pen php ron sos std stn top try"
AMBIGUOUS_CODES = frozenset(WORD_CODES.split())
"""Codes that are also words of the five languages (Danish "mad" is food): currencies only in capitals."""

OTHER_CURRENCY_WORDS = "dollar dollars pound pounds pund punta puntaa yen ikr øre öre cent cents senttiä bitcoin"
MULTIPLE_WORDS = """
    k tkr mio million millions millioner miljon miljoner miljoona miljoonaa thousand tusind tusinde tusen
    tuhat tuhatta hundred hundrede hundre hundra sata sataa"""
OTHER_MONEY = ISO_CODES | frozenset(OTHER_CURRENCY_WORDS.split())
MULTIPLES = frozenset(MULTIPLE_WORDS.split())


def classify_word(word: str) -> str | WordKind:
    """What `word` (letters, a currency sign, or both) means next to a number.

    Returns a supported ISO code, `KRONE`, or the kind of word.
    """
    normalized = unicodedata.normalize("NFKC", word)
    lower = normalized.lower()
    if lower in SUPPORTED:
        return SUPPORTED[lower]
    if any(unicodedata.category(char) == "Sc" for char in normalized):
        return WordKind.OTHER_MONEY
    if lower in MULTIPLES:
        return WordKind.MULTIPLE
    is_other = lower in OTHER_MONEY and (lower not in AMBIGUOUS_CODES or normalized.isupper())
    return WordKind.OTHER_MONEY if is_other else WordKind.TEXT


def is_money(word: str) -> bool:
    """Whether a word after a number makes that number a sum of money."""
    return not word[0].isalpha() or classify_word(word) is not WordKind.TEXT
