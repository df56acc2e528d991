"""The commands of the program; each reads its options, calls one thing, and ends with an exit code that says how."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Coroutine
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

import click

from bot import logging_setup
from bot.app import RetryableStartupError, Service, StartupError
from bot.checks.machine import DATABASE_HINT
from bot.clock import SystemClock
from bot.settings import InvalidSettings, Settings, load
from bot.signals import shutdown_event
from handlers.stripe.gateway import GatewayError
from storage.database.backup import BackupFailed, TargetExists, backup_database
from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.migrations import HEAD, UnknownVersion

log = logging.getLogger(__name__)

FAILED = 1
"""Something is not as it should be, and it was said what."""

USAGE = 2
"""Usage, configuration, or a taken port."""


def our_version() -> str:
    """The version in pyproject.toml: that of the installed package, or of the checkout we run from."""
    try:
        return version("kvit")
    except PackageNotFoundError:
        import tomllib

        project = Path(__file__).resolve().parent.parent / "pyproject.toml"
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(our_version(), prog_name="kvit", message="%(prog)s %(version)s")
def main() -> None:
    """Kvit: payment links for Telegram."""


@main.command()
@click.option("--no-migrate", is_flag=True, help="Leave the database as it is; refuse if its tables are older.")
@click.option("--take-over-webhook", is_flag=True, help="Remove a webhook that is set for the bot, and poll instead.")
def serve(no_migrate: bool, take_over_webhook: bool) -> None:
    """Run the service until SIGTERM or Ctrl-C."""
    settings = _settings()
    _run(_serve(settings, migrate=not no_migrate, take_over=take_over_webhook))


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
    """Bring the database to this version's tables."""
    _run(_migrate(_settings()))


@main.command()
@click.option("--retry-dead", is_flag=True, help="Also retry dead jobs: those that failed for good.")
def reconcile(retry_dead: bool) -> None:
    """Compare payments, refunds and events with Stripe now, and print what was found and repaired."""
    _run(_reconcile(_settings(), retry_dead=retry_dead))


@main.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(file: Path) -> None:
    """Copy the whole database to FILE, also while the service runs."""
    database = Database(_settings().database_url).path
    try:
        size = backup_database(database, file)
    except BackupFailed as failed:
        click.echo(f"No backup was made: {failed}.", err=True)
        sys.exit(USAGE if isinstance(failed, TargetExists) else FAILED)
    click.echo(f"The database is copied to {file}, {size / 1e6:.1f} MB, and the copy was checked.")


@main.command("setup-webhooks")
def setup_webhooks() -> None:
    """Tell Stripe and Telegram where Kvit is, and give the bot its menus."""
    from bot.setup_webhooks import set_up

    if not _run(set_up(_settings(), click.echo, now=SystemClock().now())):
        sys.exit(FAILED)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print a list of name, ok, detail, remedy.")
def check(as_json: bool) -> None:
    """Say of each thing that can be wrong whether it is, and what to do."""
    from bot.checks import runner

    try:
        settings = load()
    except InvalidSettings as refused:
        found = runner.settings_errors(refused)
    else:
        _log(settings)
        found = _run(runner.run_checks(settings, SystemClock()))
    click.echo(runner.as_json(found) if as_json else runner.as_lines(found))
    sys.exit(0 if all(finding.ok for finding in found) else FAILED)


async def _serve(settings: Settings, *, migrate: bool, take_over: bool) -> None:
    service = Service(settings, SystemClock(), migrate=migrate, take_over=take_over, tell=click.echo)
    with shutdown_event() as told:
        await service.start()
        gc.collect()
        gc.freeze()  # what exists now stays until the end: the collector need not visit it again
        try:
            mode = "live" if settings.livemode else "test"
            by = "webhook" if settings.uses_telegram_webhook else "polling"
            log.info("Kvit %s is ready on %s: %s mode, updates by %s", our_version(), service.base, mode, by)
            click.echo(f"Kvit is ready on {service.base}")
            await told.wait()
            log.info("told to end: nothing more is taken in, and what is in hand is finished")
        finally:
            await service.stop()
            log.info("ended")


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


async def _migrate(settings: Settings) -> None:
    db = Database(settings.database_url)
    try:
        await db.migrate()
    finally:
        await db.close()
    click.echo(f"The database has the tables of version {HEAD}.")


def _settings() -> Settings:
    try:
        settings = load()
    except InvalidSettings as refused:
        _refuse(str(refused))
    _log(settings)
    return settings


def _log(settings: Settings) -> None:
    logging_setup.configure(form=settings.log_format, level=settings.log_level, secrets=settings.secrets())


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(work)
    except RetryableStartupError as error:
        _refuse(f"{error} {DATABASE_HINT}", FAILED)
    except DatabaseUnavailable as error:
        _refuse(f"DATABASE_URL: {error}. {DATABASE_HINT}", FAILED)
    except (StartupError, UnknownVersion) as error:
        _refuse(str(error))


def _refuse(why: str, code: int = USAGE) -> NoReturn:
    click.echo(why, err=True)
    sys.exit(code)
