"""Checks that Telegram's webhook is set to Kvit's URL, and that updates get through."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from telegram.error import TelegramError

from bot.telegram.http_client import AiohttpRequest
from handlers.clock import Clock
from storage.job_queue import JobQueue

log = logging.getLogger(__name__)

CHECK_INTERVAL = 300.0
RECHECK_INTERVAL = 30.0
"""Seconds between two checks, and after one that found an error or could not tell."""

DELIVERY_RETRY_TIME = timedelta(seconds=150)
"""Telegram sends an update that failed again after 120 seconds at most, unless it was asked to wait longer.

Source: WebhookActor::on_update_error of the Bot API server.
"""

NOT_SET = "No updates will come in: Telegram's webhook is not set to Kvit. Run `python -m bot setup-webhooks`."


class WebhookMonitor:
    """Asks Telegram for the state of the webhook again and again. It changes nothing."""

    def __init__(
        self,
        request: AiohttpRequest,
        url: str,
        inbox: JobQueue,
        clock: Clock,
        *,
        on_reachable: Callable[[bool], None],
    ) -> None:
        """`url` is the webhook's, `inbox` the queue of updates. `on_reachable` is called with each result."""
        self._request = request
        self._url = url
        self._inbox = inbox
        self._clock = clock
        self._on_reachable = on_reachable
        self._started_at = clock.now()
        self._last_update_at: datetime | None = None
        self._resolved_until: int | None = None
        self._had_pending = False
        self._error = ""
        self._is_unanswered = False

    async def run(self) -> None:
        """Checks until canceled; logs the beginning and the end of an error once each."""
        while True:
            await self._clock.sleep(CHECK_INTERVAL if await self.check() else RECHECK_INTERVAL)

    async def check(self) -> bool:
        """True if updates get through; False if not, or if Telegram's response does not tell.

        Telegram never forgets its last error. It counts only while updates are pending, and only if it is newer than
        the one that Telegram reported when the last update had come in; both times are Telegram's.
        """
        try:
            info = await self._request.call("getWebhookInfo")
        except TelegramError as error:
            if not self._is_unanswered:
                log.warning("cannot read the state of Telegram's webhook (%s)", type(error).__name__)
            self._is_unanswered = True
            return False
        self._is_unanswered = False
        return self._evaluate(info if isinstance(info, dict) else {})

    def _evaluate(self, info: dict[str, Any]) -> bool:
        if info.get("url") != self._url:
            return self._report(NOT_SET)
        failed_at = int(info.get("last_error_date") or 0)
        if self._resolved_until is None or self._inbox.last_enqueued_at != self._last_update_at:
            self._last_update_at, self._resolved_until = self._inbox.last_enqueued_at, failed_at
        had_pending, self._had_pending = self._had_pending, bool(info.get("pending_update_count"))
        is_new = failed_at > self._resolved_until
        if is_new and not self._had_pending and self._error not in ("", NOT_SET):
            return False  # the pending updates did not come in: Telegram has dropped them
        if not self._had_pending or not failed_at:
            return self._report("")
        was_retried = had_pending and self._clock.now() - self._started_at >= DELIVERY_RETRY_TIME
        if is_new or (not self._last_update_at and was_retried):
            self._resolved_until = min(self._resolved_until, failed_at - 1)  # until an update comes in
            return self._report(f"Telegram cannot deliver updates: {info.get('last_error_message')}.")
        # The error is from before this start: the next update or error shows whether it persists.
        return self._report("") if self._last_update_at else False

    def _report(self, error: str) -> bool:
        if error and error != self._error:
            log.error(error)
        elif self._error and not error:
            log.info("Telegram's updates come in again.")
        self._error = error
        self._on_reachable(not error)
        return not error
