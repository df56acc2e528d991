"""The belts' engine: claims mail, has it handled side by side, settles it, and never lets one mail stop the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from handlers.clock import Clock
from handlers.runtime.concurrency import all_of, first_of
from handlers.runtime.heartbeats import Health
from handlers.trace import trace
from storage.errors import DatabaseUnavailable
from storage.job_queue import Mailbox
from storage.models.job import Discard, Done, Draft, Mail, Retry, Snooze, Verdict

log = logging.getLogger(__name__)

Handle = Callable[[Mail], Awaitable[Verdict]]
OnSetAside = Callable[[Mail, str], Awaitable[Sequence[Draft]]]
"""What is to be said when a mail is set aside: it is put into the outbox by the commit that sets it aside."""

Settled = Callable[[Mail, Verdict, datetime], None]

HANDS = 16
LEASE_SECONDS = 120.0
HANDLE_SECONDS = 100.0
LONGEST_WAIT = 15.0
"""Seconds without a look at the box: a sign of life, and the net under a bell that was missed."""

MOST_TRIES = 3


def _unseen(mail: Mail, verdict: Verdict, now: datetime) -> None:
    """Nobody counts."""


class Belt:
    """One box and what is done with its mail. Mails of one lane are handled one after the other."""

    def __init__(
        self,
        box: Mailbox,
        handle: Handle,
        clock: Clock,
        health: Health,
        *,
        hands: int = HANDS,
        lease_seconds: float = LEASE_SECONDS,
        outbox: Mailbox,
        set_aside: Sequence[OnSetAside],
        settled: Settled = _unseen,
    ) -> None:
        """`handle` returns a verdict; what it raises is tried again `MOST_TRIES` times, then put aside for a human.

        `outbox` takes what `set_aside` has to say about that.
        """
        self._box = box
        self._handle = handle
        self._clock = clock
        self._health = health
        self._hands = hands
        self._lease_seconds = lease_seconds
        self._outbox = outbox
        self._set_aside = set_aside
        self._settled = settled
        self._busy: set[asyncio.Task[None]] = set()
        self._held: dict[int, Mail] = {}
        self._claimed = asyncio.Event()
        self._claimed.set()
        self._stopping = False
        health.expect(box.box, within_seconds=LONGEST_WAIT * 8)

    async def forever(self) -> None:
        """Handle mail as it comes, until `stop`."""
        while not self._stopping:
            try:
                await self._turn()
            except DatabaseUnavailable as error:
                log.warning("the belt %s waits: %s", self._box.box, error)
                await asyncio.sleep(1)

    async def drain(self) -> int:
        """Handle everything that is due now, and return how many mails that were."""
        handled = 0
        while mails := await self._box.claim(
            now=self._clock.now(), limit=self._hands, lease_seconds=self._lease_seconds
        ):
            self._held |= {mail.id: mail for mail in mails}
            await all_of([self._work(mail) for mail in mails])
            handled += len(mails)
        return handled

    async def stop(self, seconds: float) -> None:
        """Claim nothing more and let what is in hand be finished, within `seconds`."""
        self._stopping = True
        self._box.ring()
        if self._busy:
            await asyncio.wait(self._busy, timeout=seconds)

    async def _turn(self) -> None:
        self._health.beat(self._box.box, self._clock.now())
        free = self._hands - len(self._busy)
        if free <= 0:
            await asyncio.wait(self._busy, timeout=LONGEST_WAIT, return_when=asyncio.FIRST_COMPLETED)
            return
        self._claimed.clear()
        try:
            mails = await self._box.claim(now=self._clock.now(), limit=free, lease_seconds=self._lease_seconds)
            for mail in mails:
                is_new = mail.id not in self._held
                self._held[mail.id] = mail
                if is_new:  # or its lease ran out while we work on it: this one is ours as well
                    task = asyncio.create_task(self._work(mail))
                    self._busy.add(task)
                    task.add_done_callback(self._busy.discard)
        finally:
            self._claimed.set()
        if len(mails) < free and not self._stopping:  # whatever comes now rings the bell
            await self._idle()

    async def _idle(self) -> None:
        """Wait for new mail, or until the next one is due."""
        due = await self._box.next_due()
        left = LONGEST_WAIT if due is None else (due - self._clock.now()).total_seconds()
        await first_of(self._box.wait(), self._clock.sleep(max(0.0, min(left, LONGEST_WAIT))))

    async def _work(self, mail: Mail) -> None:
        with trace(box=mail.box, mail=mail.id):
            verdict = await self._judged(mail)
            try:
                words = await self._words(mail, verdict.reason) if isinstance(verdict, Discard) else ()
                now = self._clock.now()
                settled = await self._settle(mail.id, verdict, words, now)
            except DatabaseUnavailable as error:
                log.warning("mail %s could not be settled, it comes again: %s", mail.id, error)
                return
            finally:
                self._held.pop(mail.id, None)
            self._settled(mail, verdict, now)
            if settled and isinstance(verdict, Done):
                log.info("%s is done", mail.kind)
            if settled and isinstance(verdict, Discard):
                log.error("mail %s (%s) was set aside: %s", mail.id, mail.kind, verdict.reason)

    async def _settle(self, number: int, verdict: Verdict, words: Sequence[Draft], now: datetime) -> bool:
        """Settle it by the lease that we hold; False if it is another's by now.

        Where a lease ran out (the machine slept), a claim of ours may be renewing it at this moment; whatever was done
        is then settled by the new one, and not done again.
        """
        while True:
            held = self._held[number]
            settled = await self._box.settle(
                held, verdict, now=now, also=lambda tx: self._outbox.put_within(tx, *words, now=now)
            )
            if not settled:
                await self._claimed.wait()
            if settled or self._held[number] is held:
                return settled

    async def _judged(self, mail: Mail) -> Verdict:
        try:
            async with asyncio.timeout(HANDLE_SECONDS):
                return await self._handle(mail)
        except DatabaseUnavailable as error:
            log.warning("mail %s waits for the database: %s", mail.id, error)
            return Snooze(2.0)
        except Exception as error:
            log.exception("mail %s (%s) failed", mail.id, mail.kind)
            if mail.tries + 1 >= MOST_TRIES:
                return Discard(f"{type(error).__name__} in {MOST_TRIES} tries")
            return Retry(type(error).__name__, 1.0 + mail.tries * 2)

    async def _words(self, mail: Mail, reason: str) -> Sequence[Draft]:
        """What is to be said of a mail that is set aside; who cannot say it does not hinder the others."""
        words: list[Draft] = []
        for say in self._set_aside:
            try:
                words += await say(mail, reason)
            except DatabaseUnavailable:
                raise
            except Exception:
                log.exception("somebody cannot be told that mail %s is set aside", mail.id)
        return words
