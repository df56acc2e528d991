"""Formats the log: one line per record, as JSON or for a terminal, with the log context and without secrets."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import date
from enum import Enum
from types import TracebackType
from typing import Literal, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from bot.redaction import redactor
from bot.streams import is_unicode

log = logging.getLogger(__name__)

WARNING_ONLY_LOGGERS = (
    "aiohttp",
    "aiosqlite",
    "alembic",
    "asyncio",
    "httpcore",
    "httpx",
    "sqlalchemy",
    "stripe",
    "telegram",
)
"""Below warnings these log URLs with tokens, request bodies and SQL: disabled at every level."""

DISABLED_LOGGERS = ("aiohttp.access",)
"""A line per request costs a third of the throughput, and contains nothing that is not logged elsewhere."""

_EXCEPTION_KEYS = {"exc_info", "exception", "stack_info"}
_UNPRINTABLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def configure(
    *,
    form: Literal["auto", "json", "console"] = "auto",
    level: str = "info",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Sends records of `level` and above to `stream` (stderr). Calling it again replaces the former configuration.

    `secrets` are redacted wherever they appear, as is everything that is shaped like a secret. Uncaught exceptions are
    logged too, so that their tracebacks are redacted.
    """
    stream = stream or sys.stderr
    pretty = form == "console" or (form == "auto" and stream.isatty())
    handler = _Handler(stream)
    handler.setFormatter(
        _formatter(
            redactor(secrets), pretty=pretty, colors=pretty and stream.isatty(), ascii_only=not is_unicode(stream)
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in WARNING_ONLY_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in DISABLED_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.excepthook = _log_uncaught


class _Handler(logging.StreamHandler[TextIO]):
    """A class of its own, so that `configure` finds it. Its errors are reported without the values of the record."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        error = sys.exception()
        where = f"{record.name}, line {record.lineno}"
        # With a full disk even this fails; the caller goes on.
        with suppress(OSError, ValueError):
            sys.stderr.write(f"a log line could not be written ({where}): {type(error).__name__}\n")


def _formatter(redact: Callable[[str], str], *, pretty: bool, colors: bool, ascii_only: bool) -> logging.Formatter:
    prepare: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.contextvars.merge_contextvars,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    shape: list[Processor]
    if pretty:
        plain = structlog.dev.plain_traceback
        shape = [
            _flatten,
            _escape_control_chars,
            structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain),
        ]
    else:
        shape = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=ascii_only)]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=prepare,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _make_plain, *shape, _Redact(redact)],
    )


class _Redact:
    """The last step, on the finished line, which contains values, context and exceptions."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact

    def __call__(self, logger: WrappedLogger, name: str, line: EventDict) -> str:
        """The finished line without secrets."""
        return self._redact(str(line))


def _make_plain(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Replaces values of Kvit's types by what a reader of the log looks for: `succeeded`, not `<PaymentStatus…>`."""
    return {key: value if key in _EXCEPTION_KEYS else _plain(value) for key, value in event.items()}


def _plain(value: object) -> object:
    match value:
        case Enum():
            return value.value if isinstance(value.value, str) else value.name.lower()
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(_plain(key)): _plain(part) for key, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case set() | frozenset():
            return sorted((_plain(part) for part in value), key=str)
        case date():
            return value.isoformat()
        case _:
            return str(value)


def _flatten(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Shows the values of a mapping as values of the line, under their own names where these are free."""
    flat: EventDict = {}
    for key, value in event.items():
        if not isinstance(value, dict):
            flat[key] = value
            continue
        for part, inner in value.items():
            flat[f"{key}.{part}" if part in event or part in flat else part] = inner
    return flat


def _escape_control_chars(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Replaces control characters, so that user input cannot forge a line."""
    return {
        key: value.translate(_UNPRINTABLE) if isinstance(value, str) and key != "exception" else value
        for key, value in event.items()
    }


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("stopped by an uncaught exception", exc_info=(kind, error, traceback))
