"""Telegram's webhook: compares the secret, enqueues the update, answers 200."""

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

TOKEN_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 (the name of a header)
MakeUpdateJob = Callable[..., NewJob | None]
"""Makes the job of an update from its parsed JSON and `raw=`; None if it has no `update_id`."""


class TelegramWebhook:
    """`POST /telegram/webhook`. It calls neither Stripe nor Telegram: a worker handles the update."""

    def __init__(
        self, queue: JobQueue, clock: Clock, body_reader: BodyReader, *, secret: str, make_job: MakeUpdateJob
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._body_reader = body_reader
        self._secret = secret.encode()
        self._make_job = make_job
        self._throttled_log = ThrottledLogger()

    async def receive(self, request: web.Request) -> web.Response:
        """Answers 200 once the update is committed, or was stored before.

        Raises:
            web.HTTPException: 400, 403, 408, 413 or 503; nothing is stored.
            DatabaseUnavailable: nothing is stored; after the 503 Telegram sends the update again.
        """
        secret = request.headers.get(TOKEN_HEADER, "").encode(errors="replace")
        if not hmac.compare_digest(secret, self._secret):
            self._throttled_log.warning(
                log, "rejected a request to Telegram's webhook: %s", "the secret is wrong or missing"
            )
            raise web.HTTPForbidden(text="This is not Telegram.\n")
        raw = await self._body_reader.read(request)
        job = self._make_job(_parse(raw), raw=raw)
        if job is None:
            raise web.HTTPBadRequest(text="This is not an update.\n")
        await self._queue.enqueue(job, now=self._clock.now())
        return web.Response(text="ok\n")


def _parse(raw: bytes) -> Any:
    """The body's JSON; None if it is not JSON, or nested too deeply."""
    try:
        return json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
