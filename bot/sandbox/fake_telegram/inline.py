"""Inline mode: somebody types @Bot anywhere, picks a result, and a message of the bot stands where it cannot look."""

from __future__ import annotations

from datetime import timedelta

from bot.sandbox.fake_telegram.answer_methods import message_of
from bot.sandbox.fake_telegram.api_error import Json
from bot.sandbox.fake_telegram.state import Query, World
from bot.sandbox.fake_telegram.updates import KEPT_SECONDS

QUERY_LANE, CHOICE_LANE = 1 << 33, 2 << 33


class Inline:
    """Each act returns what the control route answers, with the `update_id` that the bot gets."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._count = 0
        self._written: dict[str, str] = {}

    def ask(self, from_id: int, query: str, chat_type: str = "sender") -> Json:
        """Type `query` after the bot's name; the answer shows in `world.inline_queries`."""
        self._count += 1
        number = str(3_141_592_653_000_000_000 + self._count)
        until = self._world.now() + timedelta(seconds=KEPT_SECONDS["inline_query"])
        self._world.inline_queries[number] = Query(number, from_id, until)
        self._written[number] = query
        user = dict(self._world.person(from_id))
        content = {"id": number, "from": user, "query": query, "offset": "", "chat_type": chat_type}
        update = self._world.heard("inline_query", content, from_id + QUERY_LANE)
        return self._note("inline_query", {"from_id": from_id, "query": query}, {"inline_query_id": number}, update)

    def choose(self, inline_query_id: str, result_id: str) -> Json:
        """Pick a result. Only one with buttons gets an `inline_message_id`, by which the bot can edit it.

        Raises LookupError if there is no such query, or no such result in its answer.
        """
        query = self._world.inline_queries.get(inline_query_id)
        results = (query.answer or {}).get("results", []) if query else []
        result = next((result for result in results if str(result.get("id")) == result_id), None)
        if query is None or result is None:
            raise LookupError("no such result")
        message = message_of(self._world, result)
        content: Json = {
            "result_id": result_id,
            "from": dict(self._world.users[query.from_id]),
            "query": self._written[inline_query_id],
        }
        if "reply_markup" in message:
            self._count += 1
            content["inline_message_id"] = f"AAAAPretendInline{self._count:05}"
            message |= {"from": content["from"], "date": self._world.unix(), "via_bot": dict(self._world.bot)}
            self._world.inline_messages[content["inline_message_id"]] = message
        update = self._world.heard("chosen_inline_result", content, query.from_id + CHOICE_LANE)
        answer = {"inline_message_id": content.get("inline_message_id")}
        return self._note("chosen_inline_result", {"from_id": query.from_id, "result_id": result_id}, answer, update)

    def _note(self, method: str, params: Json, result: Json, update: int | None) -> Json:
        result["update_id"] = update
        self._world.transcript.add(self._world.now(), "in", method, params, result)
        return result
