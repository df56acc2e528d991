"""One endpoint of the API and one call of it, free of HTTP: checked parameters in, an object or a refusal out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bot.sandbox.fake_stripe import form_params
from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.state import FakeStripeState, RequestCause


@dataclass(frozen=True)
class Call:
    """`params` are typed and checked, `id` is the one in the path (empty where there is none)."""

    state: FakeStripeState
    cause: RequestCause
    id: str
    params: Json


@dataclass(frozen=True)
class Endpoint:
    """`path` is Stripe's, with `:id`; `act` raises `Refusal`. Everybody may pass `expand`."""

    method: str
    path: str
    handler: Callable[[Call], Json]
    fields: form_params.Fields = field(default_factory=dict)
    required: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    def parse(self, params: Json) -> Json:
        """The typed parameters; raises Stripe's refusal of those that are unknown, missing or malformed."""
        return form_params.parse(
            params, {"expand": form_params.list_of(form_params.text())} | dict(self.fields), self.required
        )
