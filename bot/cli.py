"""The commands of `python -m bot`, and their exit codes."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

import click

from bot import logging_setup
from bot.app import RetryableStartupError, Service, StartupError
from bot.checks.database_file import database_file_problem
from bot.checks.env_file import check_env_file
from bot.checks.machine import database_hint
from bot.clock import SystemClock
from bot.settings import InvalidSettings, Settings, load
from bot.signals import shutdown_event
from bot.streams import is_null, is_unicode, prepare_streams
from handlers.stripe.gateway import GatewayError
from storage.database.backup import BackupFailed, TargetExists, backup_database
from storage.database.database import Database
from storage.errors import DatabaseUnavailable, UnsupportedDatabase
from storage.migrations import HEAD, UnknownVersion

log = logging.getLogger(__name__)

FAILED = 1
"""Exit code: a check or step failed, as the output says."""

USAGE = 2
"""Exit code: wrong usage or configuration, or a taken port."""


def project_version() -> str:
    """The version in pyproject.toml: of the installed package, or of the checkout."""
    try:
        return version("kvit")
    except PackageNotFoundError:
        import tomllib

        project = Path(__file__).resolve().parent.parent / "pyproject.toml"
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(project_version(), prog_name="kvit", message="%(prog)s %(version)s")
def main() -> None:
    """Kvit: payment links for Telegram."""
    prepare_streams()


@main.command()
@click.option("--no-migrate", is_flag=True, help="Do not migrate the database; fail if its schema is older.")
@click.option("--take-over-webhook", is_flag=True, help="Remove the webhook that is set for the bot, and poll instead.")
def serve(no_migrate: bool, take_over_webhook: bool) -> None:
    """Run the service until SIGTERM or Ctrl-C."""
    settings = _settings()
    _run(_serve(settings, migrate=not no_migrate, take_over=take_over_webhook), settings)


@main.command()
@click.option("--port", default=8080, show_default=True, help="Port of the page; the next free port if it is in use.")
@click.option("--tour", is_flag=True, help="Run whole payment journeys without input, then exit.")
def demo(port: int, tour: bool) -> None:
    """Run the demo in a browser, with a fake Stripe and a fake Telegram."""
    from bot.sandbox.demo.server import serve_demo
    from bot.sandbox.demo.tour import run_tour

    if tour:
        sys.exit(0 if _run(run_tour()) else 1)
    _run(serve_demo(port))


@main.command()
@click.option("--stripe-port", default=0, show_default=True, help="0 means any free port.")
@click.option("--telegram-port", default=0, show_default=True, help="0 means any free port.")
def sandbox(stripe_port: int, telegram_port: int) -> None:
    """Run only the fake Stripe and the fake Telegram; the first line is JSON with their addresses and credentials."""
    from bot.sandbox.standalone import serve_sandbox

    _run(serve_sandbox(stripe_port, telegram_port))


@main.command()
def migrate() -> None:
    """Migrate the database to this version's schema."""
    settings = _settings()
    _run(_migrate(settings), settings)


@main.command()
@click.option("--retry-dead", is_flag=True, help="Also retry dead jobs: those that failed for good.")
@click.option("--movements", is_flag=True, help="Instead, read Stripe's fees and payouts from DATE on.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="With --movements: a day, in UTC.")
def reconcile(retry_dead: bool, movements: bool, since: datetime | None) -> None:
    """Compare payments, refunds and events with Stripe now, and print what was found and repaired."""
    if movements != (since is not None) or (movements and retry_dead):
        raise click.UsageError("--movements and --since DATE belong together, without --retry-dead.")
    settings = _settings()
    if since is not None:
        _run(_reconcile_movements(settings, since.replace(tzinfo=UTC)), settings)
    else:
        _run(_reconcile(settings, retry_dead=retry_dead), settings)


@main.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(file: Path) -> None:
    """Copy the whole database to FILE, also while the service runs."""
    database = Database(_settings().database_url)
    if database.file is None:
        _fail(f"No backup was made: {database.name} is not a file. Use pg_dump, as docs/operations.md shows.")
    _check_database_file(database)
    try:
        size = backup_database(database.file, file)
    except BackupFailed as error:
        click.echo(f"No backup was made: {error}.", err=True)
        sys.exit(USAGE if isinstance(error, TargetExists) else FAILED)
    click.echo(f"The database was copied to {file}, {size / 1e6:.1f} MB, and the copy was verified.")


@main.command("move-db")
@click.option("--to", "url", required=True, help="URL of the new database: a file that is not there, or an empty one.")
def move_db(url: str) -> None:
    """Move everything from DATABASE_URL to another database, while the service is stopped."""
    from bot.move_db import move_database
    from storage.move import MoveRefused

    settings = _settings()
    try:
        lines = _run(move_database(settings, url), settings)
    except MoveRefused as error:
        _fail(f"{error}.", FAILED)
    for line in lines:
        click.echo(line)
    click.echo("The old database refuses to start from now on. Set DATABASE_URL to the new one, and start the service.")


@main.command()
@click.option("--shop", default="", help="The shop's number or name; needed where there are several.")
@click.option("--period", default="month", show_default=True, help="Such as today, 2026-11, 2026-Q4, A..B.")
@click.option("--format", "file_format", type=click.Choice(["csv", "xlsx", "sie"]), default="csv", show_default=True)
@click.option("--plain", is_flag=True, help="CSV for programs: commas, decimal points, no BOM.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="The new file; else named by shop and period."
)
def export(shop: str, period: str, file_format: str, plain: bool, out: Path | None) -> None:
    """Write a shop's payments, refunds and disputes of a period to a file, one row per movement of money."""
    from bot.export_file import ExportRefused, export_file
    from handlers.reports.files import FileFormat

    settings = _settings()
    _check_database_file(Database(settings.database_url))
    kind = FileFormat.PLAIN if plain else FileFormat(file_format)
    try:
        path = _run(export_file(settings, shop_name=shop, period=period, file_format=kind, out=out))
    except ExportRefused as error:
        _fail(f"No file was written. {error}.")
    click.echo(f"The file was written to {path}.")


@main.command("setup-webhooks")
def setup_webhooks() -> None:
    """Set up the webhooks at Stripe and Telegram, and the bot's menus."""
    from bot.setup_webhooks import set_up

    if not _run(set_up(_settings(), click.echo, now=SystemClock().now())):
        sys.exit(FAILED)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of name, ok, detail and remedy.")
def check(as_json: bool) -> None:
    """Check the installation, and print a hint for each problem."""
    from bot.checks import runner

    try:
        settings = load()
    except InvalidSettings as error:
        findings = runner.settings_errors(error)
    else:
        _configure_logging(settings)
        findings = _run(runner.run_checks(settings, SystemClock()))
    click.echo(
        runner.as_json(findings, ascii_only=not is_unicode(sys.stdout)) if as_json else runner.as_lines(findings)
    )
    sys.exit(0 if all(finding.ok for finding in findings) else FAILED)


async def _serve(settings: Settings, *, migrate: bool, take_over: bool) -> None:
    service = Service(settings, SystemClock(), migrate=migrate, take_over=take_over, notify_operator=click.echo)
    with shutdown_event() as shutdown:
        await service.start()
        gc.collect()
        gc.freeze()  # objects that exist now stay until the end, so the collector need not visit them again
        try:
            mode = "live" if settings.livemode else "test"
            by = "webhook" if settings.uses_telegram_webhook else "polling"
            log.info("Kvit %s is ready on %s: %s mode, updates by %s", project_version(), service.base, mode, by)
            click.echo(f"Kvit is ready on {service.base}")
            await shutdown.wait()
            await service.drain()
            log.info("shutting down: nothing more is accepted, running jobs are finished")
        finally:
            await service.stop()
            log.info("stopped")


async def _reconcile(settings: Settings, *, retry_dead: bool) -> None:
    try:
        result = await Service(settings, SystemClock()).reconcile(retry_dead=retry_dead)
    except GatewayError as error:
        click.echo(f"Nothing was reconciled. Stripe error {error.code}: {error.message}", err=True)
        sys.exit(FAILED)
    click.echo(f"Stripe events that no webhook delivered: {result.backfilled}.")
    click.echo(f"Payments and refunds checked: {result.checked}, changed: {result.changed}.")
    if retry_dead:
        click.echo(f"Dead jobs put back: {result.retried}.")
    if result.dead:
        click.echo(f"Dead jobs: {result.dead}. Fix the cause, then run `python -m bot reconcile --retry-dead`.")
    for job in result.newest:
        click.echo(f"  {job.finished_at:%Y-%m-%d %H:%M} UTC, job {job.id} in {job.queue} ({job.kind}): {job.reason}")


async def _reconcile_movements(settings: Settings, since: datetime) -> None:
    try:
        read = await Service(settings, SystemClock()).reconcile_movements(since)
    except GatewayError as error:
        click.echo(f"Not everything was read. Stripe error {error.code}: {error.message}", err=True)
        sys.exit(FAILED)
    click.echo(f"Balance transactions new or changed: {read.transactions}, payouts new or changed: {read.payouts}.")
    if read.denied:
        click.echo(f"Not everything was read: the Stripe key lacks the right {' and '.join(read.denied)}.", err=True)
        sys.exit(FAILED)


async def _migrate(settings: Settings) -> None:
    db = Database(settings.database_url, listen_url=settings.database_listen_url)
    _check_database_file(db)
    try:
        await db.migrate()
    finally:
        await db.close()
    click.echo(f"The database has schema version {HEAD}.")


def _settings() -> Settings:
    try:
        settings = load()
    except InvalidSettings as error:
        _fail(str(error))
    _configure_logging(settings)
    for finding in check_env_file():
        log.warning("%s %s", finding.detail, finding.hint)
    return settings


def _configure_logging(settings: Settings) -> None:
    logging_setup.configure(form=settings.log_format, level=settings.log_level, secrets=settings.secrets())


def _run(work: Coroutine[Any, Any, Any], settings: Settings | None = None) -> Any:
    hint = database_hint(settings.database_url if settings else "sqlite:")
    try:
        return asyncio.run(work)
    except RetryableStartupError as error:
        _fail(str(error), FAILED)
    except DatabaseUnavailable as error:
        _fail(f"DATABASE_URL: {error}. {hint}", FAILED)
    except UnsupportedDatabase as error:
        _fail(f"DATABASE_URL: {error}.")
    except UnknownVersion as error:
        _fail(f"DATABASE_URL: {error}")
    except StartupError as error:
        _fail(str(error))


def _check_database_file(database: Database) -> None:
    if database.file is not None and (problem := database_file_problem(database.file)):
        _fail(f"DATABASE_URL: {problem.detail} {problem.hint}")


def _fail(message: str, code: int = USAGE) -> NoReturn:
    click.echo(message, err=not is_null(sys.stderr))
    sys.exit(code)
