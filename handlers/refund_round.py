"""The sweep's share of refunds: whatever is due is attended to, so that an outage leaves none half done."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from handlers.clock import Clock
from handlers.operations.alerts import Alerts
from handlers.refunds.sync import RefundAttendant
from storage.errors import DatabaseUnavailable
from storage.refunds import RefundBook

log = logging.getLogger(__name__)


class RefundRound:
    """Refunds by the time at which they are due."""

    def __init__(self, attendant: RefundAttendant, book: RefundBook, alerts: Alerts, clock: Clock) -> None:
        self._attendant = attendant
        self._book = book
        self._alerts = alerts
        self._clock = clock

    async def due(self, *, limit: int) -> Sequence[str]:
        """The ids of those that are due now."""
        return await self._book.due(self._clock.now(), limit=limit)

    async def next_due(self) -> datetime | None:
        """When the next one is due."""
        return await self._book.next_due()

    async def attend(self, refund_id: str) -> bool:
        """Attend to one, and return whether that changed it; whatever goes wrong with it, it comes again."""
        try:
            before = await self._attendant.get(refund_id)
            refund = await self._attendant.attend(refund_id, actor="sweep", if_due=True)
            if refund.trouble:
                room = await self._book.room(refund.payment_id)
                await self._alerts.refund_trouble(refund, room.payment)
            if refund.look_at is not None and refund.look_at <= self._clock.now():
                await self._book.put_off(refund_id, now=self._clock.now())
            return refund.status is not before.status
        except DatabaseUnavailable:
            raise
        except Exception:
            log.exception("the sweep could not attend to the refund %s", refund_id)
            await self._book.put_off(refund_id, now=self._clock.now())
            return False
