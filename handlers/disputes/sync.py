"""Retrieves a payment's disputes and fraud warnings from Stripe and applies them."""

from __future__ import annotations

import logging

from handlers.clock import Clock
from handlers.runtime.concurrency import KeyedLocks
from handlers.stripe.error_codes import PERMISSION_ERROR
from handlers.stripe.gateway import GatewayError, PaymentGateway
from storage import payment_queries
from storage.database.database import Database
from storage.disputes import DisputeRepository

log = logging.getLogger(__name__)


class DisputeSync:
    """Kvit only reports disputes: evidence is submitted by people in Stripe's Dashboard."""

    def __init__(
        self,
        db: Database,
        book: DisputeRepository,
        gateway: PaymentGateway,
        clock: Clock,
        *,
        locks: KeyedLocks,
    ) -> None:
        self._book = book
        self._db = db
        self._gateway = gateway
        self._clock = clock
        self._locks = locks

    async def sync(self, payment_id: str, *, warnings: bool) -> bool:
        """Retrieve and apply the disputes, or the fraud `warnings` instead; False if they could not be retrieved.

        Raises:
            GatewayError: the API key lacks the permission.
        """
        async with self._locks.lock(payment_id):
            payment = await self._db.read(payment_queries.by_id, payment_id)
            if payment is None or payment.intent_id is None or payment.livemode != self._gateway.livemode:
                return False
            try:
                disputes = () if warnings else await self._gateway.list_disputes(payment.intent_id)
                warned = await self._gateway.list_fraud_warnings(payment.intent_id) if warnings else ()
            except GatewayError as error:
                if error.code == PERMISSION_ERROR:
                    raise
                log.warning(
                    "the disputes of %s could not be seen (%s): %s", payment.reference, error.code, error.message
                )
                return False
            await self._db.write(self._book.apply_stripe_disputes, payment_id, disputes, warned, now=self._clock.now())
        return True
