"""The sweep: attends to whatever is due, so that a lost event, a crash or an outage leaves nothing unfinished."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from handlers.clock import Clock
from handlers.operations.alerts import Alerts
from handlers.payments.sync import Attendant
from handlers.refunds.sync import RefundAttendant
from handlers.runtime.concurrency import all_of, first_of
from handlers.runtime.heartbeats import Health
from handlers.runtime.rate_limit import Lately
from handlers.runtime.worker import Belt
from handlers.stripe_events.backfill import MissedEvents
from handlers.trace import trace
from storage.errors import DatabaseUnavailable
from storage.job_queue import Mailbox, SetAside
from storage.messages import Posts
from storage.models.payment import AttemptOutcome, Payment
from storage.payment_queries import Queries
from storage.payments import Ledger
from storage.prompts import Questions
from storage.refunds import RefundBook

log = logging.getLogger(__name__)

SIDE_BY_SIDE = 8
AT_A_TIME = 100
NAME = "sweep"
KEPT = timedelta(days=8)
"""How long mail that was dealt with keeps its key, and questions are kept; Telegram repeats an update for a day."""

EVENTS_KEPT = timedelta(days=31)
"""The same for Stripe's events: it repeats one for three days, and lists it for 30."""

ASIDE_KEPT = timedelta(days=92)
"""How long a mail waits for a human; Stripe lists its events for 30 days, and a chat that was left stays left."""

BETWEEN_TIDYING = timedelta(hours=1)
SOONEST = 0.2
AGED_KEPT = timedelta(hours=1)
"""How long it remembers that a card was shown without its link; to forget it costs an edit."""

Found = Callable[[Payment, Payment], None]


def _nobody(before: Payment, after: Payment) -> None:
    """Nobody counts."""


class Sweep:
    """Payments carry the time at which they are due; there is no recovery besides attending to them then."""

    def __init__(
        self,
        attendant: Attendant,
        ledger: Ledger,
        queries: Queries,
        post: Posts,
        clock: Clock,
        health: Health,
        *,
        boxes: Mapping[Mailbox, timedelta],
        questions: Questions,
        alerts: Alerts,
        refunds: RefundRound,
        bell: asyncio.Event,
        seconds: float,
        found: Found = _nobody,
    ) -> None:
        """`bell` rings when a payment changed; `seconds` is how long it sleeps at the most between two looks.

        `boxes` says how long each keeps what was done. `found` hears what each payment was before it was attended to,
        and after.
        """
        self._attendant = attendant
        self._ledger = ledger
        self._queries = queries
        self._post = post
        self._clock = clock
        self._health = health
        self._seconds = seconds
        self._found = found
        self._boxes = boxes
        self._questions = questions
        self._alerts = alerts
        self._refunds = refunds
        self._bell = bell
        self.changed = 0
        self._tidied: datetime | None = None
        self._aged = Lately(AGED_KEPT)
        health.expect(NAME, within_seconds=seconds * 3 + 120)

    async def sweep_once(self) -> int:
        """Attend to everything that is due now, and return how many payments that were."""
        attended = 0
        while due := await self._due():
            with trace(part=NAME):
                await all_of(due)
            attended += len(due)
            self._health.beat(NAME, self._clock.now())
        self._health.beat(NAME, self._clock.now())
        return attended

    async def _due(self) -> list[Coroutine[Any, Any, None]]:
        """The work that is due now, a few pieces of it at a time."""
        turns = asyncio.Semaphore(SIDE_BY_SIDE)
        payments = await self._queries.due(self._clock.now(), limit=AT_A_TIME)
        refunds = await self._refunds.due(limit=AT_A_TIME)
        work = [self._attend(payment_id, turns) for payment_id in payments]
        return work + [self._attend_refund(refund_id, turns) for refund_id in refunds]

    async def forever(self) -> None:
        """Sweep when something is due, and every so often in any case."""
        while True:
            try:
                await self.sweep_once()
                if await self._tidy():
                    await self._rest()
            except DatabaseUnavailable as error:
                log.warning("the sweep waits: %s", error)
                await asyncio.sleep(1)

    async def _tidy(self) -> bool:
        """Forget, about once an hour, what was done long ago; False if there is more of it than one turn takes."""
        now = self._clock.now()
        if self._tidied is not None and now - self._tidied < BETWEEN_TIDYING:
            return True
        forgotten = [await box.prune(before=now - kept) for box, kept in self._boxes.items()]
        forgotten += [await box.prune_set_aside(before=now - ASIDE_KEPT) for box in self._boxes]
        forgotten.append(await self._questions.prune(before=now - KEPT))
        if any(forgotten):
            return False
        self._tidied = now
        return True

    async def _rest(self) -> None:
        self._bell.clear()
        due = min((at for at in await self._next_dues() if at is not None), default=None)
        left = self._seconds if due is None else (due - self._clock.now()).total_seconds()
        if left > 0:
            await first_of(self._ring(), self._clock.sleep(max(SOONEST, min(left, self._seconds))))

    async def _next_dues(self) -> tuple[datetime | None, datetime | None]:
        return await self._queries.next_due(), await self._refunds.next_due()

    async def _ring(self) -> None:
        """Return a moment after the bell: what rings it comes in bursts, and nothing is due sooner."""
        await self._bell.wait()
        await asyncio.sleep(SOONEST)

    async def _attend(self, payment_id: str, turns: asyncio.Semaphore) -> None:
        """Attend to one; whatever goes wrong with it, the others have their turn, and it comes again."""
        async with turns:
            try:
                before = await self._attendant.get(payment_id)
                payment = await self._attendant.attend(payment_id, actor="sweep")
                self._found(before, payment)
                self.changed += payment.version != before.version
                await self._show_if_aged(payment)
                if payment.trouble:
                    await self._alerts.trouble(payment)
                if payment.look_at is not None and payment.look_at <= self._clock.now():
                    await self._ledger.put_off(payment_id, now=self._clock.now())
            except DatabaseUnavailable:
                raise
            except Exception:
                log.exception("the sweep could not attend to the payment %s", payment_id)
                await self._ledger.put_off(payment_id, now=self._clock.now())
            self._health.beat(NAME, self._clock.now())

    async def _attend_refund(self, refund_id: str, turns: asyncio.Semaphore) -> None:
        async with turns:
            self.changed += await self._refunds.attend(refund_id)
            self._health.beat(NAME, self._clock.now())

    async def _show_if_aged(self, payment: Payment) -> None:
        """A link is shown only while it is fresh, though nothing happened when it ceased to be; once is enough.

        The version does not tell whether the card is up to date: it also rises by what no card shows.
        """
        until, now = payment.attempt.fresh_until, self._clock.now()
        live = payment.attempt.outcome is AttemptOutcome.LIVE and not payment.is_final
        if not live or until is None or now < until or self._aged.when(payment.id) == until:
            return
        card = await self._post.card(payment.id)
        if card.shown_at is not None and card.shown_at < until:
            await self._ledger.show(payment.id, now=now)
            self._aged.note(payment.id, until, now=now)


log = logging.getLogger(__name__)


class RefundRound:
    """Refunds by the time at which they are due."""

    def __init__(self, attendant: RefundAttendant, book: RefundBook, alerts: Alerts, clock: Clock) -> None:
        self._attendant = attendant
        self._book = book
        self._alerts = alerts
        self._clock = clock

    async def due(self, *, limit: int) -> Sequence[str]:
        """The ids of those that are due now."""
        return await self._book.due(self._clock.now(), limit=limit)

    async def next_due(self) -> datetime | None:
        """When the next one is due."""
        return await self._book.next_due()

    async def attend(self, refund_id: str) -> bool:
        """Attend to one, and return whether that changed it; whatever goes wrong with it, it comes again."""
        try:
            before = await self._attendant.get(refund_id)
            refund = await self._attendant.attend(refund_id, actor="sweep", if_due=True)
            if refund.trouble:
                room = await self._book.room(refund.payment_id)
                await self._alerts.refund_trouble(refund, room.payment)
            if refund.look_at is not None and refund.look_at <= self._clock.now():
                await self._book.put_off(refund_id, now=self._clock.now())
            return refund.status is not before.status
        except DatabaseUnavailable:
            raise
        except Exception:
            log.exception("the sweep could not attend to the refund %s", refund_id)
            await self._book.put_off(refund_id, now=self._clock.now())
            return False


NEWEST = 20


@dataclass(frozen=True)
class Swept:
    """What a sweep did: events that no webhook had brought, payments and refunds attended to and changed by that.

    `put_back` is how many mails that had waited for a human were to be tried again, `aside` how many wait afterwards,
    `newest` the newest `NEWEST` of these in each box.
    """

    missed: int
    attended: int
    changed: int
    put_back: int
    aside: int
    newest: Sequence[SetAside] = ()


async def sweep_now(
    missed: MissedEvents, sweep: Sweep, belts: Sequence[Belt], boxes: Sequence[Mailbox], clock: Clock, *, poison: bool
) -> Swept:
    """Go through everything once; `poison` has what was set aside tried again. `belts` carry what comes in.

    Raises:
        GatewayError: Stripe's list of events could not be read; nothing else was done.
    """
    found = await missed.catch_up()
    put_back = sum([await box.put_back(now=clock.now()) for box in boxes]) if poison else 0
    for belt in belts:
        await belt.drain()
    before = sweep.changed
    attended = await sweep.sweep_once()
    aside = sum([await box.set_aside_depth() for box in boxes])
    newest = tuple([one for box in boxes for one in await box.set_aside(limit=NEWEST)])
    return Swept(found, attended, sweep.changed - before, put_back, aside, newest)
