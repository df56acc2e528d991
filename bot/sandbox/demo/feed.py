"""What the demo's page has to know: everything once, then what is new, whichever of the three said or did it."""

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
"""What the page completes while the bot has set no menu of its own."""


class Feed:
    """The view of one page; `news()` says what it was not told yet."""

    def __init__(self, market: DemoStack) -> None:
        self._stack = market
        self._traffic = Traffic(market)
        self._sent: dict[str, str] = {}

    def snapshot(self) -> Json:
        """Everything, for a page that knows nothing; with `setting`, which never changes."""
        bot = self._telegram.state.bot
        setting = {
            "people": [vars(player) for player in seed_users.USERS],
            "group": {"id": seed_users.GROUP, "title": seed_users.GROUP_TITLE},
            "customer": {"id": seed_users.CUSTOMER.id, "name": seed_users.CUSTOMER.name},
            "bot": {"id": bot["id"], "name": bot["first_name"], "username": bot["username"]},
            "stripe": self._stack.services.stripe.base,
            "kvit": self._stack.service.base,
        }
        self._sent = {}
        self._changed("answers", self._callback_answers())  # what was answered before the page was there is no news
        return self.changes() | {"setting": setting}

    def changes(self) -> Json:
        """The time, and of each kind of thing those that changed; kinds without any are left out."""
        tried = self._stack.services.stripe.store.attempts.values()
        found = {
            "messages": self._changed("messages", self._messages() | inline.inline_messages(self._telegram)),
            "gone": self._changed("gone", self._deleted()),
            "answers": self._changed("answers", self._callback_answers()),
            "offers": self._changed("offers", inline.inline_results(self._telegram)),
            "attempts": self._changed("attempts", {each[-1].intent: self._attempt(each[-1]) for each in tried}),
            "payments": self._changed("payments", actions.payments(self._stack.services.stripe)),
            "menus": self._changed("menus", self._menus()),
            "weather": self._changed("weather", {"now": self._faults()}),
            "talk": self._traffic.new_rows(),
        }
        now = self._stack.services.clock.now().isoformat()
        return {"now": now} | {kind: things for kind, things in found.items() if things}

    @property
    def _telegram(self) -> FakeTelegram:
        return self._stack.services.telegram

    def _changed(self, kind: str, things: dict[str, Json]) -> list[Json]:
        """Those that were not told in this form before."""
        fresh = []
        for name, thing in things.items():
            told, form = f"{kind}:{name}", json.dumps(thing)
            if self._sent.get(told) != form:
                self._sent[told] = form
                fresh.append(thing)
        return fresh

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
        """What the bot said to a tap: a line for a moment, or one to be closed by hand."""
        taps = self._telegram.state.callback_queries.values()
        return {
            tap.id: {
                "id": tap.id,
                "person": tap.from_id,
                "text": tap.answer.get("text", ""),
                "alert": str(tap.answer.get("show_alert", "")).lower() == "true",
            }
            for tap in taps
            if tap.answer is not None
        }

    def _attempt(self, attempt: Attempt) -> Json:
        stripe = self._stack.services.stripe
        intent = stripe.store.intents[attempt.intent]
        return {
            "intent": attempt.intent,
            "link": attempts.link_url(stripe.state, attempt),
            "back": attempt.return_url,
            "amount": intent["amount"],
            "currency": intent["currency"].upper(),
            "text": intent["description"],
            "ends": attempt.expires_at.isoformat(),
            "outcome": attempt.outcome,
        }

    def _menus(self) -> dict[str, Json]:
        """The commands to complete in a private chat and in a group."""
        return {place: {"place": place, "commands": self._commands(place)} for place in ("private", "group")}

    def _commands(self, place: str) -> list[Json]:
        menus = self._telegram.state.menus
        for scope in (f"all_{place}_chats", "default"):
            if set_by_bot := menus.get((json.dumps({"type": scope}), "")):
                return [{"name": command["command"], "about": command["description"]} for command in set_by_bot]
        return [{"name": name, "about": about} for name, about in DEFAULT_COMMANDS.items()]

    def _faults(self) -> Json:
        """What was broken on purpose."""
        stripe = self._stack.services.stripe
        return {
            "stripe_down": stripe.state.down,
            "telegram_down": self._telegram.state.down,
            "lose": stripe.webhooks.mode != "deliver",
            "double": stripe.webhooks.double,
            "poor": stripe.state.balance.available is not None,
        }


def _page_message(chat: Chat, message: Json) -> Json:
    """A message as the page needs it: who, what, in answer to what, with which buttons."""
    shown = {name: message[name] for name in MESSAGE_FIELDS if name in message}
    replied = message.get("reply_to_message")
    if replied is not None:
        shown["reply"] = {"id": replied["message_id"], "name": _author(replied), "text": replied.get("text", "")}
    if "reply_markup" in message:
        shown["keyboard"] = message["reply_markup"]["inline_keyboard"]
    mine = message["message_id"] in chat.bot_message_ids
    return shown | {"chat": chat.id, "from": message.get("from", {}).get("id"), "name": _author(message), "bot": mine}


def _author(message: Json) -> str:
    return str(message.get("from", {}).get("first_name", ""))
