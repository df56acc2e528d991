"""The summary of the day, sent to a shop's admins at the time that the shop has set."""

from __future__ import annotations

import logging
from datetime import datetime

from handlers.access.authorization import Authorization
from handlers.clock import Clock
from handlers.i18n import SafeHtml
from handlers.messages.outbox_message import OutboxMessage, to_job
from handlers.reports import day_text
from handlers.reports.periods import parse_period
from handlers.telegram.messenger import Message
from storage import daily_reports
from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.models.payment import ChatTarget
from storage.models.shop import Shop

log = logging.getLogger(__name__)


class DailyReports:
    """Sends the summaries that are due; after an outage the one that was missed, once."""

    def __init__(
        self, db: Database, authorization: Authorization, outbox: JobQueue, clock: Clock, *, livemode: bool
    ) -> None:
        self._db = db
        self._authorization = authorization
        self._outbox = outbox
        self._clock = clock
        self._livemode = livemode

    async def send_due(self) -> None:
        """Send what is due now."""
        for shop, due_at in await self._db.read(daily_reports.due, self._clock.now()):
            await self._send(shop, due_at)

    async def next_due_at(self) -> datetime | None:
        """When the next one is due (UTC)."""
        return await self._db.read(daily_reports.next_due_at)

    async def _send(self, shop: Shop, due_at: datetime) -> None:
        now = self._clock.now()
        day = parse_period("today", due_at, shop.time_zone)
        sums = await self._db.read(daily_reports.read_sums, shop.id, day.period, livemode=self._livemode)
        head = day_text.head(shop.language, shop, day, now=now, livemode=self._livemode)
        message = Message(SafeHtml("\n".join([head, *day_text.lines(shop.language, shop, sums)])))
        jobs = [
            to_job(OutboxMessage(ChatTarget(person), message, shop=shop.id), key=f"report:{shop.id}:{due_at}:{person}")
            for person in await self._authorization.approvers(shop.id)
        ]
        if await self._db.write(daily_reports.claim, self._outbox, shop, due_at, jobs, now=now):
            log.info("the summary of shop %s is sent to %s admins", shop.id, len(jobs))
