"""The objects of the fake Stripe, in memory; tests compare Kvit's database and messages with them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from bot.sandbox.fake_stripe.api_error import Json


@dataclass
class RequestRecord:
    """A received request. `status` is None without a response; `fault` is the injected fault that hit it.

    `replayed`: the response was stored under the idempotency key, and nothing was executed. `params` is nested.
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
    """One confirm of an intent, with its link, which works from `started_at` to `expires_at`.

    `outcome` is approved, declined, expired, canceled or replaced; None while the attempt is open.
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
    """One attempt to deliver an event; `status` is None without a response."""

    at: datetime
    event: str
    endpoint: str
    url: str
    attempt: int
    status: int | None


@dataclass
class ObjectStore:
    """Stripe's objects by id, as the API returns them, oldest first.

    `event_times` has the exact time of each event, because `created` is in whole seconds. `attempts` are by intent,
    `links` by the secret part of their URL. `payout_items` has the payout of each balance transaction that
    was paid out. `refused` are the requests that came while Stripe was down.
    """

    intents: dict[str, Json] = field(default_factory=dict)
    charges: dict[str, Json] = field(default_factory=dict)
    refunds: dict[str, Json] = field(default_factory=dict)
    disputes: dict[str, Json] = field(default_factory=dict)
    fraud_warnings: dict[str, Json] = field(default_factory=dict)
    payment_methods: dict[str, Json] = field(default_factory=dict)
    balance_transactions: dict[str, Json] = field(default_factory=dict)
    payouts: dict[str, Json] = field(default_factory=dict)
    payout_items: dict[str, str] = field(default_factory=dict)
    events: dict[str, Json] = field(default_factory=dict)
    webhook_endpoints: dict[str, Json] = field(default_factory=dict)
    event_times: dict[str, datetime] = field(default_factory=dict)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    links: dict[str, Attempt] = field(default_factory=dict)
    requests: list[RequestRecord] = field(default_factory=list)
    refused: list[RequestRecord] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)

    def open_attempt(self, intent: str) -> Attempt | None:
        """The attempt that the customer can still decide, if any."""
        last = self.attempts.get(intent, [])[-1:]
        return last[0] if last and last[0].outcome is None else None

    def as_json(self) -> Json:
        """All objects; times are ISO 8601 in UTC."""
        return {name: to_json(value) for name, value in vars(self).items()}


def to_json(value: Any) -> Any:
    """`value` with only JSON types in it."""
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
