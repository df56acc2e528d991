"""The second half of the fault matrix: boundaries that are not one call but a state of the world."""

from __future__ import annotations

from datetime import timedelta

from tests.chaos.fault_kinds import TWO_HOURS, Fault
from tests.chaos.fault_places import LATE, full, locked
from tests.chaos.fault_states import (
    ASKED,
    begun_anew,
    begun_beside,
    begun_on_a_full_disk,
    begun_while_locked,
    died_at_the_start,
    in_the_group,
    key_of_the_other_mode,
    key_refused,
    lease_lost,
    outage,
    restored,
    secret_wrong,
    started,
)
from tests.chaos.refund_stories import REFUNDED
from tests.chaos.stop_points import Moment

Cell = Fault | str
BACK = timedelta(minutes=-10)
SEND = Moment(1, "before", "send")


def _sending(how: str, when: str, nth: int = 1) -> dict[str, object]:
    return {"method": "sendMessage", "how": how, "when": when, "nth": nth}


def _start() -> dict[str, Cell]:
    return {
        "crash-before": died_at_the_start("before"),
        "crash-after": died_at_the_start("after"),
        "timeout-though-it-happened": started("drop", "after"),
        "timeout-and-it-did-not": started("drop", "before"),
        "429": started("429", "before"),
        "5xx": started("500", "before"),
        "duplicate": begun_beside(),
        "reordered": "a start is one step after the other, and a migration one transaction",
        "ten-minutes-late": begun_anew(LATE),
        "database-busy": begun_while_locked(locked),
        "disk-full": begun_on_a_full_disk(),
        "clock-forward": begun_anew(TWO_HOURS),
        "clock-back": begun_anew(wrong=BACK),
    }


def _lease() -> dict[str, Cell]:
    return {
        "crash-before": lease_lost(ends=(ASKED,)),
        "crash-after": lease_lost(ends=(SEND,)),
        "timeout-though-it-happened": lease_lost(second=("drop", "after")),
        "timeout-and-it-did-not": lease_lost(second=("drop", "before")),
        "429": lease_lost(second=("429", "before")),
        "5xx": lease_lost(second=("500", "after")),
        "duplicate": lease_lost(),
        "reordered": lease_lost(Moment(1, "before", "create")),
        "ten-minutes-late": lease_lost(seconds=LATE),
        "database-busy": lease_lost(cause=locked),
        "disk-full": lease_lost(cause=full),
        "clock-forward": lease_lost(seconds=TWO_HOURS),
        "clock-back": lease_lost(wrong=BACK),
    }


def _moved() -> dict[str, Cell]:
    met = "the new number is adopted in one commit, and a refused commit is the boundary `commit`"
    return {
        "crash-before": in_the_group("migrate", ASKED, ends=(SEND,)),
        "crash-after": in_the_group("migrate", ASKED, ends=(Moment(2, "after", "send"),)),
        "timeout-though-it-happened": in_the_group("migrate", ASKED, order=_sending("drop", "after")),
        "timeout-and-it-did-not": in_the_group("migrate", ASKED, order=_sending("drop", "before")),
        "429": in_the_group("migrate", ASKED, order=_sending("429", "before")),
        "5xx": in_the_group("migrate", ASKED, order=_sending("500", "before")),
        "duplicate": in_the_group("migrate", ASKED),
        "reordered": in_the_group("migrate", SEND),
        "ten-minutes-late": in_the_group("migrate", ASKED, seconds=LATE),
        "database-busy": met,
        "disk-full": met,
        "clock-forward": in_the_group("migrate", ASKED, seconds=TWO_HOURS),
        "clock-back": in_the_group("migrate", ASKED, wrong=BACK),
    }


def _gone() -> dict[str, Cell]:
    met = "to set a message aside is one commit, and a refused commit is the boundary `commit`"
    return {
        "crash-before": in_the_group("kick", ASKED, ends=(SEND,)),
        "crash-after": in_the_group("kick", Moment(1, "after", "send"), ends=(Moment(1, "after", "send"),)),
        "timeout-though-it-happened": "Telegram refuses whatever is sent there, so that nothing can have happened",
        "timeout-and-it-did-not": in_the_group("kick", ASKED, order=_sending("drop", "before")),
        "429": in_the_group("kick", ASKED, order=_sending("429", "before")),
        "5xx": in_the_group("kick", ASKED, order=_sending("500", "before")),
        "duplicate": "being thrown out twice is being thrown out: each message asks Telegram anew",
        "reordered": in_the_group("kick", SEND),
        "ten-minutes-late": in_the_group("kick", ASKED, seconds=LATE),
        "database-busy": met,
        "disk-full": met,
        "clock-forward": in_the_group("kick", ASKED, seconds=TWO_HOURS),
        "clock-back": in_the_group("kick", ASKED, wrong=BACK),
    }


def _outage() -> dict[str, Cell]:
    within = "in an outage nothing is answered; answers of that kind are the boundaries of the calls"
    own = "Kvit's own file does not depend on who is away: that is the boundary `commit`"
    return {
        "crash-before": outage("telegram", 2, dies=True),
        "crash-after": outage("stripe", 2, dies=True),
        "timeout-though-it-happened": outage("stripe", 24),
        "timeout-and-it-did-not": outage("telegram", 24),
        "429": within,
        "5xx": within,
        "duplicate": within,
        "reordered": within,
        "ten-minutes-late": outage("stripe", 2),
        "database-busy": own,
        "disk-full": own,
        "clock-forward": outage("stripe", 96),
        "clock-back": outage("telegram", 96),
    }


def _restored() -> dict[str, Cell]:
    same = "a restored file is a file like any other: what strikes it later is the boundary `commit`"
    wire = "a vendor knows nothing of our file: his answers are the boundaries of the calls"
    return {
        "crash-before": same,
        "crash-after": restored(),
        "timeout-though-it-happened": wire,
        "timeout-and-it-did-not": wire,
        "429": wire,
        "5xx": restored(refused=True),
        "duplicate": restored(again=True),
        "reordered": "Stripe's list of events is read in its own order, whatever order webhooks had",
        "ten-minutes-late": same,
        "database-busy": same,
        "disk-full": same,
        "clock-forward": same,
        "clock-back": same,
    }


def _key() -> dict[str, Cell]:
    clear = "a refused key is an answer, clear and at once: nothing is in doubt"
    own = "what Stripe thinks of the key has nothing to do with our own file or clock"
    return {
        "crash-before": key_of_the_other_mode(),
        "crash-after": key_refused(ASKED, ends=(Moment(1, "after", "retrieve"),)),
        "timeout-though-it-happened": clear,
        "timeout-and-it-did-not": clear,
        "429": clear,
        "5xx": key_refused(Moment(1, "before", "create")),
        "duplicate": clear,
        "reordered": secret_wrong(),
        "ten-minutes-late": key_refused(Moment(1, "before", "refund"), REFUNDED),
        "database-busy": own,
        "disk-full": own,
        "clock-forward": own,
        "clock-back": own,
    }


STATES = {
    "start": _start(),
    "lease": _lease(),
    "moved": _moved(),
    "gone": _gone(),
    "outage": _outage(),
    "restored": _restored(),
    "key": _key(),
}
