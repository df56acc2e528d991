"""Classifies the words next to a number, so that no currency is taken for text and no text for a currency."""

from __future__ import annotations

import re
import unicodedata
from enum import Enum
from functools import cache

from handlers import i18n
from storage.models.money import CURRENCIES

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


KRONE_WORDS = """
    krone kroner kroners krona kronor kronors kronr kronen crowns kronas kruunu kruunua kruunun kruunut kruunuja
    spänn spenn"""
EURO_WORDS = "euro euros euroa euron eurot euroja eurota eura eiro evra evrur eurai eurų евро євро"
FINNISH_ENDINGS = "lla illa lle ille lta ilta ssa issa sta ista on ihin na ina ksi iksi jen"
"""Case endings of `euro` and `kruunu`."""

SUPPORTED: dict[str, str] = {
    **dict.fromkeys(("kr", *KRONE_WORDS.split()), KRONE),
    **{f"kruunu{ending}": KRONE for ending in FINNISH_ENDINGS.split()},
    **dict.fromkeys(("dkk", "dkr"), "DKK"),
    **dict.fromkeys(("sek", "skr"), "SEK"),
    **dict.fromkeys(("nok", "nkr"), "NOK"),
    **dict.fromkeys(("eur", "€", *EURO_WORDS.split()), "EUR"),
    **{f"euro{ending}": "EUR" for ending in FINNISH_ENDINGS.split()},
}
"""What one word means, in lower case."""

EURO_LETTER = "e"
"""How Finns shorten euros: only in this case, and only as a word of its own."""

ADJECTIVES: dict[str, str] = {
    "DKK": "dansk danske danska danskt danish dänische dänischen tanskan dan da dk d",
    "SEK": "svensk svenske svenska svenskt swedish schwedische schwedischen ruotsin sve swe sv se s",
    "NOK": "norsk norske norska norskt norwegian norwegische norwegischen norjan nor norw no n",
}
"""What says whose krone it is: `svenske kr`, `s.kr.`, `Norwegian crowns`."""

NATIONALITIES = {
    **dict.fromkeys(["dansk", "danske", "danska", "danskt", "danish", "tanskan"], "DKK"),
    **dict.fromkeys(["svensk", "svenske", "svenska", "svenskt", "swedish", "ruotsin"], "SEK"),
    **dict.fromkeys(["norsk", "norske", "norska", "norskt", "norwegian", "norjan"], "NOK"),
}
"""Adjectives that stand for the krone by themselves: `200 svenske`."""

COUNTRY_WORD = re.compile(
    r"\w*(?:sk|ske|ska|skt|ish|ian|ean|ese|iss|nch|ican|sche|schen|ских|ские|uk|gb|england|laista|läistä)"
)
"""A word that may be the adjective of a country."""

OTHER_CODES = frozenset(
    (
        *[
            "hrk",
            "bgn",
            "eek",
            "ltl",
            "lvl",
            "fim",
            "frf",
            "dem",
            "std",
            "svc",
            "zwl",
            "rmb",
            "cnh",
            "btc",
            "eth",
            "usdt",
            "usdc",
        ],
    )
)
"""Codes that are no legal tender now or never were."""

WORD_CODES = """
    all amd bam bob byn cop cup dem dop ern gel jod kgs lak lyd mad mop mur myr nio pen php ron sos std stn top try"""
AMBIGUOUS_CODES = frozenset(WORD_CODES.split())
"""Codes that are also words of the five languages (Danish "mad" is food): currencies only in capitals."""

DOLLAR_WORDS = """
    dollar dollars dollarn dollaren dollari dollaria dollarin dollarit dollareita dollarilla dollareilla bucks dolar
    dolares dólares dolary dolarow dolarów доллар доллара долларов доларів"""
DOLLARS = frozenset(DOLLAR_WORDS.split())
OTHER_CURRENCY_WORDS = """
    pound pounds pund punds pundet punta puntaa punnan puntia quid pence francs franker frangi frangia sfr
    schweizerfranc schweizerfrancs taala taalaa taalan zlotyer zlotow złotówek złotówki злотых злотый
    крон кроны крона zloty zlotys zlotych zlote złoty złotych złote złotya zlotya zł zl kč koruna korunaer korun
    koruny korunaa
    kroon krooni koron korony króna krónur krónum kronur ikr forint forinter forints forintti forinttia
    ruble rubles rouble roubles rubel rubler rubla rupla ruplaa руб рублей рубль рубля грн гривень лв лева
    hryvnia hryvnias hryvnja hryvni grivna гривня гривні гривна rupee rupees rupie rupier rupia rupiaa lira liras
    liira liiraa
    ringgit rupiah riyal riyals naira shilling shillings gulden guilder guilders pesetas escudos drachmas دينار
    درهم ريال
    yen yens jeni jeniä yuan renminbi peso pesos shekel shekels baht bahtia dinar dinars dinarer dirham dirhams
    markka markkaa lats litas bitcoin bitcoins bitcoinia satoshi satoshis
    øre ører öre cent cents sentti senttiä snt 円 元 圆 圓 원"""
TRAILING_MONEY = frozenset(
    [
        "lei",
        "leu",
        "lev",
        "leva",
        "rand",
        "won",
        "mark",
        "kuna",
        "kunas",
        "franc",
        "franken",
        "reais",
        "real",
        "sterling",
        "stg",
        "STG",
        "buck",
        "fr",
        "Fr",
        "mk",
        "jen",
        "dong",
        "đồng",
        "tenge",
        "lari",
        "manat",
        "birr",
        "cedi",
        "denar",
        "schilling",
        "lire",
        "litai",
        "latu",
        "kc",
        "Kc",
        "TL",
        "DM",
        "NIS",
        "FOK",
        "Rp",
    ]
)
"""Currencies that are also words: money only in this case and where no text follows (`125 lei`)."""

FOREIGN_KRONER = """
    islandsk islandske isländsk isländska icelandic islannin isl færøsk færøske färöisk färöiska faroese færøysk
    færøyske tjekkisk tjekkiske tjeckisk tjeckiska tsjekkisk tsjekkiske czech tšekin estisk estiske estnisk estniska
    estonian viron slovakisk slovakiske slovakiska slovak slovakian"""
MULTIPLE_WORDS = """
    k tkr mkr kkr mio mrd mln million millions millioner miljon miljoner miljoona miljoonaa milliard milliarder
    miljard miljarder miljardi miljardia billion thousand tusind tusinde tusen tuhat tuhatta hundred hundrede
    hundre hundra sata sataa"""
MULTIPLES = frozenset(MULTIPLE_WORDS.split())
MONEY_WORDS = "penge pengar penger raha rahaa money"
"""Money behind a nationality: `200 svenske penge`."""

PREFIXED_CODE = re.compile("[kmt](?:dkk|sek|nok|eur|usd)")
"""Thousands and millions in one word with the currency: `5 kSEK`."""

ACCENTS = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ð": "d"})


def fold(word: str) -> str:
    """The word in lower case and without accents, for comparison."""
    decomposed = unicodedata.normalize("NFKD", word).casefold()
    return "".join(char for char in decomposed if not unicodedata.combining(char)).translate(ACCENTS)


ISO_CODES = frozenset(code.lower() for code in i18n.currency_codes()) - {code.lower() for code in CURRENCIES}
"""Lower-case codes of the currencies that are not supported."""

OTHER_MONEY = ISO_CODES | OTHER_CODES | frozenset((*OTHER_CURRENCY_WORDS.split(), *DOLLARS))
EXACT_SIGNS = frozenset(("Ft", "Rs"))
"""Signs that are currencies in exactly this case: in lower case they are words or units."""

CODES = frozenset(("kr", "dkr", "skr", "nkr", "ikr", *map(str.lower, CURRENCIES))) | ISO_CODES | OTHER_CODES
"""Codes and abbreviations, which are hardly ever text, in lower case."""

TOKEN = re.compile(rf"{CURRENCY_SIGN}|(?:[^\W\d_]|[\u0300-\u036f])+")


def classify_word(word: str) -> str | WordKind:
    """What `word` (letters, a currency sign, or both) means next to a number.

    Returns a supported ISO code, `KRONE`, or the kind of word.
    """
    normalized = unicodedata.normalize("NFKC", word)
    lower = normalized.lower()
    if lower in SUPPORTED:
        return SUPPORTED[lower]
    if normalized == EURO_LETTER:
        return "EUR"
    if any(unicodedata.category(char) == "Sc" for char in normalized) or normalized in EXACT_SIGNS:
        return WordKind.OTHER_MONEY
    if lower in MULTIPLES or PREFIXED_CODE.fullmatch(lower):
        return WordKind.MULTIPLE
    is_other = lower in OTHER_MONEY and (lower not in AMBIGUOUS_CODES or normalized.isupper())
    return WordKind.OTHER_MONEY if is_other else WordKind.TEXT


def is_money(word: str) -> bool:
    """Whether a word after a number makes that number a sum of money."""
    return not word[0].isalpha() or classify_word(word) is not WordKind.TEXT


MIN_ADJECTIVE = 4
"""An adjective of more characters than this is not an abbreviation."""

MIN_COMPOUND = 8
"""A name in one word of at least so many characters is not another word: `schweizerfranc`, `Hongkongdollar`."""


@cache
def phrases() -> dict[tuple[str, ...], str | WordKind]:
    """Names of currencies by their folded words: those of CLDR, and kroner and dollars with their country."""
    found: dict[tuple[str, ...], str | WordKind] = {}
    for name, code in i18n.currency_names().items():
        words = split_words(re.sub(r"\(.*\)", "", name))
        is_distinct = len(words) > 1 or len(name) >= MIN_COMPOUND or (len(name) > 3 and name.isupper())
        if is_distinct:
            found[words] = code if code in CURRENCIES else WordKind.OTHER_MONEY
    nouns = ["kron", "crown", *(word for word, meaning in SUPPORTED.items() if meaning == KRONE)]
    countries: list[tuple[str | WordKind, str]] = [*ADJECTIVES.items(), (WordKind.OTHER_MONEY, FOREIGN_KRONER)]
    for meaning, adjectives in countries:
        for adjective in adjectives.split():
            for noun in nouns if len(adjective) > 1 else ["kr"]:
                found[fold(adjective), fold(noun)] = meaning
                if len(adjective) > MIN_ADJECTIVE or (len(adjective) > 1 and noun == "kr"):
                    found[(fold(adjective + noun),)] = meaning  # `ruotsinkruunua`, `svkr`
            for noun in MONEY_WORDS.split() if len(adjective) > MIN_ADJECTIVE else []:
                found[fold(adjective), fold(noun)] = meaning
    found |= dict.fromkeys(
        [("d", "mark"), ("deutsche", "mark"), ("suomen", "markka"), ("suomen", "markkaa")], WordKind.OTHER_MONEY
    )
    for prefix in (("us",), ("u", "s"), ("usa",), ("u", "s", "a")):
        found |= {(*prefix, fold(word)): WordKind.OTHER_MONEY for word in DOLLARS}
        found[*prefix, "$"] = WordKind.OTHER_MONEY
    return found


def split_words(text: str) -> tuple[str, ...]:
    """The folded words and signs of a text."""
    return tuple(fold(word) for word in TOKEN.findall(text))
