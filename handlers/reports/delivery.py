"""Sends reports and export files: made when their job is handled, so that a restart sends what is true then."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import date

from handlers.access.authorization import Authorization
from handlers.clock import Clock
from handlers.i18n import SafeHtml, format_local_date, html
from handlers.messages.delivery import MessageDelivery, in_topic_or_outside
from handlers.reports import chart, sie
from handlers.reports.files import FileFormat, file_name, make_table
from handlers.reports.periods import NamedPeriod
from handlers.reports.service import MAX_PAYOUTS, Report, ReportService
from handlers.telegram.messenger import DeliveryError, Message, Messenger
from storage import shops
from storage.database.database import Database
from storage.messages import chat_ordering_key
from storage.models.job import Done, Job, NewJob, Outcome
from storage.models.money import any_money
from storage.models.payment import ChatTarget
from storage.models.shop import Shop

log = logging.getLogger(__name__)

REPORT, EXPORT = "report", "export"
"""The kinds of jobs: a picture with all numbers, and a file."""


@dataclass(frozen=True)
class ReportOrder:
    """A requested report or export. `first` and `last` are ISO dates in the time zone `zone`.

    `file_format` is None for a report. In `chat` the person `user_id` gets it in `language`.
    """

    shop_id: int
    user_id: int
    chat: ChatTarget
    reply_to: int | None
    first: str
    last: str
    zone: str
    language: str
    file_format: str | None = None

    @property
    def period(self) -> NamedPeriod:
        """The period that was asked for."""
        return NamedPeriod(date.fromisoformat(self.first), date.fromisoformat(self.last), self.zone)


def report_job(order: ReportOrder, *, key: str) -> NewJob:
    """The job that makes and sends it, once for each `key`."""
    kind = REPORT if order.file_format is None else EXPORT
    return NewJob(key, chat_ordering_key(order.chat.chat_id), kind, json.dumps(asdict(order)).encode())


class ReportDelivery:
    """Handles jobs about reports and exports; `otherwise` handles all others."""

    def __init__(
        self,
        db: Database,
        reports: ReportService,
        outbox: MessageDelivery,
        messenger: Messenger,
        authorization: Authorization,
        clock: Clock,
        *,
        otherwise: Callable[[Job], Awaitable[Outcome]],
    ) -> None:
        self._db = db
        self._reports = reports
        self._outbox = outbox
        self._messenger = messenger
        self._authorization = authorization
        self._clock = clock
        self._otherwise = otherwise

    async def deliver(self, job: Job) -> Outcome:
        """Make and send a report or a file, if the requester may still read it."""
        if job.kind not in {REPORT, EXPORT}:
            return await self._otherwise(job)
        fields = json.loads(job.payload)
        order = ReportOrder(**{**fields, "chat": ChatTarget(**fields["chat"])})
        shop = await self._db.read(shops.get_shop, order.shop_id)
        if shop is None or not await self._may_read(order):
            return Done("the requester may not read it any more")
        chat, wait = await self._outbox.acquire_slot(job, order.chat)
        if wait:
            return wait
        try:
            await (self._send_report(order, shop, chat) if job.kind == REPORT else self._send_file(order, shop, chat))
        except DeliveryError as failed:
            return await self._outbox.handle_error(job, failed)
        return Done()

    async def _may_read(self, order: ReportOrder) -> bool:
        return await self._authorization.may_export(
            order.shop_id, order.user_id
        ) and await self._authorization.chat_belongs_to_shop(order.shop_id, order.chat)

    async def _send_report(self, order: ReportOrder, shop: Shop, chat: ChatTarget) -> None:
        report = await self._reports.report(shop, order.period)
        message = Message(caption(order.language, shop, order.period, report))
        try:
            png = await chart.draw(f"{shop.name} · {order.period}", report.charts) if report.charts else b""
        except chart.DrawingFailed as failed:
            log.warning("a report is sent without its picture: %s", failed)
            png = b""
        if png:
            try:
                await in_topic_or_outside(
                    chat, order.reply_to, lambda to, reply: self._messenger.send_photo(to, png, message, reply_to=reply)
                )
            except DeliveryError as failed:
                if not failed.permanent:
                    raise
                log.warning("Telegram did not accept the picture of a report: %s", failed)
            else:
                return
        await in_topic_or_outside(  # a chat that accepts no pictures may accept text
            chat, order.reply_to, lambda to, reply: self._messenger.send(to, message, reply_to=reply)
        )

    async def _send_file(self, order: ReportOrder, shop: Shop, chat: ChatTarget) -> None:
        rows = await self._reports.export_rows(shop, order.period)
        file_format = FileFormat(order.file_format or FileFormat.CSV)
        if file_format is FileFormat.SIE:
            content = sie.make_sie(rows, shop, self._clock.now())
        else:
            content = make_table(file_format, rows, order.language, order.zone)
        name = file_name(shop.name, str(order.period), file_format)
        said = html(order.language, "export.caption", shop=shop.name, period=str(order.period), count=len(rows))
        if file_format is FileFormat.SIE and (others := sie.left_out(rows)):
            said = SafeHtml(f"{said}\n{html(order.language, 'export.other_currencies', count=others)}")
        message = Message(said)
        await in_topic_or_outside(
            chat,
            order.reply_to,
            lambda to, reply: self._messenger.send_document(to, content, name, message, reply_to=reply),
        )


def caption(language: str, shop: Shop, period: NamedPeriod, report: Report) -> SafeHtml:
    """All numbers of a report as text, so that it can be read without the picture, and what the report is not."""
    totals = report.totals
    lines = [html(language, "report.head", shop=shop.name, period=str(period))]
    lines += [
        html(
            language,
            "report.line",
            received=each.received,
            count=each.payments,
            refunded=each.refunded,
            disputed=each.disputed,
            net=each.net,
        )
        for each in totals
    ]
    lines += [] if totals else [html(language, "report.nothing")]
    lines += [SafeHtml(_fees(language, report)), SafeHtml(_payouts(language, report)), html(language, "kvit.is_not")]
    return SafeHtml("\n\n".join(part for part in lines if part))


def _fees(language: str, report: Report) -> str:
    """Stripe's fees by settlement currency, what is not known yet, and why nothing can be known."""
    lines = [
        html(
            language,
            "report.fees_with_tax" if each.tax.minor else "report.fees",
            fees=each.fees,
            tax=each.tax,
            net=each.net,
        )
        for each in report.fees.sums
    ]
    if report.lacking:
        lines.append(html(language, "report.lacking", right=report.lacking))
    elif report.fees.unknown:
        lines.append(html(language, "report.fees_unknown", count=report.fees.unknown))
    return "\n".join(lines)


def _payouts(language: str, report: Report) -> str:
    lines = [
        html(
            language,
            "report.paid_out",
            day=format_local_date(language, each.arrival_on.date()),
            amount=any_money(each.amount, each.currency),
        )
        for each in report.payouts[:MAX_PAYOUTS]
    ]
    if len(report.payouts) > MAX_PAYOUTS:
        lines.append(html(language, "report.more_payouts"))
    return "\n".join(lines)
