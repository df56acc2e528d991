"""What the demo's page has to know: everything once, then what is new, whichever of the three said or did it."""

from __future__ import annotations

import json
from typing import Any

from bot.sandbox import seed_users
from bot.sandbox.demo import actions, inline
from bot.sandbox.demo.stack import Market
from bot.sandbox.demo.traffic import Talk
from bot.sandbox.fake_stripe import Attempt, attempts
from bot.sandbox.fake_telegram import Chat, FakeTelegram

Json = dict[str, Any]
SHOWN = ("message_id", "date", "edit_date", "text", "entities", "caption", "caption_entities", "photo", "document")
COMMANDS = {
    "pay": "ask for money",
    "status": "how it stands",
    "cancel": "end an open request",
    "help": "what I can do",
    "start": "begin",
    "id": "your number on Telegram",
    "setup": "tie this chat to a shop",
    "settings": "the shop's settings",
}
"""What the page completes while the bot has set no menu of its own."""


class Feed:
    """The view of one page; `news()` says what it was not told yet."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._talk = Talk(market)
        self._told: dict[str, str] = {}

    def all(self) -> Json:
        """Everything, for a page that knows nothing; with `setting`, which never changes."""
        bot = self._telegram.world.bot
        setting = {
            "people": [vars(player) for player in seed_users.CAST],
            "group": {"id": seed_users.GROUP, "title": seed_users.GROUP_TITLE},
            "customer": {"id": seed_users.CUSTOMER.id, "name": seed_users.CUSTOMER.name},
            "bot": {"id": bot["id"], "name": bot["first_name"], "username": bot["username"]},
            "stripe": self._market.vendors.stripe.base,
            "kvit": self._market.service.base,
        }
        self._told = {}
        self._fresh("answers", self._answers())  # what was answered before the page was there is no news
        return self.news() | {"setting": setting}

    def news(self) -> Json:
        """The time, and of each kind of thing those that changed; kinds without any are left out."""
        tried = self._market.vendors.stripe.ledger.attempts.values()
        found = {
            "messages": self._fresh("messages", self._messages() | inline.messages(self._telegram)),
            "gone": self._fresh("gone", self._gone()),
            "answers": self._fresh("answers", self._answers()),
            "offers": self._fresh("offers", inline.offers(self._telegram)),
            "attempts": self._fresh("attempts", {each[-1].intent: self._attempt(each[-1]) for each in tried}),
            "payments": self._fresh("payments", actions.payments(self._market.vendors.stripe)),
            "menus": self._fresh("menus", self._menus()),
            "weather": self._fresh("weather", {"now": self._weather()}),
            "talk": self._talk.news(),
        }
        now = self._market.vendors.clock.now().isoformat()
        return {"now": now} | {kind: things for kind, things in found.items() if things}

    @property
    def _telegram(self) -> FakeTelegram:
        return self._market.vendors.telegram

    def _fresh(self, kind: str, things: dict[str, Json]) -> list[Json]:
        """Those that were not told in this form before."""
        fresh = []
        for name, thing in things.items():
            told, form = f"{kind}:{name}", json.dumps(thing)
            if self._told.get(told) != form:
                self._told[told] = form
                fresh.append(thing)
        return fresh

    def _messages(self) -> dict[str, Json]:
        return {
            f"{chat.id}:{number}": _shown(chat, message)
            for chat in self._telegram.world.chats.values()
            for number, message in chat.messages.items()
        }

    def _gone(self) -> dict[str, Json]:
        return {
            f"{chat.id}:{number}": {"chat": chat.id, "message_id": number}
            for chat in self._telegram.world.chats.values()
            for number in chat.gone
        }

    def _answers(self) -> dict[str, Json]:
        """What the bot said to a tap: a line for a moment, or one to be closed by hand."""
        taps = self._telegram.world.taps.values()
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
        stripe = self._market.vendors.stripe
        intent = stripe.ledger.intents[attempt.intent]
        return {
            "intent": attempt.intent,
            "link": attempts.address(stripe.world, attempt),
            "back": attempt.return_url,
            "amount": intent["amount"],
            "currency": intent["currency"].upper(),
            "text": intent["description"],
            "ends": attempt.ends.isoformat(),
            "outcome": attempt.outcome,
        }

    def _menus(self) -> dict[str, Json]:
        """The commands to complete in a private chat and in a group."""
        return {place: {"place": place, "commands": self._commands(place)} for place in ("private", "group")}

    def _commands(self, place: str) -> list[Json]:
        menus = self._telegram.world.menus
        for scope in (f"all_{place}_chats", "default"):
            if set_by_bot := menus.get((json.dumps({"type": scope}), "")):
                return [{"name": command["command"], "about": command["description"]} for command in set_by_bot]
        return [{"name": name, "about": about} for name, about in COMMANDS.items()]

    def _weather(self) -> Json:
        """What was broken on purpose."""
        stripe = self._market.vendors.stripe
        return {
            "stripe_down": stripe.world.down,
            "telegram_down": self._telegram.world.down,
            "lose": stripe.webhooks.mode != "deliver",
            "double": stripe.webhooks.double,
            "poor": stripe.world.purse.available is not None,
        }


def _shown(chat: Chat, message: Json) -> Json:
    """A message as the page needs it: who, what, in answer to what, with which buttons."""
    shown = {name: message[name] for name in SHOWN if name in message}
    replied = message.get("reply_to_message")
    if replied is not None:
        shown["reply"] = {"id": replied["message_id"], "name": _author(replied), "text": replied.get("text", "")}
    if "reply_markup" in message:
        shown["keyboard"] = message["reply_markup"]["inline_keyboard"]
    mine = message["message_id"] in chat.mine
    return shown | {"chat": chat.id, "from": message.get("from", {}).get("id"), "name": _author(message), "bot": mine}


def _author(message: Json) -> str:
    return str(message.get("from", {}).get("first_name", ""))
