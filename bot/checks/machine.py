"""Looks at this machine: the database and what is in it, the disk, and the address that customers are given."""

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
from storage.migrations import HEAD

DATABASE, SCHEMA, MODE, BOT, OWNERS = "database", "schema", "payments of the other mode", "the bot", "owners"
DISK, ADDRESS = "disk", "public address"
DATABASE_HINT = (
    "See that no other program holds it, that it is an SQLite file which this user may write, "
    "and that its disk has room and is not mounted read-only."
)
BUSY_SECONDS = 3.0
MEBIBYTE = 2**20
MIN_FREE, LOW_FREE = 104_857_600, 2**30
"""100 MiB and 1 GiB of free disk."""

TELEGRAMS_PORTS = {None, 443, 80, 88, 8443}


async def check_machine(settings: Settings) -> list[Finding]:
    """The findings about this machine; nothing is made and nothing is changed."""
    db = Database(settings.database_url, busy_seconds=BUSY_SECONDS)
    try:
        found = await _database(db, settings)
    except DatabaseUnavailable as error:
        found = [failure(DATABASE, f"{db.path} cannot be used: {error}.", DATABASE_HINT)]
    finally:
        await db.close()
    folder = next(path for path in db.path.absolute().parents if path.exists())
    return [*found, disk(shutil.disk_usage(folder).free), address(settings)]


async def _database(db: Database, settings: Settings) -> list[Finding]:
    if not db.path.exists():
        return [await check_schema(db), _owners(settings.owner_ids)]
    await db.write(lambda tx: None)  # takes the lock that a writer takes, and writes nothing
    opened = ok(DATABASE, f"{db.path} can be read, and nobody keeps it from being written.")
    schema = await check_schema(db)
    return [opened, schema, *(await _content(db, settings) if schema == _schema(HEAD) else [])]


async def check_schema(db: Database) -> Finding:
    """Whether the tables are those of this version.

    Raises:
        DatabaseUnavailable: they cannot be looked at; `BACK` says what to do.
    """
    return _schema(await db.schema_version()) if db.path.exists() else _to_be_made(db.path)


def _to_be_made(path: Path) -> Finding:
    folder = path.absolute().parent
    if folder.is_dir() and os.access(folder, os.W_OK):
        return warning(DATABASE, f"There is no {path} yet.", "`serve` makes it, and so does `python -m bot migrate`.")
    remedy = "Make that folder for this user, or name another file in DATABASE_URL."
    return failure(DATABASE, f"{path} cannot be made: {folder} is not a folder which this user may write.", remedy)


def _schema(version: str | None) -> Finding:
    """What the version of the tables means; versions are numbers that rise."""
    if version == HEAD:
        return ok(SCHEMA, f"The tables have version {HEAD}.")
    if version is None or version < HEAD:
        detail = f"The tables have version {version}, not {HEAD}." if version else "There are no tables yet."
        return warning(SCHEMA, detail, "`serve` brings them up to date, and so does `python -m bot migrate`.")
    remedy = "Run the newer version of Kvit that wrote it, or name another file in DATABASE_URL."
    return failure(SCHEMA, f"The tables have version {version}, newer than {HEAD}.", remedy)


async def _content(db: Database, settings: Settings) -> list[Finding]:
    foreign = await db.read(payment_queries.count_unfinished, livemode=not settings.livemode)
    known, owners = (
        await db.read(installation.get_setting, BOT_ID),
        settings.owner_ids | await db.read(installation.owner_ids),
    )
    return [_other_mode(foreign, settings), _same_bot(known, settings), _owners(owners)]


def _other_mode(foreign: int, settings: Settings) -> Finding:
    ours, theirs = ("live", "test") if settings.livemode else ("test", "live")
    if not foreign:
        return ok(MODE, f"There are none that a {theirs} key would have to finish.")
    remedy = f"Use the {theirs} key until they have ended, or name another file in DATABASE_URL."
    waiting = f"{foreign} open payments or refunds need a {theirs} one"
    return failure(MODE, f"STRIPE_API_KEY is a {ours} key, and {waiting}.", remedy)


def _same_bot(known: str | None, settings: Settings) -> Finding:
    ours = str(settings.bot_id)
    if known in (None, ours):
        return ok(BOT, f"The database belongs to the bot {ours}." if known else "The database belongs to no bot yet.")
    remedy = "Use that bot's token, or name another file in DATABASE_URL."
    return failure(
        BOT, f"TELEGRAM_BOT_TOKEN is of the bot {ours}, but the database belongs to the bot {known}.", remedy
    )


def _owners(owners: frozenset[int]) -> Finding:
    if owners:
        return ok(OWNERS, f"There are {len(owners)}." if len(owners) > 1 else "There is one.")
    remedy = "Put your Telegram id into OWNER_IDS, or open the link that `serve` prints at its start."
    return warning(OWNERS, "There is none, so nobody can do anything yet.", remedy)


def disk(free: int) -> Finding:
    """Whether `free` bytes are enough for the database to grow."""
    said = f"{free // MEBIBYTE} MiB are free where the database is."
    if free >= LOW_FREE:
        return ok(DISK, said)
    remedy = "Make room: a full disk takes nothing in, though nothing is lost at Stripe."
    return warning(DISK, said, remedy) if free >= MIN_FREE else failure(DISK, said, remedy)


def address(settings: Settings) -> Finding:
    """Whether customers and the two vendors can reach what PUBLIC_URL says, as far as its looks tell."""
    if settings.public_url is None:
        remedy = "Set PUBLIC_URL to the https address that leads here, like https://pay.example.dk."
        return _if_it_is_real(settings, "There is none: no pay pages, no webhooks.", remedy)
    parts = urlsplit(settings.public_url)
    host = parts.hostname or ""
    if "." not in host and ":" not in host:
        remedy = f"Take a name with a dot; on this machine http://127.0.0.1:{settings.port}."
        return _if_it_is_real(settings, f"Telegram refuses buttons that lead to {host}, without a dot.", remedy)
    if parts.scheme == "http":
        remedy = "For customers, set PUBLIC_URL to an https address that leads here."
        return _if_it_is_real(settings, f"Only this machine can open {settings.public_url}.", remedy)
    if settings.uses_telegram_webhook and parts.port not in TELEGRAMS_PORTS and not settings.telegram_api_base:
        remedy = "Serve it on 443, 80, 88 or 8443, or set TELEGRAM_MODE=polling."
        return failure(ADDRESS, f"Telegram sends nothing to port {parts.port}.", remedy)
    return ok(ADDRESS, f"{settings.public_url}.")


def _if_it_is_real(settings: Settings, detail: str, remedy: str) -> Finding:
    """To try things out it may be like this; where real money moves it may not."""
    return failure(ADDRESS, detail, remedy) if settings.livemode else warning(ADDRESS, detail, remedy)
