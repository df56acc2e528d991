"""One endpoint of the API and one call of it, free of HTTP: checked parameters in, an object or a refusal out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bot.sandbox.fake_stripe import form_params
from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.state import Cause, World


@dataclass(frozen=True)
class Call:
    """`params` are typed and checked, `id` is the one in the path (empty where there is none)."""

    world: World
    cause: Cause
    id: str
    params: Json


@dataclass(frozen=True)
class Endpoint:
    """`path` is Stripe's, with `:id`; `act` raises `Refusal`. Everybody may pass `expand`."""

    method: str
    path: str
    act: Callable[[Call], Json]
    fields: form_params.Fields = field(default_factory=dict)
    required: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    def read(self, params: Json) -> Json:
        """The typed parameters; raises Stripe's refusal of those that are unknown, missing or malformed."""
        return form_params.read(
            params, {"expand": form_params.each(form_params.text())} | dict(self.fields), self.required
        )
