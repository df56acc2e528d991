"""Takes Stripe's events in: believes the signature, keeps the event, answers 200, and decides nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from aiohttp import web

from handlers.clock import Clock
from handlers.runtime.logging import ThrottledLogger
from handlers.stripe import events
from handlers.stripe.events import InvalidEvent, StripeEvent
from handlers.web.request_body import BodyReader
from handlers.web.stripe_signature import InvalidSignature, verify_signature
from storage.errors import DatabaseUnavailable
from storage.job_queue import JobQueue

log = logging.getLogger(__name__)

Came = Callable[[str, float | None], None]


def nobody(outcome: str, lag: float | None) -> None:
    """Nobody counts."""


class StripeWebhook:
    """`POST /stripe/webhook`. Neither Stripe nor Telegram is asked anything here: the event waits on the belt."""

    def __init__(
        self,
        inbox: JobQueue,
        clock: Clock,
        body_reader: BodyReader,
        *,
        secrets: Sequence[str],
        livemode: bool,
        came: Came = nobody,
    ) -> None:
        """`secrets` may be several while one replaces another; with none everything is refused.

        `livemode` is that of our key. `came` is told of each event what became of it and how many seconds after
        Stripe's own time it came.
        """
        self._inbox = inbox
        self._clock = clock
        self._secrets = tuple(secret.encode() for secret in secrets)
        self._livemode = livemode
        self._body_reader = body_reader
        self._came = came
        self._throttled_log = ThrottledLogger()

    async def receive(self, request: web.Request) -> web.Response:
        """Answer 200 once the event is committed, was there already, or is none of ours.

        Raises:
            web.HTTPException: 400, 408, 413 or 503, and nothing is stored.
            DatabaseUnavailable: nothing is stored; Stripe sends it again after a 503.
        """
        raw = await self._body_reader.read(request)
        now = self._clock.now()
        try:
            verify_signature(raw, ",".join(request.headers.getall("Stripe-Signature", [])), self._secrets, now=now)
            event = events.parse_event(raw)
        except (InvalidSignature, InvalidEvent) as error:
            self._throttled_log.warning(log, "refused what came to Stripe's webhook: %s", str(error))
            self._came("rejected", None)
            raise web.HTTPBadRequest(text="This is not an event signed by Stripe.\n") from None
        try:
            outcome = await self._keep(event, now) if self._concerns_us(event) else "ignored"
        except DatabaseUnavailable:
            self._came("unavailable", None)
            raise
        self._came(outcome, None if event.created is None else now.timestamp() - event.created)
        return web.Response(text="kept\n")

    async def _keep(self, event: StripeEvent, now: datetime) -> str:
        new = await self._inbox.enqueue(events.event_job(event), now=now)
        return "stored" if new else "duplicate"

    def _concerns_us(self, event: StripeEvent) -> bool:
        """Whether the event is of our mode and about what Kvit may have made; others are logged and let go."""
        if event.livemode != self._livemode:
            log.info("event %s (%s) is of the other mode, livemode %s", event.id, event.type, event.livemode)
        elif not event.is_ours:
            log.info("event %s (%s) is about nothing that Kvit made", event.id, event.type)
        else:
            return True
        return False
