"""The people around the real service: who they are, how they speak, and what stands in a chat afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from bot.sandbox.fake_telegram import FakeTelegram, TranscriptEntry
from bot.sandbox.fake_telegram.state import Chat
from bot.sandbox.fake_telegram.users import UserMessage
from handlers.telegram.messenger import Message, Messenger
from storage import messages, payment_queries, shops
from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.messages import PaymentMessage
from storage.models.payment import ChatTarget, PaymentStatus
from storage.models.shop import Role
from storage.schema.shops import members
from tests.support.evidence import worked_off
from tests.support.world import OWNER, PATIENCE, Json, World

ADMIN, MERCHANT, COLLEAGUE, STRANGER = 70_010_011, 70_010_012, 70_010_013, 70_010_099
GROUP, OTHER_GROUP, NO_SHOP = -70_020_001, -70_020_002, -70_020_003
SHOP_PEOPLE = [(ADMIN, "Ada", "admin"), (MERCHANT, "Mads", "merchant"), (COLLEAGUE, "Carla", "merchant")]


async def open_shop(world: World) -> None:
    """The first shop with its people and its group."""
    await world.service.seed("Kvit", SHOP_PEOPLE, [GROUP])


async def open_second_shop(world: World, *people: int) -> None:
    """Another shop, in EUR, with the other group and these merchants."""
    done = world.say("/setup NEW Second", chat=OTHER_GROUP)
    await reply(world, done, chat=OTHER_GROUP)
    changed = world.say("/settings currency EUR", chat=OTHER_GROUP)
    await reply(world, changed, chat=OTHER_GROUP)
    async with book(world) as db:
        second = (await db.read(shops.list_shops))[-1]
        for person in people:
            await db.write(shops.set_member, second.id, person, Role.MERCHANT, name="", now=world.clock.now())


async def dismiss(world: World, person: int) -> None:
    """Take every role from a person, as somebody else's hand would."""
    async with book(world) as db:
        await db.write(lambda tx: tx.execute(members.delete().where(members.c.user_id == person)).rowcount)


@asynccontextmanager
async def book(world: World) -> AsyncIterator[Database]:
    """The service's database, read beside it."""
    db = Database(world.settings.database_url)
    try:
        yield db
    finally:
        await db.close()


async def card_row(world: World) -> PaymentMessage:
    """What is kept of the card of the newest intent's payment."""
    async with book(world) as db:
        return await db.read(messages.get_payment_message, world.intent()["metadata"]["kvit_payment"])


async def actions(world: World, number: int = -1) -> list[tuple[str, str]]:
    """Who did what to the payment of an intent, oldest first."""
    async with book(world) as db:
        entries = await db.read(payment_queries.audit_entries, world.intent(number)["metadata"]["kvit_payment"])
    return [(entry.actor, entry.action) for entry in entries]


async def known(world: World, status: PaymentStatus, number: int = -1) -> None:
    """Return once Kvit itself knows that the payment of an intent stands so."""
    async with asyncio.timeout(10), book(world) as db:
        while (
            found := await db.read(payment_queries.by_intent, world.intent(number)["id"])
        ) is None or found.status is not status:
            await asyncio.sleep(0)


async def set_aside(world: World, queue: str = "outbox") -> list[str]:
    """Why mails of a box wait for a human, oldest first."""
    async with book(world) as db:
        return [kept.reason for kept in reversed(await JobQueue(db, queue).dead_jobs())]


async def kept_aside(world: World, number: int) -> list[str]:
    """As `set_aside`, once there are so many."""
    async with asyncio.timeout(10):
        while len(reasons := await set_aside(world)) < number:
            await asyncio.sleep(0)
    return reasons


def speak(world: World, text: str, *, by: int = OWNER, chat: int | None = None, **words: Any) -> int:
    """Write a message with everything that `Words` knows; returns its id."""
    return int(world.telegram.users.send(UserMessage(chat or by, by, text, **words))["message_id"])


def hear(world: World, text: str, *, by: int = OWNER, chat: int | None = None, **fields: Any) -> int:
    """Let the bot hear a message with these raw fields of the Bot API; returns the message's id."""
    people, around = world.telegram.users, world.telegram.state
    place = people.private_chat(by) if chat is None else people.group(chat, None)
    message = around.add_message(place, {"from": dict(around.ensure_user(by)), "text": text} | fields)
    around.add_update("message", message, place.id)
    return int(message["message_id"])


def press(world: World, message: Json, data: str, *, by: int = OWNER) -> str:
    """Press a button of a message that need not be there, for the data is forged; returns the query's id."""
    return world.telegram.press_button(message["message_id"], by, data, message["chat"]["id"])


def chat_of(world: World, chat: int) -> Chat:
    """A chat as the pretend Telegram has it."""
    return world.telegram.state.chats[chat]


def shown(world: World, chat: int = OWNER) -> list[Json]:
    """The bot's messages in a chat as they stand now, oldest first."""
    found = chat_of(world, chat)
    return [message for message in found.messages.values() if message["message_id"] in found.bot_message_ids]


async def reply(world: World, to: int, contains: str = "", *, chat: int = OWNER) -> Json:
    """The bot's newest reply to a message, once there is one that says so."""

    def find(_: FakeTelegram) -> Json | None:
        if chat not in world.telegram.state.chats:
            return None
        fitting = [m for m in shown(world, chat) if m.get("reply_to_message", {}).get("message_id") == to]
        fitting = [m for m in fitting if contains in m["text"]]
        return fitting[-1] if fitting else None

    return await world.telegram.wait_until(find, timeout=PATIENCE)


async def refused(world: World, text: str, *, by: int = OWNER, chat: int | None = None) -> str:
    """What a message is answered with."""
    return str((await reply(world, world.say(text, by=by, chat=chat), chat=chat or by))["text"])


async def alerted(world: World, query_id: str) -> str:
    """What the alert of a tap says; a toast is none."""
    said = await world.answer(query_id)
    assert str(world.telegram.state.callback_queries[query_id].answer).count("show_alert"), f"no alert: {said}"
    return said


async def caught_up(world: World, chat: int = OWNER, *, by: int = OWNER) -> None:
    """Everything said in this chat before was dealt with, and everything said about it stands there."""
    await reply(world, world.say("/id", by=by, chat=chat), chat=chat)


async def in_time(world: World, true: Callable[[], Any], *, step: float = 2, most: int = 400) -> Any:
    """Turn the clock by steps until it is true; between two steps everybody does what is due, if he can."""
    for _ in range(most):
        with suppress(TimeoutError):  # somebody is held up until the clock goes on
            await worked_off(world, patience=1)
        if found := true():
            return found
        world.advance(step)
    raise TimeoutError("it never came true")


def calls(world: World, method: str) -> list[TranscriptEntry]:
    """The calls of a method that Telegram carried out, oldest first."""
    made = [entry for entry in world.telegram.transcript if entry.direction == "out" and entry.method == method]
    return [entry for entry in made if isinstance(entry.result, dict) and "ok" not in entry.result]


def posts(world: World) -> list[str]:
    """Every request that may have changed something at Stripe's payments."""
    asked = [request for request in world.stripe.store.requests if request.method == "POST"]
    return [request.path for request in asked if request.path.startswith("/v1/payment_intents")]


async def break_telegram(world: World, method: str, how: str, *, when: str = "before", **more: Any) -> None:
    """Order a fault for the next call of a method."""
    await world.control("telegram", "faults", {"method": method, "how": how, "when": when} | more)


async def set_down(world: World, down: bool) -> None:
    """Pull Telegram's plug, or put it in again."""
    await world.control("telegram", "down", {"down": down})


class Gate:
    """A messenger that lets nothing into one chat while it is shut; the tests' own wiring around the real one."""

    def __init__(self, inner: Messenger, chat_id: int, is_open: asyncio.Event) -> None:
        self._inner, self._chat_id, self._is_open = inner, chat_id, is_open
        self.username = inner.username

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def send(self, chat: ChatTarget, message: Message, **more: Any) -> int:
        if chat.chat_id == self._chat_id:
            await self._is_open.wait()
        return await self._inner.send(chat, message, **more)
