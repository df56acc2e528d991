"""`python -m bot export`: the file of `/export`, for the operator."""

from __future__ import annotations

from pathlib import Path

from bot.clock import SystemClock
from bot.settings import Settings
from handlers.reports.files import FileFormat, file_name, make_table
from handlers.reports.periods import UnknownPeriod, parse_period
from handlers.reports.service import ReportService
from handlers.reports.sie import make_sie
from storage import shops
from storage.database.database import Database
from storage.models.shop import Shop
from storage.move import refusal


class ExportRefused(Exception):
    """Nothing was written; the text is for the operator."""


async def export_file(
    settings: Settings, *, shop_name: str, period: str, file_format: FileFormat, out: Path | None
) -> Path:
    """Write the movements of a shop in a period to a new file, and return its path.

    Raises:
        ExportRefused: there is no such shop or period, or the file exists.
    """
    db = Database(settings.database_url)
    try:
        if moved := await db.read(refusal):
            raise ExportRefused(" ".join(moved).removesuffix("."))
        shop = _select(await db.read(shops.list_shops), shop_name)
        try:
            found = parse_period(period, SystemClock().now(), shop.time_zone)
        except UnknownPeriod:
            raise ExportRefused(
                f"No period can be read in {period!r}: write today, month, 2026-11, 2026-Q4 or 2026-11-01..2026-11-15"
            ) from None
        reports = ReportService(db, livemode=settings.livemode)
        rows = await reports.export_rows(shop, found)
    finally:
        await db.close()
    if file_format is FileFormat.SIE and not shop.accounts:
        raise ExportRefused("A SIE file needs the shop's accounts: send /settings accounts 1580 3001 2611, with yours")
    content = (
        make_sie(rows, shop, SystemClock().now())
        if file_format is FileFormat.SIE
        else make_table(file_format, rows, shop.language, shop.time_zone)
    )
    target = out or Path(file_name(shop.name, str(found), file_format))
    try:
        with target.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise ExportRefused(f"{target} exists already: name another file with --out") from None
    except OSError as error:
        raise ExportRefused(f"{target} cannot be written ({error.strerror})") from error
    return target


def _select(known: list[Shop], name: str) -> Shop:
    matching = [shop for shop in known if not name or name in {shop.name, str(shop.id)}]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(f"{shop.id} {shop.name}" for shop in known) or "none yet"
    raise ExportRefused(f"Name one shop with --shop, by number or name. The shops: {names}")
