"""`/report` and `/export`: what moved in a period, as a picture with all numbers, or as a file in private."""

from __future__ import annotations

from handlers.chat.context import Context
from handlers.reports.delivery import ReportOrder, report_job
from handlers.reports.files import FileFormat
from handlers.reports.periods import NamedPeriod, UnknownPeriod, parse_period, split_period
from handlers.reports.sie import NoAccounts
from storage.exports import request_export
from storage.models.payment import ChatTarget


async def report(context: Context) -> None:
    """Send the report of a period, by default of today, into the chat.

    Raises:
        UnknownPeriod: the words name no period.
    """
    period = parse_period(context.message.args, context.now, context.shop.time_zone)
    await _order(context, period, context.chat, None)


async def export(context: Context) -> None:
    """Send a file with the movements of a period to the person's private chat, by default this month's as CSV.

    Raises:
        UnknownPeriod: the words name no period and no format.
        NoAccounts: a SIE file needs the shop's accounts.
    """
    period, words = split_period(context.message.args or "month", context.now, context.shop.time_zone)
    formats = [each for each in FileFormat if each.value in map(str.casefold, words)]
    if len(words) != len(formats) or len(formats) > 1:
        raise UnknownPeriod
    file_format = formats[0] if formats else FileFormat.CSV
    if file_format is FileFormat.SIE and not context.shop.accounts:
        raise NoAccounts
    await _order(context, period, ChatTarget(context.actor.id), file_format)
    if not context.is_private:
        await context.reply("export.in_private")


async def _order(context: Context, period: NamedPeriod, chat: ChatTarget, file_format: FileFormat | None) -> None:
    order = ReportOrder(
        shop_id=context.shop.id,
        user_id=context.actor.id,
        chat=chat,
        reply_to=context.message.message_id if chat.chat_id == context.chat.chat_id else None,
        first=period.first.isoformat(),
        last=period.last.isoformat(),
        zone=period.zone,
        language=context.language,
        file_format=file_format,
    )
    job, outbox = report_job(order, key=f"{context.key}:report"), context.services.outbox
    if file_format is None:
        await outbox.enqueue(job, now=context.now)
        return
    detail = {"period": str(period), "format": file_format.value}
    actor, shop = f"user:{context.actor.id}", context.shop
    await context.db.write(request_export, outbox, job, shop_id=shop.id, actor=actor, detail=detail, now=context.now)
