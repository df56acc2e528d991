"""`/find`: payments by reference, text, note, amount, state and requester."""

from __future__ import annotations

from functools import cache

from handlers.amounts.errors import AmountError
from handlers.amounts.parser import AmbiguousAmount, RequestedAmount, parse_request
from handlers.chat import arguments
from handlers.chat.commands.payment_list import payment_line, read_position, reference_buttons, write_position
from handlers.chat.context import Context
from handlers.i18n import LANGUAGES, SafeHtml, text
from handlers.telegram.messenger import Button, Keyboard
from handlers.text_cleaning import clean_text
from storage import installation, prompts, search, shops
from storage.errors import UserError
from storage.models.money import CURRENCIES, MAX_AMOUNT
from storage.search import Term

PER_PAGE = 8
MAX_TERMS = 8
"""Words of a search that are used; more of them find nothing else."""

MIN_BEGINNING = 2
"""Characters from which on a word is also searched for as the beginning of a longer one."""

KIND = "find"
"""The kind of the prompt that keeps the words of a search for its further pages."""


class SearchGone(UserError):
    """The search of a button is another person's, another chat's or too old."""

    message_key = "error.search_gone"


async def find(context: Context) -> None:
    """Show the newest payments that have all these words."""
    words = clean_text(context.message.args)
    if not words:
        await context.reply("find.how")
        return
    prompt = await context.prompt(KIND, KIND, {"words": words})
    said, keyboard = await _page(context, prompt.id, words, "")
    await context.send(said, keyboard)


async def on_page(context: Context, where: str) -> None:
    """Show another page of the same search in the same message."""
    prompt_id, _, place = where.partition(":")
    prompt = await context.db.read(prompts.find, prompt_id)
    if prompt is None or (prompt.kind, prompt.user_id, prompt.chat.chat_id, prompt.payload.get("shop")) != (
        KIND,
        context.actor.id,
        context.chat.chat_id,
        context.shop.id,
    ):
        raise SearchGone
    said, keyboard = await _page(context, prompt_id, prompt.payload["words"], place)
    await context.edit(said, keyboard)


async def _page(context: Context, prompt_id: str, words: str, place: str) -> tuple[SafeHtml, Keyboard]:
    before = read_position(place)
    found = await context.db.read(
        search.find,
        context.shop.id,
        await _readings(context, words),
        livemode=context.services.livemode,
        limit=PER_PAGE + 1,
        before=before,
    )
    listed = found[:PER_PAGE]
    head = context.html("find.head" if listed else "find.none")
    lines = [head, *(payment_line(context, payment) for payment in listed)]
    pages = (Button(context.text("open.first"), data=f"f:{prompt_id}"),) if before else ()
    if len(found) > PER_PAGE:
        end = write_position((listed[-1].created_at, listed[-1].id))
        pages = (*pages, Button(context.text("open.next"), data=f"f:{prompt_id}:{end}"))
    keyboard = reference_buttons(listed)
    return SafeHtml("\n".join(lines)), (*keyboard, pages) if pages else keyboard


async def _readings(context: Context, words: str) -> list[list[Term]]:
    """The ways to read the words: all as words, and the beginning as an amount if it can be one."""
    names = await _names(context)
    readings = [_terms(words, names)]
    for amount, currency in _amounts(words, context.shop.currency):
        readings.append(
            [
                Term(words=(search.amount_word(amount.money.minor),), currency=currency),
                *_terms(amount.description, names),
            ]
        )
    return readings


def _amounts(words: str, default: str) -> list[tuple[RequestedAmount, str | None]]:
    """The readings of an amount in front, each with its currency if one was typed."""
    other = next(currency for currency in CURRENCIES if currency != default)
    found, elsewhere = _parsed(words, default), _parsed(words, other)
    is_typed = not elsewhere or found[:1] == elsewhere[:1]
    return [(reading, reading.money.currency if is_typed else None) for reading in found]


def _parsed(words: str, currency: str) -> tuple[RequestedAmount, ...]:
    try:
        reading = parse_request(words, default=currency, limit=MAX_AMOUNT)
    except AmountError:
        return ()
    return reading.choices if isinstance(reading, AmbiguousAmount) else (reading,)


def _terms(words: str, names: dict[int, str]) -> list[Term]:
    return [_term(word, names) for word in dict.fromkeys(search.words_in(words))][:MAX_TERMS]


def _term(word: str, names: dict[int, str]) -> Term:
    """What one typed word can mean: a word of the payment, its reference, a state, or who requested it."""
    whole = [word, arguments.normalize_reference(word).lower()]
    people = [user_id for user_id, name in names.items() if _is_named(name, word)]
    return Term(
        beginnings=(word,) if len(word) >= MIN_BEGINNING else (),
        words=(*whole, *(search.requester_word(user_id) for user_id in people)),
        states=tuple(state for state, said in _state_words().items() if word in said),
    )


def _is_named(name: str, word: str) -> bool:
    return any(part.startswith(word) for part in search.words_in(name)) if len(word) >= MIN_BEGINNING else False


async def _names(context: Context) -> dict[int, str]:
    """The names of the shop's people and of the owners, by their ids."""
    members = await context.db.read(shops.list_members, context.shop.id)
    owners = await context.db.read(installation.list_claimed_owners)
    return {owner.user_id: owner.name for owner in owners} | {member.user_id: member.name for member in members}


@cache
def _state_words() -> dict[str, frozenset[str]]:
    """The words for each state, in all languages: a shop may write another language than its people read."""
    return {
        state: frozenset(word for language in LANGUAGES for word in search.words_in(text(language, f"find.{state}")))
        for state in search.STATES
    }
