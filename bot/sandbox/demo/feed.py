"""The data of the demo page: first a snapshot, then only what changed."""

from __future__ import annotations

import json
from typing import Any

from bot.sandbox import seed_users
from bot.sandbox.demo import actions, inline
from bot.sandbox.demo.stack import DemoStack
from bot.sandbox.demo.traffic import Traffic
from bot.sandbox.fake_stripe import Attempt, attempts
from bot.sandbox.fake_telegram import Chat, FakeTelegram

Json = dict[str, Any]
MESSAGE_FIELDS = (
    "message_id",
    "date",
    "edit_date",
    "text",
    "entities",
    "caption",
    "caption_entities",
    "photo",
    "document",
)
DEFAULT_COMMANDS = {
    "pay": "request a payment",
    "status": "status of a payment or the shop",
    "cancel": "cancel an open request",
    "help": "what I can do",
    "start": "begin",
    "id": "your Telegram ID",
    "setup": "which shop this chat belongs to",
    "settings": "the shop's settings",
}
"""The commands that the page suggests until the bot has set a menu."""


class Feed:
    """The data of one open page. Call `snapshot()` once, then `changes()` after every change."""

    def __init__(self, stack: DemoStack) -> None:
        self._stack = stack
        self._traffic = Traffic(stack)
        self._sent: dict[str, str] = {}

    def snapshot(self) -> Json:
        """The current state of everything and the constant `config`, without callback answers from before the call."""
        bot = self._telegram.state.bot
        config = {
            "users": [vars(user) for user in seed_users.USERS],
            "group": {"id": seed_users.GROUP, "title": seed_users.GROUP_TITLE},
            "customer": {"id": seed_users.CUSTOMER.id, "name": seed_users.CUSTOMER.name},
            "bot": {"id": bot["id"], "name": bot["first_name"], "username": bot["username"]},
            "stripe": self._stack.services.stripe.base,
            "kvit": self._stack.service.base,
        }
        self._sent = {}
        self._changed("callback_answers", self._callback_answers())
        return self.changes() | {"config": config}

    def changes(self) -> Json:
        """The fake time, and the items that changed since the last call, by kind; kinds without any are left out."""
        stripe = self._stack.services.stripe
        latest = [intent_attempts[-1] for intent_attempts in stripe.store.attempts.values()]
        found = {
            "messages": self._changed("messages", self._messages() | inline.inline_messages(self._telegram)),
            "deleted": self._changed("deleted", self._deleted()),
            "callback_answers": self._changed("callback_answers", self._callback_answers()),
            "inline_results": self._changed("inline_results", inline.inline_results(self._telegram)),
            "attempts": self._changed("attempts", {attempt.intent: self._attempt(attempt) for attempt in latest}),
            "payments": self._changed("payments", actions.payments(stripe)),
            "menus": self._changed("menus", self._menus()),
            "faults": self._changed("faults", {"now": self._faults()}),
            "traffic": self._traffic.new_rows(),
        }
        now = self._stack.services.clock.now().isoformat()
        return {"now": now} | {kind: items for kind, items in found.items() if items}

    @property
    def _telegram(self) -> FakeTelegram:
        return self._stack.services.telegram

    def _changed(self, kind: str, items: dict[str, Json]) -> list[Json]:
        """The items that are new or changed since they were last sent to the page."""
        changed = []
        for name, item in items.items():
            key, content = f"{kind}:{name}", json.dumps(item)
            if self._sent.get(key) != content:
                self._sent[key] = content
                changed.append(item)
        return changed

    def _messages(self) -> dict[str, Json]:
        return {
            f"{chat.id}:{number}": _page_message(chat, message)
            for chat in self._telegram.state.chats.values()
            for number, message in chat.messages.items()
        }

    def _deleted(self) -> dict[str, Json]:
        return {
            f"{chat.id}:{number}": {"chat": chat.id, "message_id": number}
            for chat in self._telegram.state.chats.values()
            for number in chat.deleted_ids
        }

    def _callback_answers(self) -> dict[str, Json]:
        """The bot's answers to callback queries; `alert` asks for a dialog instead of a notification."""
        return {
            query.id: {
                "id": query.id,
                "user": query.from_id,
                "text": query.answer.get("text", ""),
                "alert": str(query.answer.get("show_alert", "")).lower() == "true",
            }
            for query in self._telegram.state.callback_queries.values()
            if query.answer is not None
        }

    def _attempt(self, attempt: Attempt) -> Json:
        stripe = self._stack.services.stripe
        intent = stripe.store.intents[attempt.intent]
        return {
            "intent": attempt.intent,
            "link": attempts.link_url(stripe.state, attempt),
            "return_url": attempt.return_url,
            "amount": intent["amount"],
            "currency": intent["currency"].upper(),
            "description": intent["description"],
            "expires_at": attempt.expires_at.isoformat(),
            "outcome": attempt.outcome,
        }

    def _menus(self) -> dict[str, Json]:
        return {kind: {"chat_type": kind, "commands": self._commands(kind)} for kind in ("private", "group")}

    def _commands(self, chat_type: str) -> list[Json]:
        menus = self._telegram.state.menus
        for scope in (f"all_{chat_type}_chats", "default"):
            if commands := menus.get((json.dumps({"type": scope}), "")):
                return [{"name": command["command"], "description": command["description"]} for command in commands]
        return [{"name": name, "description": description} for name, description in DEFAULT_COMMANDS.items()]

    def _faults(self) -> Json:
        """The faults that are switched on."""
        stripe = self._stack.services.stripe
        return {
            "stripe_down": stripe.state.down,
            "telegram_down": self._telegram.state.down,
            "webhooks_lost": stripe.webhooks.mode != "deliver",
            "webhooks_doubled": stripe.webhooks.double,
            "balance_empty": stripe.state.balance.available is not None,
        }


def _page_message(chat: Chat, message: Json) -> Json:
    """A message with the fields that the page uses."""
    shown = {name: message[name] for name in MESSAGE_FIELDS if name in message}
    replied = message.get("reply_to_message")
    if replied is not None:
        shown["reply"] = {"id": replied["message_id"], "name": _author(replied), "text": replied.get("text", "")}
    if "reply_markup" in message:
        shown["keyboard"] = message["reply_markup"]["inline_keyboard"]
    by_bot = message["message_id"] in chat.bot_message_ids
    return shown | {"chat": chat.id, "from": message.get("from", {}).get("id"), "name": _author(message), "bot": by_bot}


def _author(message: Json) -> str:
    return str(message.get("from", {}).get("first_name", ""))
