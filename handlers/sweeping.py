"""One reconciliation on demand: what was missed is read, what is due is attended to, and what came of it is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from handlers.clock import Clock
from handlers.operations.reconciler import Sweep
from handlers.runtime.worker import Belt
from handlers.stripe_events.backfill import MissedEvents
from storage.job_queue import Mailbox, SetAside

NEWEST = 20


@dataclass(frozen=True)
class Swept:
    """What a sweep did: events that no webhook had brought, payments and refunds attended to and changed by that.

    `put_back` is how many mails that had waited for a human were to be tried again, `aside` how many wait afterwards,
    `newest` the newest `NEWEST` of these in each box.
    """

    missed: int
    attended: int
    changed: int
    put_back: int
    aside: int
    newest: Sequence[SetAside] = ()


async def sweep_now(
    missed: MissedEvents, sweep: Sweep, belts: Sequence[Belt], boxes: Sequence[Mailbox], clock: Clock, *, poison: bool
) -> Swept:
    """Go through everything once; `poison` has what was set aside tried again. `belts` carry what comes in.

    Raises:
        GatewayError: Stripe's list of events could not be read; nothing else was done.
    """
    found = await missed.catch_up()
    put_back = sum([await box.put_back(now=clock.now()) for box in boxes]) if poison else 0
    for belt in belts:
        await belt.drain()
    before = sweep.changed
    attended = await sweep.sweep_once()
    aside = sum([await box.set_aside_depth() for box in boxes])
    newest = tuple([one for box in boxes for one in await box.set_aside(limit=NEWEST)])
    return Swept(found, attended, sweep.changed - before, put_back, aside, newest)
