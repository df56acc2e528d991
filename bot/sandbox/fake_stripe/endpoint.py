"""An endpoint of the API without HTTP: it takes checked parameters and returns an object or raises ApiError."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bot.sandbox.fake_stripe import form_params
from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.state import FakeStripeState, RequestCause


@dataclass(frozen=True)
class Call:
    """One call of an endpoint. `params` are typed and checked; `id` is from the path, or empty."""

    state: FakeStripeState
    cause: RequestCause
    id: str
    params: Json


@dataclass(frozen=True)
class Endpoint:
    """`path` has Stripe's notation, with `:id`; `handler` raises ApiError. Every endpoint takes `expand`."""

    method: str
    path: str
    handler: Callable[[Call], Json]
    fields: form_params.Fields = field(default_factory=dict)
    required: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    def parse(self, params: Json) -> Json:
        """The typed parameters; raises ApiError, as Stripe would, for an unknown, missing or malformed one."""
        return form_params.parse(
            params, {"expand": form_params.list_of(form_params.text())} | dict(self.fields), self.required
        )
