"""Brings Telegram's updates in, raw as they are: each is committed before Telegram is told that we have it."""

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
"""What we ask for, always and explicitly: Telegram remembers the last list. Edited messages run no command."""

LONG_POLL_SECONDS = 25
ANSWER_SECONDS = 10.0
CONFLICT_RETRY_INTERVAL = 60.0

LONGEST_PAUSE = 30.0


class WebhookConflict(Exception):
    """The bot's updates go to a webhook; polling would take them away from there.

    Start with --take-over-webhook to remove the webhook and poll instead.
    """

    def __init__(self) -> None:
        super().__init__(
            "A webhook is set for this bot, so its messages go elsewhere and polling would stop that. "
            "Use TELEGRAM_MODE=webhook, or start with --take-over-webhook to remove the webhook."
        )


def _nobody(arrive: bool) -> None:
    """Nobody asks whether updates arrive."""


@dataclass(frozen=True)
class _Outage:
    """Why no updates come. `seconds` to wait; None backs off from soon to seldom. `is_taken`: another gets them."""

    kind: str
    sentence: str
    seconds: float | None = None
    is_taken: bool = False


class Polling:
    """Asks for updates in one long poll after the other; only one process of a bot may do so.

    A restart at any point loses nothing: what was not committed was not confirmed and comes again, and what was
    committed twice has the same key.
    """

    def __init__(
        self,
        request: AiohttpRequest,
        inbox: JobQueue,
        clock: Clock,
        *,
        take_over: bool = False,
        long_poll: int = LONG_POLL_SECONDS,
        chance: Callable[[], float] = random.random,
        arrive: Callable[[bool], None] = _nobody,
    ) -> None:
        """`take_over` removes a webhook once, at the start; `long_poll` is seconds at Telegram, at most 50.

        `arrive` hears whether updates can arrive: not while another program or a webhook takes them away.
        """
        self._request = request
        self._inbox = inbox
        self._clock = clock
        self._take_over = take_over
        self._long_poll = long_poll
        self._chance = chance
        self._arrive = arrive
        self._admitted = False
        self._confirm: int | None = None
        self._trouble: _Outage | None = None
        self._failures = 0

    async def ensure_no_webhook(self) -> None:
        """Make sure that no webhook is set, so that we may poll.

        Raises:
            WebhookIsSet: one is, and we were not told to remove it.
            TelegramError: Telegram is out of reach or refuses.
        """
        info = await self._request.call("getWebhookInfo")
        if isinstance(info, dict) and info.get("url"):
            if not self._take_over:
                raise WebhookConflict
            await self._request.call("deleteWebhook", drop_pending_updates=False)
            log.warning("The webhook of this bot was removed, as asked; Kvit polls for updates now.")
        # Only once: a webhook that is set while we run is somebody's newer wish.
        self._take_over = False
        self._admitted = True

    async def poll_once(self) -> int:
        """Fetch what is there (waiting for it a while) and keep it; returns how many updates were new.

        Raises:
            WebhookIsSet, TelegramError: nothing came in.
            DatabaseUnavailable: nothing was kept, so nothing will be confirmed.
        """
        if not self._admitted:
            await self.ensure_no_webhook()
        updates = await self._fetch()
        jobs = [job for update in updates if (job := update_job(update, bot_id=self._request.bot_id))]
        new = await self._inbox.enqueue(*jobs, now=self._clock.now())
        # An empty answer shows that everything was confirmed. Then no offset is sent: after a quiet week Telegram
        # may count on from a lower number, and an old offset would confirm updates that we never saw.
        self._confirm = max((id_ + 1 for update in updates if (id_ := update_id(update)) is not None), default=None)
        if updates and not jobs:
            raise TelegramError("updates without an update_id")
        return new

    async def run(self) -> None:
        """Poll until canceled; an outage is logged once when it begins and once when it is over."""
        while True:
            try:
                await self.poll_once()
            except (TelegramError, WebhookConflict, DatabaseUnavailable) as error:
                await self._pause(_outage_of(error))
            else:
                self._recovered()

    async def _fetch(self) -> list[Any]:
        # After trouble the first poll does not wait, so that its end is known at once.
        wait = 0 if self._trouble else self._long_poll
        try:
            found = await self._request.call(
                "getUpdates",
                offset=self._confirm,
                timeout=wait,
                allowed_updates=list(ALLOWED_UPDATES),
                read=wait + ANSWER_SECONDS,
            )
        except Conflict as error:
            if "webhook" in str(error).lower():
                self._admitted = False
                raise WebhookConflict from error
            raise
        if not isinstance(found, list):
            raise TelegramError("getUpdates did not answer with a list")
        return found

    async def _pause(self, trouble: _Outage) -> None:
        if self._trouble is None or self._trouble.kind != trouble.kind:
            log.error(trouble.sentence)
            self._failures = 0
        self._trouble = trouble
        if trouble.is_taken:
            self._arrive(False)
        pause = trouble.seconds
        if pause is None:
            pause = backoff(self._failures, first=1.0, longest=LONGEST_PAUSE, jitter=1.0, chance=self._chance())
        self._failures += 1
        await self._clock.sleep(pause)

    def _recovered(self) -> None:
        if self._trouble is not None:
            log.info("Telegram's updates come in again.")
        self._trouble = None
        self._arrive(True)


def _outage_of(error: TelegramError | WebhookConflict | DatabaseUnavailable) -> _Outage:
    match error:
        case WebhookConflict():
            return _Outage("webhook", f"Polling has stopped. {error}", CONFLICT_RETRY_INTERVAL, is_taken=True)
        case DatabaseUnavailable():
            return _Outage("database", f"No update is confirmed to Telegram while {error}.")
        case Conflict():
            sentence = "Polling has stopped: another program polls with this bot's token; one of the two must end."
            return _Outage("conflict", sentence, CONFLICT_RETRY_INTERVAL, is_taken=True)
        case InvalidToken():
            return _Outage(
                "token", "Telegram refuses the bot's token; set TELEGRAM_BOT_TOKEN right.", CONFLICT_RETRY_INTERVAL
            )
        case RetryAfter():
            return _Outage("telegram", "Telegram asks us to poll less often.", retry_after_seconds(error))
        case _:
            return _Outage("telegram", f"No updates from Telegram: {error}. Trying again.")
