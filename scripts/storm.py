"""Plays storms of random faults around the real program, and prints the totals as one line of JSON.

`python scripts/storm.py --seed 1 --minutes 60` plays rounds for an hour, each checked by itself. A round with problems
is kept in the folder `--keep` with its database, transcript, ledger and log; then the exit code is 1.
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
from tests.chaos.storm_rounds import RoundSpec, run_round

REQUESTS_PER_ROUND = 30
DEFAULT_MINUTES = 10.0
MAX_TRIES = 3
MAX_EMPTY_ROUNDS = 5
"""After so many rounds in a row without a request the run stops."""

DEFAULT_KEEP_FOLDER = Path(tempfile.gettempdir()) / "kvit-storm"


def main() -> int:
    """Plays rounds until the limits of kills and requests, or of minutes, are reached."""
    arguments = _arguments()
    reports: list[Report] = []
    started = time.monotonic()
    with suppress(KeyboardInterrupt):
        while not _is_finished(arguments, reports, time.monotonic() - started):
            for report in _round(arguments, arguments.seed + len({report.seed for report in reports})):
                reports.append(report)
                print(_line(report), file=sys.stderr, flush=True)
    print(json.dumps(_total(arguments, reports) | {"seconds": round(time.monotonic() - started)}))
    return 1 if any(report.problems for report in reports) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="play storms of random faults around the real program")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first round; each later round has the next")
    parser.add_argument("--kills", type=int, help="stop after so many kills; with --requests, once both are reached")
    parser.add_argument("--requests", type=int, help="stop after so many requests")
    parser.add_argument("--minutes", type=float, help="start no round later than this; 10 if there is no other limit")
    parser.add_argument("--each", type=int, default=REQUESTS_PER_ROUND, help="requests in a round")
    parser.add_argument("--pace", type=float, default=PACE, help="mean seconds between two actions of users")
    parser.add_argument("--pages", action="store_true", help="with pay pages, and Telegram updates by webhook")
    parser.add_argument("--limit", type=float, default=600, help="seconds after which a round counts as hung")
    parser.add_argument("--keep", type=Path, default=DEFAULT_KEEP_FOLDER, help="folder for rounds with problems")
    arguments = parser.parse_args()
    if arguments.minutes is None:
        arguments.minutes = DEFAULT_MINUTES if arguments.kills is arguments.requests is None else float("inf")
    return arguments


def _is_finished(arguments: argparse.Namespace, reports: list[Report], seconds: float) -> bool:
    kills, requests = sum(report.kills for report in reports), sum(report.payments for report in reports)
    limits = [(arguments.kills, kills), (arguments.requests, requests)]
    reached = [count >= limit for limit, count in limits if limit is not None]
    nothing_done = len(reports) >= MAX_EMPTY_ROUNDS and not any(
        report.payments for report in reports[-MAX_EMPTY_ROUNDS:]
    )
    return nothing_done or seconds >= arguments.minutes * 60 or (bool(reached) and all(reached))


def _round(arguments: argparse.Namespace, seed: int) -> Iterator[Report]:
    """Plays one round; it is repeated while it cannot be judged for a reason outside Kvit."""
    spec = RoundSpec(arguments.each, arguments.pace, arguments.pages, arguments.keep, arguments.limit)
    for _ in range(MAX_TRIES):
        report = run_round(spec, seed)
        yield report
        if not report.not_judged:
            return


def _total(arguments: argparse.Namespace, reports: list[Report]) -> dict[str, int]:
    """The totals; rounds that were not judged only count as rounds."""
    return {
        "seed": arguments.seed,
        "rounds": len(reports),
        "not_judged": sum(bool(report.not_judged) for report in reports),
        "hung": sum(report.hung for report in reports),
        "violations": sum(len(report.violations) + len(report.unfinished) for report in reports),
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
    """One line for the round, and its problems below."""
    head = (
        f"seed {report.seed} {report.profile:11} {report.seconds:5.1f} s: {report.kills} kills, {report.stops} stops, "
        f"{report.payments} requests, {report.paid} paid, {report.refunds} refunds, "
        f"{report.repeats} repeats, {report.unread} answers unread, "
        f"{len(report.given_up)} given up, {report.standstills} standstills, {len(report.violations)} violations"
    )
    if report.not_judged:
        head = f"seed {report.seed} not judged: {report.not_judged}"
    return "\n  ".join([head, *report.problems])


if __name__ == "__main__":
    sys.exit(main())
