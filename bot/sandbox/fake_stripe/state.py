"""What every part of the pretend Stripe shares: clock, ledger, names, switches, and the one way to make an event."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bot.sandbox.fake_stripe import objects
from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.balance import Fates, Purse
from bot.sandbox.fake_stripe.ids import Names
from bot.sandbox.fake_stripe.ledger import Ledger
from bot.sandbox.fake_stripe.options import Switches
from bot.sandbox.shared.background_tasks import Alarms, Errands
from bot.sandbox.shared.change_notifier import Changes
from bot.sandbox.shared.fake_clock import TurnedClock

ACCOUNT = "acct_1SandboxKvit0001"


@dataclass(frozen=True)
class Cause:
    """Why something happens: an API request, or the customer or time (then both ids are None)."""

    at: datetime
    request_id: str | None = None
    idempotency_key: str | None = None


@dataclass
class World:
    """One pretend Stripe account; `post` hands a new event to delivery, `base` is the address of the server.

    While it is `down`, nothing is answered.
    """

    clock: TurnedClock
    key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    post: Callable[[Json], None]
    base: str = ""
    down: bool = False
    ledger: Ledger = field(default_factory=Ledger)
    names: Names = field(default_factory=Names)
    switches: Switches = field(default_factory=Switches)
    purse: Purse = field(default_factory=Purse)
    fates: Fates = field(default_factory=Fates)
    errands: Errands = field(default_factory=Errands)
    changes: Changes = field(default_factory=Changes)
    alarms: Alarms = field(init=False)

    def __post_init__(self) -> None:
        self.alarms = Alarms(self.clock, self.errands)

    @property
    def livemode(self) -> bool:
        return self.key.startswith(("sk_live_", "rk_live_"))

    def now(self) -> datetime:
        return self.clock.now()

    def identity(self, prefix: str, at: datetime) -> Json:
        """What every object begins with."""
        return {"id": self.names.make(prefix), "created": int(at.timestamp()), "livemode": self.livemode}

    def later(self, cause: Cause, seconds: float, action: Callable[[Cause], None]) -> None:
        """Let `action` happen `seconds` after `cause`, caused by time alone."""
        self.alarms.at(cause.at + timedelta(seconds=seconds), lambda at: action(Cause(at)))

    def emit(self, cause: Cause, kind: str, thing: Json, previous: Json | None = None) -> None:
        """Make the event `kind` with a snapshot of `thing`; `previous` holds the old values of changed fields."""
        data: Json = {"object": deepcopy(thing)}
        if previous is not None:
            data["previous_attributes"] = previous
        request = {"id": cause.request_id, "idempotency_key": cause.idempotency_key}
        event = objects.event(self.identity("evt_", cause.at), kind, data, request)
        self.ledger.events[event["id"]] = event
        self.ledger.happened[event["id"]] = cause.at
        self.changes.tell()
        self.post(event)
