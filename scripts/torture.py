"""Tortures the real program for as long as one likes, and says in one line of JSON what came of it.

`python scripts/torture.py --seed 1 --minutes 60`: rounds of a market in a storm, each judged by itself. A round that
is not right is kept in the folder `--keep` with all that is needed to look into it; then the exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.torture_storm import PACE, Report, play

ROUND = 30
KEPT = Path(tempfile.gettempdir()) / "kvit-torture"


def main() -> int:
    """Play rounds until so many kills, payments or minutes are reached."""
    given = _arguments()
    reports: list[Report] = []
    began = time.monotonic()
    while not _enough(given, reports, time.monotonic() - began):
        report = _round(given, given.seed + len(reports))
        reports.append(report)
        print(_line(report), file=sys.stderr, flush=True)
    wrong = [line for report in reports for line in (*report.violations, *report.unrest)]
    total = {
        "seed": given.seed,
        "rounds": len(reports),
        "kills": sum(report.kills for report in reports),
        "stops": sum(report.stops for report in reports),
        "payments": sum(report.payments for report in reports),
        "paid": sum(report.paid for report in reports),
        "refunds": sum(report.refunds for report in reports),
        "violations": len(wrong),
        "repeats": sum(report.repeats for report in reports),
        "given_up": sum(len(report.given_up) for report in reports),
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(total))
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="torture the real program")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each later one has the next")
    parser.add_argument("--kills", type=int, help="end after so many")
    parser.add_argument("--payments", type=int, help="end after so many requests")
    parser.add_argument("--minutes", type=float, default=10, help="begin no round later than this")
    parser.add_argument("--each", type=int, default=ROUND, help="requests in a round")
    parser.add_argument("--pace", type=float, default=PACE, help="seconds between what people do, on the average")
    parser.add_argument("--pages", action="store_true", help="with pay pages, and Telegram's updates by webhook")
    parser.add_argument("--keep", type=Path, default=KEPT, help="where a wrong round is kept")
    return parser.parse_args()


def _enough(given: argparse.Namespace, reports: list[Report], seconds: float) -> bool:
    kills, payments = sum(report.kills for report in reports), sum(report.payments for report in reports)
    reached = [
        given.kills is not None and kills >= given.kills,
        given.payments is not None and payments >= given.payments,
        seconds >= given.minutes * 60,
    ]
    return any(reached)


def _round(given: argparse.Namespace, seed: int) -> Report:
    """One round in a folder of its own, which stays only if something is wrong."""
    folder = Path(tempfile.mkdtemp(prefix="kvit-torture-"))
    try:
        report = asyncio.run(play(folder, seed, payments=given.each, pace=given.pace, pages=given.pages))
    except Exception as error:
        broken = f"the round broke off: {type(error).__name__}: {error}"
        report = Report(seed, "", {}, violations=[broken, traceback.format_exc()])
        (folder / "report.json").write_text(json.dumps(asdict(report), indent=1))
    if report.violations or report.unrest:
        shutil.copytree(folder, given.keep / str(seed), dirs_exist_ok=True)
    shutil.rmtree(folder)
    return report


def _line(report: Report) -> str:
    """A round on one line, and below it what is wrong."""
    head = (
        f"seed {report.seed} {report.climate:10} {report.seconds:5.1f} s: {report.kills} kills, {report.stops} stops, "
        f"{report.payments} requests, {report.paid} paid, {report.refunds} refunds, {report.repeats} repeats, "
        f"{len(report.given_up)} given up, {len(report.violations)} violations"
    )
    return "\n  ".join([head, *report.violations, *report.unrest])


if __name__ == "__main__":
    sys.exit(main())
