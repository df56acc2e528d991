"""The users around the service: who they are, how they send messages, and what is in a chat afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
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
from tests.support.evidence import work_done
from tests.support.world import OWNER, PATIENCE, Json, World

ADMIN, MERCHANT, COLLEAGUE, STRANGER = 70_010_011, 70_010_012, 70_010_013, 70_010_099
GROUP, OTHER_GROUP, NO_SHOP = -70_020_001, -70_020_002, -70_020_003
SHOP_PEOPLE = [(ADMIN, "Ada", "admin"), (MERCHANT, "Mads", "merchant"), (COLLEAGUE, "Carla", "merchant")]


async def open_shop(world: World) -> None:
    """Creates the first shop with its members and its group."""
    await world.service.seed("Kvit", SHOP_PEOPLE, [GROUP])


async def open_second_shop(world: World, *users: int) -> None:
    """Creates another shop, in EUR, with the other group and these merchants."""
    created = world.say("/setup NEW Second", chat=OTHER_GROUP)
    await reply(world, created, chat=OTHER_GROUP)
    changed = world.say("/settings currency EUR", chat=OTHER_GROUP)
    await reply(world, changed, chat=OTHER_GROUP)
    async with open_database(world) as db:
        second = (await db.read(shops.list_shops))[-1]
        for user_id in users:
            await db.write(shops.set_member, second.id, user_id, Role.MERCHANT, name="", now=world.clock.now())


async def remove_roles(world: World, user_id: int) -> None:
    """Removes all roles of a user, directly in the database."""
    async with open_database(world) as db:
        await db.write(lambda tx: tx.execute(members.delete().where(members.c.user_id == user_id)).rowcount)


@asynccontextmanager
async def open_database(world: World) -> AsyncIterator[Database]:
    """The service's database, opened beside it."""
    db = Database(world.settings.database_url)
    try:
        yield db
    finally:
        await db.close()


async def card_row(world: World) -> PaymentMessage:
    """The row of the payment message of the newest intent."""
    async with open_database(world) as db:
        return await db.read(messages.get_payment_message, world.intent()["metadata"]["kvit_payment"])


async def actions(world: World, number: int = -1) -> list[tuple[str, str]]:
    """Actor and action of the audit entries of the payment of an intent, oldest first."""
    async with open_database(world) as db:
        entries = await db.read(payment_queries.audit_entries, world.intent(number)["metadata"]["kvit_payment"])
    return [(entry.actor, entry.action) for entry in entries]


async def status_is(world: World, status: PaymentStatus, number: int = -1) -> None:
    """Returns once the payment of an intent has this status in the database."""
    async with asyncio.timeout(10), open_database(world) as db:
        while (
            found := await db.read(payment_queries.by_intent, world.intent(number)["id"])
        ) is None or found.status is not status:
            await asyncio.sleep(0)


async def dead_letters(world: World, queue: str = "outbox") -> list[str]:
    """The reasons of the dead-lettered jobs of a queue, oldest first."""
    async with open_database(world) as db:
        return [job.reason for job in reversed(await JobQueue(db, queue).dead_jobs())]


async def wait_for_dead_letters(world: World, number: int) -> list[str]:
    """The same, once there are so many."""
    async with asyncio.timeout(10):
        while len(reasons := await dead_letters(world)) < number:
            await asyncio.sleep(0)
    return reasons


def send_message(world: World, text: str, *, by: int = OWNER, chat: int | None = None, **fields: Any) -> int:
    """Sends a message with any field of `UserMessage`; returns its id."""
    return int(world.telegram.users.send(UserMessage(chat or by, by, text, **fields))["message_id"])


def deliver_raw(world: World, text: Any, *, by: int = OWNER, chat: int | None = None, **fields: Any) -> int:
    """Delivers a message with these raw fields of the Bot API, without a text if that is None; returns its id."""
    users, state = world.telegram.users, world.telegram.state
    chat_state = users.private_chat(by) if chat is None else users.group(chat, None)
    words = {} if text is None else {"text": text}
    message = state.add_message(chat_state, {"from": dict(state.ensure_user(by))} | words | fields)
    state.add_update("message", message, chat_state.id)
    return chat_state.last_id


def as_shown(message: Json) -> Json:
    """A copy that keeps its buttons, as a phone may still show them after they are gone."""
    return deepcopy(message)


async def cancel_by_button(world: World, message: Json, *, by: int = OWNER) -> str:
    """Presses *Cancel* under a payment message and confirms; returns the answer to the confirmation."""
    await world.answer(world.tap(message, "Cancel", by=by))
    question = await world.message("Nothing has been cancelled yet", chat=message["chat"]["id"])
    return await world.answer(world.tap(question, "Cancel the request", by=by))


def press(world: World, message: Json, data: str, *, by: int = OWNER) -> str:
    """Presses a button with forged data, which the message need not have; returns the query id."""
    return world.telegram.press_button(message["message_id"], by, data, message["chat"]["id"])


def chat_of(world: World, chat: int) -> Chat:
    """A chat in the fake Telegram."""
    return world.telegram.state.chats[chat]


def shown(world: World, chat: int = OWNER) -> list[Json]:
    """The messages of the bot in a chat as they are now, oldest first."""
    found = chat_of(world, chat)
    return [message for message in found.messages.values() if message["message_id"] in found.bot_message_ids]


async def reply(world: World, to: int, contains: str = "", *, chat: int = OWNER) -> Json:
    """The newest reply of the bot to a message that contains the text, once there is one."""

    def find(_: FakeTelegram) -> Json | None:
        if chat not in world.telegram.state.chats:
            return None
        matching = [m for m in shown(world, chat) if m.get("reply_to_message", {}).get("message_id") == to]
        matching = [m for m in matching if contains in m["text"]]
        return matching[-1] if matching else None

    return await world.telegram.wait_until(find, timeout=PATIENCE)


async def reply_text(world: World, text: str, *, by: int = OWNER, chat: int | None = None) -> str:
    """The text of the reply to a message."""
    return str((await reply(world, world.say(text, by=by, chat=chat), chat=chat or by))["text"])


async def alert_text(world: World, query_id: str) -> str:
    """The text of the alert that answers a button press; a toast fails."""
    text = await world.answer(query_id)
    assert str(world.telegram.state.callback_queries[query_id].answer).count("show_alert"), f"no alert: {text}"
    return text


async def caught_up(world: World, chat: int = OWNER, *, by: int = OWNER) -> None:
    """Returns once all earlier messages in this chat are handled and answered."""
    await reply(world, world.say("/id", by=by, chat=chat), chat=chat)


async def advance_until(world: World, condition: Callable[[], Any], *, step: float = 2, max_steps: int = 400) -> Any:
    """Advances the clock in steps until the condition is true; between steps all due work is done that can be."""
    for _ in range(max_steps):
        with suppress(TimeoutError):  # work may wait for the clock
            await work_done(world, patience=1)
        if found := condition():
            return found
        world.advance(step)
    raise TimeoutError("the condition was never true")


def calls(world: World, method: str) -> list[TranscriptEntry]:
    """The executed Bot API calls of a method, oldest first."""
    executed = [entry for entry in world.telegram.transcript if entry.direction == "out" and entry.method == method]
    return [entry for entry in executed if isinstance(entry.result, dict) and "ok" not in entry.result]


def posts(world: World) -> list[str]:
    """The path of every request that may have changed an intent at Stripe."""
    changing = [request for request in world.stripe.store.requests if request.method == "POST"]
    return [request.path for request in changing if request.path.startswith("/v1/payment_intents")]


async def break_telegram(world: World, method: str, how: str, *, when: str = "before", **more: Any) -> None:
    """Makes Telegram fail the next call of a method."""
    await world.control("telegram", "faults", {"method": method, "how": how, "when": when} | more)


async def set_down(world: World, down: bool) -> None:
    """Makes Telegram unavailable, or available again."""
    await world.control("telegram", "down", {"down": down})


class Gate:
    """A messenger that blocks all messages to one chat while it is closed."""

    def __init__(self, inner: Messenger, chat_id: int, is_open: asyncio.Event) -> None:
        self._inner, self._chat_id, self._is_open = inner, chat_id, is_open
        self.username = inner.username

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def send(self, chat: ChatTarget, message: Message, **more: Any) -> int:
        if chat.chat_id == self._chat_id:
            await self._is_open.wait()
        return await self._inner.send(chat, message, **more)
