"""Tortures the real program for as long as one likes, and says in one line of JSON what came of it.

`python scripts/torture.py --seed 1 --minutes 60`: rounds of a market in a storm, each judged by itself. A round that
is not right is kept in the folder `--keep` with all that is needed to look into it; then the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.chaos.storm import PACE, Report
from tests.chaos.storm_rounds import Order, played

ROUND = 30
MINUTES = 10.0
TRIES = 3
IN_VAIN = 5
"""So many rounds in a row that came to nothing end it all."""

KEPT = Path(tempfile.gettempdir()) / "kvit-torture"


def main() -> int:
    """Play rounds until so many kills and requests are reached, or so many minutes."""
    given = _arguments()
    reports: list[Report] = []
    began = time.monotonic()
    with suppress(KeyboardInterrupt):
        while not _enough(given, reports, time.monotonic() - began):
            for report in _round(given, given.seed + len({report.seed for report in reports})):
                reports.append(report)
                print(_line(report), file=sys.stderr, flush=True)
    print(json.dumps(_total(given, reports) | {"seconds": round(time.monotonic() - began)}))
    return 1 if any(report.wrong for report in reports) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="torture the real program")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each later one has the next")
    parser.add_argument("--kills", type=int, help="end after so many; with --requests, once both are reached")
    parser.add_argument("--requests", type=int, help="end after so many")
    parser.add_argument("--minutes", type=float, help="begin no round later than this; 10 if nothing else ends it")
    parser.add_argument("--each", type=int, default=ROUND, help="requests in a round")
    parser.add_argument("--pace", type=float, default=PACE, help="seconds between what people do, on the average")
    parser.add_argument("--pages", action="store_true", help="with pay pages, and Telegram's updates by webhook")
    parser.add_argument("--limit", type=float, default=600, help="seconds after which a round is said to hang")
    parser.add_argument("--keep", type=Path, default=KEPT, help="where a wrong round is kept")
    given = parser.parse_args()
    if given.minutes is None:
        given.minutes = MINUTES if given.kills is given.requests is None else float("inf")
    return given


def _enough(given: argparse.Namespace, reports: list[Report], seconds: float) -> bool:
    kills, requests = sum(report.kills for report in reports), sum(report.payments for report in reports)
    wanted = [(given.kills, kills), (given.requests, requests)]
    reached = [has >= most for most, has in wanted if most is not None]
    in_vain = len(reports) >= IN_VAIN and not any(report.payments for report in reports[-IN_VAIN:])
    return in_vain or seconds >= given.minutes * 60 or (bool(reached) and all(reached))


def _round(given: argparse.Namespace, seed: int) -> Iterator[Report]:
    """One round; it is played again as long as it cannot be judged, for a reason that has nothing to do with Kvit."""
    order = Order(given.each, given.pace, given.pages, given.keep, given.limit)
    for _ in range(TRIES):
        report = played(order, seed)
        yield report
        if not report.not_judged:
            return


def _total(given: argparse.Namespace, reports: list[Report]) -> dict[str, int]:
    """All rounds together; those that were not judged count by their number only."""
    return {
        "seed": given.seed,
        "rounds": len(reports),
        "not_judged": sum(bool(report.not_judged) for report in reports),
        "hung": sum(report.hung for report in reports),
        "violations": sum(len(report.violations) + len(report.unrest) for report in reports),
        "requests": sum(report.payments for report in reports),
        "paid": sum(report.paid for report in reports),
        "refunds": sum(report.refunds for report in reports),
        "kills": sum(report.kills for report in reports),
        "stops": sum(report.stops for report in reports),
        "standstills": sum(report.standstills for report in reports),
        "repeats": sum(report.repeats for report in reports),
        "unread": sum(report.unread for report in reports),
        "given_up": sum(len(report.given_up) for report in reports),
    }


def _line(report: Report) -> str:
    """A round on one line, and below it what is wrong."""
    head = (
        f"seed {report.seed} {report.climate:10} {report.seconds:5.1f} s: {report.kills} kills, {report.stops} stops, "
        f"{report.payments} requests, {report.paid} paid, {report.refunds} refunds, "
        f"{report.repeats} repeats, {report.unread} answers unread, "
        f"{len(report.given_up)} given up, {report.standstills} standstills, {len(report.violations)} violations"
    )
    if report.not_judged:
        head = f"seed {report.seed} not judged: {report.not_judged}"
    return "\n  ".join([head, *report.wrong])


if __name__ == "__main__":
    sys.exit(main())
