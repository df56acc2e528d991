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
    part parts partial partially partly portion portions fraction prorated rest remainder remaining leftover leftovers
    difference except excluding excludes excl exclude minus less couple few several both single percent pct third
    deposit discount reduction overcharge overcharged overpaid overpayment excess surplus balance tip tips
    del dele delen delene delvis delvist andel andelen portionen resten restbeløb restbeløbet forskel forskellen
    forskjellen differens differencen differensen differansen mellemlæg mellomlegget undtagen undtaget foruden ekskl
    eksklusiv eksklusive fratrukket fratræk fradrag procent stk par begge overskydende resterende tilbageværende
    depositum rabat rabatten prisnedslag nedslag drikkepenge
    delar delarna restbelopp återstoden återstående resterande mellanskillnad mellanskillnaden skillnad skillnaden
    utom förutom undantag undantaget frånsett bortsett exkl exklusive avdrag prisavdrag överskjutande båda flera
    deposition pant panten rabatt rabatten dricks dricksen merparten partiell partiellt
    mesteparten storparten restbeløpet gjenværende unntatt unntak utenom foruten bortset fratrekk prosent
    prisavslag avslag overskytende overskuddet driks driksen
    osa osan osaa osasta osaksi osat osuus osuuden osittain osittainen osahyvitys osasumma pari parin loput loppuosa
    loppusumma erotus erotuksen erotusta hinnanero hinnaneron paitsi poislukien lukuunottamatta miinus prosentti
    prosenttia pros muutama muutaman molemmat alennus alennuksen hinnanalennus pantti pantin ylimaksu ylimääräinen
    ylimääräisen tippi tipin"""
HALF_OR_FRACTION = re.compile(
    r"half|halves|hal[fv](?!dan|ar|or|øy|ö)\w*|h[äa]lft\w*|puole\w*|puoli(?!so)\w*|puolt\w*"
    r"|(?:halv|meste|broder|stor)-?part(?:en)?"
    r"|del-?(?:refu|åter|bel|betal|sum|kredit)\w*|osa-?(?:hyv|summ|maks|palaut)\w*"
    r"|(?:tre|to|två|fem|seks)?(?:kvart|tre|tredje|fir|fjer|fjerde|fjärde|femte|sjette|sjätte|syvende|sjuende|sjunde"
    r"|ottende|åtte|åttende|åttonde|åtton|niende|nionde|ti|tiende|tion|tionde)-?del\w*|trekvart\w*"
    r"|(?:kolmas|neljäs|viides|kuudes|seitsemäs|kahdeksas|yhdeksäs|kymmenes)osa\w*"
    r"|(?:kolmanne|neljänne|viidenne|kuudenne|kahdeksanne|kymmenne)(?:s|ks)\w*"
    r"|(?:(?:one|two|three)-?)?(?:third|quarter|fifth|sixth|seventh|eighth|ninth|tenth)s?"
)
LIMITS = """
    only just solely merely max maximum approximately ca circa almost nearly kun bare blot udelukkende højst maks
    maksimalt cirka næsten endast bara enbart blott högst ungefär nästan høyst omtrent nesten vain ainoastaan
    pelkästään pelkkä pelkän pelkkää pelkät enintään korkeintaan suunnilleen melkein lähes"""
NUMBER_WORDS = """
    two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fourty fifty sixty seventy eighty ninety hundred hundreds thousand
    thousands dozen tre fem seks syv otte elleve tolv tretten fjorten femten seksten sytten atten nitten tyve
    tredive fyrre fyrretyve halvtreds halvtredsindstyve tres tresindstyve halvfjerds halvfjerdsindstyve firs
    firsindstyve halvfems halvfemsindstyve hundred hundrede hundreder tusind tusinde tusinder två fyra sju åtta
    nio tio elva tretton fjorton femton sexton sjutton arton nitton tjugo trettio fyrtio femtio sextio sjuttio
    åttio nittio hundra tusen tjugi åtte tjue tredve tretti førti femti seksti sytti åtti nitti hundre kaksi
    kolme neljä viisi kuusi seitsemän kahdeksan yhdeksän kymmenen kymmentä kymmenisen toista sata sataa satanen
    satasen tuhat tuhatta tonni kymppi kympin kymppiä viitonen viitosen kakskyt kolkyt nelkyt viiskyt kuuskyt
    kahden kolmen neljän viiden kuuden kymmenestä sadan sadasta tuhannen kahta kolmea neljää viittä kuutta
    fiver tenner tier femmer tyver tjuga tia femma hundring hundringen hundrings kakskymppiä satku huntti vitonen
    vitosen kybä"""
SHORT_NUMBERS = "one en et ett én ét to fire ni ti sex yksi yhden zero"
"""Numbers that are also other words: they count inside a compound, and as the first word of a reason."""

SOME = """
    some most little bit noget nogle lidt lite något några litt noe noen mest mesta jotain jonkin vähän hiukan hieman
    shipping postage freight fragt fragten frakt frakten porto toimitusmaksu toimituskulu toimituskulut postikulut
    gebyr gebyret avgift avgiften fee fees"""
"""Words that name a part at the start of a reason, and are ordinary further on: `shipping`, but `late shipping`."""
PART_WORDS = frozenset((*PARTS.split(), *LIMITS.split()))
NUMBERS = frozenset(NUMBER_WORDS.split())
LEADING_WORDS = frozenset((*SHORT_NUMBERS.split(), *SOME.split()))
ATOMS = sorted((*NUMBERS, *SHORT_NUMBERS.split(), "og", "och", "ja", "and"), key=len, reverse=True)
NOTES = "er|eren|lap|lapp|lappen|seddel|kroneseddel|kroner|kronor|kymppi|kymppiä|kympin|tal|tals"
COMPOUND = re.compile(rf"(?:{'|'.join(ATOMS)})+(?:{NOTES})?")
LONGEST_COMPOUND = 40
"""Characters of the longest word that is split into numbers, which keeps the search short."""

COSTS = r"(?:\w*(?:shipping|postage|delivery|fee|tip|fragt|frakt|gebyr|levering|leverans|avgift|moms|mva)\w*)"
ONE_OF_SEVERAL = "first|second|last|other|ene|ena|første|första|sidste|sista|siste"
PHRASES = re.compile(
    "|".join(
        (
            r"\b(?:(?:all|everything|anything) but|(?:apart|aside) from|other than)\b|\bwhat(?:['’]s| is) left\b",
            r"\b(?:but not|men ikke|men inte|mutta ei|p[åa] nær|andet end|annet enn|annat än|pro rata)\b",
            r"\b(?:pois lukien|lukuun ottamatta|jäljel\w+ (?:oleva|jäävä)\w*)",
            r"\bilman (?:toimitus|posti|kulu|tippi|palvelu)\w*",
            rf"\b(?:without|uden|utan|uten) (?:the )?{COSTS}",
            r"\b(?:delivery|service|booking) (?:fee|cost|charge)s?\b",
            r"\b(?:leverings?|leverans|service)(?:gebyr|avgift|kostnad)\w*",
            rf"\b(?:the|den|det|de) (?:{ONE_OF_SEVERAL})(?: (?:one|item|cup)\b|$)",
            r"\b(?:den|det) (?:ene|ena)\b|^(?:first|second|last|other) (?:one|item|cup)\b|\ban? (?:bit|little) of\b",
            r"\b(?:paid|charged) too much\b|\btoo much (?:paid|charged)\b|\bfor (?:meget|mye) betalt\b",
            r"\bbetalte? for (?:meget|mye)\b|\bför mycket (?:betalat|betalt)\b|\bbetalade för mycket\b",
            r"\bliikaa (?:maks|veloit)\w*|\b(?:maks|veloit)\w* liikaa\b",
        )
    )
)
"""Several words that together name less than everything, in the five languages."""

ARTICLES = frozenset(("a", "an", "the"))
TOKEN = re.compile(r"\w+")


def may_name_amount(reason: str) -> bool:
    """Whether a reason holds a number, money or a word for a part, so that it may mean less than everything."""
    typed = IDENTIFIER.sub(" ", reason)
    words = unicodedata.normalize("NFKC", typed)
    if any(char.isnumeric() or char in "%‰" for char in typed + words):
        return True
    if any(classify_word(word) is not WordKind.TEXT for word in re.findall(WORD, words)):
        return True
    lower = words.casefold()
    tokens = TOKEN.findall(lower)
    first = next((token for token in tokens if token not in ARTICLES), "")
    if first in LEADING_WORDS or PHRASES.search(" ".join(lower.split())):
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
