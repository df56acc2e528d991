"""How each action is requested by each trigger in each kind of chat, and how its execution is recognized."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from handlers.access.permissions import Action, ChatKind, Trigger
from storage import shops
from storage.models.shop import Role
from tests.chat.test_inline import choose, offers, shows
from tests.support.evidence import idle, rows
from tests.support.people import (
    ADMIN,
    COLLEAGUE,
    GROUP,
    MERCHANT,
    NO_SHOP,
    STRANGER,
    caught_up,
    deliver_raw,
    open_database,
    press,
    remove_roles,
    reply,
)
from tests.support.world import OWNER, Json, World

PEOPLE = {Role.NONE: STRANGER, Role.MERCHANT: MERCHANT, Role.ADMIN: ADMIN, Role.OWNER: OWNER}
SILENT = ""
NO = (
    "Your Telegram ID is",
    "expired",
    "no payment with that reference",
    "Which payment?",
    "Nothing was done: this group",
)
"""Texts that reject the user, the button or the payment."""

TABLES = ("members", "invitations", "shop_chats", "shops", "refunds", "prompts")
KEPT = (
    "SELECT id, status, cancel_requested, capture_requested_by, attempt_number, amount_refunded,"
    " amount_refund_pending FROM payments ORDER BY id"
)


@dataclass(frozen=True)
class Asking:
    """How an action is requested: the command, the data of the button, and what shows that it was executed.

    Placeholders: {ref} and {payment} of the payment message, {n} a new number each time. The result of the query `done`
    changes with the action; the answer contains `says`. `own` is whether the user made the payment request, None if the
    action needs no payment. `asks` is the command whose prompt has the button.
    """

    command: str = ""
    data: str = ""
    done: str = ""
    says: str = ""
    own: bool | None = None
    asks: str = ""
    late: bool = False
    undo: tuple[str, ...] = field(default=())


PAYMENTS = "SELECT count(*) FROM payments"
PROMPTS = "SELECT count(*) FROM prompts"
CANCELED = "SELECT count(*) FROM payments WHERE cancel_requested IS NOT NULL"
NO_TIES = (f"DELETE FROM shop_chats WHERE chat_id > 0 OR chat_id = {NO_SHOP}",)
AS_BEFORE = (
    *NO_TIES,
    f"UPDATE shop_chats SET shop_id = 1 WHERE chat_id = {GROUP}",
    f"INSERT INTO shop_chats VALUES ({OWNER}, 1, 0)",
)

ASKINGS: dict[Action, Asking] = {
    Action.REQUEST_PAYMENT: Asking("/pay 125 Tea {n}", done=PAYMENTS, asks="/pay 12,345"),
    Action.HOLD: Asking("/hold 125 Tea {n}", done=PAYMENTS, asks="/hold 12,345"),
    Action.REPEAT_PAYMENT: Asking("/again {ref}", done=PROMPTS, own=True, asks="/again {ref}", late=True),
    Action.VIEW: Asking("/status {ref}", "o:", own=True),
    Action.NOTE: Asking("/note {ref} Table {n}", done="SELECT group_concat(note) FROM payments", own=True),
    Action.NEW_LINK: Asking(data="n:{payment}", says="Here is a new link.", own=True),
    Action.CANCEL_OWN: Asking("/cancel {ref}", "c:{payment}", done=CANCELED, own=True),
    Action.CANCEL_ANY: Asking("/cancel {ref}", "c:{payment}", done=CANCELED, own=False),
    Action.SETTINGS: Asking("/settings name N{n}", "v:name:N{n}", done="SELECT name FROM shops"),
    Action.TEAM: Asking("/team", "m:0"),
    Action.INVITE: Asking("/invite merchant", done="SELECT count(*) FROM invitations"),
    Action.REVOKE: Asking(f"/revoke {COLLEAGUE}", done=f"SELECT count(*) FROM members WHERE user_id = {COLLEAGUE}"),
    Action.LOG: Asking("/log {ref}", "l::{ref}:", own=True),
    Action.REPORT: Asking("/report 2020", says="No money moved"),
    Action.SELECT_SHOP: Asking("/setup", "s:1", done="SELECT count(*) FROM shop_chats WHERE chat_id > 0", undo=NO_TIES),
    Action.LINK_CHAT: Asking("/setup", "s:1", says="This chat now belongs to", undo=NO_TIES),
    Action.CREATE_SHOP: Asking("/setup NEW N{n}", done="SELECT count(*) FROM shops", undo=AS_BEFORE),
    Action.BASIC_COMMANDS: Asking("/start", says="Hello."),
    Action.LEGAL_INFO: Asking("/privacy", says="Kvit stores"),
}
"""The requests by action; refunds and holds have a test of their own."""

ALIKE = {Action.LINK_CHAT: Action.SELECT_SHOP, Action.SELECT_SHOP: Action.LINK_CHAT}
"""Two actions with one command: the chat decides which of them it is."""


@dataclass
class Cell:
    """One request of one action."""

    world: World
    asking: Asking
    where: ChatKind
    way: Trigger
    person: int
    number: int
    about_to_act: Callable[[], Awaitable[None]] | None = None

    async def send(self) -> str:
        """Requests the action; returns the answer, `SILENT` if there is none."""
        if self.way is Trigger.INLINE_RESULT:
            return await self._result()
        card = await self._card() if self.asking.own is not None else {}
        if self.way is Trigger.BUTTON:
            return await self._tap(card)
        return await self._say(card)

    @property
    def chat(self) -> int:
        return {ChatKind.GROUP: GROUP, ChatKind.UNLINKED_GROUP: NO_SHOP}.get(self.where, self.person)

    async def _say(self, card: dict[str, Any]) -> str:
        replies = self.way is Trigger.REPLY
        text = self.asking.command.format(**card | {"ref": "" if replies else card.get("ref", "")}, n=self.number)
        if replies and self.where is ChatKind.UNLINKED_GROUP:
            card = {"message": (await self._any_message())["message_id"]}
        to = card["message"] if replies else None
        await self._look()
        message_id = self.world.say(text.strip(), by=self.person, chat=self.chat, reply_to=to)
        if self.where is not ChatKind.UNLINKED_GROUP:
            return str((await reply(self.world, message_id, chat=self.chat))["text"])
        await caught_up(self.world, NO_SHOP)
        await idle(self.world)
        messages = self.world.telegram.state.chats[NO_SHOP].messages.values()
        answers = [m for m in messages if m.get("reply_to_message", {}).get("message_id") == message_id]
        return str(answers[-1]["text"]) if answers else SILENT

    async def _tap(self, card: dict[str, Any]) -> str:
        if self.where is ChatKind.INLINE:
            return await self._tap_inline(card)
        message, data = await self._button(card)
        await self._look()
        return await self._confirmed(
            await self.world.answer(press(self.world, message, data, by=self.person)), self.chat
        )

    async def _confirmed(self, answer: str, chat: int) -> str:
        """The answer to the confirmation, if the button asks for one."""
        if not answer.startswith("Confirm it"):
            return answer
        question = await self.world.message("Nothing has been cancelled yet", chat=chat)
        return await self.world.answer(press(self.world, question, _first_data(question), by=self.person))

    async def _button(self, card: dict[str, Any]) -> tuple[Json, str]:
        """The message whose button is pressed; it need not have one, for the data may be forged."""
        if not self.asking.asks:
            return await self._any_message(), self.asking.data.format(**card, n=self.number)
        question = await self._question(card, GROUP if self.where is ChatKind.UNLINKED_GROUP else self.chat)
        return (question if self.where is not ChatKind.UNLINKED_GROUP else await self._any_message()), _first_data(
            question
        )

    async def _question(self, card: dict[str, Any], chat: int) -> Json:
        text = self.asking.asks.format(**card)
        early = self.world.clock.now() - timedelta(minutes=11)
        fields: Json = {"date": int(early.timestamp())} if self.asking.late else {}
        async with self._seated():
            message_id = deliver_raw(self.world, text, by=self.person, chat=chat if chat < 0 else None, **fields)
            return await reply(self.world, message_id, chat=chat)

    async def _tap_inline(self, card: dict[str, Any]) -> str:
        inline_id = card.get("inline") or await self._unheard()
        data = await self._inline_data(card)
        await self._look()
        body = {"inline_message_id": inline_id, "from_id": self.person, "data": data}
        query = await self.world.control("telegram", "taps", body)
        return await self._confirmed(await self.world.answer(query["callback_query_id"]), self.person)

    async def _inline_data(self, card: dict[str, Any]) -> str:
        if self.asking.asks and (self.asking.late or self.asking.command.startswith("/hold")):
            return _first_data(await self._question(card, self.person))
        if not self.asking.asks:
            return self.asking.data.format(**card, n=self.number)
        async with self._seated():
            _, [offer] = await offers(self.world, f"{self.number} Tea", by=self.person)
        return f"g:{offer['id']}"

    async def _result(self) -> str:
        query, [offer] = await offers(self.world, f"{self.number} Tea", by=self.person)
        await self._look()
        await choose(self.world, query, offer)
        return str(offer["description"])

    async def _unheard(self) -> str:
        """An inline message with a button that the bot does not know yet."""
        query, [offer] = await offers(self.world, f"{self.number} Cake", by=OWNER)
        await idle(self.world)
        await self.world.control("telegram", "down", {"down": True})
        inline_id = await choose(self.world, query, offer)
        self.world.telegram.state.updates.clear()
        await self.world.control("telegram", "down", {"down": False})
        self.world.advance(60)
        return inline_id

    async def _any_message(self) -> Json:
        """A message of the bot in this chat."""
        return await reply(
            self.world, self.world.say("/id", by=OWNER if self.chat < 0 else self.chat, chat=self.chat), chat=self.chat
        )

    async def _card(self) -> dict[str, Any]:
        """A new payment message in the chat, of a payment requested by the right user."""
        async with self._seated():
            if self.where is ChatKind.INLINE:
                query, [offer] = await offers(self.world, f"{self.number} Tea", by=self.person)
                inline_id = await choose(self.world, query, offer)
                await shows(self.world, inline_id, "Waiting for payment")
                card: dict[str, Any] = {"inline": inline_id}
            else:
                chat = GROUP if self.where is ChatKind.UNLINKED_GROUP else self.chat
                message = await reply(
                    self.world,
                    self.world.say(f"/pay 125 Tea {self.number}", by=self.person, chat=chat),
                    "Waiting",
                    chat=chat,
                )
                card = {"message": message["message_id"]}
        newest = rows(self.world, "SELECT id, reference FROM payments ORDER BY rowid DESC LIMIT 1")[0]
        if not self.asking.own:
            await write(self.world, f"UPDATE payments SET created_by = {COLLEAGUE} WHERE id = '{newest['id']}'")
        return card | {"payment": newest["id"], "ref": newest["reference"]}

    async def _look(self) -> None:
        """Calls the observer before the action itself."""
        if self.about_to_act is not None:
            await self.about_to_act()

    def _seated(self) -> Seated:
        return Seated(self.world, self.person)


@dataclass
class Seated:
    """Gives a guest a role while it prepares what it must not use afterwards."""

    world: World
    person: int

    async def __aenter__(self) -> None:
        if self.person == STRANGER:
            async with open_database(self.world) as db:
                await db.write(shops.set_member, 1, STRANGER, Role.MERCHANT, name="", now=self.world.clock.now())

    async def __aexit__(self, *_: object) -> None:
        if self.person == STRANGER:
            await remove_roles(self.world, STRANGER)


async def write(world: World, statement: str) -> None:
    """Changes the database directly."""
    async with open_database(world) as db:
        await db.write(lambda tx: tx.exec_driver_sql(statement).rowcount)


def _first_data(message: Json) -> str:
    return str(message["reply_markup"]["inline_keyboard"][0][0]["callback_data"])


def standing(world: World) -> list[Any]:
    """The state that a rejected request must not change."""
    tables = [rows(world, f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES]
    edits = sum(entry.method == "editMessageText" for entry in world.telegram.transcript)
    return [rows(world, KEPT), tables, edits, len(world.stripe.store.requests)]
