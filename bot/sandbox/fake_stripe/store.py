"""The truth of the pretend Stripe, in plain memory: what tests compare Kvit's database and chats with."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from bot.sandbox.fake_stripe.api_error import Json


@dataclass
class RequestRecord:
    """One request as it arrived; `status` is None when no answer was given, `fault` names the reason.

    `replayed` marks an answer taken from the idempotency key: nothing was done. `params` are nested strings.
    """

    at: datetime
    method: str
    path: str
    params: Json
    idempotency_key: str | None
    request_id: str
    status: int | None = None
    replayed: bool = False
    fault: str | None = None


@dataclass
class Attempt:
    """One confirm: the link it made lives from `began` to `ends`; `outcome` says what became of it.

    `outcome` is approved, declined, lapsed, canceled or replaced; None while the attempt is open.
    """

    nonce: str
    intent: str
    number: int
    started_at: datetime
    expires_at: datetime
    return_url: str
    outcome: str | None = None
    ended_at: datetime | None = None

    def end(self, outcome: str, at: datetime) -> None:
        self.outcome, self.ended_at = outcome, at


@dataclass(frozen=True)
class Delivery:
    """One try to deliver an event; `status` is None when the endpoint did not answer at all."""

    at: datetime
    event: str
    endpoint: str
    url: str
    attempt: int
    status: int | None


@dataclass
class ObjectStore:
    """Stripe's objects by id, as the API shows them, oldest first.

    `happened` gives the exact time of each event, which Stripe itself rounds to seconds; `attempts` are kept
    by intent, `links` by the secret part of their address.
    """

    intents: dict[str, Json] = field(default_factory=dict)
    charges: dict[str, Json] = field(default_factory=dict)
    refunds: dict[str, Json] = field(default_factory=dict)
    disputes: dict[str, Json] = field(default_factory=dict)
    fraud_warnings: dict[str, Json] = field(default_factory=dict)
    payment_methods: dict[str, Json] = field(default_factory=dict)
    events: dict[str, Json] = field(default_factory=dict)
    webhook_endpoints: dict[str, Json] = field(default_factory=dict)
    event_times: dict[str, datetime] = field(default_factory=dict)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    links: dict[str, Attempt] = field(default_factory=dict)
    requests: list[RequestRecord] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)

    def open_attempt(self, intent: str) -> Attempt | None:
        """The attempt the customer could still authorise, if there is one."""
        last = self.attempts.get(intent, [])[-1:]
        return last[0] if last and last[0].outcome is None else None

    def as_json(self) -> Json:
        """Everything, with times as ISO 8601 in UTC."""
        return {name: to_json(value) for name, value in vars(self).items()}


def to_json(value: Any) -> Any:
    """`value` as JSON can carry it."""
    match value:
        case datetime():
            return value.isoformat()
        case RequestRecord() | Attempt() | Delivery():
            return to_json(asdict(value))
        case dict():
            return {key: to_json(item) for key, item in value.items()}
        case list() | tuple():
            return [to_json(item) for item in value]
    return value
