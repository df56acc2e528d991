"""The methods that answer callback queries and inline queries."""

from __future__ import annotations

from typing import Any

from bot.sandbox.fake_telegram import markup, message_content
from bot.sandbox.fake_telegram.api_error import Json, bad_request
from bot.sandbox.fake_telegram.call import Call, Method
from bot.sandbox.fake_telegram.state import FakeTelegramState, PendingQuery

QUERY_TOO_OLD = "query is too old and response timeout expired or query ID is invalid"
MAX_RESULTS = 50


def answer_callback_query(call: Call) -> bool:
    query = _open_query(call.state, call.state.callback_queries, call.params.text("callback_query_id"))
    if len(call.params.text("text")) > 200:
        raise bad_request("MESSAGE_TOO_LONG")
    query.answer = call.params.to_json()
    call.state.changes.notify()
    return True


def answer_inline_query(call: Call) -> bool:
    query = _open_query(call.state, call.state.inline_queries, call.params.text("inline_query_id"))
    results = call.params.nested("results", "inline query results")
    if not isinstance(results, list):
        raise bad_request("expected an Array of inline query results")
    if len(results) > MAX_RESULTS:
        raise bad_request("RESULTS_TOO_MUCH")
    ids = [_check_result(call, result) for result in results]
    if len(set(ids)) < len(ids):
        raise bad_request("RESULT_ID_DUPLICATE")
    query.answer = call.params.to_json()
    call.state.changes.notify()
    return True


def message_of(state: FakeTelegramState, result: Any) -> Json:
    """The message that a chosen result becomes; raises ApiError for an invalid result."""
    if not isinstance(result, dict):
        raise bad_request("inline query result must be an object")
    written = result.get("input_message_content")
    if result.get("type") != "article" or not isinstance(written, dict):
        raise bad_request(f'type "{result.get("type")}" is unsupported for the inline query result')
    if not written.get("message_text"):
        raise bad_request("message text is empty")
    mode, given = str(written.get("parse_mode") or ""), written.get("entities")
    text, entities = message_content.format_text(state, str(written["message_text"]), mode, given)
    if len(text) > message_content.MAX_TEXT:
        raise bad_request("MESSAGE_TOO_LONG")
    keyboard = markup.inline_keyboard(result.get("reply_markup"), private=False)
    shown: Json = {"text": text}
    return shown | ({"entities": entities} if entities else {}) | ({"reply_markup": keyboard} if keyboard else {})


def _check_result(call: Call, result: Any) -> str:
    message_of(call.state, result)
    number = str(result.get("id") or "")
    if not 1 <= len(number.encode()) <= 64:
        raise bad_request("RESULT_ID_INVALID")
    return number


def _open_query(state: FakeTelegramState, queries: dict[str, PendingQuery], number: str) -> PendingQuery:
    query = queries.get(number)
    if query is None or query.expires_at <= state.now():
        raise bad_request(QUERY_TOO_OLD)
    return query


METHODS: dict[str, Method] = {
    "answerCallbackQuery": answer_callback_query,
    "answerInlineQuery": answer_inline_query,
}
