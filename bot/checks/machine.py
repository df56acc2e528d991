"""Checks the database (a file or a server) and its content, the disk, and the form of the public URL."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from urllib.parse import urlsplit

from bot.checks.database_file import DATABASE, database_file_problem
from bot.clock import SystemClock
from bot.findings import Finding, failure, ok, warning
from bot.settings import Settings
from storage import installation, payment_queries, shops
from storage.database.database import Database
from storage.errors import DatabaseUnavailable, UnsupportedDatabase
from storage.installation import BOT_ID, ClaimedOwner
from storage.migrations import HEAD, UnknownVersion, check_known
from storage.models.time_zones import find_zone
from storage.move import refusal

SCHEMA, MODE, BOT, OWNERS = "schema", "payments of the other mode", "the bot", "owners"
RIGHTS, WAKE_UPS, SERVER_CLOCK = "rights in the database", "wake-ups", "the database's clock"
ZONES, DISK, ADDRESS = "time zones", "disk", "public address"
DATABASE_HINT = (
    "Check that no other program has locked it, that it is an SQLite file which this user may write, "
    "and that its disk has free space and is not mounted read-only."
)
SERVER_HINT = (
    "Check that the server runs, that it accepts this user and password from here, and that it accepts writes "
    "(a standby does not) and its disk has free space."
)
BUSY_TIMEOUT = 3.0
LARGEST_CLOCK_OFFSET = 0.5
MEBIBYTE = 2**20
MAX_LISTED = 10
"""The maximum number of owners that a finding names."""

MIN_FREE, LOW_FREE = 104_857_600, 2**30
"""100 MiB and 1 GiB of free disk."""

TELEGRAM_PORTS = {None, 443, 80, 88, 8443}


def database_hint(database_url: str) -> str:
    """The hint for a database that cannot be used."""
    return DATABASE_HINT if database_url.startswith("sqlite:") else SERVER_HINT


async def check_machine(settings: Settings) -> list[Finding]:
    """The findings about this machine. Nothing is created or changed."""
    db = Database(settings.database_url, busy_seconds=BUSY_TIMEOUT, listen_url=settings.database_listen_url)
    try:
        problem = None if db.file is None else database_file_problem(db.file)
        findings = [problem, _owners(settings.owner_ids)] if problem else await _database(db, settings)
    except DatabaseUnavailable as error:
        hint = database_hint(settings.database_url)
        findings = [failure(DATABASE, f"{db.name} cannot be used: {error}.", hint)]
    except UnsupportedDatabase as error:
        findings = [failure(DATABASE, f"{db.name}: {error}.", "Set DATABASE_URL to another server.")]
    finally:
        await db.close()
    if db.file is not None:
        folder = next(path for path in db.file.absolute().parents if path.exists())
        findings.append(disk(shutil.disk_usage(folder).free))
    return [*findings, address(settings)]


async def _database(db: Database, settings: Settings) -> list[Finding]:
    if not db.exists:
        return [await check_schema(db), _owners(settings.owner_ids)]
    await db.probe()
    await db.write(lambda tx: None)  # takes the write lock and writes nothing
    opened = [ok(DATABASE, f"{db.name} can be read and written.")]
    if db.has_replicas:
        opened += await _server(db)
    schema = await check_schema(db)
    return [*opened, schema, *(await _content(db, settings) if schema == _schema(HEAD) else [])]


async def _server(db: Database) -> list[Finding]:
    """The findings about a PostgreSQL server: rights, wake-ups and its clock."""
    if not await db.can_migrate():
        hint = "GRANT CREATE ON SCHEMA public TO this user, for as long as a new version migrates the tables."
        rights = warning(RIGHTS, "This user may not create tables.", hint)
    else:
        rights = ok(RIGHTS, "This user may create and change tables.")
    if await db.can_listen():
        wake_ups = ok(WAKE_UPS, "They arrive from other replicas.")
    else:
        hint = "Set DATABASE_LISTEN_URL to the server itself if DATABASE_URL leads to a pooler like pgbouncer."
        wake_ups = failure(WAKE_UPS, "None arrived: other replicas' work would be found two seconds late.", hint)
    clock = SystemClock()
    offset = abs(await clock.offset_from(db))
    if offset <= LARGEST_CLOCK_OFFSET:
        return [rights, wake_ups, ok(SERVER_CLOCK, "It agrees with this machine's.")]
    hint = "Synchronize both (NTP). Kvit uses the database's time meanwhile."
    return [rights, wake_ups, warning(SERVER_CLOCK, f"It differs from this machine's by {offset:.1f} s.", hint)]


async def check_schema(db: Database) -> Finding:
    """Whether the schema is that of this version, and the database was not moved elsewhere.

    Raises:
        DatabaseUnavailable: it cannot be read; the hint for this is `database_hint`.
    """
    if db.exists:
        found = _schema(await db.schema_version())
        moved = await db.read(refusal) if found == _schema(HEAD) else None
        return found if moved is None else failure(DATABASE, *moved)
    return warning(DATABASE, f"There is no {db.path} yet.", "`serve` creates it, and so does `python -m bot migrate`.")


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
    claimed = await db.read(installation.list_claimed_owners)
    zones = sorted({shop.time_zone for shop in await db.read(shops.list_shops)})
    owners = _owners(settings.owner_ids, claimed)
    return [_other_mode(unfinished, settings), _same_bot(bot_id, settings), owners, *_zones(zones)]


def _other_mode(unfinished: int, settings: Settings) -> Finding:
    mode, other = ("live", "test") if settings.livemode else ("test", "live")
    if not unfinished:
        return ok(MODE, f"There are none that need a {other} key.")
    hint = f"Use the {other} key until they are finished, or set DATABASE_URL to another database."
    detail = f"STRIPE_API_KEY is a {mode} key, and {unfinished} open payments or refunds need a {other} key."
    return failure(MODE, detail, hint)


def _same_bot(stored: str | None, settings: Settings) -> Finding:
    bot_id = str(settings.bot_id)
    if stored is None:
        return ok(BOT, "The database belongs to no bot yet.")
    if stored == bot_id:
        return ok(BOT, f"The database belongs to the bot {bot_id}.")
    hint = "Use that bot's token, or set DATABASE_URL to another database."
    detail = f"TELEGRAM_BOT_TOKEN belongs to the bot {bot_id}, but the database belongs to the bot {stored}."
    return failure(BOT, detail, hint)


def _owners(owner_ids: frozenset[int], claimed: Sequence[ClaimedOwner] = ()) -> Finding:
    """Who the owners are. A claim does not count while OWNER_IDS is set, but would again without it."""
    claims = [f"{one.user_id} (claimed on {one.since:%Y-%m-%d})" for one in claimed if one.user_id not in owner_ids]
    if owner_ids and claims:
        detail = f"OWNER_IDS: {_ids(owner_ids)}. Not owners while it is set: {_list(claims)}."
        return warning(OWNERS, detail, "Keep OWNER_IDS set, or have an owner remove the claim: /revoke ID in the chat.")
    if owner_ids:
        return ok(OWNERS, f"OWNER_IDS: {_ids(owner_ids)}.")
    if claims:
        hint = "If that is not you, set OWNER_IDS to your Telegram id: then the claim does not count."
        return ok(OWNERS, f"{_list(claims)}. {hint}")
    hint = "Put your Telegram id into OWNER_IDS, or open the link that `serve` prints when it starts."
    return warning(OWNERS, "There is none, so no command can be used yet.", hint)


def _zones(names: list[str]) -> list[Finding]:
    """A warning if this machine lacks one of the time zones, which the system or the package tzdata provides."""
    unknown = [name for name in names if find_zone(name) is None]
    if not unknown:
        return []
    hint = "Update the package tzdata (python3 scripts/bootstrap.py run), or choose another with /settings zone."
    return [warning(ZONES, f"This machine does not know {', '.join(unknown)}, so times are shown in UTC.", hint)]


def _ids(owner_ids: frozenset[int]) -> str:
    return _list([str(user_id) for user_id in sorted(owner_ids)])


def _list(names: Sequence[str]) -> str:
    """The first ten names, and how many more there are."""
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more


def disk(free: int) -> Finding:
    """Whether `free` bytes are enough for the database to grow."""
    detail = f"{free // MEBIBYTE} MiB are free on the database's disk."
    if free >= LOW_FREE:
        return ok(DISK, detail)
    hint = "Free some space: with a full disk Kvit accepts nothing, though nothing is lost at Stripe."
    return warning(DISK, detail, hint) if free >= MIN_FREE else failure(DISK, detail, hint)


def address(settings: Settings) -> Finding:
    """Whether customers, Stripe and Telegram can reach PUBLIC_URL, judged by its form alone."""
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
