"""Receives Telegram's updates by long polling: each is committed as a job before it is confirmed to Telegram."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from telegram.error import Conflict, InvalidToken, RetryAfter, TelegramError

from bot.telegram.http_client import AiohttpRequest
from bot.telegram.messenger import retry_after_seconds
from bot.telegram.update_jobs import update_id, update_job
from handlers.backoff import backoff
from handlers.clock import Clock
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue

log = logging.getLogger(__name__)

ALLOWED_UPDATES = ("message", "callback_query", "my_chat_member", "inline_query", "chosen_inline_result")
"""Sent with every request, as Telegram remembers the last list. Edited messages run no command."""

LONG_POLL_SECONDS = 25
RESPONSE_TIMEOUT = 10.0
CONFLICT_RETRY_INTERVAL = 60.0
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 1.0, 30.0


class WebhookConflict(Exception):
    """A webhook is set for the bot, and polling may not remove it."""

    def __init__(self) -> None:
        super().__init__(
            "A webhook is set for this bot, so its updates go elsewhere. "
            "Use TELEGRAM_MODE=webhook, or start with --take-over-webhook to remove the webhook."
        )


@dataclass(frozen=True)
class _Outage:
    """Why no updates come in.

    `retry_after` is seconds, None for a growing delay. `is_taken`: another program or a webhook gets the updates.
    """

    kind: str
    message: str
    retry_after: float | None = None
    is_taken: bool = False


class Polling:
    """One long poll after another. Only one process of a bot may poll.

    A restart loses nothing: an update that was not committed is not confirmed and comes again, and the job key of an
    update keeps one that comes twice from being stored twice.
    """

    def __init__(
        self,
        request: AiohttpRequest,
        inbox: JobQueue,
        clock: Clock,
        *,
        on_reachable: Callable[[bool], None],
        take_over: bool = False,
        long_poll: int = LONG_POLL_SECONDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`take_over` removes a webhook once, at the start. `long_poll` is seconds, at most 50.

        `on_reachable` is called with False while another program or a webhook gets the updates, else with True.
        """
        self._request = request
        self._inbox = inbox
        self._clock = clock
        self._on_reachable = on_reachable
        self._take_over = take_over
        self._long_poll = long_poll
        self._chance = chance
        self._has_no_webhook = False
        self._offset: int | None = None
        self._outage: _Outage | None = None
        self._failures = 0

    async def ensure_no_webhook(self) -> None:
        """Checks that no webhook is set, or removes it once if `take_over` is set.

        Raises:
            WebhookConflict: a webhook is set.
            TelegramError: Telegram cannot be reached or rejects the request.
        """
        info = await self._request.call("getWebhookInfo")
        if isinstance(info, dict) and info.get("url"):
            if not self._take_over:
                raise WebhookConflict
            await self._request.call("deleteWebhook", drop_pending_updates=False)
            log.warning("The webhook of this bot was removed as requested; Kvit polls for updates now.")
        self._take_over = False  # a webhook that is set while Kvit runs was set on purpose
        self._has_no_webhook = True

    async def poll_once(self) -> int:
        """Fetches and commits updates, waiting for some for a while; returns how many of them were new.

        Raises:
            WebhookConflict, TelegramError: no updates came.
            DatabaseUnavailable: they were not committed, and are not confirmed.
        """
        if not self._has_no_webhook:
            await self.ensure_no_webhook()
        updates = await self._fetch()
        jobs = [job for update in updates if (job := update_job(update, bot_id=self._request.bot_id))]
        new = await self._inbox.enqueue(*jobs, now=self._clock.now())
        # An empty response shows that everything is confirmed, and the next request has no offset: after a week without
        # updates Telegram may continue from a lower number, and an old offset would confirm updates that never came.
        self._offset = max((id_ + 1 for update in updates if (id_ := update_id(update)) is not None), default=None)
        if updates and not jobs:
            raise TelegramError("updates without an update_id")
        return new

    async def run(self) -> None:
        """Polls until canceled; logs the beginning and the end of an outage once each."""
        self._offset = None  # another replica may have polled since
        while True:
            try:
                await self.poll_once()
            except (TelegramError, WebhookConflict, DatabaseUnavailable) as error:
                await self._pause(_outage_of(error))
            else:
                self._recovered()

    async def _fetch(self) -> list[Any]:
        # During an outage the poll does not wait, so that its end is noticed at once.
        wait = 0 if self._outage else self._long_poll
        try:
            updates = await self._request.call(
                "getUpdates",
                offset=self._offset,
                timeout=wait,
                allowed_updates=list(ALLOWED_UPDATES),
                read=wait + RESPONSE_TIMEOUT,
            )
        except Conflict as error:
            if "webhook" in str(error).lower():
                self._has_no_webhook = False
                raise WebhookConflict from error
            raise
        if not isinstance(updates, list):
            raise TelegramError("getUpdates did not return a list")
        return updates

    async def _pause(self, outage: _Outage) -> None:
        if self._outage is None or self._outage.kind != outage.kind:
            log.error(outage.message)
            self._failures = 0
        self._outage = outage
        if outage.is_taken:
            self._on_reachable(False)
        pause = outage.retry_after
        if pause is None:
            chance = self._chance()
            pause = backoff(
                self._failures, first=FIRST_RETRY_SECONDS, longest=MAX_RETRY_SECONDS, jitter=1.0, chance=chance
            )
        self._failures += 1
        await self._clock.sleep(pause)

    def _recovered(self) -> None:
        if self._outage is not None:
            log.info("Telegram's updates come in again.")
        self._outage = None
        self._on_reachable(True)


def _outage_of(error: TelegramError | WebhookConflict | DatabaseUnavailable) -> _Outage:
    match error:
        case WebhookConflict():
            return _Outage("webhook", f"Polling has stopped. {error}", CONFLICT_RETRY_INTERVAL, is_taken=True)
        case DatabaseUnavailable():
            return _Outage("database", f"Updates are not confirmed to Telegram: {error}.")
        case Conflict():
            message = "Polling has stopped: another program polls with this bot's token. Stop one of the two."
            return _Outage("conflict", message, CONFLICT_RETRY_INTERVAL, is_taken=True)
        case InvalidToken():
            message = "Telegram rejects the bot's token. Set TELEGRAM_BOT_TOKEN to the one from @BotFather."
            return _Outage("token", message, CONFLICT_RETRY_INTERVAL)
        case RetryAfter():
            return _Outage("telegram", "Telegram asks the bot to poll less often.", retry_after_seconds(error))
        case _:
            return _Outage("telegram", f"No updates from Telegram: {error}. Trying again.")
