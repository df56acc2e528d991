"""Takes Telegram's updates in where it sends them: believes the secret, keeps the update, answers 200."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import web

from handlers.clock import Clock
from handlers.runtime.logging import ThrottledLogger
from handlers.web.request_body import BodyReader
from storage.job_queue import JobQueue
from storage.models.job import NewJob

log = logging.getLogger(__name__)

HEADER = "X-Telegram-Bot-Api-Secret-Token"
MakeDraft = Callable[..., NewJob | None]


class TelegramWebhook:
    """`POST /telegram/webhook`. Nobody is asked anything here: the update waits on the belt."""

    def __init__(
        self, updates: JobQueue, clock: Clock, body_reader: BodyReader, *, secret: str, draft: MakeDraft
    ) -> None:
        """`draft(update, raw=…)` makes the mail that keeps an update, or None where it has no `update_id`."""
        self._updates = updates
        self._clock = clock
        self._body_reader = body_reader
        self._secret = secret.encode()
        self._draft = draft
        self._throttled_log = ThrottledLogger()

    async def receive(self, request: web.Request) -> web.Response:
        """Answer 200 once the update is committed, or was there already.

        Raises:
            web.HTTPException: 400, 403, 408, 413 or 503, and nothing is stored.
            DatabaseUnavailable: nothing is stored; Telegram sends it again after a 503.
        """
        shown = request.headers.get(HEADER, "").encode(errors="replace")
        if not hmac.compare_digest(shown, self._secret):
            self._throttled_log.warning(
                log, "refused what came to Telegram's webhook: %s", "the secret is wrong or missing"
            )
            raise web.HTTPForbidden(text="This is not Telegram.\n")
        raw = await self._body_reader.read(request)
        job = self._draft(_object(raw), raw=raw)
        if job is None:
            raise web.HTTPBadRequest(text="This is not an update.\n")
        await self._updates.enqueue(job, now=self._clock.now())
        return web.Response(text="kept\n")


def _object(raw: bytes) -> Any:
    """The body's JSON; None where it is none, or none that we read."""
    try:
        return json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
