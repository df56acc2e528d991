"""The log: one line per record, with the log context and without secrets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from bot import logging_setup
from bot.redaction import REDACTED, redactor
from storage.models.payment import PaymentStatus
from storage.models.refund import RefundStatus
from storage.models.shop import Role

log = logging.getLogger("handlers.somewhere")

TOKEN = "123456789:AAHcanaryTelegramToken_with-signs000"
SECRETS = {
    "a bot token": TOKEN,
    "a live key": "sk_live_51CanaryLive",
    "a restricted key": "rk_test_51CanaryRestricted",
    "a webhook secret": "whsec_Canary+/signing=",
    "a client secret": "pi_3Canary_secret_CanaryClient",
    "a redirect": "pa_nonce_CanaryNonce",
}
CANARIES = ("AAHcanary", "51Canary", "Canary+/", "CanaryClient", "CanaryNonce")


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    """Restores the logging configuration, which is global."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = list(root.handlers), root.level
    levels = {
        name: logging.getLogger(name).level
        for name in (*logging_setup.WARNING_ONLY_LOGGERS, *logging_setup.DISABLED_LOGGERS)
    }
    yield
    root.handlers[:], sys.excepthook = handlers, hook
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def read(**settings: Any) -> Callable[[], str]:
    """Configures logging; returns a function that reads what was logged."""
    stream = io.StringIO()
    logging_setup.configure(stream=stream, **settings)
    return stream.getvalue


MARKS = {
    "payment": "K7F3",
    "detail": {"status": PaymentStatus.SUCCEEDED, "attempt": 1, "payment": "other", "reason": None},
    "role": Role.ADMIN,
    "at": datetime(2026, 11, 24, 12, tzinfo=UTC),
    "ids": frozenset({9, 8}),
    "amount": Decimal("1.50"),
    "path": Path("kvit.db"),
    "statuses": (RefundStatus.PENDING,),
}


def test_values_on_a_terminal_are_plain() -> None:
    written = read(form="console")
    log.info("payment changed to %s", PaymentStatus.SUCCEEDED, extra=MARKS)
    line = written()
    assert "payment changed to succeeded" in line
    for shown in ("status=succeeded", "attempt=1", "payment=K7F3", "detail.payment=other", "role=admin", "amount=1.50"):
        assert shown in line.split(), line
    for shown in ("at=2026-11-24T12:00:00+00:00", "path=kvit.db", "ids=[8, 9]", "statuses=['pending']"):
        assert shown in line
    assert "<" not in line
    assert "Decimal" not in line


def test_values_in_json_are_plain() -> None:
    written = read(form="json")
    log.info("changed", extra=MARKS)
    line = json.loads(written())
    detail = {"status": "succeeded", "attempt": 1, "payment": "other", "reason": None}
    assert (line["detail"], line["role"], line["ids"], line["amount"]) == (detail, "admin", [8, 9], "1.50")


def test_line_is_json_with_level_logger_time_and_values() -> None:
    written = read(form="json")
    log.warning("a %s fell", "tree", extra={"height": 7})
    line = json.loads(written())
    assert line["event"] == "a tree fell"
    assert (line["level"], line["logger"], line["height"]) == ("warning", "handlers.somewhere", 7)
    assert line["timestamp"].endswith("Z")


def test_auto_format_is_json_without_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    written = read()
    log.info("hello")
    assert json.loads(written())["event"] == "hello"
    terminal = Terminal()
    logging_setup.configure(stream=terminal)
    log.info("hello")
    assert terminal.getvalue().startswith("\x1b[")


def test_line_contains_the_log_context() -> None:
    written = read(form="json")
    with bound_contextvars(update=5):
        with bound_contextvars(payment="pay_1"):
            log.info("within")
        log.info("between")
    log.info("outside")
    within, between, outside = map(json.loads, written().splitlines())
    assert (within["update"], within["payment"]) == (5, "pay_1")
    assert between["update"] == 5
    assert "payment" not in between
    assert "update" not in outside


async def test_task_keeps_the_log_context_of_its_creation() -> None:
    async def marks() -> dict[str, str | int]:
        await asyncio.sleep(0)
        return get_contextvars()

    with bound_contextvars(update=1):
        first = asyncio.create_task(marks())
    with bound_contextvars(update=2):
        second = asyncio.create_task(marks())
    assert [await first, await second] == [{"update": 1}, {"update": 2}]
    assert get_contextvars() == {}


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_secret_is_redacted_everywhere(form: str, secret: str) -> None:
    written = read(form=form)
    log.info("in the sentence %s.", secret)
    log.info("first line\n%s\tlast word", secret)
    log.info("in a value", extra={"value": secret, "deep": {"list": [secret, secret.encode()]}})
    log.info("in an address: https://api.telegram.org/bot%s/getMe?key=%s", secret, secret)
    with bound_contextvars(mark=secret):
        log.info("in a mark")
    try:
        try:
            raise ValueError(f"at the bottom: {secret}")
        except ValueError as error:
            raise RuntimeError(f"on top: {secret}") from error
    except RuntimeError:
        log.exception("in exceptions")
    shown = written()
    assert shown.count(REDACTED) >= 8
    assert "in exceptions" in shown
    assert secret not in shown
    assert [canary for canary in CANARIES if canary in shown] == []


@pytest.mark.parametrize(
    "shown",
    [
        "Authorization: Bearer canary-value",
        "authorization: Basic Y2FuYXJ5OmNhbmFyeQ==",
        "Authorization: canary-value",
        "{'Authorization': 'Bearer sk_test_canary'}",
        '{"Authorization": "Bearer canary-value", "b": 1}',
        '{\\"Authorization\\": \\"Bearer canary-value\\"}',
        "(b'Authorization', b'Bearer canary-value')",
        "X-Telegram-Bot-Api-Secret-Token: canary_value",
        '{"secret_token": "canary_value"}',
        "sent with Bearer canary-value",
        "GET /p/canaryCanaryCanary1234 HTTP/1.1",
        "https://api.telegram.org/bot123456789%3AAAHcanaryTelegramToken_with-signs000/getMe",
    ],
)
def test_headers_and_urls_are_redacted(shown: str) -> None:
    cut = redactor()(shown)
    assert cut.count(REDACTED) == 1
    assert "canary" not in cut.lower()
    assert "Y2Fu" not in cut


def test_known_secrets_are_redacted_whatever_their_shape() -> None:
    written = read(form="json", secrets=["correct horse", "", "abc"])
    log.info("the correct horse knows abc")
    assert json.loads(written())["event"] == f"the {REDACTED} knows abc"


def test_text_without_secrets_is_unchanged() -> None:
    plain = "pi_3Abc evt_1Abc paid 149.50 DKK at 12:00:00, ref K7F3, /p/ is a page, an authorization failed"
    assert redactor()(plain) == plain


@pytest.mark.parametrize("level", ["debug", "info"])
def test_libraries_that_log_secrets_are_limited_to_warnings(level: str) -> None:
    written = read(form="json", level=level)
    for name in (
        "stripe",
        "httpx",
        "httpcore.http11",
        "aiosqlite",
        "telegram.ext",
        "aiohttp.access",
        "sqlalchemy.engine",
    ):
        logging.getLogger(name).info("POST with everything in it")
    logging.getLogger("aiohttp.access").warning("GET /")
    assert written() == ""
    logging.getLogger("stripe").warning("something is wrong")
    assert "something is wrong" in written()


def test_records_below_the_level_are_dropped() -> None:
    written = read(form="json", level="warning")
    log.info("small talk")
    assert written() == ""


def test_control_characters_cannot_forge_a_line() -> None:
    written = read(form="console")
    log.info("text: %s", "coffee\n2026-11-24 [critical] all money lost \x1b[31m\x9b", extra={"note": "a\r\nb"})
    assert len(written().splitlines()) == 1
    assert "\x1b" not in written()
    assert "\x9b" not in written()


def test_formatting_error_is_reported_without_values(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger().handlers.clear()  # pytest's own handler would raise
    read(form="json")
    log.info("%d", TOKEN)
    said = capsys.readouterr().err
    assert "could not be written (handlers.somewhere" in said
    assert "canary" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_full_disk_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger().handlers.clear()  # pytest's own handler would write elsewhere
    with Path("/dev/full").open("w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)  # a log file on a full disk is stderr as well
        logging_setup.configure(form="json")
        log.warning("the worker waits")
        with suppress(OSError):
            full.close()


def test_uncaught_exception_is_redacted() -> None:
    written = read(form="json")
    error = RuntimeError(TOKEN)
    sys.excepthook(RuntimeError, error, None)
    assert REDACTED in written()
    assert "canary" not in written()


def test_configuring_again_replaces_the_handler() -> None:
    first, second = read(form="json"), read(form="json")
    log.info("once")
    assert first() == ""
    assert len(second().splitlines()) == 1
