"""The settings of this installation, read once from the environment and `.env`, and refused early in plain words."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from bot import settings_validators as shapes
from storage.models.money import MAX_AMOUNT

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - a word for the operator, nothing is bound by it here


@dataclass(frozen=True)
class SettingError:
    """What is wrong with a variable, never with its value, and what it must be; each a whole sentence."""

    detail: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.detail} {self.remedy}"


class InvalidSettings(Exception):
    """The settings cannot be used; `wrong` says why, one for each variable."""

    def __init__(self, wrong: list[SettingError]) -> None:
        super().__init__("\n".join(map(str, wrong)))
        self.errors = wrong


class Settings(BaseSettings):
    """Every variable of the environment that Kvit reads; each `description` says what it must look like.

    Times are seconds or hours as the names say, money is minor units. Secrets show as asterisks wherever they are
    printed; `get_secret_value()` gives them away.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        env_file_encoding="utf-8",
        hide_input_in_errors=True,
        validate_default=False,
    )

    telegram_bot_token: Annotated[SecretStr, AfterValidator(shapes.bot_token)] = Field(
        description="the line that @BotFather gave you: digits, a colon and about 35 letters, digits, _ or -"
    )
    stripe_api_key: Annotated[SecretStr, AfterValidator(shapes.stripe_key)] = Field(
        description="rk_test_…, rk_live_…, sk_test_… or sk_live_…, from Stripe's Dashboard under Developers, API keys"
    )
    stripe_webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(shapes.webhook_secrets)] = Field(
        default=(), description="whsec_…, or several with commas between them and nothing else"
    )
    owner_ids: Annotated[frozenset[int], NoDecode, BeforeValidator(shapes.owner_ids)] = Field(
        default=frozenset(), description="Telegram user ids with commas between them, like 123456789,987654321"
    )
    public_url: Annotated[str, AfterValidator(shapes.public_url)] | None = Field(
        default=None, description="https://pay.example.dk, without a path and without a slash at the end"
    )
    database_url: Annotated[str, AfterValidator(shapes.database_url)] = Field(
        default="sqlite:///kvit.db",
        repr=False,
        description="sqlite:///FILE, like sqlite:///kvit.db or sqlite:////srv/kvit.db",
    )
    host: Annotated[str, AfterValidator(shapes.host)] = Field(
        default="127.0.0.1", description=f"an address or a name of this machine, like 127.0.0.1 or {ANY_ADDRESS}"
    )
    port: int = Field(default=8080, ge=0, le=65535, description="a whole number from 0 (any free port) to 65535")
    telegram_mode: Annotated[Literal["auto", "polling", "webhook"], BeforeValidator(shapes.lower)] = Field(
        default="auto", description="auto, polling, or webhook together with an https PUBLIC_URL"
    )
    telegram_webhook_secret: Annotated[SecretStr, AfterValidator(shapes.telegram_secret)] | None = Field(
        default=None, description="1 to 256 letters, digits, _ or -"
    )
    telegram_api_base: Annotated[str, AfterValidator(shapes.api_base)] | None = Field(
        default=None, description="scheme://host:port, like http://127.0.0.1:8081, without a path"
    )
    stripe_api_base: Annotated[str, AfterValidator(shapes.api_base)] | None = Field(
        default=None, description="scheme://host:port, like http://127.0.0.1:8082, without a path"
    )
    request_hours: float = Field(
        default=24,
        gt=0,
        le=720,
        allow_inf_nan=False,
        description="hours above 0 and up to 720, a fraction like 0.5 is fine",
    )
    attempt_seconds: int = Field(default=300, ge=1, le=300, description="a whole number from 1 to 300")
    reconcile_seconds: int = Field(default=60, ge=1, le=86400, description="a whole number from 1 to 86400")
    refund_approval_above: int | None = Field(
        default=None,
        ge=0,
        le=MAX_AMOUNT,
        description="a whole number of minor units, like 50000 for 500,00, up to 99999999",
    )
    trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(shapes.trusted_proxies)
    ] = Field(
        default=shapes.trusted_proxies("127.0.0.1,::1"),
        description="addresses or networks with commas, like 10.0.0.0/8,::1",
    )
    wallet_name: Annotated[Literal["auto", "MobilePay", "Vipps"], BeforeValidator(shapes.wallet_name)] = Field(
        default="auto", description="auto, MobilePay or Vipps"
    )
    metrics_token: Annotated[SecretStr, AfterValidator(shapes.metrics_token)] | None = Field(
        default=None, description="letters, digits and signs without a space, like what `openssl rand -hex 24` prints"
    )
    log_format: Annotated[Literal["auto", "json", "console"], BeforeValidator(shapes.lower)] = Field(
        default="auto", description="auto, json or console"
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(shapes.lower)] = Field(
        default="info", description="debug, info, warning or error"
    )

    @model_validator(mode="before")
    @classmethod
    def _blank_is_unset(cls, given: Any) -> Any:
        """A value of spaces was meant to be empty, and an empty value counts as unset."""
        if not isinstance(given, Mapping):
            return given
        trimmed = {name: value.strip() if isinstance(value, str) else value for name, value in given.items()}
        return {name: value for name, value in trimmed.items() if value != ""}

    @model_validator(mode="after")
    def _webhook_has_an_address(self) -> Self:
        """Telegram sends to https only; a pretend or self-hosted one may send to http."""
        encrypted = (self.public_url or "").startswith("https://")
        if self.telegram_mode == "webhook" and not (encrypted or (self.public_url and self.telegram_api_base)):
            raise PydanticCustomError("no_address", "asks for a webhook, which needs an https PUBLIC_URL")
        return self

    @property
    def uses_telegram_webhook(self) -> bool:
        """Whether Telegram brings updates to us, instead of being asked for them."""
        encrypted = (self.public_url or "").startswith("https://")
        return self.telegram_mode == "webhook" or (self.telegram_mode == "auto" and encrypted)

    @property
    def livemode(self) -> bool:
        """Whether the key moves real money."""
        return self.stripe_api_key.get_secret_value().split("_")[1] == "live"

    @property
    def bot_id(self) -> int:
        """The number by which Telegram knows the bot; its token begins with it."""
        return int(self.telegram_bot_token.get_secret_value().partition(":")[0])

    @property
    def update_secret(self) -> SecretStr:
        """What Telegram's webhook must show: the one that is set, else one derived from the bot's token."""
        token = self.telegram_bot_token.get_secret_value()
        derived = hmac.new(token.encode(), b"kvit: telegram webhook", hashlib.sha256).hexdigest()
        return self.telegram_webhook_secret or SecretStr(derived)

    def secrets(self) -> list[str]:
        """Every secret value, for whoever has to keep them out of something."""
        single = (self.telegram_bot_token, self.stripe_api_key, self.update_secret, self.metrics_token)
        return [secret.get_secret_value() for secret in (*single, *self.stripe_webhook_secrets) if secret]


class _Given(Settings):
    """Settings that take nothing from the environment nor from any file."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def load(env_file: Path | str | None = ".env") -> Settings:
    """Read the environment and, beneath it, the file `env_file` if there is one (None reads none).

    Raises:
        SettingsRefused: with one line per variable that is missing or wrong.
    """
    return _checked(Settings, {"_env_file": env_file})


def make_settings(**values: Any) -> Settings:
    """Settings from these values alone, written as in the environment; whatever is set there does not count.

    Raises:
        SettingsRefused: with one line per variable that is missing or wrong.
    """
    return _checked(_Given, values)


def _checked(kind: type[Settings], values: dict[str, Any]) -> Settings:
    try:
        return kind(**values)
    except ValidationError as error:
        wrong = {_name(found): _said(found) for found in reversed(error.errors(include_input=False))}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings([_unread(str(values.get("_env_file")), error)]) from None
    # From None, and out of the handler: the values must not be in a traceback.
    raise InvalidSettings([_refused(name, wrong[name]) for name in Settings.model_fields if name in wrong])


def _unread(name: str, error: OSError | UnicodeDecodeError) -> SettingError:
    """Why the file could not be read, and how it must be; never what is in it."""
    if isinstance(error, UnicodeDecodeError):
        return SettingError(f"{name} is no text in UTF-8.", "It must be written like .env.example.")
    if isinstance(error, PermissionError):
        return SettingError(
            f"{name} may not be read by this user.", "It must be a file that he may read, or not be there."
        )
    return SettingError(f"{name} cannot be read ({error.strerror}).", "It must be written like .env.example.")


_PLAIN = {
    "missing": "is missing",
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "literal_error": "is none of the words it can be",
}


def _name(found: Mapping[str, Any]) -> str:
    """Which variable it is about; what is said of all of them together is about Telegram's mode."""
    return str(found["loc"][0]) if found["loc"] else "telegram_mode"


def _said(found: Mapping[str, Any]) -> str:
    """What is wrong, in words; never the value."""
    if found["type"] == "value_error":
        return str(found["ctx"]["error"])
    if found["type"] == "no_address":
        return str(found["msg"])
    return _PLAIN.get(found["type"], "is out of range")


def _refused(name: str, wrong: str) -> SettingError:
    return SettingError(f"{name.upper()} {wrong}.", f"It must be {Settings.model_fields[name].description}.")
