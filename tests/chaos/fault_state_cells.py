"""The second half of the fault matrix: boundaries that are a state of the world instead of a call."""

from __future__ import annotations

from datetime import timedelta

from tests.chaos.fault_boundaries import TEN_MINUTES, full_disk, locked_database
from tests.chaos.fault_kinds import TWO_HOURS, Fault
from tests.chaos.fault_states import (
    AFTER_CREATE,
    crashed_at_start,
    in_the_group,
    key_of_other_mode,
    key_rejected,
    lease_lost,
    outage,
    restarted,
    restored,
    second_service_started,
    start_fault,
    started_on_full_disk,
    started_while_locked,
    wrong_webhook_secret,
)
from tests.chaos.refund_scenarios import REFUNDED
from tests.chaos.stop_points import StopPoint

Cell = Fault | str
TEN_MINUTES_BACK = timedelta(minutes=-10)
SEND = StopPoint(1, "before", "send")


def _send_fault(how: str, when: str, nth: int = 1) -> dict[str, object]:
    return {"method": "sendMessage", "how": how, "when": when, "nth": nth}


def _start() -> dict[str, Cell]:
    return {
        "crash-before": crashed_at_start("before"),
        "crash-after": crashed_at_start("after"),
        "timeout-though-it-happened": start_fault("drop", "after"),
        "timeout-and-it-did-not": start_fault("drop", "before"),
        "429": start_fault("429", "before"),
        "5xx": start_fault("500", "before"),
        "duplicate": second_service_started(),
        "reordered": "the steps of a start are sequential, and a migration is one transaction",
        "ten-minutes-late": restarted(TEN_MINUTES),
        "database-busy": started_while_locked(locked_database),
        "disk-full": started_on_full_disk(),
        "clock-forward": restarted(TWO_HOURS),
        "clock-back": restarted(clock_offset=TEN_MINUTES_BACK),
    }


def _lease() -> dict[str, Cell]:
    return {
        "crash-before": lease_lost(crash_at=(AFTER_CREATE,)),
        "crash-after": lease_lost(crash_at=(SEND,)),
        "timeout-though-it-happened": lease_lost(second_fault=("drop", "after")),
        "timeout-and-it-did-not": lease_lost(second_fault=("drop", "before")),
        "429": lease_lost(second_fault=("429", "before")),
        "5xx": lease_lost(second_fault=("500", "after")),
        "duplicate": lease_lost(),
        "reordered": lease_lost(StopPoint(1, "before", "create")),
        "ten-minutes-late": lease_lost(seconds=TEN_MINUTES),
        "database-busy": lease_lost(condition=locked_database),
        "disk-full": lease_lost(condition=full_disk),
        "clock-forward": lease_lost(seconds=TWO_HOURS),
        "clock-back": lease_lost(clock_offset=TEN_MINUTES_BACK),
    }


def _moved() -> dict[str, Cell]:
    one_commit = "the new chat id is adopted in one commit, and a failed commit is the boundary `commit`"
    return {
        "crash-before": in_the_group("migrate", AFTER_CREATE, crash_at=(SEND,)),
        "crash-after": in_the_group("migrate", AFTER_CREATE, crash_at=(StopPoint(2, "after", "send"),)),
        "timeout-though-it-happened": in_the_group("migrate", AFTER_CREATE, fault=_send_fault("drop", "after")),
        "timeout-and-it-did-not": in_the_group("migrate", AFTER_CREATE, fault=_send_fault("drop", "before")),
        "429": in_the_group("migrate", AFTER_CREATE, fault=_send_fault("429", "before")),
        "5xx": in_the_group("migrate", AFTER_CREATE, fault=_send_fault("500", "before")),
        "duplicate": in_the_group("migrate", AFTER_CREATE),
        "reordered": in_the_group("migrate", SEND),
        "ten-minutes-late": in_the_group("migrate", AFTER_CREATE, seconds=TEN_MINUTES),
        "database-busy": one_commit,
        "disk-full": one_commit,
        "clock-forward": in_the_group("migrate", AFTER_CREATE, seconds=TWO_HOURS),
        "clock-back": in_the_group("migrate", AFTER_CREATE, clock_offset=TEN_MINUTES_BACK),
    }


def _removed() -> dict[str, Cell]:
    one_commit = "a message is dead-lettered in one commit, and a failed commit is the boundary `commit`"
    return {
        "crash-before": in_the_group("kick", AFTER_CREATE, crash_at=(SEND,)),
        "crash-after": in_the_group("kick", StopPoint(1, "after", "send"), crash_at=(StopPoint(1, "after", "send"),)),
        "timeout-though-it-happened": "Telegram rejects every message to that chat, so nothing can have happened",
        "timeout-and-it-did-not": in_the_group("kick", AFTER_CREATE, fault=_send_fault("drop", "before")),
        "429": in_the_group("kick", AFTER_CREATE, fault=_send_fault("429", "before")),
        "5xx": in_the_group("kick", AFTER_CREATE, fault=_send_fault("500", "before")),
        "duplicate": "a second removal changes nothing: each message is rejected by Telegram again",
        "reordered": in_the_group("kick", SEND),
        "ten-minutes-late": in_the_group("kick", AFTER_CREATE, seconds=TEN_MINUTES),
        "database-busy": one_commit,
        "disk-full": one_commit,
        "clock-forward": in_the_group("kick", AFTER_CREATE, seconds=TWO_HOURS),
        "clock-back": in_the_group("kick", AFTER_CREATE, clock_offset=TEN_MINUTES_BACK),
    }


def _outage() -> dict[str, Cell]:
    no_response = "during an outage there is no response; such responses are the boundaries of the calls"
    own_file = "Kvit's own file does not depend on vendors: that is the boundary `commit`"
    return {
        "crash-before": outage("telegram", 2, crashes=True),
        "crash-after": outage("stripe", 2, crashes=True),
        "timeout-though-it-happened": outage("stripe", 24),
        "timeout-and-it-did-not": outage("telegram", 24),
        "429": no_response,
        "5xx": no_response,
        "duplicate": no_response,
        "reordered": no_response,
        "ten-minutes-late": outage("stripe", 2),
        "database-busy": own_file,
        "disk-full": own_file,
        "clock-forward": outage("stripe", 96),
        "clock-back": outage("telegram", 96),
    }


def _restored() -> dict[str, Cell]:
    any_file = "a restored file is a file like any other: later faults are the boundary `commit`"
    vendor = "a vendor does not know the file: its responses are the boundaries of the calls"
    return {
        "crash-before": any_file,
        "crash-after": restored(),
        "timeout-though-it-happened": vendor,
        "timeout-and-it-did-not": vendor,
        "429": vendor,
        "5xx": restored(list_unavailable=True),
        "duplicate": restored(resend_event=True),
        "reordered": "Stripe's list of events is read in its own order, whatever the order of webhooks",
        "ten-minutes-late": any_file,
        "database-busy": any_file,
        "disk-full": any_file,
        "clock-forward": any_file,
        "clock-back": any_file,
    }


def _key() -> dict[str, Cell]:
    clear_response = "a rejected key is a clear response at once: no outcome is unknown"
    own_file = "a rejected key does not depend on the file or the clock"
    return {
        "crash-before": key_of_other_mode(),
        "crash-after": key_rejected(AFTER_CREATE, crash_at=(StopPoint(1, "after", "retrieve"),)),
        "timeout-though-it-happened": clear_response,
        "timeout-and-it-did-not": clear_response,
        "429": clear_response,
        "5xx": key_rejected(StopPoint(1, "before", "create")),
        "duplicate": clear_response,
        "reordered": wrong_webhook_secret(),
        "ten-minutes-late": key_rejected(StopPoint(1, "before", "refund"), REFUNDED),
        "database-busy": own_file,
        "disk-full": own_file,
        "clock-forward": own_file,
        "clock-back": own_file,
    }


STATES = {
    "start": _start(),
    "lease": _lease(),
    "moved": _moved(),
    "gone": _removed(),
    "outage": _outage(),
    "restored": _restored(),
    "key": _key(),
}
