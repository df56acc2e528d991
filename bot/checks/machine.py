"""Checks this machine: the database and its content, the disk, and the public URL."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from bot.findings import Finding, failure, ok, warning
from bot.settings import Settings
from storage import installation, payment_queries
from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.installation import BOT_ID
from storage.migrations import HEAD, UnknownVersion, check_known

DATABASE, SCHEMA, MODE, BOT, OWNERS = "database", "schema", "payments of the other mode", "the bot", "owners"
DISK, ADDRESS = "disk", "public address"
DATABASE_HINT = (
    "Check that no other program has locked it, that it is an SQLite file which this user may write, "
    "and that its disk has free space and is not mounted read-only."
)
BUSY_TIMEOUT = 3.0
MEBIBYTE = 2**20
MIN_FREE, LOW_FREE = 104_857_600, 2**30
"""100 MiB and 1 GiB of free disk."""

TELEGRAM_PORTS = {None, 443, 80, 88, 8443}


async def check_machine(settings: Settings) -> list[Finding]:
    """The findings about this machine. Nothing is created or changed."""
    db = Database(settings.database_url, busy_seconds=BUSY_TIMEOUT)
    try:
        findings = await _database(db, settings)
    except DatabaseUnavailable as error:
        findings = [failure(DATABASE, f"{db.path} cannot be used: {error}.", DATABASE_HINT)]
    finally:
        await db.close()
    folder = next(path for path in db.path.absolute().parents if path.exists())
    return [*findings, disk(shutil.disk_usage(folder).free), address(settings)]


async def _database(db: Database, settings: Settings) -> list[Finding]:
    if not db.path.exists():
        return [await check_schema(db), _owners(settings.owner_ids)]
    await db.write(lambda tx: None)  # takes the write lock and writes nothing
    opened = ok(DATABASE, f"{db.path} can be read and written.")
    schema = await check_schema(db)
    return [opened, schema, *(await _content(db, settings) if schema == _schema(HEAD) else [])]


async def check_schema(db: Database) -> Finding:
    """Whether the schema is that of this version.

    Raises:
        DatabaseUnavailable: it cannot be read; the hint for this is `DATABASE_HINT`.
    """
    return _schema(await db.schema_version()) if db.path.exists() else _missing(db.path)


def _missing(path: Path) -> Finding:
    folder = path.absolute().parent
    if folder.is_dir() and os.access(folder, os.W_OK):
        return warning(DATABASE, f"There is no {path} yet.", "`serve` creates it, and so does `python -m bot migrate`.")
    hint = "Create that folder for this user, or set DATABASE_URL to another file."
    return failure(DATABASE, f"{path} cannot be created: {folder} is not a folder which this user may write.", hint)


def _schema(version: str | None) -> Finding:
    """The finding for this version of the schema."""
    if version == HEAD:
        return ok(SCHEMA, f"The schema has version {HEAD}.")
    try:
        check_known(version)
    except UnknownVersion as error:
        return failure(SCHEMA, error.detail, error.hint)
    detail = f"The schema has version {version}, not {HEAD}." if version else "The database is empty."
    return warning(SCHEMA, detail, "`serve` migrates it, and so does `python -m bot migrate`.")


async def _content(db: Database, settings: Settings) -> list[Finding]:
    unfinished = await db.read(payment_queries.count_unfinished, livemode=not settings.livemode)
    bot_id = await db.read(installation.get_setting, BOT_ID)
    owners = settings.owner_ids | await db.read(installation.owner_ids)
    return [_other_mode(unfinished, settings), _same_bot(bot_id, settings), _owners(owners)]


def _other_mode(unfinished: int, settings: Settings) -> Finding:
    mode, other = ("live", "test") if settings.livemode else ("test", "live")
    if not unfinished:
        return ok(MODE, f"There are none that need a {other} key.")
    hint = f"Use the {other} key until they are finished, or set DATABASE_URL to another file."
    detail = f"STRIPE_API_KEY is a {mode} key, and {unfinished} open payments or refunds need a {other} key."
    return failure(MODE, detail, hint)


def _same_bot(stored: str | None, settings: Settings) -> Finding:
    bot_id = str(settings.bot_id)
    if stored is None:
        return ok(BOT, "The database belongs to no bot yet.")
    if stored == bot_id:
        return ok(BOT, f"The database belongs to the bot {bot_id}.")
    hint = "Use that bot's token, or set DATABASE_URL to another file."
    detail = f"TELEGRAM_BOT_TOKEN belongs to the bot {bot_id}, but the database belongs to the bot {stored}."
    return failure(BOT, detail, hint)


def _owners(owners: frozenset[int]) -> Finding:
    if owners:
        return ok(OWNERS, f"There are {len(owners)}." if len(owners) > 1 else "There is one.")
    hint = "Put your Telegram id into OWNER_IDS, or open the link that `serve` prints when it starts."
    return warning(OWNERS, "There is none, so no command can be used yet.", hint)


def disk(free: int) -> Finding:
    """Whether `free` bytes are enough for the database to grow."""
    detail = f"{free // MEBIBYTE} MiB are free on the database's disk."
    if free >= LOW_FREE:
        return ok(DISK, detail)
    hint = "Free some space: with a full disk Kvit accepts nothing, though nothing is lost at Stripe."
    return warning(DISK, detail, hint) if free >= MIN_FREE else failure(DISK, detail, hint)


def address(settings: Settings) -> Finding:
    """Whether customers, Stripe and Telegram can reach PUBLIC_URL, as far as its form tells."""
    if settings.public_url is None:
        hint = "Set PUBLIC_URL to the https address of this service, like https://pay.example.dk."
        return _required_in_live_mode(settings, "There is none: no pay pages, no webhooks.", hint)
    parts = urlsplit(settings.public_url)
    host = parts.hostname or ""
    if "." not in host and ":" not in host:
        hint = f"Use a name with a dot; on this machine http://127.0.0.1:{settings.port}."
        return _required_in_live_mode(settings, f"Telegram rejects buttons that lead to {host}, without a dot.", hint)
    if parts.scheme == "http":
        hint = "For customers, set PUBLIC_URL to the https address of this service."
        return _required_in_live_mode(settings, f"Only this machine can open {settings.public_url}.", hint)
    if settings.uses_telegram_webhook and parts.port not in TELEGRAM_PORTS and not settings.telegram_api_base:
        hint = "Serve it on port 443, 80, 88 or 8443, or set TELEGRAM_MODE=polling."
        return failure(ADDRESS, f"Telegram sends nothing to port {parts.port}.", hint)
    return ok(ADDRESS, f"{settings.public_url}.")


def _required_in_live_mode(settings: Settings, detail: str, hint: str) -> Finding:
    """A failure in live mode, a warning in test mode."""
    return failure(ADDRESS, detail, hint) if settings.livemode else warning(ADDRESS, detail, hint)
