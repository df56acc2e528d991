"""Traffic for soak tests: every course of a payment, one simulated day after another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.chaos.storm_shops import SECOND_ADMIN
from tests.support.evidence import idle, rows
from tests.support.page_world import PHONE
from tests.support.people import ADMIN, GROUP, STRANGER
from tests.support.world import Json, World, labels

DAY = 86_400.0
LINK_LIFETIME = 400.0
"""Seconds after which no older link can be used."""

CHATS = ((ADMIN, ADMIN), (GROUP, ADMIN), (SECOND_ADMIN, SECOND_ADMIN))
"""Chats in which payments are requested, and the user who requests them."""

STREAM = {"Accept": "text/event-stream"}
EVENT_RETENTION = 31 * DAY
END = object()
NEW_PAYMENTS = (
    "SELECT p.reference, p.intent_id, p.page_token, p.description, c.chat_id, c.message_id FROM payments AS p"
    " JOIN payment_messages AS c ON c.payment_id = p.id"
    " WHERE p.created_at > (SELECT max(created_at) FROM payments) - 3600000000"
)

PaymentCourse = Callable[[Json], AsyncIterator[None]]
"""The steps of one payment; the next one is taken when the service is idle."""


class SoakTraffic:
    """Two shops; `payments` is the number of requests so far."""

    def __init__(self, world: World, *, streams: bool) -> None:
        """With `streams` every third page stays open; a closed one is noticed some real seconds later."""
        self._world = world
        self._streams = streams
        self._day = 0
        self.payments = 0
        self._courses: list[PaymentCourse] = [
            self._paid,
            self._refunded,
            self._refund_that_fails,
            self._with_qr_code,
            self._declined,
            self._canceled,
            self._ignored,
            self._captured,
            self._released,
            self._disputed,
            self._paid_on_its_page,
            self._customer_returned,
        ]
        self._holds = {self._courses.index(self._captured), self._courses.index(self._released)}

    async def day(self, payments: int) -> None:
        """So many requests, each with its course, other traffic around them, and the rest of the day."""
        self._day += 1
        for number in range(payments):
            chat, user_id = CHATS[number % len(CHATS)]
            command = "/hold" if number % len(self._courses) in self._holds else "/pay"
            self._world.say(f"{command} {100 + number} Day {self._day} number {number}", by=user_id, chat=chat)
        await self._send_noise()
        await idle(self._world)
        self.payments += payments
        new = [row for row in rows(self._world, NEW_PAYMENTS) if row["description"].startswith(f"Day {self._day} ")]
        assert len(new) == payments, (len(new), payments)
        async with self._open_pages(new):
            await self._finish([self._course(row) for row in new])
            await self._pass_day()
        self._forget_old_objects()

    def _course(self, row: Json) -> AsyncIterator[None]:
        return self._courses[int(row["description"].rpartition(" ")[2]) % len(self._courses)](row)

    async def _finish(self, courses: list[AsyncIterator[None]]) -> None:
        """Takes all next steps and waits until idle, until no course has a step left."""
        while courses:
            courses = [course for course in courses if await anext(course, END) is not END]
            await idle(self._world)

    async def _pass_day(self) -> None:
        """Pending work is finished, links and requests expire, old rows are deleted."""
        for seconds in (0, LINK_LIFETIME, DAY / 2, DAY / 2):
            await idle(self._world)
            self._world.advance(seconds)
        await idle(self._world)

    @asynccontextmanager
    async def _open_pages(self, new: list[Json]) -> AsyncIterator[None]:
        """Every third payment has its page open, with its stream, for as long as the block lasts."""
        streams = []
        for row in new[::3]:
            await self._get(f"/p/{row['page_token']}")
            if not self._streams:
                continue
            stream = await self._world.http.get(f"{self._page(row)}/state", headers=STREAM)
            assert stream.status == 200, stream.status
            streams.append(stream)
        try:
            yield
        finally:
            for stream in streams:
                stream.close()

    async def _send_noise(self) -> None:
        """Guests, prompts without an answer, lists, metrics, and a dropped vendor call."""
        fault = {"method": "POST /v1/payment_intents", "how": "drop", "when": "after"}
        await self._world.control("stripe", "faults", fault)
        self._world.say("/pay 1.234 Lamp", by=ADMIN, chat=GROUP)
        self._world.say("/pay 12", by=STRANGER, chat=GROUP)
        for text in ("/open", "/status", "/log", "/team", "/help"):
            self._world.say(text, by=ADMIN, chat=ADMIN)
        await self._world.control("telegram", "inline", {"from_id": ADMIN, "query": "125 Tea"})
        for path in ("/metrics", "/readyz", "/p/nothing-at-all"):
            await self._get(path)

    async def _get(self, path: str) -> None:
        headers = {"Authorization": "Bearer scraper"}
        async with self._world.http.get(f"{self._world.service.base}{path}", headers=headers) as response:
            await response.read()

    def _page(self, row: Json) -> str:
        return f"{self._world.service.base}/p/{row['page_token']}"

    async def _at_stripe(self, row: Json, action: str, **body: Any) -> None:
        await self._world.control("stripe", f"intents/{row['intent_id']}/{action}", body)

    def _command(self, row: Json, command: str, arguments: str = "") -> None:
        user_id = next(user_id for chat, user_id in CHATS if chat == row["chat_id"])
        self._world.say(f"{command} {row['reference']}{arguments}", by=user_id, chat=row["chat_id"])

    def _press(self, row: Json, label: str) -> None:
        """Presses this button under the newest message about the payment that has it."""
        chat = self._world.telegram.state.chats[row["chat_id"]]
        messages = (chat.messages[number] for number in sorted(chat.messages, reverse=True))
        matching = (
            m for m in messages if row["reference"] in m.get("text", "") and any(label in one for one in labels(m))
        )
        user_id = next(user_id for chat_id, user_id in CHATS if chat_id == row["chat_id"])
        self._world.tap(next(matching), label, by=user_id)

    async def _paid(self, row: Json) -> AsyncIterator[None]:
        await self._at_stripe(row, "approve")
        yield

    async def _refunded(self, row: Json) -> AsyncIterator[None]:
        await self._at_stripe(row, "approve")
        yield
        self._command(row, "/refund")
        yield
        self._press(row, "Refund")
        yield

    async def _refund_that_fails(self, row: Json) -> AsyncIterator[None]:
        await self._at_stripe(row, "approve")
        yield
        self._command(row, "/refund", " 40 too much")
        yield
        self._press(row, "Refund")
        yield
        refunds = self._world.stripe.store.refunds.values()
        refund_id = next(one["id"] for one in reversed(refunds) if one["payment_intent"] == row["intent_id"])
        await self._world.control("stripe", f"refunds/{refund_id}/fail", {})
        yield

    async def _with_qr_code(self, row: Json) -> AsyncIterator[None]:
        self._press(row, "QR code")
        yield
        await self._at_stripe(row, "approve")
        yield

    async def _declined(self, row: Json) -> AsyncIterator[None]:
        await self._at_stripe(row, "decline")
        yield

    async def _canceled(self, row: Json) -> AsyncIterator[None]:
        self._command(row, "/cancel")
        yield

    async def _ignored(self, row: Json) -> AsyncIterator[None]:
        """No customer uses the link, and the request expires."""
        yield

    async def _captured(self, row: Json) -> AsyncIterator[None]:
        await self._at_stripe(row, "approve")
        yield
        self._command(row, "/capture")
        yield
        self._press(row, "Charge")
        yield

    async def _released(self, row: Json) -> AsyncIterator[None]:
        await self._at_stripe(row, "approve")
        yield
        self._command(row, "/release")
        yield
        self._press(row, "Release")
        yield

    async def _disputed(self, row: Json) -> AsyncIterator[None]:
        await self._at_stripe(row, "approve")
        yield
        await self._at_stripe(row, "refund", amount=3000)
        await self._at_stripe(row, "dispute")
        dispute = next(reversed(self._world.stripe.store.disputes))
        yield
        await self._world.control("stripe", f"disputes/{dispute}/close", {"status": "lost"})
        yield

    async def _paid_on_its_page(self, row: Json) -> AsyncIterator[None]:
        await self._at_stripe(row, "decline")
        yield
        async with self._world.http.post(self._page(row), headers=PHONE, allow_redirects=False) as response:
            assert response.status == 303, await response.text()
        yield
        await self._at_stripe(row, "approve")
        yield

    async def _customer_returned(self, row: Json) -> AsyncIterator[None]:
        """The customer comes back from the wallet before the result is known."""
        query = {"payment_intent": row["intent_id"], "redirect_status": "succeeded"}
        async with self._world.http.get(self._page(row), params=query) as response:
            await response.read()
        await self._at_stripe(row, "approve")
        yield

    def _forget_old_objects(self) -> None:
        """Drops old objects of the fake vendors, which would slow them down and are not measured."""
        telegram, stripe = self._world.telegram.state, self._world.stripe
        telegram.transcript.entries.clear()
        for chat in telegram.chats.values():
            for number in [number for number in chat.messages if number < chat.last_id - 4_000]:
                del chat.messages[number]
                chat.bot_message_ids.discard(number)
        ledger, now = stripe.store, self._world.clock.now().timestamp()
        ledger.requests.clear()
        ledger.deliveries.clear()
        for key in [key for key, event in ledger.events.items() if event["created"] < now - EVENT_RETENTION]:
            del ledger.events[key]
            ledger.event_times.pop(key, None)
