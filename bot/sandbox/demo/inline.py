"""Inline mode on the demo's page: what is offered while somebody types, and what was sent in the customer's chat."""

from __future__ import annotations

from typing import Any

from bot.sandbox.fake_telegram import FakeTelegram

Json = dict[str, Any]
MAX_QUERIES = 20
"""Queries whose offers a page may still ask for."""


def inline_results(telegram: FakeTelegram) -> dict[str, Json]:
    """The answers to what was typed after the bot's name, by the query's id."""
    latest = list(telegram.state.inline_queries.values())[-MAX_QUERIES:]
    return {
        query.id: {"id": query.id, "results": [_result(each) for each in query.answer["results"]]}
        for query in latest
        if query.answer is not None
    }


def _result(result: Json) -> Json:
    return {"id": result["id"], "title": result["title"], "about": result.get("description", "")}


def inline_messages(telegram: FakeTelegram) -> dict[str, Json]:
    """The messages that were sent by way of the bot; each stands in its sender's chat with the customer."""
    return {
        number: {
            "message_id": number,
            "inline": True,
            "chat": f"to{message['from']['id']}",
            "from": message["from"]["id"],
            "name": message["from"]["first_name"],
            "bot": True,
            "keyboard": message.get("reply_markup", {}).get("inline_keyboard"),
        }
        | {name: message[name] for name in ("date", "edit_date", "text", "entities") if name in message}
        for number, message in telegram.state.inline_messages.items()
    }
