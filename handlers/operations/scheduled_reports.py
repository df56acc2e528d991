"""The day's summary and last month's report, sent to a shop's admins when the shop has set them."""

from __future__ import annotations

import logging
from datetime import datetime

from handlers.access.authorization import Authorization
from handlers.clock import Clock
from handlers.i18n import SafeHtml
from handlers.messages.outbox_message import OutboxMessage, to_job
from handlers.reports import day_text
from handlers.reports.delivery import ReportOrder, report_job
from handlers.reports.files import FileFormat
from handlers.reports.periods import last_month, parse_period
from handlers.telegram.messenger import Message
from storage import scheduled_reports
from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.models.payment import ChatTarget
from storage.scheduled_reports import DueReport

log = logging.getLogger(__name__)


class ScheduledReports:
    """Sends the reports that are due, each once: after an outage the first summary that was missed, and each month."""

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
        while due := await self._db.read(scheduled_reports.due, self._clock.now()):
            for report in due:
                await (self._send_month(report) if report.is_monthly else self._send_day(report))

    async def next_due_at(self) -> datetime | None:
        """When the next one is due (UTC)."""
        return await self._db.read(scheduled_reports.next_due_at)

    async def _send_day(self, report: DueReport) -> None:
        now, shop = self._clock.now(), report.shop
        day = parse_period("today", report.at, shop.time_zone)
        sums = await self._db.read(scheduled_reports.read_sums, shop.id, day.period, livemode=self._livemode)
        head = day_text.head(shop.language, shop, day, now=now, livemode=self._livemode)
        message = Message(SafeHtml("\n".join([head, *day_text.lines(shop.language, shop, sums)])))
        jobs = [
            to_job(
                OutboxMessage(ChatTarget(person), message, shop=shop.id), key=f"report:{shop.id}:{report.at}:{person}"
            )
            for person in await self._authorization.approvers(shop.id)
        ]
        if await self._db.write(scheduled_reports.claim, self._outbox, report, jobs, now=now):
            log.info("the summary of shop %s is sent to %s admins", shop.id, len(jobs))

    async def _send_month(self, report: DueReport) -> None:
        """Report and export of the month before, to each admin in private."""
        now, shop = self._clock.now(), report.shop
        month = last_month(report.at, shop.time_zone)
        people = await self._authorization.approvers(shop.id)
        jobs = [
            report_job(
                ReportOrder(
                    shop_id=shop.id,
                    user_id=person,
                    chat=ChatTarget(person),
                    reply_to=None,
                    first=month.first.isoformat(),
                    last=month.last.isoformat(),
                    zone=month.zone,
                    language=shop.language,
                    file_format=file_format,
                ),
                key=f"month:{shop.id}:{month}:{person}:{file_format or 'report'}",
            )
            for person in people
            for file_format in (None, FileFormat.CSV.value)
        ]
        detail = {"period": str(month), "format": FileFormat.CSV.value}
        if await self._db.write(scheduled_reports.claim, self._outbox, report, jobs, exported=detail, now=now):
            log.info("last month's report of shop %s is sent to %s admins", shop.id, len(people))
