"""Random users: they request, pay, cancel, refund and press buttons, in several shops at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from tests.chaos.storm_shops import SECOND_ADMIN, SECOND_MERCHANT
from tests.chaos.storm_world import StormWorld
from tests.invariants.transcript import REFERENCE_LINE
from tests.support.page_world import PHONE
from tests.support.people import ADMIN, COLLEAGUE, GROUP, MERCHANT, OTHER_GROUP, STRANGER
from tests.support.world import OWNER, Json

PAGE_TIMEOUT = aiohttp.ClientTimeout(total=1)
MAX_MESSAGES = 40
"""How many of the newest messages of a chat its users use."""

BUTTON_WEIGHTS = {"n": 6, "c": 0.5, "y": 8, "x": 0.7, "q": 6, "k": 3, "r": 1, "t": 4}
"""How often a button is pressed, by the first letter of its data; other buttons are not pressed."""


@dataclass(frozen=True)
class ShopChat:
    """A chat, its users, and the cents of its amounts, which differ between the shops."""

    chat: int
    people: tuple[int, ...]
    cents: range


CHATS = (
    ShopChat(GROUP, (OWNER, ADMIN, MERCHANT, COLLEAGUE), range(50)),
    ShopChat(ADMIN, (ADMIN,), range(50)),
    ShopChat(MERCHANT, (MERCHANT,), range(50)),
    ShopChat(OTHER_GROUP, (SECOND_ADMIN, SECOND_MERCHANT), range(50, 100)),
    ShopChat(SECOND_MERCHANT, (SECOND_MERCHANT,), range(50, 100)),
)


class RandomPeople:
    """Makes at most `payments` requests, `requested` so far; `rng` chooses actions and users."""

    def __init__(self, world: StormWorld, rng: random.Random, payments: int) -> None:
        self._world, self._rng, self._payments = world, rng, payments
        self._stripe, self._telegram = world.stripe, world.telegram
        self.requested = 0
        self._actions: dict[Callable[[], Awaitable[None]], float] = {
            self._request: 5,
            self._pay: 8,
            self._press_button: 10,
            self._refund: 4,
            self._hold: 2,
            self._cancel: 0.3,
            self._change_refund: 0.5,
            self._refund_in_dashboard: 0.2,
            self._dispute: 0.3,
            self._forbidden_command: 0.3,
        }
        if world.has_pages:
            self._actions[self._page] = 4

    async def act_until_all_requested(self, pause: float) -> None:
        """Acts until all requests are made, with this mean pause in real seconds."""
        while self.requested < self._payments:
            await self._act()
            await asyncio.sleep(self._rng.expovariate(1 / pause))

    async def finish(self, pause: float, times: int) -> None:
        """Acts so many times more, without new requests."""
        self._actions.pop(self._request, None)
        for _ in range(times):
            await self._act()
            await asyncio.sleep(self._rng.expovariate(1 / pause))

    async def _act(self) -> None:
        [action] = self._rng.choices([*self._actions], [*self._actions.values()])
        await action()

    async def _request(self) -> None:
        shop_chat = self._rng.choice(CHATS)
        self.requested += 1
        command = "/hold" if self._rng.random() < 0.25 else "/pay"
        amount = f"{self._rng.randint(100, 999)},{self._rng.choice(shop_chat.cents):02}"
        self._telegram.send(
            shop_chat.chat, self._rng.choice(shop_chat.people), f"{command} {amount} Order {self.requested}"
        )

    async def _pay(self) -> None:
        """A customer uses an open link, or it expires."""
        ledger = self._stripe.store
        self._stripe.state.timers.run_due()
        open_intents = [key for key in ledger.intents if ledger.open_attempt(key) is not None]
        if open_intents:
            action = self._rng.choices(("approve", "decline", "lapse"), (6, 2, 1))[0]
            await self._world.control("stripe", f"intents/{self._rng.choice(open_intents)}/{action}", {})

    async def _page(self) -> None:
        """A customer opens a pay page or presses its button."""
        if rows := self._world.rows("SELECT page_token FROM payments ORDER BY created_at DESC LIMIT 15"):
            url = f"{self._world.base}/p/{self._rng.choice(rows)[0]}"
            send = self._world.http.post if self._rng.random() < 0.7 else self._world.http.get
            with suppress(aiohttp.ClientError, TimeoutError):
                async with send(url, headers=PHONE, allow_redirects=False, timeout=PAGE_TIMEOUT) as response:
                    await response.read()

    async def _press_button(self) -> None:
        """A user presses a button, sometimes twice; sometimes a guest presses it."""
        found = [(shop_chat, message, data) for shop_chat in CHATS for message, data in self._buttons(shop_chat)]
        if not found:
            return
        weights = [BUTTON_WEIGHTS[data[0]] for _, _, data in found]
        [(shop_chat, message, data)] = self._rng.choices(found, weights)
        is_group = shop_chat.chat < 0
        by = STRANGER if is_group and self._rng.random() < 0.05 else self._rng.choice(shop_chat.people)
        for _ in range(2 if self._rng.random() < 0.2 else 1):
            self._telegram.press_button(message["message_id"], by, data, shop_chat.chat)

    async def _refund(self) -> None:
        """An admin or merchant requests a refund of all or a part."""
        if found := self._random_payment("Paid", "Partly refunded"):
            shop_chat, reference = found
            amount = self._rng.choice(("", " 40", " 60 too much", " 10", ""))
            self._telegram.send(shop_chat.chat, self._rng.choice(shop_chat.people), f"/refund {reference}{amount}")

    async def _hold(self) -> None:
        if found := self._random_payment("Reserved"):
            shop_chat, reference = found
            command = self._rng.choice(("/capture", "/capture", "/release"))
            self._telegram.send(shop_chat.chat, self._rng.choice(shop_chat.people), f"{command} {reference}")

    async def _cancel(self) -> None:
        if found := self._random_payment("Waiting for payment", "The link expired", "Payment attempt failed"):
            shop_chat, reference = found
            self._telegram.send(shop_chat.chat, self._rng.choice(shop_chat.people), f"/cancel {reference}")

    async def _change_refund(self) -> None:
        """The next refund is pending, or an existing one succeeds or fails."""
        refunds = [*self._stripe.store.refunds]
        if not refunds or self._rng.random() < 0.5:
            await self._world.control("stripe", "refunds/next", {"status": "pending"})
        else:
            verb = self._rng.choice(("succeed", "succeed", "fail"))
            await self._world.control("stripe", f"refunds/{self._rng.choice(refunds)}/{verb}", {})

    async def _refund_in_dashboard(self) -> None:
        """A part is refunded in Stripe's Dashboard."""
        paid = [key for key, intent in self._stripe.store.intents.items() if intent["status"] == "succeeded"]
        if paid:
            await self._world.control("stripe", f"intents/{self._rng.choice(paid)}/refund", {"amount": 3000})

    async def _dispute(self) -> None:
        """A customer disputes a payment, or a dispute is closed."""
        ledger = self._stripe.store
        open_disputes = [key for key, dispute in ledger.disputes.items() if dispute["status"] == "needs_response"]
        charges = {dispute["charge"] for dispute in ledger.disputes.values()}
        unrefunded = [charge for charge in ledger.charges.values() if charge["paid"] and not charge["refunded"]]
        paid = [charge["payment_intent"] for charge in unrefunded if charge["captured"] and charge["id"] not in charges]
        if open_disputes and self._rng.random() < 0.5:
            result = {"status": self._rng.choice(("won", "lost"))}
            await self._world.control("stripe", f"disputes/{self._rng.choice(open_disputes)}/close", result)
        elif paid:
            await self._world.control("stripe", f"intents/{self._rng.choice(paid)}/dispute", {})

    async def _forbidden_command(self) -> None:
        """A guest sends a command that moves money."""
        if found := self._random_payment("Paid", "Reserved", "Waiting for payment"):
            shop_chat, reference = found
            text = self._rng.choice((f"/refund {reference}", f"/capture {reference}", f"/cancel {reference}"))
            if shop_chat.chat < 0:
                self._telegram.send(shop_chat.chat, STRANGER, text)

    def _random_payment(self, *headlines: str) -> tuple[ShopChat, str] | None:
        """A random payment with such a headline: its chat and reference."""
        found = [
            (shop_chat, reference[1])
            for shop_chat in CHATS
            for message in self._messages(shop_chat)
            if any(headline in message["text"].partition("\n")[0] for headline in headlines)
            and (reference := REFERENCE_LINE.search(message["text"]))
        ]
        return self._rng.choice(found) if found else None

    def _messages(self, shop_chat: ShopChat) -> Iterator[Json]:
        """The newest messages of the bot, as they are now."""
        chat = self._telegram.state.chats.get(shop_chat.chat)
        if chat is not None:
            numbers = sorted(chat.bot_message_ids)[-MAX_MESSAGES:]
            yield from (chat.messages[n] for n in numbers if n in chat.messages and "text" in chat.messages[n])

    def _buttons(self, shop_chat: ShopChat) -> Iterator[tuple[Json, str]]:
        for message in self._messages(shop_chat):
            for row in message.get("reply_markup", {}).get("inline_keyboard", []):
                for button in row:
                    data = str(button.get("callback_data", ""))
                    if data[:1] in BUTTON_WEIGHTS and data[1:2] == ":":
                        yield message, data
