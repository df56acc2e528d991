"""Invariant 8: whatever moves money was requested and approved before, by users who held the role then and later."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import datetime, timedelta

from storage.models.shop import Role
from tests.invariants.case_file import CaseFile, PaymentCase
from tests.invariants.database_rows import Row, to_datetime
from tests.invariants.stripe_ledger import UNSUCCESSFUL_REFUND_STATUSES, intent_requests, refund_requests
from tests.invariants.transcript import UserAction

DAY = timedelta(hours=24)
ROLES = {"merchant": Role.MERCHANT, "admin": Role.ADMIN, "owner": Role.OWNER}


def check(case_file: CaseFile) -> Iterator[str]:
    """Yields violations."""
    for case in case_file.cases:
        for row in case.refunds:
            yield from _refund(case_file, case, row)
        yield from _holds(case_file, case)
    yield from _limits(case_file)


def role_at(case_file: CaseFile, shop_id: int, user_id: int, at: datetime) -> Role:
    """The highest role of a user in a shop at that time, from the members now and the roles revoked since."""
    rows = case_file.rows
    if user_id in owners(case_file):
        return Role.OWNER
    memberships = [row for row in rows.members if (row["shop_id"], row["user_id"]) == (shop_id, user_id)]
    held = [Role.NONE, *(Role(row["role"]) for row in memberships if to_datetime(row["since"]) <= at)]
    return max([*held, *_revoked_since(case_file, shop_id, user_id, at)])


def owners(case_file: CaseFile) -> frozenset[int]:
    """The owners of the settings; if these name none, those who claimed the installation."""
    return case_file.evidence.owners or frozenset(row["user_id"] for row in case_file.rows.owners)


def _revoked_since(case_file: CaseFile, shop_id: int, user_id: int, at: datetime) -> Iterator[Role]:
    for entry in case_file.rows.audit_log:
        if entry["action"] == "revoked" and entry["shop_id"] == shop_id and at < to_datetime(entry["at"]):
            detail = json.loads(entry["detail"])
            if detail["user"] == user_id:
                yield ROLES[detail["role"]]


def _refund(case_file: CaseFile, case: PaymentCase, row: Row) -> Iterator[str]:
    """A refund is sent only after its command and the approvals of as many different admins as required."""
    for request in refund_requests(case_file.ledger, row["id"])[:1]:
        above = case_file.evidence.approval_above
        required = 2 if above is not None and row["amount"] > above else 1
        approvals = _approvals(case_file, row)
        approvers = {each.by for each in approvals if _may_approve(case_file, row, each, request.at)}
        if len(approvers) < required:
            approved = f"{len(approvers)} of {required} approvals"
            yield f"8: a refund of {row['amount']} of {case.name} was sent after {approved}"
        elif required == 2 and not _has_second_person(case_file, row, approvers, request.at):
            connected = "approvers whom invitations connect"
            yield f"8: a refund of {row['amount']} of {case.name} was sent after two approvals by {connected}"
        by, at = row["requested_by"], row["requested_at"]
        commands = [each for each in case_file.actions if each.by == by and _is_command(each, case, "/refund")]
        drafts = [draft for draft in case.refunds if draft["requested_by"] == by and draft["requested_at"] <= at]
        if sum(command.at <= to_datetime(at) for command in commands) < len(drafts):
            yield f"8: no command requested a refund of {row['amount']} of {case.name}"


def _has_second_person(case_file: CaseFile, row: Row, approvers: set[int], at: datetime) -> bool:
    """Whether one approver is an owner, or no invitations of admins connect two of them."""
    if approvers & owners(case_file):
        return True
    known = [_invited_through(case_file, row["shop_id"], user_id, at) for user_id in sorted(approvers)]
    return any(one.isdisjoint(other) for one, other in itertools.combinations(known, 2))


def _invited_through(case_file: CaseFile, shop_id: int, user_id: int, at: datetime) -> set[int]:
    """A user and the admins whose invitations led to their role, as the audit log has them."""
    found: set[int] = set()
    while user_id not in found and user_id not in owners(case_file):
        found.add(user_id)
        joined = [
            entry
            for entry in case_file.rows.audit_log
            if (entry["action"], entry["actor"], entry["shop_id"]) == ("joined", f"user:{user_id}", shop_id)
            and to_datetime(entry["at"]) <= at
        ]
        if not joined:
            break
        user_id, at = json.loads(joined[-1]["detail"])["invited_by"], to_datetime(joined[-1]["at"])
    return found


def _approvals(case_file: CaseFile, row: Row) -> list[UserAction]:
    """The presses of a refund's approve button before it expired."""
    expires_at = to_datetime(row["expires_at"])
    return [each for each in case_file.actions if each.data == f"y:{row['id']}" and each.at <= expires_at]


def _may_approve(case_file: CaseFile, row: Row, approval: UserAction, sent_at: datetime) -> bool:
    """Whether the approver was an admin at the press and still when the refund was sent."""
    times = (approval.at, sent_at)
    is_admin = all(role_at(case_file, row["shop_id"], approval.by, at) >= Role.ADMIN for at in times)
    return is_admin and approval.at < sent_at


def _is_command(action: UserAction, case: PaymentCase, command: str) -> bool:
    """Whether a command names the payment, or stands alone, so that its payment is chosen by a button."""
    is_alone = action.text.strip() == command
    return is_alone or (action.text.startswith(command) and case.row["reference"] in action.text.upper())


def _holds(case_file: CaseFile, case: PaymentCase) -> Iterator[str]:
    """Only an admin captures a hold; only an admin or the user who requested it releases it."""
    for intent in case.intents:
        for request in intent_requests(case_file.ledger, intent, "capture"):
            if not any(_is_admin(case_file, case, each, request.at) for each in case.confirmed("capture", request.at)):
                yield f"8: {case.name} was captured without a permitted request"
        for request in intent_requests(case_file.ledger, intent, "cancel"):
            if _was_reserved(case, request.at) and not any(
                each.by == case.row["created_by"] or _is_admin(case_file, case, each, request.at)
                for each in (*case.confirmed("release", request.at), *_cancellations_before_hold(case, request.at))
            ):
                yield f"8: {case.name} was released without a permitted request"


def _is_admin(case_file: CaseFile, case: PaymentCase, action: UserAction, until: datetime) -> bool:
    times = (action.at, until)
    return all(role_at(case_file, case.row["shop_id"], action.by, at) >= Role.ADMIN for at in times)


def _was_reserved(case: PaymentCase, at: datetime) -> bool:
    before = [change for change in case.changes if change.at < at]
    return bool(before) and before[-1].state == "reserved"


def _cancellations_before_hold(case: PaymentCase, by: datetime) -> list[UserAction]:
    """The requests to cancel that came before the customer reserved the money."""
    reserved = case.first("reserved")
    return [each for each in case.cancellations(by) if reserved is not None and each.at < reserved]


def _limits(case_file: CaseFile) -> Iterator[str]:
    """What one user approves within 24 hours stays within the shop's limit; unsuccessful refunds do not count."""
    limits = {row["id"]: row["refund_limit"] for row in case_file.rows.shops}
    approved: list[tuple[int, int, str, datetime, int]] = []
    for case in case_file.cases:
        unsuccessful = {change.id for change in case.refund_changes if change.status in UNSUCCESSFUL_REFUND_STATUSES}
        for row in case.refunds:
            if row["stripe_id"] is None or row["requested_by"] is None or row["stripe_id"] in unsuccessful:
                continue
            approvals = _first_approvals(case_file, row)
            at = max((approval.at for approval in approvals), default=None)
            people = {approval.by for approval in approvals}
            approved += [(row["shop_id"], by, row["currency"], at, row["amount"]) for by in people if at is not None]
    for shop_id, user_id, currency in sorted({each[:3] for each in approved}):
        of_user = [(at, amount) for *who, at, amount in approved if tuple(who) == (shop_id, user_id, currency)]
        for until, _ in of_user:
            total = sum(amount for at, amount in of_user if until - DAY < at <= until)
            if total > limits[shop_id]:
                yield f"8: {user_id} approved {total} {currency} within a day, and the limit is {limits[shop_id]}"


def _first_approvals(case_file: CaseFile, row: Row) -> list[UserAction]:
    """The first press of each approver that the database names."""
    approvers = {row["approved_by"], row["second_approved_by"]}
    first: dict[int, UserAction] = {}
    for approval in _approvals(case_file, row):
        if approval.by in approvers:
            first.setdefault(approval.by, approval)
    return list(first.values())
