"""Which words beside a number are money, so that no currency is taken for text and no text for a currency."""

from __future__ import annotations

import unicodedata
from enum import Enum

COIN_SIGN = "[$¢-¥֏؋৲৳৻૱௹฿៛₠-⃀꠸﷼﹩＄￠￡￥￦]"
WORD = rf"(?:(?:[^\W\d_]|[\u0300-\u036f])+{COIN_SIGN}?|{COIN_SIGN})"
"""A run of letters, a currency's sign, or both (`US$`)."""

KRONE = "kr"
"""Some krone or other: the shop's own, where it has one."""


class WordKind(Enum):
    """What a word beside a number can be when it is no currency of ours."""

    TEXT = "text"
    OTHER_MONEY = "other money"
    MULTIPLE = "multiple"


OURS: dict[str, str] = {
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
"""ISO 4217's active codes besides ours, and the few of no country that people ask for."""

ALSO_WORDS = "all bam bob cop cup ern gel lak mad mop mur pen php ron sos std stn top try"
PLAIN_WORDS = frozenset(ALSO_WORDS.split())
"""Codes that are words of our five languages too (Danish "mad" is food): currencies only in capitals."""

OTHER_COINS = "dollar dollars pound pounds pund punta puntaa yen ikr øre öre cent cents senttiä bitcoin"
MANY = """
    k tkr mio million millions millioner miljon miljoner miljoona miljoonaa thousand tusind tusinde tusen
    tuhat tuhatta hundred hundrede hundre hundra sata sataa"""
OTHER_MONEY = ISO_CODES | frozenset(OTHER_COINS.split())
MULTIPLES = frozenset(MANY.split())


def classify_word(word: str) -> str | WordKind:
    """What `word` (letters, a currency sign, or both) means beside a number.

    Returns an ISO code of ours, `KRONE`, or what else it is.
    """
    plain = unicodedata.normalize("NFKC", word)
    small = plain.lower()
    if small in OURS:
        return OURS[small]
    if any(unicodedata.category(sign) == "Sc" for sign in plain):
        return WordKind.OTHER_MONEY
    if small in MULTIPLES:
        return WordKind.MULTIPLE
    is_other = small in OTHER_MONEY and (small not in PLAIN_WORDS or plain.isupper())
    return WordKind.OTHER_MONEY if is_other else WordKind.TEXT


def is_money(word: str) -> bool:
    """Whether a word after a number makes that number a sum of money."""
    return not word[0].isalpha() or classify_word(word) is not WordKind.TEXT
