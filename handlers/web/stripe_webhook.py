"""Stripe's webhook: verifies the signature, enqueues the event, answers 200."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from aiohttp import web

from handlers.clock import Clock
from handlers.runtime.logging import ThrottledLogger
from handlers.stripe import event_parsing
from handlers.stripe.event_parsing import InvalidEvent, StripeEvent, ThinEvent
from handlers.web.request_body import BodyReader
from handlers.web.stripe_signature import InvalidSignature, verify_signature
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue

log = logging.getLogger(__name__)

OnStripeEvent = Callable[[str, StripeEvent | None], None]
"""Called for each request with its outcome, and the event that was parsed, if any.

The outcome is stored, duplicate, ignored, rejected or unavailable.
"""


class StripeWebhook:
    """`POST /stripe/webhook`. It calls neither Stripe nor Telegram: a worker handles the event."""

    def __init__(
        self,
        queue: JobQueue,
        clock: Clock,
        body_reader: BodyReader,
        *,
        secrets: Sequence[str],
        livemode: bool,
        on_event: OnStripeEvent,
    ) -> None:
        """There are several `secrets` while one is being rotated; with none, every request is rejected.

        `livemode` is that of our key: events of the other mode are ignored.
        """
        self._queue = queue
        self._clock = clock
        self._secrets = tuple(secret.encode() for secret in secrets)
        self._livemode = livemode
        self._body_reader = body_reader
        self._on_event = on_event
        self._throttled_log = ThrottledLogger()

    async def receive(self, request: web.Request) -> web.Response:
        """Answers 200 once the event is committed, was stored before, or does not concern Kvit.

        Raises:
            web.HTTPException: 400, 408, 413 or 503; nothing is stored.
            DatabaseUnavailable: nothing is stored; after the 503 Stripe sends the event again.
        """
        raw = await self._body_reader.read(request)
        now = self._clock.now()
        try:
            verify_signature(raw, ",".join(request.headers.getall("Stripe-Signature", [])), self._secrets, now=now)
            event = event_parsing.parse_event(raw)
        except (InvalidSignature, InvalidEvent) as error:
            self._throttled_log.warning(log, "rejected a request to Stripe's webhook: %s", str(error))
            self._on_event("rejected", None)
            raise web.HTTPBadRequest(text="This is not an event signed by Stripe.\n") from None
        except ThinEvent as thin:
            self._throttled_log.warning(log, "%s", str(thin))
            self._on_event("ignored", None)
            return web.Response(text="ok\n")
        try:
            outcome = await self._enqueue(event, now) if self._is_relevant(event) else "ignored"
        except DatabaseUnavailable:
            self._on_event("unavailable", event)
            raise
        self._on_event(outcome, event)
        return web.Response(text="ok\n")

    async def _enqueue(self, event: StripeEvent, now: datetime) -> str:
        is_new = await self._queue.enqueue(event_parsing.event_job(event), now=now)
        return "stored" if is_new else "duplicate"

    def _is_relevant(self, event: StripeEvent) -> bool:
        """Whether the event is of our mode and may be about an intent of Kvit's. Other events are logged."""
        if event.livemode != self._livemode:
            log.info("ignored event %s (%s) of the other mode, livemode %s", event.id, event.type, event.livemode)
        elif not event.is_ours:
            log.info("ignored event %s (%s), which is about no intent of Kvit's", event.id, event.type)
        else:
            return True
        return False
