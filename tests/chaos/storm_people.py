"""A market of people who ask, pay, think again and tap whatever can be tapped, by chance, in several shops at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from tests.chaos.storm_shops import SECOND_ADMIN, SECOND_MERCHANT
from tests.chaos.storm_world import TortureWorld
from tests.invariants.transcript import REF_LINE
from tests.support.page_world import PHONE
from tests.support.people import ADMIN, COLLEAGUE, GROUP, MERCHANT, OTHER_GROUP, STRANGER
from tests.support.world import OWNER, Json

A_MOMENT = aiohttp.ClientTimeout(total=1)
RECENT = 40
"""So many of the newest messages of a chat are looked at by its people."""

TAPS = {"n": 6, "c": 0.5, "y": 8, "x": 0.7, "q": 6, "k": 3, "r": 1, "t": 4}
"""How gladly a button is tapped, by the letter that its data begin with; others are left alone."""


@dataclass(frozen=True)
class Desk:
    """A chat, who stands in it, and the cents of its amounts: they tell the shops apart."""

    chat: int
    people: tuple[int, ...]
    cents: range


DESKS = (
    Desk(GROUP, (OWNER, ADMIN, MERCHANT, COLLEAGUE), range(50)),
    Desk(ADMIN, (ADMIN,), range(50)),
    Desk(MERCHANT, (MERCHANT,), range(50)),
    Desk(OTHER_GROUP, (SECOND_ADMIN, SECOND_MERCHANT), range(50, 100)),
    Desk(SECOND_MERCHANT, (SECOND_MERCHANT,), range(50, 100)),
)


class Crowd:
    """`asked` requests so far, at most `payments`; whoever acts, when and how is decided by `chance`."""

    def __init__(self, world: TortureWorld, chance: random.Random, payments: int) -> None:
        self._world, self._chance, self._payments = world, chance, payments
        self._stripe, self._telegram = world.stripe, world.telegram
        self.asked = 0
        self._acts: dict[Callable[[], Awaitable[None]], float] = {
            self._ask: 5,
            self._pay: 8,
            self._tap: 10,
            self._refund: 4,
            self._hold: 2,
            self._cancel: 0.3,
            self._bank: 0.5,
            self._dashboard: 0.2,
            self._dispute: 0.3,
            self._mistake: 0.3,
        }
        if world.has_pages:
            self._acts[self._page] = 4

    async def live(self, pause: float) -> None:
        """Act, on the average after so many real seconds each, until everything was asked for."""
        while self.asked < self._payments:
            await self._one()
            await asyncio.sleep(self._chance.expovariate(1 / pause))

    async def finish(self, pause: float, times: int) -> None:
        """So many acts more, without a new request."""
        self._acts.pop(self._ask, None)
        for _ in range(times):
            await self._one()
            await asyncio.sleep(self._chance.expovariate(1 / pause))

    async def _one(self) -> None:
        [act] = self._chance.choices([*self._acts], [*self._acts.values()])
        await act()

    async def _ask(self) -> None:
        desk = self._chance.choice(DESKS)
        self.asked += 1
        command = "/hold" if self._chance.random() < 0.25 else "/pay"
        amount = f"{self._chance.randint(100, 999)},{self._chance.choice(desk.cents):02}"
        self._telegram.send(desk.chat, self._chance.choice(desk.people), f"{command} {amount} Order {self.asked}")

    async def _pay(self) -> None:
        """A customer with a link that is open does something about it, or lets it lapse."""
        ledger = self._stripe.store
        self._stripe.state.timers.run_due()
        is_open = [key for key in ledger.intents if ledger.open_attempt(key) is not None]
        if is_open:
            what = self._chance.choices(("approve", "decline", "expire"), (6, 2, 1))[0]
            await self._world.control("stripe", f"intents/{self._chance.choice(is_open)}/{what}", {})

    async def _page(self) -> None:
        """A customer opens the page of a request, or wants to pay there."""
        if rows := self._world.rows("SELECT page_token FROM payments ORDER BY created_at DESC LIMIT 15"):
            address = f"{self._world.base}/p/{self._chance.choice(rows)[0]}"
            ask = self._world.http.post if self._chance.random() < 0.7 else self._world.http.get
            with suppress(aiohttp.ClientError, TimeoutError):
                async with ask(address, headers=PHONE, allow_redirects=False, timeout=A_MOMENT) as answer:
                    await answer.read()

    async def _tap(self) -> None:
        """Somebody taps a button, sometimes twice, sometimes somebody who may not."""
        found = [(desk, message, data) for desk in DESKS for message, data in self._buttons(desk)]
        if not found:
            return
        weights = [TAPS[data[0]] for _, _, data in found]
        [(desk, message, data)] = self._chance.choices(found, weights)
        is_group = desk.chat < 0
        by = STRANGER if is_group and self._chance.random() < 0.05 else self._chance.choice(desk.people)
        for _ in range(2 if self._chance.random() < 0.2 else 1):
            self._telegram.press_button(message["message_id"], by, data, desk.chat)

    async def _refund(self) -> None:
        """An admin or a merchant asks for some or all of the money of a payment back."""
        if found := self._card("Paid", "Partly refunded"):
            desk, ref = found
            amount = self._chance.choice(("", " 40", " 60 too much", " 10", ""))
            self._telegram.send(desk.chat, self._chance.choice(desk.people), f"/refund {ref}{amount}")

    async def _hold(self) -> None:
        if found := self._card("Reserved"):
            desk, ref = found
            command = self._chance.choice(("/capture", "/capture", "/release"))
            self._telegram.send(desk.chat, self._chance.choice(desk.people), f"{command} {ref}")

    async def _cancel(self) -> None:
        if found := self._card("Waiting for payment", "The link expired", "Payment attempt failed"):
            desk, ref = found
            self._telegram.send(desk.chat, self._chance.choice(desk.people), f"/cancel {ref}")

    async def _bank(self) -> None:
        """The next refund comes out otherwise, or one that waits or is done does."""
        refunds = [*self._stripe.store.refunds]
        if not refunds or self._chance.random() < 0.5:
            await self._world.control("stripe", "refunds/next", {"status": "pending"})
        else:
            verb = self._chance.choice(("succeed", "succeed", "fail"))
            await self._world.control("stripe", f"refunds/{self._chance.choice(refunds)}/{verb}", {})

    async def _dashboard(self) -> None:
        """Somebody gives a part back in Stripe's Dashboard."""
        paid = [key for key, intent in self._stripe.store.intents.items() if intent["status"] == "succeeded"]
        if paid:
            await self._world.control("stripe", f"intents/{self._chance.choice(paid)}/refund", {"amount": 3000})

    async def _dispute(self) -> None:
        """A customer goes to his bank about money that he paid, or the bank decides."""
        ledger = self._stripe.store
        quarrels = [key for key, dispute in ledger.disputes.items() if dispute["status"] == "needs_response"]
        charges = {dispute["charge"] for dispute in ledger.disputes.values()}
        whole = [charge for charge in ledger.charges.values() if charge["paid"] and not charge["refunded"]]
        paid = [charge["payment_intent"] for charge in whole if charge["captured"] and charge["id"] not in charges]
        if quarrels and self._chance.random() < 0.5:
            verdict = {"status": self._chance.choice(("won", "lost"))}
            await self._world.control("stripe", f"disputes/{self._chance.choice(quarrels)}/close", verdict)
        elif paid:
            await self._world.control("stripe", f"intents/{self._chance.choice(paid)}/dispute", {})

    async def _mistake(self) -> None:
        """Somebody who may not writes what would move money if he might."""
        if found := self._card("Paid", "Reserved", "Waiting for payment"):
            desk, ref = found
            text = self._chance.choice((f"/refund {ref}", f"/capture {ref}", f"/cancel {ref}"))
            if desk.chat < 0:
                self._telegram.send(desk.chat, STRANGER, text)

    def _card(self, *heads: str) -> tuple[Desk, str] | None:
        """Some card that says so in its first line, by its desk and reference."""
        found = [
            (desk, ref[1])
            for desk in DESKS
            for message in self._messages(desk)
            if any(head in message["text"].partition("\n")[0] for head in heads)
            and (ref := REF_LINE.search(message["text"]))
        ]
        return self._chance.choice(found) if found else None

    def _messages(self, desk: Desk) -> Iterator[Json]:
        """The newest of the bot's messages, as they stand now."""
        chat = self._telegram.state.chats.get(desk.chat)
        if chat is not None:
            numbers = sorted(chat.bot_message_ids)[-RECENT:]
            yield from (chat.messages[n] for n in numbers if n in chat.messages and "text" in chat.messages[n])

    def _buttons(self, desk: Desk) -> Iterator[tuple[Json, str]]:
        for message in self._messages(desk):
            for row in message.get("reply_markup", {}).get("inline_keyboard", []):
                for button in row:
                    data = str(button.get("callback_data", ""))
                    if data[:1] in TAPS and data[1:2] == ":":
                        yield message, data
