"""Settings: values, errors and secrets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import traceback
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from bot import settings_validators as validators
from bot.settings import InvalidSettings, Settings, load

TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"
KEY = "rk_test_51CanaryKey0987654321"
ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / ".env.example"
REQUIRED = {"TELEGRAM_BOT_TOKEN", "STRIPE_API_KEY"}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the machine's environment and without the checkout's `.env`."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("STRIPE_API_KEY", KEY)


def errors_of_load() -> list[str]:
    with pytest.raises(InvalidSettings) as refused:
        load()
    return [str(one) for one in refused.value.errors]


def test_defaults_need_two_variables(required: None) -> None:
    settings = load()
    assert settings.telegram_bot_token.get_secret_value() == TOKEN
    assert (settings.host, settings.port, settings.database_url) == ("127.0.0.1", 8080, "sqlite:///kvit.db")
    assert settings.trusted_proxies == (ip_network("127.0.0.1"), ip_network("::1"))
    assert settings.owner_ids == frozenset()
    assert settings.stripe_webhook_secrets == ()
    assert settings.public_url is None
    assert settings.refund_approval_above is None
    assert (settings.request_hours, settings.attempt_seconds, settings.reconcile_seconds) == (24, 300, 60)
    assert settings.drain_seconds == 0


def test_each_missing_variable_is_one_error() -> None:
    token, key = errors_of_load()
    assert token.startswith("TELEGRAM_BOT_TOKEN is missing. It must be the token from @BotFather")
    assert key.startswith("STRIPE_API_KEY is missing. It must be rk_test_…")


@pytest.mark.parametrize("empty", ["", "  "])
def test_empty_value_is_unset(monkeypatch: pytest.MonkeyPatch, required: None, empty: str) -> None:
    for name in set(Settings.model_fields) - {name.lower() for name in REQUIRED}:
        monkeypatch.setenv(name.upper(), empty)
    assert load() == Settings(telegram_bot_token=SecretStr(TOKEN), stripe_api_key=SecretStr(KEY))


EVERY = """\
STRIPE_WEBHOOK_SECRETS=whsec_one, whsec_two+/=
OWNER_IDS=4503599627370495, 7
PUBLIC_URL=https://pay.example.dk
DATABASE_URL=sqlite:////srv/kvit.db
HOST=::1
PORT=0
TELEGRAM_MODE=polling
TELEGRAM_WEBHOOK_SECRET=update-secret_1
TELEGRAM_API_BASE=http://127.0.0.1:8081
STRIPE_API_BASE=http://localhost:8082
REQUEST_HOURS=0.5
ATTEMPT_SECONDS=1
RECONCILE_SECONDS=1
REFUND_APPROVAL_ABOVE=50000
TRUSTED_PROXIES=10.0.0.0/8,::1
WALLET_NAME=vipps
METRICS_TOKEN=scrape-me
LOG_FORMAT=JSON
LOG_LEVEL=Debug
"""


def test_all_variables_are_read(monkeypatch: pytest.MonkeyPatch, required: None) -> None:
    for line in EVERY.splitlines():
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value)
    settings = load()
    assert [s.get_secret_value() for s in settings.stripe_webhook_secrets] == ["whsec_one", "whsec_two+/="]
    assert settings.owner_ids == {4503599627370495, 7}
    assert (settings.public_url, settings.database_url) == ("https://pay.example.dk", "sqlite:////srv/kvit.db")
    assert (settings.host, settings.port, settings.telegram_mode) == ("::1", 0, "polling")
    assert settings.update_secret.get_secret_value() == "update-secret_1"
    assert settings.telegram_api_base == "http://127.0.0.1:8081"
    assert settings.stripe_api_base == "http://localhost:8082"
    assert (settings.request_hours, settings.attempt_seconds, settings.reconcile_seconds) == (0.5, 1, 1)
    assert settings.refund_approval_above == 50000
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert (settings.wallet_name, settings.log_format, settings.log_level) == ("Vipps", "json", "debug")


WRONG = [
    ("TELEGRAM_BOT_TOKEN", "123456789", "not a bot token"),
    ("TELEGRAM_BOT_TOKEN", "123456789:short", "not a bot token"),
    ("STRIPE_API_KEY", "pk_test_51abc", "publishable key"),
    ("STRIPE_API_KEY", "pk_live_51abc", "use the restricted or secret key"),
    ("STRIPE_API_KEY", "whsec_abc", "belongs into STRIPE_WEBHOOK_SECRETS"),
    ("STRIPE_API_KEY", "sk_test_…", "not one of Stripe's keys"),
    ("STRIPE_API_KEY", "sk_prod_abc", "not one of Stripe's keys"),
    ("STRIPE_WEBHOOK_SECRETS", "whsec_a,,whsec_b", "blank entry"),
    ("STRIPE_WEBHOOK_SECRETS", "whsec_a,", "blank entry"),
    ("STRIPE_WEBHOOK_SECRETS", ",", "blank entry"),
    ("STRIPE_WEBHOOK_SECRETS", "whsec_", "not a webhook secret"),
    ("STRIPE_WEBHOOK_SECRETS", "whsec_a;whsec_b", "not a webhook secret"),
    ("OWNER_IDS", "@anna", "not a user id"),
    ("OWNER_IDS", "-1001234", "a group and not a user"),
    ("OWNER_IDS", "5,1087968824", "anonymous admins"),
    ("OWNER_IDS", "136817688", "as a channel"),
    ("OWNER_IDS", "777000", "Telegram itself"),
    ("OWNER_IDS", "4503599627370496", "not a user id"),
    ("OWNER_IDS", "0", "not a user id"),
    ("OWNER_IDS", "٣", "not a user id"),
    ("PUBLIC_URL", "http://pay.example.dk", "not encrypted"),
    ("PUBLIC_URL", "https://pay.example.dk/", "slash at the end"),
    ("PUBLIC_URL", "https://pay.example.dk/kvit", "after the host"),
    ("PUBLIC_URL", "https://pay.example.dk?x=1", "after the host"),
    ("PUBLIC_URL", "https://me:secret@pay.example.dk", "not an address"),
    ("PUBLIC_URL", "pay.example.dk", "not an address"),
    ("PUBLIC_URL", "https://pay example.dk", "not an address"),
    ("PUBLIC_URL", "https://[::1", "not an address"),
    ("PUBLIC_URL", "ftp://pay.example.dk", "not an address"),
    ("DATABASE_URL", "kvit.db", "neither the URL of an SQLite file"),
    ("DATABASE_URL", "sqlite:///", "neither the URL of an SQLite file"),
    ("DATABASE_URL", "sqlite:///:memory:", "neither the URL of an SQLite file"),
    ("DATABASE_URL", "postgresql+asyncpg://kvit@db/kvit", "not the URL of a PostgreSQL database"),
    ("DATABASE_URL", "postgresql://kvit@db", "not the URL of a PostgreSQL database"),
    ("DATABASE_URL", "postgresql://kvit@db:99999/kvit", "not the URL of a PostgreSQL database"),
    ("DATABASE_URL", "postgresql:///kvit", "not the URL of a PostgreSQL database"),
    ("DATABASE_LISTEN_URL", "sqlite:///kvit.db", "not the URL of a PostgreSQL database"),
    ("DATABASE_LISTEN_URL", "postgresql://kvit@db/kvit", "DATABASE_URL is not one of PostgreSQL"),
    ("HOST", "127.0.0.1/8", "not an address"),
    ("PORT", "65536", "out of range"),
    ("PORT", "http", "not a whole number"),
    ("TELEGRAM_MODE", "webhook", "needs an https PUBLIC_URL"),
    ("TELEGRAM_MODE", "telepathy", "not one of the allowed values"),
    ("TELEGRAM_WEBHOOK_SECRET", "a b", "does not allow"),
    ("TELEGRAM_API_BASE", "http://127.0.0.1:8081/bot", "after the host"),
    ("STRIPE_API_BASE", "http://127.0.0.1:8082/", "slash at the end"),
    ("STRIPE_API_BASE", "http://127.0.0.1:99999", "not an address"),
    ("REQUEST_HOURS", "0", "out of range"),
    ("REQUEST_HOURS", "nan", "out of range"),
    ("REQUEST_HOURS", "721", "out of range"),
    ("REQUEST_HOURS", "a day", "not a number"),
    ("ATTEMPT_SECONDS", "0", "out of range"),
    ("ATTEMPT_SECONDS", "301", "out of range"),
    ("ATTEMPT_SECONDS", "1.5", "not a whole number"),
    ("RECONCILE_SECONDS", "0", "out of range"),
    ("REFUND_APPROVAL_ABOVE", "-1", "out of range"),
    ("REFUND_APPROVAL_ABOVE", "500,00", "not a whole number"),
    ("TRUSTED_PROXIES", "127.0.0.1,proxy", "neither an address nor a network"),
    ("TRUSTED_PROXIES", "127.0.0.1,,::1", "blank entry"),
    ("WALLET_NAME", "Swish", "not one of the allowed values"),
    ("METRICS_TOKEN", "two words", "a space"),
    ("LOG_FORMAT", "xml", "not one of the allowed values"),
    ("LOG_LEVEL", "loud", "not one of the allowed values"),
]


@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_invalid_value_is_one_error(
    monkeypatch: pytest.MonkeyPatch, required: None, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    (line,) = errors_of_load()
    assert line.startswith(f"{name} ")
    assert said in line
    assert "It must be " in line
    assert "\n" not in line


@given(st.text(alphabet=st.characters(min_codepoint=33), min_size=6))
def test_error_never_contains_the_value(value: str) -> None:
    for check in (validators.bot_token, validators.stripe_key, validators.telegram_secret, validators.metrics_token):
        said = ""
        try:
            check(SecretStr(value))
        except ValueError as refused:
            said = str(refused)
        assert value not in said


def test_errors_are_in_the_order_of_the_settings(monkeypatch: pytest.MonkeyPatch, required: None) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")
    monkeypatch.setenv("PORT", "-1")
    assert [line.split()[0] for line in errors_of_load()] == ["PORT", "LOG_LEVEL"]


@pytest.mark.parametrize(
    "url", ["http://localhost:8080", "http://127.0.0.1", "http://[::1]:8080", "https://[2001:db8::1]"]
)
def test_http_is_valid_for_this_machine(monkeypatch: pytest.MonkeyPatch, required: None, url: str) -> None:
    monkeypatch.setenv("PUBLIC_URL", url)
    assert load().public_url == url


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("HTTPS://Pay.Example.DK", "https://pay.example.dk"),
        ("https://bøf.example.dk", "https://xn--bf-lka.example.dk"),
        ("Https://Bageri-Åsen.DK:8443", "https://xn--bageri-sen-75a.dk:8443"),
        ("https://пример.рф", "https://xn--e1afmkfd.xn--p1ai"),
        ("HTTP://LOCALHOST:8080", "http://localhost:8080"),
        ("https://[2001:DB8::1]:443", "https://[2001:db8::1]:443"),
    ],
)
def test_public_url_is_read_as_browsers_write_it(
    monkeypatch: pytest.MonkeyPatch, required: None, url: str, read: str
) -> None:
    monkeypatch.setenv("PUBLIC_URL", url)
    settings = load()
    assert settings.public_url == read
    assert settings.uses_telegram_webhook is read.startswith("https://")


@pytest.mark.parametrize(
    "url", ["https://bøf..dk", f"https://{'ø' * 70}.dk", "https://pay.example.dk/ø", "https://ø@x.dk"]
)
def test_public_url_that_no_browser_could_open_is_one_error(
    monkeypatch: pytest.MonkeyPatch, required: None, url: str
) -> None:
    monkeypatch.setenv("PUBLIC_URL", url)
    [error] = errors_of_load()
    assert error.startswith("PUBLIC_URL ")
    assert "It must be https://pay.example.dk" in error


def test_missing_variable_says_where_it_was_looked_for(tmp_path: Path) -> None:
    assert [f"there is no {tmp_path}/.env." in error for error in errors_of_load()] == [True, True]
    (tmp_path / ".env").write_text(f"stripe_api_kye={KEY}\n")
    token, key = errors_of_load()
    assert token.endswith(f"; it is neither in the environment nor in {tmp_path}/.env.")
    assert key.endswith(f"; {tmp_path}/.env has STRIPE_API_KYE instead.")


@pytest.mark.parametrize(
    ("key", "live"), [("sk_live_1", True), ("rk_live_1", True), ("sk_test_live_1", False), ("rk_test_1", False)]
)
def test_livemode_follows_the_key(key: str, live: bool) -> None:
    assert Settings(telegram_bot_token=SecretStr(TOKEN), stripe_api_key=SecretStr(key)).livemode is live


def test_update_secret_is_derived_by_default(required: None) -> None:
    secret = load().update_secret.get_secret_value()
    assert secret == load().update_secret.get_secret_value()
    assert re.fullmatch(r"[A-Za-z0-9_-]{32,256}", secret)
    assert TOKEN not in secret


def test_environment_overrides_the_file(monkeypatch: pytest.MonkeyPatch, required: None, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=9000\nHOST=::1\nSOMETHING_ELSE=1\n", "utf-8")
    monkeypatch.setenv("PORT", "9001")
    assert (load().port, load().host) == (9001, "::1")
    assert (load(None).port, load(None).host) == (9001, "127.0.0.1")


def test_empty_variable_does_not_override_the_file(
    monkeypatch: pytest.MonkeyPatch, required: None, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("PORT=9000\n", "utf-8")
    monkeypatch.setenv("PORT", "")
    assert load().port == 9000


def test_file_that_is_not_text_is_an_error(required: None, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=\xff\xfe\n")
    assert errors_of_load() == [".env is not UTF-8 text. It must look like .env.example."]


def test_unreadable_file_is_an_error(required: None, tmp_path: Path) -> None:
    (tmp_path / ".env").touch(mode=0)
    command = [sys.executable, "-m", "tests.support.unprivileged", "bot", "migrate"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    said = ".env is not readable by this user. It must be readable, or not exist.\n"
    assert (ended.returncode, ended.stderr) == (2, said)


def test_settings_and_errors_show_no_secret(monkeypatch: pytest.MonkeyPatch, required: None) -> None:
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRETS", "whsec_canary1,whsec_canary2")
    monkeypatch.setenv("METRICS_TOKEN", "canary3")
    monkeypatch.setenv("TELEGRAM_WEBHOOK_SECRET", "canary4")
    monkeypatch.setenv("DATABASE_URL", "postgresql://kvit:canary%2F5@db/kvit")
    monkeypatch.setenv("DATABASE_LISTEN_URL", "postgresql:///kvit?host=/run/postgresql&password=canary6")
    settings = load()
    expected = {TOKEN, KEY, "whsec_canary1", "whsec_canary2", "canary3", "canary4", "canary%2F5", "canary/5", "canary6"}
    assert set(settings.secrets()) == expected
    monkeypatch.setenv("STRIPE_API_KEY", "sk_canary_" + KEY)
    try:
        load()
    except InvalidSettings:
        shown = traceback.format_exc() + repr(settings) + str(settings) + settings.model_dump_json()
    assert [secret for secret in settings.secrets() if secret in shown] == []
    assert "canary" not in shown


def test_settings_are_immutable(required: None) -> None:
    with pytest.raises(ValidationError):
        load().port = 1


def examples() -> dict[str, str]:
    """Every variable of the example file, as it stands there."""
    return dict(re.findall(r"^(?:# )?([A-Z][A-Z_]+)=(.*)$", EXAMPLE.read_text("utf-8"), re.MULTILINE))


def test_example_names_every_variable_once() -> None:
    names = re.findall(r"^(?:# )?([A-Z][A-Z_]+)=", EXAMPLE.read_text("utf-8"), re.MULTILINE)
    assert sorted(names) == sorted(name.upper() for name in Settings.model_fields)


def test_example_shows_the_defaults(required: None, tmp_path: Path) -> None:
    defaults = {name: value for name, value in examples().items() if name not in REQUIRED}
    (tmp_path / ".env").write_text("\n".join(f"{name}={value}" for name, value in defaults.items()), "utf-8")
    assert load() == load(None)
    fields = {name.upper(): field for name, field in Settings.model_fields.items()}
    for name, value in defaults.items():
        assert bool(value) is bool(fields[name].default), name


def test_example_lacks_only_the_required_values(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(EXAMPLE.read_text("utf-8"), "utf-8")
    assert {line.split()[0] for line in errors_of_load()} == REQUIRED
