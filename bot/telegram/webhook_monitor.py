"""Watches Telegram's webhook registration and delivery errors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from telegram.error import TelegramError

from bot.telegram.http_client import AiohttpRequest
from bot.telegram.polling import _nobody, log
from handlers.clock import Clock
from storage.job_queue import JobQueue

CHECK_INTERVAL = 300.0


RECHECK_INTERVAL = 30.0


TRIES_WITHIN = timedelta(seconds=150)
"""Telegram brings an update that failed again after 120 seconds at most, unless it was asked to come later.

Source: WebhookActor::on_update_error of the Bot API server.
"""


NOT_OURS = "No messages will come in: Telegram's webhook is not ours. Run `python -m bot setup-webhooks`."


class WebhookMonitor:
    """Looks again and again whether Telegram sends the bot's updates to `url`, and whether they get there."""

    def __init__(
        self,
        request: AiohttpRequest,
        url: str,
        inbox: JobQueue,
        clock: Clock,
        *,
        arrive: Callable[[bool], None] = _nobody,
    ) -> None:
        """`inbox` keeps the updates; `arrive` hears whether they can arrive, each time that this is known."""
        self._request = request
        self._url = url
        self._inbox = inbox
        self._clock = clock
        self._arrive = arrive
        self._began = clock.now()
        self._came_at: datetime | None = None
        self._over_until: int | None = None
        self._waits = False
        self._trouble = ""
        self._is_unanswered = False

    async def run(self) -> None:
        """Look until canceled; what is wrong is logged once when it begins and once when it is over."""
        while True:
            await self._clock.sleep(CHECK_INTERVAL if await self.check() else RECHECK_INTERVAL)

    async def check(self) -> bool:
        """Ask Telegram; nothing is changed. False where it has to be asked again soon, for not all is known to be well.

        Telegram keeps its last error for good, so it says something only while updates wait, and only if it is newer
        than the one that it showed when the last update had come in. (Our clock and Telegram's may differ.)
        """
        try:
            info = await self._request.call("getWebhookInfo")
        except TelegramError as error:
            if not self._is_unanswered:
                log.warning("Telegram does not say whether its webhook is set (%s).", type(error).__name__)
            self._is_unanswered = True
            return False
        self._is_unanswered = False
        return self._evaluate(info if isinstance(info, dict) else {})

    def _evaluate(self, info: dict[str, Any]) -> bool:
        if info.get("url") != self._url:
            return self._report(NOT_OURS)
        failed_at = int(info.get("last_error_date") or 0)
        if self._over_until is None or self._inbox.last_enqueued_at != self._came_at:
            self._came_at, self._over_until = self._inbox.last_enqueued_at, failed_at
        waited, self._waits = self._waits, bool(info.get("pending_update_count"))
        is_new = failed_at > self._over_until
        if is_new and not self._waits and self._trouble not in ("", NOT_OURS):
            return False  # what waited did not come here: Telegram has thrown it away
        if not self._waits or not failed_at:
            return self._report("")
        had_time = waited and self._clock.now() - self._began >= TRIES_WITHIN
        if is_new or (not self._came_at and had_time):
            self._over_until = min(self._over_until, failed_at - 1)  # it is not over before an update comes
            return self._report(f"Telegram cannot bring its updates here: {info.get('last_error_message')}.")
        # If it went wrong while we were away, the next update or error shows whether it still does.
        return self._report("") if self._came_at else False

    def _report(self, trouble: str) -> bool:
        if trouble and trouble != self._trouble:
            log.error(trouble)
        elif self._trouble and not trouble:
            log.info("Telegram's updates come in again.")
        self._trouble = trouble
        self._arrive(not trouble)
        return not trouble
