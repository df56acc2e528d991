"""Time zones by name, also those that this machine does not know."""

from __future__ import annotations

import logging
from datetime import UTC, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

log = logging.getLogger(__name__)


@cache
def find_zone(name: str) -> tzinfo | None:
    """The time zone of this name; None, with a warning in the log, if this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, malformed, or the name of a folder
        log.warning("the time zone %r is unknown here; times are shown in UTC", name)
        return None


def zone_or_utc(name: str) -> tzinfo:
    """The time zone of this name, or UTC: a wrong zone must not cost a message."""
    return find_zone(name) or UTC
