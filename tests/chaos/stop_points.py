"""Where a life can end: calls to vendors and commits are counted, and at the chosen one everything stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from handlers.stripe.gateway import Intent, IntentRequest, PaymentGateway, RefundRequest, StripeEventRef
from handlers.telegram.messenger import InlineResult, Message, Messenger
from storage.database.database import Database
from storage.models.dispute import Dispute, FraudWarning
from storage.models.payment import ChatTarget
from storage.models.refund import StripeRefund

T = TypeVar("T")


class Moment(NamedTuple):
    """`before` or `after` the call of that number, counted from 1; among all calls, or among those of one `name`."""

    number: int
    when: str
    name: str = ""


async def _nothing(_: Moment) -> None:
    """No trap is set."""


class Fate:
    """One life. Once it has ended nothing of it gets out any more: whoever calls waits for the burial, and is canceled.

    `calls` names what was called so far, `under_way` how many of them have not returned. `trap` is told of each moment,
    by its number among the calls of its name, and whatever it does happens then.
    """

    def __init__(self, end: Moment | None = None) -> None:
        self.calls: list[str] = []
        self.died = asyncio.Event()
        self.under_way = 0
        self.count = 0
        self.trap: Callable[[Moment], Awaitable[None]] = _nothing
        self._end = end
        self._buried = asyncio.Event()

    def arm(self, end: Moment | None) -> None:
        """Count anew from here, and end there."""
        self.calls, self._end = [], end

    def bury(self) -> None:
        """Let go of whoever stands still."""
        self.died.set()
        self._buried.set()

    async def call(self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        """One call that changes or learns something outside."""
        async with self.passing():
            number = await self.begin(name)
            answer = await act()
            await self.end(number)
            return answer

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Somebody is on the way through a seam."""
        await self._stand_still_if_dead()
        self.under_way, self.count = self.under_way + 1, self.count + 1
        try:
            yield
        finally:
            self.under_way -= 1

    async def begin(self, name: str) -> int:
        """The call is about to be made; returns its number."""
        await self._stand_still_if_dead()
        self.calls.append(name)
        number = len(self.calls)
        await self._reach(number, "before")
        return number

    async def end(self, number: int) -> None:
        """It was made, and nobody has heard of it yet."""
        await self._reach(number, "after")

    async def _reach(self, number: int, when: str) -> None:
        name = self.calls[number - 1]
        named = Moment(self.calls[:number].count(name), when, name)
        await self.trap(named)
        if self._end in {Moment(number, when), named}:
            self.died.set()
        await self._stand_still_if_dead()

    async def _stand_still_if_dead(self) -> None:
        if self.died.is_set():
            await self._buried.wait()
            raise asyncio.CancelledError


def attach(db: Database, fate: Fate) -> None:
    """Have every commit of this database that changes something, and of no other one, pass by the fate."""
    run_write, run_read, loop = db.write, db.read, asyncio.get_running_loop()

    async def write(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        numbers: list[int] = []

        def unit(tx: sa.Connection) -> Any:
            before = tx.exec_driver_sql("SELECT total_changes()").scalar_one()
            result = fn(tx, *args, **kwargs)
            if tx.exec_driver_sql("SELECT total_changes()").scalar_one() != before:
                # The writer's thread waits here with the transaction open, as it would stand when the process ends.
                numbers.append(asyncio.run_coroutine_threadsafe(fate.begin("commit"), loop).result())
            return result

        async with fate.passing():
            result = await run_write(unit)
            for number in numbers:
                await fate.end(number)
            return result

    async def read(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        async with fate.passing():
            return await run_read(fn, *args, **kwargs)

    vars(db).update(write=write, read=read)


class MortalGateway:
    """Stripe's door, with the fate before and behind each call."""

    def __init__(self, inner: PaymentGateway, fate: Fate) -> None:
        self._inner = inner
        self._fate = fate
        self.livemode = inner.livemode

    def create_params(self, request: IntentRequest) -> str:
        return self._inner.create_params(request)

    def confirm_params(self, request: IntentRequest) -> str:
        return self._inner.confirm_params(request)

    async def create(self, params: str, *, key: str) -> Intent:
        return await self._fate.call("create", partial(self._inner.create, params, key=key))

    async def confirm(self, intent_id: str, params: str, *, key: str) -> Intent:
        return await self._fate.call("confirm", partial(self._inner.confirm, intent_id, params, key=key))

    async def retrieve(self, intent_id: str) -> Intent:
        return await self._fate.call("retrieve", partial(self._inner.retrieve, intent_id))

    async def cancel(self, intent_id: str, *, key: str) -> Intent:
        return await self._fate.call("cancel", partial(self._inner.cancel, intent_id, key=key))

    async def capture(self, intent_id: str, *, key: str) -> Intent:
        return await self._fate.call("capture", partial(self._inner.capture, intent_id, key=key))

    def refund_params(self, request: RefundRequest) -> str:
        return self._inner.refund_params(request)

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        return await self._fate.call("refund", partial(self._inner.refund, params, key=key))

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        return await self._fate.call("refunds", partial(self._inner.list_refunds, intent_id))

    async def list_disputes(self, intent_id: str) -> Sequence[Dispute]:
        return await self._fate.call("disputes", partial(self._inner.list_disputes, intent_id))

    async def list_fraud_warnings(self, intent_id: str) -> Sequence[FraudWarning]:
        return await self._fate.call("warnings", partial(self._inner.list_fraud_warnings, intent_id))

    async def find_intent(self, payment_id: str, *, since: datetime, until: datetime) -> Intent | None:
        return await self._fate.call("find", partial(self._inner.find_intent, payment_id, since=since, until=until))

    async def list_events(
        self, cursor: str | None, since: datetime
    ) -> AsyncGenerator[tuple[StripeEventRef, str], None]:
        async with self._fate.passing(), aclosing(self._inner.list_events(cursor, since)) as newer:
            async for event in newer:
                yield event


class MortalMessenger:
    """Telegram's door, with the fate before and behind each call."""

    def __init__(self, inner: Messenger, fate: Fate) -> None:
        self._inner = inner
        self._fate = fate
        self.username = inner.username

    async def get_me(self) -> None:
        await self._fate.call("connect", self._inner.get_me)

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        act = partial(self._inner.send, chat, message, reply_to=reply_to, silent=silent)
        return await self._fate.call("send", act)

    async def send_photo(self, chat: ChatTarget, png: bytes, message: Message, *, reply_to: int | None = None) -> int:
        act = partial(self._inner.send_photo, chat, png, message, reply_to=reply_to)
        return await self._fate.call("send_photo", act)

    async def delete(self, chat: ChatTarget, message_id: int) -> None:
        await self._fate.call("delete", partial(self._inner.delete, chat, message_id))

    async def edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        await self._fate.call("edit", partial(self._inner.edit, chat, message_id, message))

    async def answer_inline_query(self, query_id: str, results: Sequence[InlineResult]) -> None:
        await self._fate.call("offer", partial(self._inner.answer_inline_query, query_id, results))

    async def answer_callback(self, callback_id: str, text: str = "", *, alert: bool = False) -> None:
        act: Any = partial(self._inner.answer_callback, callback_id, text, alert=alert)
        await self._fate.call("answer", act)
