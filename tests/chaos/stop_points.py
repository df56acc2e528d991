"""The points at which a simulated process can stop: before and after each vendor call and each commit."""

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
from storage.database.sqlite import count_changes
from storage.job_queue import JobQueue
from storage.models.balance import BalanceTransaction, Payout
from storage.models.dispute import Dispute, FraudWarning
from storage.models.payment import ChatTarget
from storage.models.refund import StripeRefund

T = TypeVar("T")


class StopPoint(NamedTuple):
    """Before or after a call, by its number from 1 among all calls, or among those of one `name`."""

    number: int
    when: str
    name: str = ""


async def _no_trap(_: StopPoint) -> None:
    pass


class SimulatedProcess:
    """One process. After its crash no call gets out: callers block until `release`, and are then canceled.

    `calls` are the names of the calls so far, `calls_in_progress` those that have not returned, `call_count` all.
    `trap` is called at each stop point, named by its number among the calls of its name.
    """

    def __init__(self, crash_at: StopPoint | None = None) -> None:
        self.calls: list[str] = []
        self.crashed = asyncio.Event()
        self.calls_in_progress = 0
        self.call_count = 0
        self.trap: Callable[[StopPoint], Awaitable[None]] = _no_trap
        self._crash_at = crash_at
        self._released = asyncio.Event()

    def arm(self, crash_at: StopPoint | None) -> None:
        """Counts calls from here, and crashes at this stop point."""
        self.calls, self._crash_at = [], crash_at

    def release(self) -> None:
        """Cancels the blocked callers; the process has crashed if it had not."""
        self.crashed.set()
        self._released.set()

    async def call(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """Runs a call that changes or reads something outside, with a stop point before and after."""
        async with self.in_call():
            number = await self.before_call(name)
            result = await call()
            await self.after_call(number)
            return result

    @asynccontextmanager
    async def in_call(self) -> AsyncIterator[None]:
        """Counts a caller as in progress, without stop points."""
        await self._block_if_crashed()
        self.calls_in_progress, self.call_count = self.calls_in_progress + 1, self.call_count + 1
        try:
            yield
        finally:
            self.calls_in_progress -= 1

    async def before_call(self, name: str) -> int:
        """The stop point before a call; returns the number of the call."""
        await self._block_if_crashed()
        self.calls.append(name)
        number = len(self.calls)
        await self._reach(number, "before")
        return number

    async def after_call(self, number: int) -> None:
        """The stop point after a call, before its caller has the result."""
        await self._reach(number, "after")

    async def _reach(self, number: int, when: str) -> None:
        name = self.calls[number - 1]
        named = StopPoint(self.calls[:number].count(name), when, name)
        await self.trap(named)
        if self._crash_at in {StopPoint(number, when), named}:
            self.crashed.set()
        await self._block_if_crashed()

    async def _block_if_crashed(self) -> None:
        if self.crashed.is_set():
            await self._released.wait()
            raise asyncio.CancelledError


def attach(db: Database, process: SimulatedProcess) -> None:
    """Makes each commit with changes a call: `commit jobs` where updates or events are stored, else `commit`."""
    run_write, run_read, loop = db.write, db.read, asyncio.get_running_loop()

    async def write(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if getattr(fn, "__func__", None) is JobQueue.enqueue_in:
            return await process.call("commit jobs", partial(run_write, fn, *args, **kwargs))
        numbers: list[int] = []

        def unit(tx: sa.Connection) -> Any:
            before = count_changes(tx)
            result = fn(tx, *args, **kwargs)
            if count_changes(tx) != before:
                # The writer's thread blocks here with the transaction open, as it would be if the process ended.
                numbers.append(asyncio.run_coroutine_threadsafe(process.before_call("commit"), loop).result())
            return result

        async with process.in_call():
            result = await run_write(unit)
            for number in numbers:
                await process.after_call(number)
            return result

    async def read(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        async with process.in_call():
            return await run_read(fn, *args, **kwargs)

    vars(db).update(write=write, read=read)


class InterceptedGateway:
    """Passes each call to `inner` as a call of the process."""

    def __init__(self, inner: PaymentGateway, process: SimulatedProcess) -> None:
        self._inner = inner
        self._process = process
        self.livemode = inner.livemode

    def create_params(self, request: IntentRequest) -> str:
        return self._inner.create_params(request)

    def confirm_params(self, request: IntentRequest) -> str:
        return self._inner.confirm_params(request)

    async def create(self, params: str, *, key: str) -> Intent:
        return await self._process.call("create", partial(self._inner.create, params, key=key))

    async def confirm(self, intent_id: str, params: str, *, key: str) -> Intent:
        return await self._process.call("confirm", partial(self._inner.confirm, intent_id, params, key=key))

    async def retrieve(self, intent_id: str) -> Intent:
        return await self._process.call("retrieve", partial(self._inner.retrieve, intent_id))

    async def cancel(self, intent_id: str, *, key: str) -> Intent:
        return await self._process.call("cancel", partial(self._inner.cancel, intent_id, key=key))

    async def capture(self, intent_id: str, *, key: str) -> Intent:
        return await self._process.call("capture", partial(self._inner.capture, intent_id, key=key))

    def refund_params(self, request: RefundRequest) -> str:
        return self._inner.refund_params(request)

    async def refund(self, params: str, *, key: str) -> StripeRefund:
        return await self._process.call("refund", partial(self._inner.refund, params, key=key))

    async def list_refunds(self, intent_id: str) -> Sequence[StripeRefund]:
        return await self._process.call("list_refunds", partial(self._inner.list_refunds, intent_id))

    async def list_disputes(self, intent_id: str) -> Sequence[Dispute]:
        return await self._process.call("list_disputes", partial(self._inner.list_disputes, intent_id))

    async def list_fraud_warnings(self, intent_id: str) -> Sequence[FraudWarning]:
        return await self._process.call("list_fraud_warnings", partial(self._inner.list_fraud_warnings, intent_id))

    async def find_intent(self, payment_id: str, *, since: datetime, until: datetime) -> Intent | None:
        return await self._process.call(
            "find_intent", partial(self._inner.find_intent, payment_id, since=since, until=until)
        )

    async def list_balance_transactions(
        self, *, source: str | None = None, payout: str | None = None, since: datetime | None = None
    ) -> AsyncGenerator[BalanceTransaction, None]:
        pages = self._inner.list_balance_transactions(source=source, payout=payout, since=since)
        async with self._process.in_call(), aclosing(pages) as found:
            async for each in found:
                yield each

    async def retrieve_payout(self, payout_id: str) -> Payout:
        return await self._process.call("retrieve_payout", partial(self._inner.retrieve_payout, payout_id))

    async def list_payouts(self, since: datetime) -> AsyncGenerator[Payout, None]:
        async with self._process.in_call(), aclosing(self._inner.list_payouts(since)) as found:
            async for each in found:
                yield each

    async def server_time(self) -> datetime:
        return await self._process.call("server_time", self._inner.server_time)

    async def list_events(
        self, cursor: str | None, since: datetime
    ) -> AsyncGenerator[tuple[StripeEventRef, str], None]:
        async with self._process.in_call(), aclosing(self._inner.list_events(cursor, since)) as newer:
            async for event in newer:
                yield event


class InterceptedMessenger:
    """Passes each call to `inner` as a call of the process."""

    def __init__(self, inner: Messenger, process: SimulatedProcess) -> None:
        self._inner = inner
        self._process = process
        self.username = inner.username

    async def get_me(self) -> None:
        await self._process.call("get_me", self._inner.get_me)

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        call = partial(self._inner.send, chat, message, reply_to=reply_to, silent=silent)
        return await self._process.call("send", call)

    async def send_photo(self, chat: ChatTarget, png: bytes, message: Message, *, reply_to: int | None = None) -> int:
        call = partial(self._inner.send_photo, chat, png, message, reply_to=reply_to)
        return await self._process.call("send_photo", call)

    async def send_document(
        self, chat: ChatTarget, content: bytes, name: str, message: Message, *, reply_to: int | None = None
    ) -> int:
        call = partial(self._inner.send_document, chat, content, name, message, reply_to=reply_to)
        return await self._process.call("send_document", call)

    async def delete(self, chat: ChatTarget, message_id: int) -> None:
        await self._process.call("delete", partial(self._inner.delete, chat, message_id))

    async def edit(self, chat: ChatTarget, message_id: int | None, message: Message) -> None:
        await self._process.call("edit", partial(self._inner.edit, chat, message_id, message))

    async def answer_inline_query(self, query_id: str, results: Sequence[InlineResult]) -> None:
        await self._process.call("answer_inline_query", partial(self._inner.answer_inline_query, query_id, results))

    async def answer_callback(self, callback_id: str, text: str = "", *, alert: bool = False) -> None:
        call: Any = partial(self._inner.answer_callback, callback_id, text, alert=alert)
        await self._process.call("answer_callback", call)
