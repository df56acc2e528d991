"""The methods that answer a tap or an inline query."""

from __future__ import annotations

from typing import Any

from bot.sandbox.fake_telegram import markup, message_content
from bot.sandbox.fake_telegram.api_error import Json, bad
from bot.sandbox.fake_telegram.call import Call, Method
from bot.sandbox.fake_telegram.state import Query, World

TOO_OLD = "query is too old and response timeout expired or query ID is invalid"
MOST_RESULTS = 50


def answer_callback_query(call: Call) -> bool:
    query = _open(call.world, call.world.taps, call.params.text("callback_query_id"))
    if len(call.params.text("text")) > 200:
        raise bad("MESSAGE_TOO_LONG")
    query.answer = call.params.plain()
    call.world.changes.tell()
    return True


def answer_inline_query(call: Call) -> bool:
    query = _open(call.world, call.world.inline_queries, call.params.text("inline_query_id"))
    results = call.params.nested("results", "inline query results")
    if not isinstance(results, list):
        raise bad("expected an Array of inline query results")
    if len(results) > MOST_RESULTS:
        raise bad("RESULTS_TOO_MUCH")
    ids = [_result(call, result) for result in results]
    if len(set(ids)) < len(ids):
        raise bad("RESULT_ID_DUPLICATE")
    query.answer = call.params.plain()
    call.world.changes.tell()
    return True


def message_of(world: World, result: Any) -> Json:
    """The message that a chosen result becomes; raises the refusal of one that cannot become any."""
    if not isinstance(result, dict):
        raise bad("inline query result must be an object")
    written = result.get("input_message_content")
    if result.get("type") != "article" or not isinstance(written, dict):
        raise bad(f'type "{result.get("type")}" is unsupported for the inline query result')
    if not written.get("message_text"):
        raise bad("message text is empty")
    mode, given = str(written.get("parse_mode") or ""), written.get("entities")
    text, entities = message_content.formatted(world, str(written["message_text"]), mode, given)
    if len(text) > message_content.TEXT_LIMIT:
        raise bad("MESSAGE_TOO_LONG")
    keyboard = markup.inline_keyboard(result.get("reply_markup"), private=False)
    shown: Json = {"text": text}
    return shown | ({"entities": entities} if entities else {}) | ({"reply_markup": keyboard} if keyboard else {})


def _result(call: Call, result: Any) -> str:
    message_of(call.world, result)
    number = str(result.get("id") or "")
    if not 1 <= len(number.encode()) <= 64:
        raise bad("RESULT_ID_INVALID")
    return number


def _open(world: World, queries: dict[str, Query], number: str) -> Query:
    query = queries.get(number)
    if query is None or query.until <= world.now():
        raise bad(TOO_OLD)
    return query


METHODS: dict[str, Method] = {
    "answerCallbackQuery": answer_callback_query,
    "answerInlineQuery": answer_inline_query,
}
