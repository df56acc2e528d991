"""The state of the fake Stripe that all its modules share, and the creation of events."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bot.sandbox.fake_stripe import objects
from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.balance import Balance, OutcomeQueue
from bot.sandbox.fake_stripe.ids import IdGenerator
from bot.sandbox.fake_stripe.options import Options
from bot.sandbox.fake_stripe.store import ObjectStore
from bot.sandbox.shared.background_tasks import BackgroundTasks, Timers
from bot.sandbox.shared.change_notifier import ChangeNotifier
from bot.sandbox.shared.fake_clock import FakeClock

ACCOUNT = "acct_1SandboxKvit0001"


@dataclass(frozen=True)
class RequestCause:
    """The cause of a change: an API request, or (with both ids None) a customer, a bank or a timer."""

    at: datetime
    request_id: str | None = None
    idempotency_key: str | None = None


@dataclass
class FakeStripeState:
    """One Stripe account. `on_event` passes a new event to the delivery; `base` is the URL of the server.

    While it is `down`, connections are closed without a response.
    """

    clock: FakeClock
    key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    on_event: Callable[[Json], None]
    base: str = ""
    down: bool = False
    store: ObjectStore = field(default_factory=ObjectStore)
    ids: IdGenerator = field(default_factory=IdGenerator)
    options: Options = field(default_factory=Options)
    balance: Balance = field(default_factory=Balance)
    refund_outcomes: OutcomeQueue = field(default_factory=OutcomeQueue)
    background_tasks: BackgroundTasks = field(default_factory=BackgroundTasks)
    changes: ChangeNotifier = field(default_factory=ChangeNotifier)
    timers: Timers = field(init=False)

    def __post_init__(self) -> None:
        self.timers = Timers(self.clock, self.background_tasks)

    @property
    def livemode(self) -> bool:
        return self.key.startswith(("sk_live_", "rk_live_"))

    def now(self) -> datetime:
        return self.clock.now()

    def new_identity(self, prefix: str, at: datetime) -> Json:
        """The fields that every object has: id, created, livemode."""
        return {"id": self.ids.make(prefix), "created": int(at.timestamp()), "livemode": self.livemode}

    def call_later(self, cause: RequestCause, seconds: float, action: Callable[[RequestCause], None]) -> None:
        """Run `action` `seconds` after `cause`, with a timer as its cause."""
        self.timers.call_at(cause.at + timedelta(seconds=seconds), lambda at: action(RequestCause(at)))

    def emit(self, cause: RequestCause, kind: str, item: Json, previous: Json | None = None) -> None:
        """Create the event `kind` with a snapshot of `item`; `previous` has the old values of changed fields."""
        data: Json = {"object": deepcopy(item)}
        if previous is not None:
            data["previous_attributes"] = previous
        request = {"id": cause.request_id, "idempotency_key": cause.idempotency_key}
        event = objects.event(self.new_identity("evt_", cause.at), kind, data, request)
        self.store.events[event["id"]] = event
        self.store.event_times[event["id"]] = cause.at
        self.changes.notify()
        self.on_event(event)
