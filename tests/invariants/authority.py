"""Invariant 8: whatever moved money was asked for and tapped before, by people who might, then and when it was done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from storage.models.shop import Role
from tests.invariants.case_file import Case, File
from tests.invariants.database_rows import Row, time
from tests.invariants.stripe_ledger import CAME_TO_NOTHING, asked_for, asked_to
from tests.invariants.transcript import Act

DAY = timedelta(hours=24)
ROLES = {"merchant": Role.MERCHANT, "admin": Role.ADMIN, "owner": Role.OWNER}


def judge(file: File) -> Iterator[str]:
    """What does not hold."""
    for case in file.cases:
        for row in case.refunds:
            yield from _refund(file, case, row)
        yield from _holds(file, case)
    yield from _limits(file)


def role(file: File, shop_id: int, person: int, at: datetime) -> Role:
    """What somebody might do in a shop at a time, as far as the book tells afterwards."""
    if person in file.evidence.owners or any(row["user_id"] == person for row in file.book.owners):
        return Role.OWNER
    mine = [row for row in file.book.members if (row["shop_id"], row["user_id"]) == (shop_id, person)]
    held = [Role.NONE, *(Role(row["role"]) for row in mine if time(row["since"]) <= at)]
    return max([*held, *_lost(file, shop_id, person, at)])


def _lost(file: File, shop_id: int, person: int, at: datetime) -> Iterator[Role]:
    """The roles that were taken from somebody after that time."""
    for line in file.book.history:
        if line["action"] == "revoked" and line["shop_id"] == shop_id and at < time(line["at"]):
            said = json.loads(line["detail"])
            if said["user"] == person:
                yield ROLES[said["role"]]


def _refund(file: File, case: Case, row: Row) -> Iterator[str]:
    """A refund of ours went out only after its command and the taps of as many different admins as it needed."""
    for request in asked_for(file.ledger, row["id"])[:1]:
        above = file.evidence.approval_above
        needed = 2 if above is not None and row["amount"] > above else 1
        people = {act.by for act in _yes(file, row) if _might(file, row, act, request.at)}
        if len(people) < needed:
            yield f"8: a refund of {row['amount']} of {case.name} went out after {len(people)} yes and not {needed}"
        by, at = row["requested_by"], row["requested_at"]
        commands = [act for act in file.acts if act.by == by and _names(act, case, "/refund")]
        drafts = [one for one in case.refunds if one["requested_by"] == by and one["requested_at"] <= at]
        if sum(act.at <= time(at) for act in commands) < len(drafts):
            yield f"8: nobody asked for a refund of {row['amount']} of {case.name}"


def _yes(file: File, row: Row) -> list[Act]:
    """The taps that let a refund go, within its time."""
    ends = time(row["expires_at"])
    return [act for act in file.acts if act.data == f"y:{row['id']}" and act.at <= ends]


def _might(file: File, row: Row, act: Act, until: datetime) -> bool:
    """Whether who tapped could approve it then, and still when Stripe was asked."""
    admin = all(role(file, row["shop_id"], act.by, at) >= Role.ADMIN for at in (act.at, until))
    return admin and act.at < until


def _names(act: Act, case: Case, command: str) -> bool:
    return act.text.startswith(command) and case.row["reference"] in act.text.upper()


def _holds(file: File, case: Case) -> Iterator[str]:
    """A hold was taken by an admin, and let go by an admin or by whoever reserved it."""
    for intent in case.intents:
        for request in asked_to(file.ledger, intent, "capture"):
            if not any(_admin(file, case, act, request.at) for act in case.taps("capture", request.at)):
                yield f"8: {case.name} was taken, which nobody wanted who may"
        for request in asked_to(file.ledger, intent, "cancel"):
            if _reserved(case, request.at) and not any(
                act.by == case.row["created_by"] or _admin(file, case, act, request.at)
                for act in (*case.taps("release", request.at), *_ends(case, request.at))
            ):
                yield f"8: {case.name} was let go, which nobody wanted who may"


def _admin(file: File, case: Case, act: Act, until: datetime) -> bool:
    return all(role(file, case.row["shop_id"], act.by, at) >= Role.ADMIN for at in (act.at, until))


def _reserved(case: Case, at: datetime) -> bool:
    before = [turn for turn in case.turns if turn.at < at]
    return bool(before) and before[-1].state == "reserved"


def _ends(case: Case, by: datetime) -> Iterable[Act]:
    """Who had ended the request before: the customer may have reserved the money meanwhile."""
    first = case.first("reserved")
    return [act for act in case.acts if _is_an_end(act) and act.at < by and first is not None and act.at < first]


def _is_an_end(act: Act) -> bool:
    return act.data.startswith("c:") or act.text.startswith("/cancel")


def _limits(file: File) -> Iterator[str]:
    """What one person let go within any 24 hours is within the shop's limit, but for what came to nothing."""
    limits = {row["id"]: row["refund_limit"] for row in file.book.shops}
    let_go: list[tuple[int, int, str, datetime, int]] = []
    for case in file.cases:
        ended = {move.id for move in case.moves if move.state in CAME_TO_NOTHING}
        for row in case.refunds:
            if row["stripe_id"] is None or row["requested_by"] is None or row["stripe_id"] in ended:
                continue
            at = max((act.at for act in _first_yes(file, row)), default=None)
            people = {act.by for act in _first_yes(file, row)}
            let_go += [(row["shop_id"], by, row["currency"], at, row["amount"]) for by in people if at is not None]
    for shop_id, person, currency in sorted({each[:3] for each in let_go}):
        mine = [(at, minor) for *who, at, minor in let_go if tuple(who) == (shop_id, person, currency)]
        for until, _ in mine:
            within = sum(minor for at, minor in mine if until - DAY < at <= until)
            if within > limits[shop_id]:
                yield f"8: {person} let {within} {currency} go within a day, and may {limits[shop_id]}"


def _first_yes(file: File, row: Row) -> list[Act]:
    """The first tap of each of those by whom the book says it was approved."""
    approvers = {row["approved_by"], row["second_approved_by"]}
    first: dict[int, Act] = {}
    for act in _yes(file, row):
        if act.by in approvers:
            first.setdefault(act.by, act)
    return list(first.values())
