"""The service: checks the database, then starts the web server and all tasks; stops them in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import count

from aiohttp import web

from bot.checks.database_file import database_file_problem
from bot.checks.machine import check_schema, database_hint
from bot.checks.port import explain
from bot.clock import SystemClock
from bot.settings import Settings
from bot.stripe.gateway import StripeGateway
from bot.telegram.http_client import API, AiohttpRequest
from bot.telegram.messenger import TelegramMessenger
from bot.telegram.polling import Polling, WebhookConflict
from bot.telegram.webhook_monitor import WebhookMonitor
from bot.web_server import make_runner
from bot.wiring import build_components
from handlers.access.membership import Actor
from handlers.backoff import backoff
from handlers.balance.sync import BalanceReading
from handlers.clock import Clock
from handlers.operations import monitor, reconciler
from handlers.operations.metrics import Metrics
from handlers.operations.monitor import INTAKE
from handlers.operations.reconciler import ReconcileResult, reconcile_now
from handlers.stripe.gateway import PaymentGateway
from handlers.telegram.messenger import DeliveryError, Messenger
from handlers.telegram.rate_limit import TelegramRateLimiter
from storage import installation, payment_queries, shops
from storage.database.database import Database
from storage.database.file_lock import AlreadyLocked, FileLock, SeveralNames
from storage.errors import DatabaseUnavailable, UnsupportedDatabase
from storage.installation import BOT_ID
from storage.migrations import UnknownVersion
from storage.models.shop import Role

log = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 15.0
STARTUP_TIMEOUT = 30.0
WEBHOOK_CHECK_TIMEOUT = 3.0
BACKLOG = 128
USERNAME = "bot_username"
DATABASE_FILE = "database_file"
FILE_CHECK_INTERVAL = 10.0
USERNAME_SECONDS = 3600.0
STOPPING = "stopping"
"""What `/readyz` names before a replica stops."""

FETCH_BOT_PROFILE = "fetch bot profile"
INTAKE_TASKS = {INTAKE, FETCH_BOT_PROFILE}
"""The tasks that are canceled first, so that nothing new comes in."""

LEADERS_PARTS = (INTAKE, reconciler.NAME, monitor.NAME, "outbox")
"""The heartbeats of what only the leader of several replicas runs."""

STAND_BY_SECONDS = 2.0


class StartupError(Exception):
    """The service cannot start; the text is for the operator."""


class RetryableStartupError(StartupError):
    """No setting is wrong: a later start may succeed."""


@dataclass(frozen=True)
class AdapterOverrides:
    """Wrappers around the two adapters, for tests that make them fail."""

    gateway: Callable[[PaymentGateway], PaymentGateway] = lambda gateway: gateway
    messenger: Callable[[Messenger], Messenger] = lambda messenger: messenger


class Service:
    """Kvit in this event loop. `base` is the URL it listens on after `start`."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        framed_by: str = "'none'",
        take_over: bool = False,
        migrate: bool = True,
        rate_limiter: TelegramRateLimiter | None = None,
        overrides: AdapterOverrides | None = None,
        notify_operator: Callable[[str], None] | None = None,
    ) -> None:
        """`notify_operator` shows a text on the terminal, not in the log: how to become the first owner.

        `take_over` lets polling remove a webhook. `framed_by` is the CSP source that may embed pay pages in a frame.
        """
        self._settings, self._clock, self._migrate = settings, clock, migrate
        self._notify_operator = notify_operator
        self.base = ""
        overrides = overrides or AdapterOverrides()
        metrics = Metrics(clock)
        self._db = db = Database(settings.database_url, listen_url=settings.database_listen_url)
        self._lock = None if db.file is None else FileLock(db.file)
        self._request = AiohttpRequest(
            settings.telegram_bot_token.get_secret_value(),
            base=settings.telegram_api_base or API,
            on_call=metrics.api_call,
        )
        self._telegram = TelegramMessenger(self._request)
        self._stripe = StripeGateway(
            settings.stripe_api_key.get_secret_value(), api_base=settings.stripe_api_base, on_call=metrics.api_call
        )
        gateway, self._messenger = overrides.gateway(self._stripe), overrides.messenger(self._telegram)

        self._components = build_components(
            settings,
            db,
            clock,
            gateway,
            self._messenger,
            bot_id=self._request.bot_id,
            rate_limiter=TelegramRateLimiter() if rate_limiter is None else rate_limiter,
            framed_by=framed_by,
            metrics=metrics,
        )
        updates, on_reachable = self._components.updates, self._components.monitor.updates_reachable
        self._polling = Polling(self._request, updates, clock, on_reachable=on_reachable, take_over=take_over)
        webhook = f"{settings.public_url}/telegram/webhook"
        self._webhook_monitor = WebhookMonitor(self._request, webhook, updates, clock, on_reachable=on_reachable)
        self._knows_profile = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns when everything runs and `/readyz` returns 200.

        Raises:
            StartupError: nothing was started.
        """
        try:
            await self._open_database()
            await self._listen()
            await self._check_no_webhook()
            self._start_tasks()
            await self._wait_until_ready()
        except BaseException:
            await self.stop()
            raise

    async def drain(self) -> None:
        """Goes on with everything for `DRAIN_SECONDS`, but is not ready, so that a proxy chooses other replicas."""
        if self._settings.drain_seconds:
            self._components.heartbeats.register(STOPPING, stale_after_seconds=0)
            await self._clock.sleep(self._settings.drain_seconds)

    async def stop(self) -> None:
        """Accepts nothing more, finishes running jobs and requests, closes everything. May be called twice."""
        await _cancel_tasks([task for task in self._tasks if task.get_name() in INTAKE_TASKS])
        stopping = [worker.stop(SHUTDOWN_TIMEOUT / 2) for worker in self._components.workers]
        if self._runner is not None:
            stopping.append(self._runner.cleanup())
            self._runner = None
        await asyncio.gather(*stopping)
        await self._components.background_tasks.close(SHUTDOWN_TIMEOUT / 2)
        await _cancel_tasks(self._tasks)
        self._tasks = []
        await self._telegram.close()
        await self._stripe.close()
        await self._db.close()
        if self._lock is not None:
            self._lock.release()

    async def reconcile(self, *, retry_dead: bool) -> ReconcileResult:
        """Runs one reconciliation and starts nothing else; another process may run the service meanwhile.

        Raises:
            StartupError: the database cannot be used.
            GatewayError: Stripe cannot be reached or rejects the key.
        """
        parts, living = self._components, None
        try:
            self._check_database_file()
            await self._check_database()
            if self._db.has_replicas:
                living = asyncio.create_task(parts.leadership.keep_registered())
            return await reconcile_now(
                parts.event_backfill,
                parts.reconciler,
                parts.incoming_workers,
                parts.queues,
                self._clock,
                retry_dead=retry_dead,
            )
        finally:
            await _cancel_tasks([] if living is None else [living])
            await self.stop()

    async def reconcile_movements(self, since: datetime) -> BalanceReading:
        """Reads Stripe's balance transactions and payouts from `since` on, also beside a running service.

        Raises:
            StartupError: the database cannot be used.
            GatewayError: Stripe cannot be reached or rejects the key.
        """
        try:
            self._check_database_file()
            await self._check_database()
            return await self._components.balance_sync.run_once(since)
        finally:
            await self.stop()

    async def seed(self, owner_name: str, members: list[tuple[int, str, str]], groups: list[int]) -> None:
        """Adds members (user id, name, role) and groups to the first owner's shop, for a demo."""
        owner = min(self._settings.owner_ids)
        shop = await self._components.membership.first_shop(Actor(owner, owner_name))
        now = self._clock.now()
        for user_id, name, role in members:
            await self._db.write(shops.set_member, shop.id, user_id, Role[role.upper()], name=name, now=now)
        for chat_id in groups:
            await self._db.write(shops.link_chat, chat_id, shop.id, now=now)

    async def _open_database(self) -> None:
        self._check_database_file()
        try:
            if self._lock is not None:
                self._lock.acquire(create=self._migrate)
            if self._migrate:
                await self._db.migrate()
            await self._check_database()
            await self._components.restored_backup.handle()
            await self._prepare_for_replicas()
        except AlreadyLocked as error:
            raise StartupError(f"{error}: one serve per file.") from error
        except (SeveralNames, UnsupportedDatabase) as error:
            raise StartupError(f"DATABASE_URL: {error}.") from error
        except UnknownVersion as error:
            raise StartupError(f"DATABASE_URL: {error}") from error
        except (DatabaseUnavailable, OSError) as error:
            raise RetryableStartupError(
                f"DATABASE_URL: {error}. {database_hint(self._settings.database_url)}"
            ) from error
        if not self._settings.stripe_webhook_secrets:
            log.warning("STRIPE_WEBHOOK_SECRETS is not set: webhooks are rejected; Kvit polls Stripe, which is slower.")

    async def _prepare_for_replicas(self) -> None:
        """On SQLite ends the leases of the process before: the file lock shows that no other holds one."""
        if self._lock is not None:
            for queue in self._components.queues:
                await queue.release_leases()
        elif isinstance(self._clock, SystemClock):
            await self._clock.set_by(self._db)

    def _check_database_file(self) -> None:
        if self._db.file is not None and (problem := database_file_problem(self._db.file)):
            raise StartupError(f"DATABASE_URL: {problem.detail} {problem.hint}")

    async def _check_database(self) -> None:
        """Rejects another schema version, another bot's database, and unfinished payments of the other mode."""
        await self._db.probe()
        await self._check_schema()
        if self._db.has_replicas:  # either `move-db` sees this process, or this process sees its mark
            await self._components.leadership.register_process()
            await self._check_schema()
        if unfinished := await self._db.read(payment_queries.count_unfinished, livemode=not self._settings.livemode):
            mode, other = ("live", "test") if self._settings.livemode else ("test", "live")
            raise StartupError(
                f"STRIPE_API_KEY is a {mode} key, but this database has {unfinished} open payments or refunds of a "
                f"{other} key. Use that key until they are finished, or set DATABASE_URL to another database."
            )
        await self._check_bot_id(str(self._settings.bot_id))
        username = await self._db.read(installation.get_setting, USERNAME)
        self._messenger.username = username or ""

    async def _check_schema(self) -> None:
        if (schema := await check_schema(self._db)).hint:
            raise StartupError(f"DATABASE_URL: {schema.detail} {schema.hint}")

    async def _check_bot_id(self, bot_id: str) -> None:
        """Assigns a new database to this bot, and rejects another bot's: no bot can edit the messages of another."""
        stored = await self._db.read(installation.get_setting, BOT_ID)
        if stored is None:
            await self._db.write(installation.set_setting, BOT_ID, bot_id)
        elif stored != bot_id:
            raise StartupError(
                f"TELEGRAM_BOT_TOKEN belongs to the bot {bot_id}, but this database belongs to the bot {stored}, "
                f"whose messages no other bot can edit. Use that bot's token, or set DATABASE_URL to another database."
            )

    async def _listen(self) -> None:
        host, port = self._settings.host, self._settings.port
        self._runner = make_runner(self._components.web_app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=BACKLOG)
        try:
            await site.start()
        except OSError as error:
            detail, hint = explain(host, port, error)
            raise StartupError(f"HOST and PORT: {detail}. {hint}") from error
        url_host = f"[{host}]" if ":" in host else host
        self.base = f"http://{url_host}:{site.port}"

    async def _check_no_webhook(self) -> None:
        """Fails the start if a webhook is set. If Telegram cannot be reached now, polling checks later."""
        if self._settings.uses_telegram_webhook:
            return
        try:
            async with asyncio.timeout(WEBHOOK_CHECK_TIMEOUT):
                await self._polling.ensure_no_webhook()
        except WebhookConflict as error:
            raise StartupError(str(error)) from error
        except Exception as error:  # polling logs it and tries again
            log.warning("Telegram cannot be reached yet (%s); Stripe's webhooks are accepted", type(error).__name__)

    def _start_tasks(self) -> None:
        parts = self._components
        leading: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            (INTAKE, self._webhook_monitor.run if self._settings.uses_telegram_webhook else self._polling.run),
            (FETCH_BOT_PROFILE, self._offer_ownership),
            ("reconciler", parts.reconciler.run),
            ("event backfill", parts.event_backfill.run),
            ("balance", parts.balance_sync.run),
            ("monitor", parts.monitor.run),
            ("outgoing worker", parts.outgoing_worker.run),
        ]
        tasks: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            (FETCH_BOT_PROFILE, self._fetch_bot_profile),
            ("live updates", parts.live_updates.run),
            *((f"incoming worker {number}", worker.run) for number, worker in enumerate(parts.incoming_workers)),
        ]
        if self._db.has_replicas:
            leading.append(("jobs of dead processes", parts.leadership.release_jobs_of_dead_processes))
            lead, stand_by = partial(_run_all, leading), partial(self._stand_by)
            tasks += [
                ("wake-ups", self._db.listen),
                ("registration", parts.leadership.keep_registered),
                ("leader", partial(parts.leadership.run, lead, stand_by)),
                ("received", parts.monitor.share),
            ]
            if isinstance(self._clock, SystemClock):
                tasks.append(("clock", partial(self._clock.follow, self._db)))
        else:
            tasks += leading
        if self._lock is not None:
            tasks.append((DATABASE_FILE, partial(self._watch_database_file, self._lock)))
        self._tasks = [asyncio.create_task(_supervise(name, run), name=name) for name, run in tasks]

    async def _stand_by(self) -> None:
        """Keeps the parts that another replica runs from counting as stopped here, until cancelled."""
        while True:
            for name in LEADERS_PARTS:
                self._components.heartbeats.beat(name, self._clock.now())
            await asyncio.sleep(STAND_BY_SECONDS)

    async def _watch_database_file(self, lock: FileLock) -> None:
        """Renews the lock; once the database file was moved, replaced or removed, `/readyz` stops returning 200."""
        heartbeats = self._components.heartbeats
        heartbeats.register(DATABASE_FILE, stale_after_seconds=3 * FILE_CHECK_INTERVAL)
        while True:
            try:
                if lock.renew():
                    heartbeats.beat(DATABASE_FILE, self._clock.now())
                else:
                    log.error("%s was moved, replaced or removed: what Kvit writes now is lost", lock.database)
            except (AlreadyLocked, OSError) as error:
                log.error("the lock of the database cannot be renewed: %s", error)
            await self._clock.sleep(FILE_CHECK_INTERVAL)

    async def _fetch_bot_profile(self) -> None:
        """Stores the bot's username now and every hour, for it may be renamed."""
        while True:
            await self._fetch_username()
            self._knows_profile.set()
            await self._clock.sleep(USERNAME_SECONDS)

    async def _fetch_username(self) -> None:
        """Returns once Telegram was reached."""
        for failures in count():
            try:
                await self._telegram.get_me()
                break
            except DeliveryError as error:
                log.warning("cannot fetch the bot's profile: %s", error)
                await self._clock.sleep(backoff(failures, first=1.0, longest=60.0))
        self._messenger.username = self._telegram.username
        await self._db.write(installation.set_setting, USERNAME, self._telegram.username)

    async def _offer_ownership(self) -> None:
        """Shows the claim link if there is no owner; only one replica does, because a new link voids the old one."""
        await self._knows_profile.wait()
        payload = await self._components.membership.create_claim_link()
        if payload and self._notify_operator:
            link = f"https://t.me/{self._telegram.username}?start={payload}"
            self._notify_operator(
                f"There is no owner yet. Open this link within 15 minutes to become the owner: {link}"
            )

    async def _wait_until_ready(self) -> None:
        """Returns after the first heartbeat of each task, which takes some milliseconds."""
        try:
            async with asyncio.timeout(STARTUP_TIMEOUT):
                while self._components.heartbeats.stale(self._clock.now()):  # noqa: ASYNC110 - heartbeats have no event
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            late = ", ".join(self._components.heartbeats.stale(self._clock.now()))
            raise RetryableStartupError(
                f"Not ready after {STARTUP_TIMEOUT:.0f} seconds: {late}. The machine is overloaded; start Kvit again."
            ) from error


async def _supervise(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Runs a task; an exception is logged, and the task started again."""
    while True:
        try:
            await run()
            return
        except Exception:
            log.exception("%s failed and is started again", name)
            await asyncio.sleep(1)


async def _run_all(tasks: list[tuple[str, Callable[[], Awaitable[None]]]]) -> None:
    """Runs the tasks until cancelled."""
    running = [asyncio.create_task(_supervise(name, run), name=name) for name, run in tasks]
    try:
        await asyncio.Event().wait()
    finally:
        await _cancel_tasks(running)


async def _cancel_tasks(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
