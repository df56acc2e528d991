"""A market that never closes: every ending of a payment, day after day, for whoever watches what grows meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.chaos.storm_shops import SECOND_ADMIN
from tests.support.evidence import rest, rows
from tests.support.page_world import PHONE
from tests.support.people import ADMIN, GROUP, STRANGER
from tests.support.world import Json, World, labels

DAY = 86_400.0
LAPSED = 400.0
"""Seconds after which no link that was made before them is live."""

DESKS = ((ADMIN, ADMIN), (GROUP, ADMIN), (SECOND_ADMIN, SECOND_ADMIN))
"""Chats in which requests are made, and who makes them there."""

STREAM = {"Accept": "text/event-stream"}
LISTED = 31 * DAY
END = object()
FOUND = (
    "SELECT p.reference, p.intent_id, p.page_token, p.description, c.chat_id, c.message_id FROM payments AS p"
    " JOIN payment_messages AS c ON c.payment_id = p.id WHERE p.created_at > (SELECT max(created_at) FROM payments) - 3600000000"
)

Ending = Callable[[Json], AsyncIterator[None]]
"""What becomes of a payment, step by step: it goes on when everybody is at rest."""


class Market:
    """Two shops on one day after the other; `payments` is how many requests there were."""

    def __init__(self, world: World, *, streams: bool) -> None:
        """With `streams` every third page stays open; who has left one is noticed some real seconds later."""
        self._world = world
        self._streams = streams
        self._day = 0
        self.payments = 0
        self._endings: list[Ending] = [
            self._paid,
            self._refunded,
            self._refund_that_fails,
            self._pictured,
            self._declined,
            self._canceled,
            self._forgotten,
            self._taken,
            self._let_go,
            self._disputed,
            self._paid_on_its_page,
            self._returned,
        ]
        self._holds = {self._endings.index(self._taken), self._endings.index(self._let_go)}

    async def day(self, payments: int) -> None:
        """So many requests, each with its ending, the noise of a day around them, and the day gone by."""
        self._day += 1
        for number in range(payments):
            chat, person = DESKS[number % len(DESKS)]
            command = "/hold" if number % len(self._endings) in self._holds else "/pay"
            self._world.say(f"{command} {100 + number} Day {self._day} number {number}", by=person, chat=chat)
        await self._noise()
        await rest(self._world)
        self.payments += payments
        found = [row for row in rows(self._world, FOUND) if row["description"].startswith(f"Day {self._day} ")]
        assert len(found) == payments, (len(found), payments)
        async with self._watched(found):
            await self._end([self._ending(row) for row in found])
            await self._until_night()
        self._sweep_up()

    def _ending(self, row: Json) -> AsyncIterator[None]:
        return self._endings[int(row["description"].rpartition(" ")[2]) % len(self._endings)](row)

    async def _end(self, endings: list[AsyncIterator[None]]) -> None:
        """Have all of them take their next step, and rest, until none has any left."""
        while endings:
            endings = [ending for ending in endings if await anext(ending, END) is not END]
            await rest(self._world)

    async def _until_night(self) -> None:
        """What was begun is finished, links lapse, requests end, and what is old is forgotten."""
        for seconds in (0, LAPSED, DAY / 2, DAY / 2):
            await rest(self._world)
            self._world.advance(seconds)
        await rest(self._world)

    @asynccontextmanager
    async def _watched(self, found: list[Json]) -> AsyncIterator[None]:
        """Every third payment has its page open, with its stream, for as long as the block lasts."""
        streams = []
        for row in found[::3]:
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

    async def _noise(self) -> None:
        """Strangers, questions that nobody answers, lists, numbers, and a vendor that drops a call."""
        lost = {"method": "POST /v1/payment_intents", "how": "drop", "when": "after"}
        await self._world.control("stripe", "faults", lost)
        self._world.say("/pay 1.234 Lamp", by=ADMIN, chat=GROUP)
        self._world.say("/pay 12", by=STRANGER, chat=GROUP)
        for text in ("/open", "/status", "/log", "/team", "/help"):
            self._world.say(text, by=ADMIN, chat=ADMIN)
        await self._world.control("telegram", "inline", {"from_id": ADMIN, "query": "125 Tea"})
        for path in ("/metrics", "/readyz", "/p/nothing-at-all"):
            await self._get(path)

    async def _get(self, path: str) -> None:
        async with self._world.http.get(f"{self._world.service.base}{path}") as answer:
            await answer.read()

    def _page(self, row: Json) -> str:
        return f"{self._world.service.base}/p/{row['page_token']}"

    async def _at_stripe(self, row: Json, what: str, **body: Any) -> None:
        await self._world.control("stripe", f"intents/{row['intent_id']}/{what}", body)

    def _say(self, row: Json, command: str, rest_of_it: str = "") -> None:
        person = next(person for chat, person in DESKS if chat == row["chat_id"])
        self._world.say(f"{command} {row['reference']}{rest_of_it}", by=person, chat=row["chat_id"])

    def _answer(self, row: Json, label: str) -> None:
        """Tap that button on the newest message about the payment that has it."""
        chat = self._world.telegram.state.chats[row["chat_id"]]
        messages = (chat.messages[number] for number in sorted(chat.messages, reverse=True))
        about = (
            m for m in messages if row["reference"] in m.get("text", "") and any(label in one for one in labels(m))
        )
        person = next(person for where, person in DESKS if where == row["chat_id"])
        self._world.tap(next(about), label, by=person)

    async def _paid(self, row: Json) -> AsyncIterator[None]:
        await self._at_stripe(row, "approve")
        yield

    async def _refunded(self, row: Json) -> AsyncIterator[None]:
        await self._at_stripe(row, "approve")
        yield
        self._say(row, "/refund")
        yield
        self._answer(row, "Refund")
        yield

    async def _refund_that_fails(self, row: Json) -> AsyncIterator[None]:
        await self._at_stripe(row, "approve")
        yield
        self._say(row, "/refund", " 40 too much")
        yield
        self._answer(row, "Refund")
        yield
        refunds = self._world.stripe.store.refunds.values()
        mine = next(one["id"] for one in reversed(refunds) if one["payment_intent"] == row["intent_id"])
        await self._world.control("stripe", f"refunds/{mine}/fail", {})
        yield

    async def _pictured(self, row: Json) -> AsyncIterator[None]:
        self._answer(row, "QR code")
        yield
        await self._at_stripe(row, "approve")
        yield

    async def _declined(self, row: Json) -> AsyncIterator[None]:
        await self._at_stripe(row, "decline")
        yield

    async def _canceled(self, row: Json) -> AsyncIterator[None]:
        self._say(row, "/cancel")
        yield

    async def _forgotten(self, row: Json) -> AsyncIterator[None]:
        """Nobody does anything about it, and it ends by itself."""
        yield

    async def _taken(self, row: Json) -> AsyncIterator[None]:
        await self._at_stripe(row, "approve")
        yield
        self._say(row, "/capture")
        yield
        self._answer(row, "Charge")
        yield

    async def _let_go(self, row: Json) -> AsyncIterator[None]:
        await self._at_stripe(row, "approve")
        yield
        self._say(row, "/release")
        yield
        self._answer(row, "Release")
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
        async with self._world.http.post(self._page(row), headers=PHONE, allow_redirects=False) as answer:
            assert answer.status == 303, await answer.text()
        yield
        await self._at_stripe(row, "approve")
        yield

    async def _returned(self, row: Json) -> AsyncIterator[None]:
        """The customer comes back from the wallet before anything is known."""
        query = {"payment_intent": row["intent_id"], "redirect_status": "succeeded"}
        async with self._world.http.get(self._page(row), params=query) as answer:
            await answer.read()
        await self._at_stripe(row, "approve")
        yield

    def _sweep_up(self) -> None:
        """Let the pretend vendors forget, so that they do not become slow: what they hold is not what is watched."""
        telegram, stripe = self._world.telegram.state, self._world.stripe
        telegram.transcript.entries.clear()
        for chat in telegram.chats.values():
            for number in [number for number in chat.messages if number < chat.last_id - 4_000]:
                del chat.messages[number]
                chat.bot_message_ids.discard(number)
        ledger, now = stripe.store, self._world.clock.now().timestamp()
        ledger.requests.clear()
        ledger.deliveries.clear()
        for key in [key for key, event in ledger.events.items() if event["created"] < now - LISTED]:
            del ledger.events[key]
            ledger.event_times.pop(key, None)
