"""Inline mode: a user types @Bot in any chat and chooses a result, which becomes a message outside the bot's chats."""

from __future__ import annotations

from datetime import timedelta

from bot.sandbox.fake_telegram.answer_methods import message_of
from bot.sandbox.fake_telegram.api_error import Json
from bot.sandbox.fake_telegram.state import FakeTelegramState, PendingQuery
from bot.sandbox.fake_telegram.updates import TTL_SECONDS

QUERY_KEY_OFFSET, CHOICE_KEY_OFFSET = 1 << 33, 2 << 33


class InlineMode:
    """Each action returns the response of the control route, with the `update_id` of the update."""

    def __init__(self, state: FakeTelegramState) -> None:
        self._state = state
        self._count = 0
        self._queries: dict[str, str] = {}

    def send_query(self, from_id: int, query: str, chat_type: str = "sender") -> Json:
        """Type `query` after the bot's name; the bot's answer is stored in `state.inline_queries`."""
        self._count += 1
        number = str(3_141_592_653_000_000_000 + self._count)
        until = self._state.now() + timedelta(seconds=TTL_SECONDS["inline_query"])
        self._state.inline_queries[number] = PendingQuery(number, from_id, until)
        self._queries[number] = query
        user = dict(self._state.ensure_user(from_id))
        content = {"id": number, "from": user, "query": query, "offset": "", "chat_type": chat_type}
        update = self._state.add_update("inline_query", content, from_id + QUERY_KEY_OFFSET)
        return self._record("inline_query", {"from_id": from_id, "query": query}, {"inline_query_id": number}, update)

    def choose_result(self, inline_query_id: str, result_id: str) -> Json:
        """Choose a result. Only a message with buttons gets an `inline_message_id`, by which the bot can edit it.

        Raises LookupError for an unknown query or result.
        """
        query = self._state.inline_queries.get(inline_query_id)
        results = (query.answer or {}).get("results", []) if query else []
        result = next((result for result in results if str(result.get("id")) == result_id), None)
        if query is None or result is None:
            raise LookupError("no such result")
        message = message_of(self._state, result)
        content: Json = {
            "result_id": result_id,
            "from": dict(self._state.users[query.from_id]),
            "query": self._queries[inline_query_id],
        }
        if "reply_markup" in message:
            self._count += 1
            content["inline_message_id"] = f"AAAAFakeInline{self._count:05}"
            message |= {"from": content["from"], "date": self._state.unix_time(), "via_bot": dict(self._state.bot)}
            self._state.inline_messages[content["inline_message_id"]] = message
        update = self._state.add_update("chosen_inline_result", content, query.from_id + CHOICE_KEY_OFFSET)
        answer = {"inline_message_id": content.get("inline_message_id")}
        return self._record("chosen_inline_result", {"from_id": query.from_id, "result_id": result_id}, answer, update)

    def _record(self, method: str, params: Json, result: Json, update: int | None) -> Json:
        result["update_id"] = update
        self._state.transcript.add(self._state.now(), "in", method, params, result)
        return result
