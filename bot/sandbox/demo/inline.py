"""Inline mode on the demo page: the bot's results, and the messages that were sent from them."""

from __future__ import annotations

from typing import Any

from bot.sandbox.fake_telegram import FakeTelegram

Json = dict[str, Any]
MAX_QUERIES = 20
"""The page gets the results of this many latest queries."""


def inline_results(telegram: FakeTelegram) -> dict[str, Json]:
    """The results of each answered inline query, by the id of the query."""
    latest = list(telegram.state.inline_queries.values())[-MAX_QUERIES:]
    return {
        query.id: {"id": query.id, "results": [_result(result) for result in query.answer["results"]]}
        for query in latest
        if query.answer is not None
    }


def _result(result: Json) -> Json:
    return {"id": result["id"], "title": result["title"], "description": result.get("description", "")}


def inline_messages(telegram: FakeTelegram) -> dict[str, Json]:
    """The messages that were sent in inline mode, by id; each is in the chat of its sender with the customer."""
    return {
        number: {
            "message_id": number,
            "inline": True,
            "chat": f"customer-{message['from']['id']}",
            "from": message["from"]["id"],
            "name": message["from"]["first_name"],
            "bot": True,
            "keyboard": message.get("reply_markup", {}).get("inline_keyboard"),
        }
        | {name: message[name] for name in ("date", "edit_date", "text", "entities") if name in message}
        for number, message in telegram.state.inline_messages.items()
    }
