"""The settings, read once from the environment and `.env`. Invalid ones are reported before anything starts."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bot import settings_validators as validators
from storage.models.money import MAX_AMOUNT

ENV_FILE = Path(".env")
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - for a text, nothing binds to it here


@dataclass(frozen=True)
class SettingError:
    """What is wrong with a variable, without its value, and what it must be; two whole sentences."""

    detail: str
    hint: str

    def __str__(self) -> str:
        return f"{self.detail} {self.hint}"


class InvalidSettings(Exception):
    """The settings cannot be used; `errors` has one entry for each variable."""

    def __init__(self, errors: list[SettingError]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


class Settings(BaseSettings):
    """All environment variables that Kvit reads. Each `description` completes the sentence "It must be …".

    Times are seconds or hours, as the names say; money is minor units. Secrets are printed as asterisks.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        env_file_encoding="utf-8",
        hide_input_in_errors=True,
        validate_default=False,
    )

    telegram_bot_token: Annotated[SecretStr, AfterValidator(validators.bot_token)] = Field(
        description="the token from @BotFather: digits, a colon and about 35 letters, digits, _ or -"
    )
    stripe_api_key: Annotated[SecretStr, AfterValidator(validators.stripe_key)] = Field(
        description="rk_test_…, rk_live_…, sk_test_… or sk_live_…, from Stripe's Dashboard under Developers, API keys"
    )
    stripe_webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(validators.webhook_secrets)] = (
        Field(default=(), description="whsec_…, or several, separated by commas")
    )
    owner_ids: Annotated[frozenset[int], NoDecode, BeforeValidator(validators.owner_ids)] = Field(
        default=frozenset(), description="Telegram user ids, separated by commas, like 123456789,987654321"
    )
    public_url: Annotated[str, AfterValidator(validators.public_url)] | None = Field(
        default=None, description="https://pay.example.dk, without a path or a slash at the end"
    )
    database_url: Annotated[str, AfterValidator(validators.database_url)] = Field(
        default="sqlite:///kvit.db",
        repr=False,
        exclude=True,
        description="sqlite:///FILE, like sqlite:///kvit.db or sqlite:////srv/kvit.db, "
        "or postgresql://USER:PASSWORD@HOST/DATABASE",
    )
    database_listen_url: Annotated[str, AfterValidator(validators.postgres_url)] | None = Field(
        default=None,
        repr=False,
        exclude=True,
        description="postgresql://USER:PASSWORD@HOST/DATABASE, the same database past the pooler of DATABASE_URL",
    )
    host: Annotated[str, AfterValidator(validators.host)] = Field(
        default="127.0.0.1", description=f"an address or name of this machine, like 127.0.0.1 or {ANY_ADDRESS}"
    )
    port: int = Field(default=8080, ge=0, le=65535, description="a whole number from 0 (any free port) to 65535")
    telegram_mode: Annotated[Literal["auto", "polling", "webhook"], BeforeValidator(validators.lower)] = Field(
        default="auto", description="auto, polling, or webhook together with an https PUBLIC_URL"
    )
    telegram_webhook_secret: Annotated[SecretStr, AfterValidator(validators.telegram_secret)] | None = Field(
        default=None, description="1 to 256 letters, digits, _ or -"
    )
    telegram_api_base: Annotated[str, AfterValidator(validators.api_base)] | None = Field(
        default=None, description="scheme://host:port, like http://127.0.0.1:8081, without a path"
    )
    stripe_api_base: Annotated[str, AfterValidator(validators.api_base)] | None = Field(
        default=None, description="scheme://host:port, like http://127.0.0.1:8082, without a path"
    )
    request_hours: float = Field(
        default=24,
        gt=0,
        le=720,
        allow_inf_nan=False,
        description="a number of hours above 0 and up to 720, like 0.5",
    )
    attempt_seconds: int = Field(default=300, ge=1, le=300, description="a whole number from 1 to 300")
    reconcile_seconds: int = Field(default=60, ge=1, le=86400, description="a whole number from 1 to 86400")
    drain_seconds: int = Field(default=0, ge=0, le=60, description="a whole number from 0 to 60")
    refund_approval_above: int | None = Field(
        default=None,
        ge=0,
        le=MAX_AMOUNT,
        description="a whole number of minor units, like 50000 for 500,00, up to 99999999",
    )
    trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(validators.trusted_proxies)
    ] = Field(
        default=validators.trusted_proxies("127.0.0.1,::1"),
        description="addresses or networks, separated by commas, like 10.0.0.0/8,::1",
    )
    wallet_name: Annotated[Literal["auto", "MobilePay", "Vipps"], BeforeValidator(validators.wallet_name)] = Field(
        default="auto", description="auto, MobilePay or Vipps"
    )
    metrics_token: Annotated[SecretStr, AfterValidator(validators.metrics_token)] | None = Field(
        default=None, description="letters, digits and signs without a space, like the output of `openssl rand -hex 24`"
    )
    log_format: Annotated[Literal["auto", "json", "console"], BeforeValidator(validators.lower)] = Field(
        default="auto", description="auto, json or console"
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(validators.lower)] = Field(
        default="info", description="debug, info, warning or error"
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_blank_values(cls, given: Any) -> Any:
        """A value of spaces counts as empty, and an empty value as unset."""
        if not isinstance(given, Mapping):
            return given
        trimmed = {name: value.strip() if isinstance(value, str) else value for name, value in given.items()}
        return {name: value for name, value in trimmed.items() if value != ""}

    @model_validator(mode="after")
    def _check_listen_url(self) -> Self:
        """Without PostgreSQL there is no pooler."""
        if self.database_listen_url and self.database_url.startswith("sqlite:"):
            raise PydanticCustomError("listen_url", "is set, but DATABASE_URL is not one of PostgreSQL")
        return self

    @model_validator(mode="after")
    def _check_webhook_url(self) -> Self:
        """Telegram sends to https only; a fake or self-hosted Bot API server may send to http."""
        encrypted = (self.public_url or "").startswith("https://")
        if self.telegram_mode == "webhook" and not (encrypted or (self.public_url and self.telegram_api_base)):
            raise PydanticCustomError("no_webhook_url", "requires a webhook, which needs an https PUBLIC_URL")
        return self

    @property
    def uses_telegram_webhook(self) -> bool:
        """Whether updates come by webhook and not by polling."""
        encrypted = (self.public_url or "").startswith("https://")
        return self.telegram_mode == "webhook" or (self.telegram_mode == "auto" and encrypted)

    @property
    def livemode(self) -> bool:
        """Whether the key is a live one, which moves real money."""
        return self.stripe_api_key.get_secret_value().split("_")[1] == "live"

    @property
    def bot_id(self) -> int:
        """The bot's user id at Telegram; its token begins with it."""
        return int(self.telegram_bot_token.get_secret_value().partition(":")[0])

    @property
    def update_secret(self) -> SecretStr:
        """The secret token of Telegram's webhook: the one that is set, else one derived from the bot's token."""
        token = self.telegram_bot_token.get_secret_value()
        derived = hmac.new(token.encode(), b"kvit: telegram webhook", hashlib.sha256).hexdigest()
        return self.telegram_webhook_secret or SecretStr(derived)

    def secrets(self) -> list[str]:
        """All secret values, to be redacted."""
        single = (self.telegram_bot_token, self.stripe_api_key, self.update_secret, self.metrics_token)
        plain = [secret.get_secret_value() for secret in (*single, *self.stripe_webhook_secrets) if secret]
        return [*plain, *_passwords(self.database_url), *_passwords(self.database_listen_url or "")]


def _passwords(url: str) -> list[str]:
    """The password in a database's URL, as it stands there and decoded."""
    parts = urlsplit(url)
    written = [parts.password] if parts.password else parse_qs(parts.query).get("password", [])
    return list(dict.fromkeys([*written, *map(unquote, written)]))


class _ExplicitSettings(Settings):
    """Settings that read neither the environment nor a file."""

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


def load(env_file: Path | str | None = ENV_FILE) -> Settings:
    """Settings from the environment, and from the file `env_file`, if it exists, for variables that are not set there.

    Raises:
        InvalidSettings: a variable is missing or invalid, or the file cannot be read.
    """
    return _validate(Settings, {"_env_file": env_file})


def unknown_names(env_file: Path) -> list[str]:
    """The names in the file that are no settings, in upper case, sorted; none if it cannot be read."""
    try:
        found = DotEnvSettingsSource(Settings, env_file=env_file, env_file_encoding="utf-8").env_vars
    except (OSError, UnicodeDecodeError):
        return []
    return sorted(name.upper() for name in found.keys() - Settings.model_fields.keys())


def similar_setting(name: str) -> str | None:
    """The setting that is probably meant by an unknown name, in upper case."""
    return next(iter(get_close_matches(name.upper(), map(str.upper, Settings.model_fields), n=1, cutoff=0.8)), None)


def make_settings(**values: Any) -> Settings:
    """Settings from these values only, written as in the environment.

    Raises:
        InvalidSettings: a variable is missing or invalid.
    """
    return _validate(_ExplicitSettings, values)


def _validate(kind: type[Settings], values: dict[str, Any]) -> Settings:
    try:
        return kind(**values)
    except ValidationError as error:
        problems = {_variable(it): _describe(it) for it in reversed(error.errors(include_input=False))}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings([_unreadable_file(str(values.get("_env_file")), error)]) from None
    # Outside the handler: a traceback must not contain the values.
    env_file = values.get("_env_file")
    raise InvalidSettings(
        [
            _setting_error(name, problems[name], _why_missing(name, env_file) if problems[name] == MISSING else "")
            for name in Settings.model_fields
            if name in problems
        ]
    )


def _why_missing(name: str, env_file: Path | str | None) -> str:
    """Where a missing variable was looked for, as the rest of a sentence."""
    if env_file is None:
        return ""
    path = Path(env_file).absolute()
    if not path.is_file():
        return f"; there is no {path}"
    for unknown in unknown_names(path):
        if similar_setting(unknown) == name.upper():
            return f"; {path} has {unknown} instead"
    return f"; it is neither in the environment nor in {path}"


def _unreadable_file(name: str, error: OSError | UnicodeDecodeError) -> SettingError:
    """Why the file cannot be read, without its content."""
    if isinstance(error, UnicodeDecodeError):
        return SettingError(f"{name} is not UTF-8 text.", "It must look like .env.example.")
    if isinstance(error, PermissionError):
        return SettingError(f"{name} is not readable by this user.", "It must be readable, or not exist.")
    return SettingError(f"{name} cannot be read ({error.strerror}).", "It must look like .env.example.")


MISSING = "is missing"
_DESCRIPTIONS = {
    "missing": MISSING,
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "literal_error": "is not one of the allowed values",
}


_ABOUT_ALL = {"no_webhook_url": "telegram_mode", "listen_url": "database_listen_url"}
"""The variable to name in an error about several settings together, by its type."""


def _variable(error: Mapping[str, Any]) -> str:
    """The variable of an error."""
    return str(error["loc"][0]) if error["loc"] else _ABOUT_ALL[error["type"]]


def _describe(error: Mapping[str, Any]) -> str:
    """What is wrong, without the value."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] in _ABOUT_ALL:
        return str(error["msg"])
    return _DESCRIPTIONS.get(error["type"], "is out of range")


def _setting_error(name: str, problem: str, looked: str) -> SettingError:
    return SettingError(f"{name.upper()} {problem}.", f"It must be {Settings.model_fields[name].description}{looked}.")
