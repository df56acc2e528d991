"""Reads Stripe's balance transactions and payouts: fees, what each payment leaves, and when it is paid out.

Nothing about a payment depends on it. Where the API key may not read them, payments go on, reports lack fees and
payouts, and `check` names the right.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

from handlers.clock import Clock
from handlers.stripe.error_codes import PERMISSION_ERROR
from handlers.stripe.gateway import GatewayError, PaymentGateway
from storage import balance, installation
from storage.database.database import Database
from storage.errors import DatabaseUnavailable
from storage.models.balance import PAYOUT_TYPES, BalanceTransaction, Payout

log = logging.getLogger(__name__)

LAST_READ = "balance_read_at"
"""The installation setting that holds until when the balance transactions were read."""

DENIED = "balance_denied"
"""The installation setting that names the rights that the API key lacks, if it does."""

BALANCE_RIGHT, PAYOUTS_RIGHT = "Balance: Read", "Payouts: Read"

INTERVAL = timedelta(hours=1)
"""How often the new balance transactions are read: one request for a hundred of them."""

OVERLAP, DAILY_OVERLAP = timedelta(hours=1), timedelta(days=3)
"""How far before the last reading each one begins, and the first one of a day (UTC): Stripe may add some later."""

PAYOUTS_MAY_FAIL = timedelta(days=14)
"""The age of payouts that are read again each day: Stripe reports that one failed within five business days."""

BATCH = 100
"""Transactions per commit, as many as Stripe lists on a page."""

RETRY_SECONDS = 300.0


@dataclass(frozen=True)
class BalanceReading:
    """How many records were new, and the rights that the API key lacks."""

    transactions: int
    payouts: int
    denied: tuple[str, ...]


class BalanceSync:
    """Records what Stripe reports of its balance. Reading the same again records nothing."""

    def __init__(self, db: Database, gateway: PaymentGateway, clock: Clock) -> None:
        self._db = db
        self._gateway = gateway
        self._clock = clock

    async def run(self) -> None:
        """Read once an hour what is new, and once a day the payouts; on the leader of several replicas."""
        while True:
            try:
                await self._clock.sleep(await self._seconds_left())
                if (await self.run_once()).denied:
                    await self._clock.sleep(INTERVAL.total_seconds())
            except GatewayError as error:
                log.warning("Stripe's balance could not be read (%s): %s", error.code, error.message)
                await self._clock.sleep(RETRY_SECONDS)
            except DatabaseUnavailable as error:
                log.warning("reading Stripe's balance waits for the database: %s", error)
                await self._clock.sleep(RETRY_SECONDS)

    async def run_once(self, since: datetime | None = None) -> BalanceReading:
        """Read what is new since the last reading, or all from `since` (aware UTC) on.

        Raises:
            GatewayError: Stripe cannot be reached; what was read until then is recorded.
        """
        now = self._clock.now()
        last = await self._read_until(now)
        is_daily = since is not None or now.date() != last.date()
        start = since or last - (DAILY_OVERLAP if is_daily else OVERLAP)
        denied: list[str] = []
        transactions = payouts = 0
        try:
            transactions = await self._read_transactions(since=start)
        except GatewayError as error:
            denied.append(_lacking(error, BALANCE_RIGHT))
        if is_daily and not denied:
            try:
                payouts, items = await self._read_payouts(start - PAYOUTS_MAY_FAIL)
                transactions += items
            except GatewayError as error:
                denied.append(_lacking(error, PAYOUTS_RIGHT))
        await self._note_denied(denied, payouts_were_read=is_daily and not denied)
        if start <= last and BALANCE_RIGHT not in denied:
            await self._db.write(installation.set_setting, LAST_READ, now.isoformat())
        return BalanceReading(transactions, payouts, tuple(denied))

    async def sync_payment(self, payment_id: str) -> None:
        """Record the transactions about a payment; if Stripe does not tell them now, the next reading does."""
        try:
            for source in await self._db.read(balance.sources_of_payment, payment_id):
                await self._read_transactions(source=source)
        except GatewayError as error:
            log.info("Stripe does not tell the fee of a payment yet (%s): %s", error.code, error.message)

    async def sync_payout(self, payout_id: str) -> bool:
        """Record a payout and what it consists of; False if Stripe could not be reached."""
        try:
            await self._record_payout(await self._gateway.retrieve_payout(payout_id))
        except GatewayError as error:
            log.warning("the payout %s could not be read (%s): %s", payout_id, error.code, error.message)
            return not error.retryable
        return True

    async def _read_payouts(self, since: datetime) -> tuple[int, int]:
        """How many payouts were new or changed, and how many of their transactions were new."""
        payouts = items = 0
        async with aclosing(self._gateway.list_payouts(since)) as found:
            async for payout in found:
                changed, recorded = await self._record_payout(payout)
                payouts, items = payouts + changed, items + recorded
        return payouts, items

    async def _record_payout(self, payout: Payout) -> tuple[bool, int]:
        """Record a payout after its transactions, so that one whose transactions are missing is read again."""
        if await self._db.read(balance.get_payout, payout.stripe_id) == payout:
            return False, 0
        items = 0
        if payout.can_be_itemized:
            try:
                items = await self._read_transactions(payout=payout)
            except GatewayError as error:
                if error.retryable or error.code == PERMISSION_ERROR:
                    raise
                log.warning("Stripe does not list the payout %s (%s)", payout.stripe_id, error.code)
        now, livemode = self._clock.now(), self._gateway.livemode
        return await self._db.write(balance.record_payout, payout, livemode=livemode, now=now), items

    async def _read_transactions(
        self, *, source: str | None = None, payout: Payout | None = None, since: datetime | None = None
    ) -> int:
        """Record a list of transactions; returns how many were new or changed."""
        payout_id = None if payout is None else payout.stripe_id
        recorded = paid_out = 0
        listed = self._gateway.list_balance_transactions(source=source, payout=payout_id, since=since)
        async with aclosing(listed), aclosing(_batches(listed)) as batches:
            async for batch in batches:
                recorded += await self._db.write(
                    balance.record_transactions,
                    batch,
                    livemode=self._gateway.livemode,
                    now=self._clock.now(),
                    payout_id=payout_id,
                )
                paid_out += sum(each.net for each in batch if each.type not in PAYOUT_TYPES or each.source != payout_id)
        if payout is not None and paid_out != payout.amount:
            log.warning("the transactions of the payout %s add up to %s, not %s", payout_id, paid_out, payout.amount)
        return recorded

    async def _read_until(self, now: datetime) -> datetime:
        """Until when the transactions were read. A new installation begins now: what was before is read on demand."""
        known = await self._db.read(installation.get_setting, LAST_READ)
        if known is None:
            await self._db.write(installation.set_setting, LAST_READ, now.isoformat())
            return now
        return datetime.fromisoformat(known)

    async def _seconds_left(self) -> float:
        now = self._clock.now()
        return max(0.0, (await self._read_until(now) + INTERVAL - now).total_seconds())

    async def _note_denied(self, denied: list[str], *, payouts_were_read: bool) -> None:
        """Let reports tell which right is missing, if any."""
        before = await self._db.read(installation.get_setting, DENIED) or ""
        still = [PAYOUTS_RIGHT] if before == PAYOUTS_RIGHT and not payouts_were_read else []
        after = "".join(denied or still)
        if before == after:
            return
        if after:
            log.warning("Stripe's fees and payouts are not known: the API key lacks the right %s", after)
            await self._db.write(installation.set_setting, DENIED, after)
        else:
            await self._db.write(installation.remove_setting, DENIED)


def _lacking(error: GatewayError, right: str) -> str:
    """The right that the API key lacks; raises the error if it is another one.

    Stripe documents status 403 for a missing right, and an invalid request as well, so any final rejection counts.
    """
    if error.retryable or error.code == "authentication":
        raise error
    log.info("Stripe refused to list what needs the right %s (%s): %s", right, error.code, error.message)
    return right


async def _batches(
    listed: AsyncGenerator[BalanceTransaction, None],
) -> AsyncGenerator[list[BalanceTransaction], None]:
    batch: list[BalanceTransaction] = []
    async for each in listed:
        batch.append(each)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
