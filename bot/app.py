"""Runs the house: web server, intake, belts and sweep are started once everything is in order, and stopped in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count

from aiohttp import web

from bot.checks.machine import check_schema
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
from handlers.clock import Clock
from handlers.operations.metrics import Metrics
from handlers.operations.monitor import INTAKE
from handlers.operations.reconciler import ReconcileResult, reconcile_now
from handlers.stripe.gateway import PaymentGateway
from handlers.telegram.messenger import DeliveryError, Messenger
from handlers.telegram.rate_limit import TelegramRateLimiter
from storage import installation, payment_queries, shops
from storage.database.database import Database
from storage.database.file_lock import AlreadyLocked, FileLock
from storage.errors import DatabaseUnavailable
from storage.installation import BOT_ID
from storage.migrations import UnknownVersion
from storage.models.shop import Role

log = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 15.0
STARTUP_TIMEOUT = 30.0
WEBHOOK_CHECK_TIMEOUT = 3.0
BACKLOG = 128
USERNAME = "bot_username"
FETCH_BOT_PROFILE = "hello"
INTAKE_TASKS = {INTAKE, FETCH_BOT_PROFILE}
"""The loops that end first: what comes in after them would have to be finished as well."""

INVALID_PATH_ERRORS = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
"""Errors of the system that say of a file that it cannot lie there; any other may pass."""


class StartupError(Exception):
    """Kvit cannot run like this; the sentence is for the operator."""


class RetryableStartupError(StartupError):
    """Nothing is set wrong: the same start may succeed later."""


@dataclass(frozen=True)
class AdapterOverrides:
    """What a test puts around the two doors to the vendors, to break them on purpose."""

    gateway: Callable[[PaymentGateway], PaymentGateway] = lambda gateway: gateway
    messenger: Callable[[Messenger], Messenger] = lambda messenger: messenger


class Service:
    """The whole of Kvit in this event loop; `base` is where it listens once it was started."""

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
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """`tell` says to the operator, on his terminal and not in the log, how to become the first owner;
        `take_over` lets polling remove a webhook; `framed_by` is who may put our pages into a frame."""
        self._settings, self._clock, self._migrate = settings, clock, migrate
        self._tell = tell
        self.base = ""
        overrides = overrides or AdapterOverrides()
        metrics = Metrics(clock)
        self._db = db = Database(settings.database_url)
        self._lock = FileLock(db.path)
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
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Return once everything runs and `/readyz` would say so.

        Raises:
            CannotStart: nothing runs, and why.
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

    async def stop(self) -> None:
        """Take nothing more in, finish what is in hand, close everything; twice is once."""
        await _cancel_tasks([loop for loop in self._tasks if loop.get_name() in INTAKE_TASKS])
        ending = [worker.stop(SHUTDOWN_TIMEOUT / 2) for worker in self._components.workers]
        if self._runner is not None:
            ending.append(self._runner.cleanup())
            self._runner = None
        await asyncio.gather(*ending)
        await self._components.background_tasks.close(SHUTDOWN_TIMEOUT / 2)
        await _cancel_tasks(self._tasks)
        self._tasks = []
        await self._telegram.close()
        await self._stripe.close()
        await self._db.close()
        self._lock.release()

    async def reconcile(self, *, retry_dead: bool) -> ReconcileResult:
        """Runs one reconciliation, also beside a running service; starts nothing else of this one.

        Raises:
            StartupError: the database cannot be used.
            GatewayError: Stripe does not answer, or not to this key.
        """
        try:
            await self._check_database()
            house, now = self._components, self._clock
            return await reconcile_now(
                house.event_backfill, house.reconciler, house.incoming_workers, house.queues, now, retry_dead=retry_dead
            )
        finally:
            await self.stop()

    async def seed(self, owner_name: str, people: list[tuple[int, str, str]], groups: list[int]) -> None:
        """Give the first owner's shop its people (id, name, role) and its groups, as a demo needs them."""
        owner = min(self._settings.owner_ids)
        shop = await self._components.membership.first_shop(Actor(owner, owner_name))
        now = self._clock.now()
        for user_id, name, role in people:
            await self._db.write(shops.set_member, shop.id, user_id, Role[role.upper()], name=name, now=now)
        for chat_id in groups:
            await self._db.write(shops.link_chat, chat_id, shop.id, now=now)

    async def _open_database(self) -> None:
        try:
            self._lock.acquire()
            if self._migrate:
                await self._db.migrate()
            await self._check_database()
            for queue in self._components.queues:  # the lock says that whoever held a lease of this file is gone
                await queue.release_leases()
        except AlreadyLocked as error:
            raise StartupError(f"{error}: one serve per file.") from error
        except (*INVALID_PATH_ERRORS, UnknownVersion) as error:
            raise StartupError(f"DATABASE_URL: {error}.") from error
        except (DatabaseUnavailable, OSError) as error:
            raise RetryableStartupError(f"DATABASE_URL: {error}.") from error
        if not self._settings.stripe_webhook_secrets:
            log.warning("STRIPE_WEBHOOK_SECRETS is not set: webhooks are refused, and Stripe is asked instead, slower.")

    async def _check_database(self) -> None:
        """Refuse tables of another version, what was served by another bot, and what is under way in the other mode."""
        if (found := await check_schema(self._db)).hint:
            raise StartupError(f"DATABASE_URL: {found.detail} {found.hint}")
        if foreign := await self._db.read(payment_queries.count_unfinished, livemode=not self._settings.livemode):
            ours, theirs = ("live", "test") if self._settings.livemode else ("test", "live")
            raise StartupError(
                f"STRIPE_API_KEY is a {ours} key, but this database holds {foreign} open payments or refunds made "
                f"with a {theirs} key. Run with that key until they have ended, or set DATABASE_URL to another file."
            )
        await self._check_bot_id(str(self._settings.bot_id))
        username = await self._db.read(installation.get_setting, USERNAME)
        self._messenger.username = username or ""

    async def _check_bot_id(self, bot_id: str) -> None:
        """Take the database for this bot's, or refuse: Telegram lets no bot see or edit what another one wrote."""
        known = await self._db.read(installation.get_setting, BOT_ID)
        if known is None:
            await self._db.write(installation.set_setting, BOT_ID, bot_id)
        elif known != bot_id:
            raise StartupError(
                f"TELEGRAM_BOT_TOKEN is of the bot {bot_id}, but this database belongs to the bot {known}, "
                f"whose messages no other can edit. Use that bot's token, or set DATABASE_URL to another file."
            )

    async def _listen(self) -> None:
        host, port = self._settings.host, self._settings.port
        self._runner = make_runner(self._components.web_app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=BACKLOG)
        try:
            await site.start()
        except OSError as error:
            raise StartupError(f"HOST and PORT: cannot listen on {host}:{port} ({error.strerror}).") from error
        shown = f"[{host}]" if ":" in host else host
        self.base = f"http://{shown}:{site.port}"

    async def _check_no_webhook(self) -> None:
        """Refuse at once where a webhook is set; while Telegram is down this is found out later, by the intake."""
        if self._settings.uses_telegram_webhook:
            return
        try:
            async with asyncio.timeout(WEBHOOK_CHECK_TIMEOUT):
                await self._polling.ensure_no_webhook()
        except WebhookConflict as error:
            raise StartupError(str(error)) from error
        except Exception as error:  # out of reach or refused: the intake says so and goes on trying
            log.warning(
                "Telegram does not answer yet (%s); Stripe's webhooks are taken all the same", type(error).__name__
            )

    def _start_tasks(self) -> None:
        loops: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            (INTAKE, self._webhook_monitor.run if self._settings.uses_telegram_webhook else self._polling.run),
            (FETCH_BOT_PROFILE, self._fetch_bot_profile),
            ("reconciler", self._components.reconciler.run),
            ("missed events", self._components.event_backfill.run),
            ("live", self._components.live_updates.run),
            ("monitor", self._components.monitor.run),
            *((f"belt {number}", worker.run) for number, worker in enumerate(self._components.workers)),
        ]
        self._tasks = [asyncio.create_task(_supervise(name, loop), name=name) for name, loop in loops]

    async def _fetch_bot_profile(self) -> None:
        """Learn our own name from Telegram, however long that takes."""
        for failures in count():
            try:
                await self._telegram.get_me()
                break
            except DeliveryError as failed:
                log.warning("Telegram does not say who we are: %s", failed)
                await self._clock.sleep(backoff(failures, first=1.0, longest=60.0))
        self._messenger.username = self._telegram.username
        await self._db.write(installation.set_setting, USERNAME, self._telegram.username)
        word = await self._components.membership.create_claim_link()
        if word and self._tell:
            link = f"https://t.me/{self._telegram.username}?start={word}"
            self._tell(f"There is no owner yet. Whoever opens this link within 15 minutes becomes it: {link}")

    async def _wait_until_ready(self) -> None:
        """Each part shows its first sign of life within some milliseconds."""
        async with asyncio.timeout(STARTUP_TIMEOUT):
            while self._components.heartbeats.stale(self._clock.now()):  # noqa: ASYNC110 - nobody rings a bell for silence
                await asyncio.sleep(0.01)


async def _supervise(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop; one that fails is written down and begun again, for nothing else would do its work."""
    while True:
        try:
            await loop()
            return
        except Exception:
            log.exception("%s failed and begins again", name)
            await asyncio.sleep(1)


async def _cancel_tasks(loops: list[asyncio.Task[None]]) -> None:
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
