"""Finds amounts in the reason of a refund: numbers, money and words for a part, in the five languages.

A refund without an amount is of everything, so a reason that may name less is asked back.
"""

from __future__ import annotations

import re
import unicodedata

from handlers.amounts.currency_words import WORD, WordKind, classify_word

IDENTIFIER = re.compile(r"(?<!\w)(?:#\w+|[A-D][0-9])(?!\w)")
"""An order number or a size, which is never an amount: `#1042`, `A4`."""

PARTS = """
    part parts partial partially partly rest remainder remaining difference except excluding minus percent pct
    quarter third fifth tenth del dele delen delene delvis delvist delbeløb delbetaling resten restbeløb
    restbeløbet forskellen undtagen bortset fratrukket procent kvart kvarte delar delarna delbelopp återstoden
    mellanskillnaden skillnaden utom förutom avdrag mesteparten unntatt prosent kvarter osa osan osaa osasta
    osat osittain osittainen osahyvitys osasumma loput loppuosa erotus paitsi miinus prosentti prosenttia
    kolmannes kolmanneksen neljännes neljänneksen viidennes kymmenys"""
HALF_OR_FRACTION = re.compile(
    r"half|halves|hal[fv]\w*|h[äa]lft\w*|puole\w*|puoli\w*|puolt\w*|(?:halv|meste|broder|stor)-?part(?:en)?"
    r"|(?:tredje|fjerde|fjärde|femte|sjette|sjätte|syvende|sjuende|ottende|åttende|niende|tiende|tion)-?del\w*"
    r"|(?:kolmas|neljäs|viides|kymmenes)osa\w*|(?:one|two|three)-?(?:third|quarter|fifth)s?|thirds|quarters|fifths"
)
LIMITS = """
    only just max maximum approximately ca circa almost nearly kun bare blot højst maks maksimalt cirka næsten
    endast bara enbart högst ungefär nästan høyst omtrent nesten vain ainoastaan pelkästään enintään korkeintaan
    melkein"""
NUMBER_WORDS = """
    two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fourty fifty sixty seventy eighty ninety hundred hundreds thousand
    thousands dozen tre fem seks syv otte elleve tolv tretten fjorten femten seksten sytten atten nitten tyve
    tredive fyrre fyrretyve halvtreds halvtredsindstyve tres tresindstyve halvfjerds halvfjerdsindstyve firs
    firsindstyve halvfems halvfemsindstyve hundred hundrede hundreder tusind tusinde tusinder två fyra sju åtta
    nio tio elva tretton fjorton femton sexton sjutton arton nitton tjugo trettio fyrtio femtio sextio sjuttio
    åttio nittio hundra tusen tjugi åtte tjue tredve tretti førti femti seksti sytti åtti nitti hundre kaksi
    kolme neljä viisi kuusi seitsemän kahdeksan yhdeksän kymmenen kymmentä kymmenisen toista sata sataa satanen
    satasen tuhat tuhatta tonni kymppi kympin kymppiä viitonen viitosen kakskyt kolkyt nelkyt viiskyt kuuskyt"""
SHORT_NUMBERS = "one en et ett én ét to fire ni ti sex yksi zero"
"""Numbers that are also other words: they count inside a compound, and as the first word of a reason."""

SOME = "some most noget nogle något några noe noen mest mesta jotain"
PART_WORDS = frozenset((*PARTS.split(), *LIMITS.split()))
NUMBERS = frozenset(NUMBER_WORDS.split())
LEADING_WORDS = frozenset((*SHORT_NUMBERS.split(), *SOME.split()))
ATOMS = sorted((*NUMBERS, *SHORT_NUMBERS.split(), "og", "och", "ja", "and"), key=len, reverse=True)
COMPOUND = re.compile(rf"(?:{'|'.join(ATOMS)})+")
LONGEST_COMPOUND = 40
"""Characters of the longest word that is split into numbers, which keeps the search short."""

TOKEN = re.compile(r"\w+")


def may_name_amount(reason: str) -> bool:
    """Whether a reason holds a number, money or a word for a part, so that it may mean less than everything."""
    typed = IDENTIFIER.sub(" ", reason)
    words = unicodedata.normalize("NFKC", typed)
    if any(char.isnumeric() or char in "%‰" for char in typed + words):
        return True
    if any(classify_word(word) is not WordKind.TEXT for word in re.findall(WORD, words)):
        return True
    tokens = TOKEN.findall(words.casefold())
    if tokens and tokens[0] in LEADING_WORDS:
        return True
    return any(_names_part(token) or _is_number(token) for token in tokens)


def _names_part(token: str) -> bool:
    return token in PART_WORDS or HALF_OR_FRACTION.fullmatch(token) is not None


def _is_number(token: str) -> bool:
    """Whether a word is a number, or several written as one: `femogtyve`, `kaksikymmentäviisi`."""
    if token in NUMBERS:
        return True
    if len(token) > LONGEST_COMPOUND or COMPOUND.fullmatch(token) is None:
        return False
    return any(number in token for number in NUMBERS)
