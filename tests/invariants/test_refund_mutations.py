"""Each bug planted in refunds, holds and disputes must be reported under the invariant that it breaks."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.crash_world import CrashWorld
from tests.chaos.refund_scenarios import (
    APPROVED_BY_ADMIN,
    APPROVED_BY_TWO,
    APPROVED_TWICE,
    CAPTURED,
    DISPUTED,
    FAILED_LATE,
    PENDING,
    REFUNDED,
    REFUNDED_IN_PARTS,
    RELEASED,
    draft_refund,
)
from tests.chaos.scenarios import Scenario, ScenarioRunner
from tests.chaos.stop_points import StopPoint
from tests.invariants import refund_mutations as mutations
from tests.invariants.test_mutations import reports, violations_of
from tests.support.people import ADMIN, GROUP, MERCHANT
from tests.support.world import OWNER

pytestmark = pytest.mark.long


async def test_new_key_per_request_refunds_twice(tmp_path: Path) -> None:
    crash_at = (StopPoint(1, "after", "refund"),)
    planted = mutations.NewRefundKeyPerRequest
    found = await violations_of(tmp_path, REFUNDED_IN_PARTS, gateway=planted, crash_at=crash_at)
    assert reports(found, 6, "became 2 refunds"), found


async def test_refund_per_button_press(tmp_path: Path) -> None:
    planted = mutations.refund_per_press
    found = await violations_of(tmp_path, APPROVED_TWICE, before=lambda world: planted(world.service))
    assert reports(found, 6, "became 2 refunds"), found


async def test_refund_without_draft(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, REFUNDED_IN_PARTS, gateway=mutations.RefundsTwice)
    assert reports(found, 6, "has no approved draft"), found


async def test_refund_smaller_than_approved(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, APPROVED_TWICE, gateway=mutations.SmallerRefund)
    assert reports(found, 3, "is (3999, 'DKK'), but its button shows"), found


async def test_pending_refund_announced_as_succeeded(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, PENDING, gateway=mutations.PendingCountsAsSucceeded)
    assert reports(found, 7, "was called succeeded"), found
    assert reports(found, 7, "lists 4000 as succeeded"), found


async def test_refund_failure_not_noticed(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, FAILED_LATE, gateway=mutations.NeverListsRefunds)
    assert reports(found, 4, "is succeeded in the database and failed at Stripe"), found
    assert reports(found, 11, "were failed, and 0 are announced"), found


async def test_refund_failure_not_announced(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, FAILED_LATE, messenger=mutations.DropsRefundFailures)
    assert [line[:3] for line in found] == ["11:"], found
    assert reports(found, 11, "1 refunds of 4000"), found


async def test_refund_announced_twice(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, REFUNDED, messenger=mutations.SendsRefundNotificationsTwice)
    assert reports(found, 10, "refund_succeeded of (14950, 'DKK') was sent 1 times too often"), found


async def test_payment_message_not_edited_after_refund(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, REFUNDED, messenger=mutations.DropsRefundEdits)
    assert reports(found, 12, "shows paid at the end, and Stripe has refunded"), found


async def test_dispute_not_announced(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, DISPUTED, messenger=mutations.DropsDisputes)
    assert reports(found, 11, "no message that the dispute"), found


async def test_disputed_payment_headed_paid(tmp_path: Path) -> None:
    async def dispute(runner: ScenarioRunner) -> None:
        await runner.world.control("stripe", f"intents/{runner.world.intent()['id']}/dispute", {})
        await runner.world.wait_until_quiet()

    scenario = Scenario("disputed", ("approve",), after=dispute)
    found = await violations_of(tmp_path, scenario, messenger=mutations.DropsDisputeHeadings)
    assert reports(found, 12, "is headed paid, and it is disputed"), found


async def test_refund_dated_by_its_retrieval(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, REFUNDED, gateway=mutations.DatesRefundsByRetrieval)
    assert [line for line in found if line.startswith("dates: the refund")], found


async def test_merchant_approves_own_refund(tmp_path: Path) -> None:
    async def approve_own(runner: ScenarioRunner) -> None:
        runner.press(await draft_refund(runner, "40", by=MERCHANT), "Refund", by=MERCHANT)
        await runner.wait_for_headline("Partly refunded")

    scenario = Scenario("merchant approves own refund", ("approve",), chat=GROUP, by=MERCHANT, after=approve_own)
    assert await violations_of(tmp_path / "correct", scenario) == []
    planted = mutations.make_everyone_admin
    found = await violations_of(tmp_path, scenario, before=lambda world: planted(world.service))
    assert reports(found, 8, "was sent after 0 of 1 approvals"), found


async def test_refund_without_approval(tmp_path: Path) -> None:
    planted = mutations.approve_drafts_at_once
    found = await violations_of(tmp_path, REFUNDED, before=lambda world: planted(world.service))
    assert reports(found, 8, "was sent after 0 of 1 approvals"), found


async def test_one_admin_approves_twice(tmp_path: Path) -> None:
    async def approve_twice(runner: ScenarioRunner) -> None:
        draft = await draft_refund(runner, "60", by=ADMIN)
        runner.press(draft, "Refund", by=ADMIN)
        second_draft = await runner.wait_for_message("asks to refund", since=draft["message_id"])
        runner.press(second_draft, "Refund", by=ADMIN)
        await runner.wait_for_headline("Partly refunded")

    settings = APPROVED_BY_TWO.settings
    scenario = Scenario("one admin", ("approve",), chat=GROUP, by=ADMIN, settings=settings, after=approve_twice)
    planted = mutations.count_second_approval_as
    found = await violations_of(tmp_path, scenario, before=lambda world: planted(world.service, OWNER))
    assert reports(found, 8, "was sent after 1 of 2 approvals"), found


async def test_second_approval_by_whom_the_first_approver_invited(tmp_path: Path) -> None:
    async def approve_by_both(runner: ScenarioRunner) -> None:
        draft = await draft_refund(runner, "60", by=ADMIN)
        runner.press(draft, "Refund", by=ADMIN)
        second_draft = await runner.wait_for_message("asks to refund", since=draft["message_id"])
        runner.press(second_draft, "Refund", by=MERCHANT)
        await runner.wait_for_headline("Partly refunded")

    def plant(world: CrashWorld) -> None:
        with closing(sqlite3.connect(world.database)) as db, db:
            db.execute(f"UPDATE members SET role = 2, invited_by = {ADMIN} WHERE user_id = {MERCHANT}")
            detail = f'{{"role": "admin", "invited_by": {ADMIN}}}'
            insert = "INSERT INTO audit_log (shop_id, at, actor, action, detail) VALUES (1, 0, ?, 'joined', ?)"
            db.execute(insert, (f"user:{MERCHANT}", detail))
        mutations.count_everybody_as_second_person(world.service, frozenset({ADMIN, MERCHANT}))

    settings = APPROVED_BY_TWO.settings
    scenario = Scenario("connected", ("approve",), chat=GROUP, by=ADMIN, settings=settings, after=approve_by_both)
    found = await violations_of(tmp_path, scenario, before=plant)
    assert reports(found, 8, "by approvers whom invitations connect"), found


async def test_approver_loses_role_before_refund_is_sent(tmp_path: Path) -> None:
    async def revoke_approver(runner: ScenarioRunner) -> None:
        draft = await draft_refund(runner, "40", by=MERCHANT)
        await runner.world.control("stripe", "down", {"down": True})
        runner.press(draft, "Refund", by=ADMIN)
        await runner.world.pass_time(5)
        runner.send(f"/revoke {ADMIN}", by=OWNER)
        await runner.world.pass_time(1)
        await runner.world.control("stripe", "down", {"down": False})
        await runner.world.pass_time(300)

    scenario = Scenario("approver revoked", ("approve",), chat=GROUP, by=MERCHANT, after=revoke_approver)
    assert await violations_of(tmp_path / "correct", scenario) == []
    planted = mutations.skip_authorization
    found = await violations_of(tmp_path, scenario, before=lambda world: planted(world.service))
    assert reports(found, 8, "was sent after 0 of 1 approvals"), found


async def test_two_approvals_at_once_exceed_limit(tmp_path: Path) -> None:
    async def approve_at_once(runner: ScenarioRunner) -> None:
        in_group = replace(runner, chat=GROUP)
        draft, command = await draft_refund(runner, "40"), in_group.send(f"/refund {runner.reference} 40")
        other_draft = await in_group.wait_for_message("efund ", since=command)
        runner.press(draft, "Refund")
        in_group.press(other_draft, "Refund")
        await runner.world.pass_time(5)

    def limit(world: CrashWorld) -> None:
        with closing(sqlite3.connect(world.database)) as db, db:
            db.execute("UPDATE shops SET refund_limit = 6000")

    def limit_and_break(world: CrashWorld) -> None:
        limit(world)
        mutations.split_approvals(world.service)

    scenario = Scenario("two approvals at once", ("approve",), after=approve_at_once)
    assert await violations_of(tmp_path / "correct", scenario, before=limit) == []
    found = await violations_of(tmp_path, scenario, before=limit_and_break)
    assert reports(found, 8, "within a day, and the limit is 6000"), found


async def test_hold_captured_without_request(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, CAPTURED, gateway=mutations.CapturesUnasked)
    assert reports(found, 8, "was captured without a permitted request"), found
    assert any(line.startswith("S2: capture 1 of") for line in found), found


async def test_hold_released_without_request(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, RELEASED, gateway=mutations.ReleasesUnasked)
    assert reports(found, 8, "was released without a permitted request"), found


async def test_merchant_captures_hold(tmp_path: Path) -> None:
    async def capture(runner: ScenarioRunner) -> None:
        command = runner.send(f"/capture {runner.reference}", by=MERCHANT)
        runner.press(await runner.wait_for_message("Charge DKK", since=command), "Charge", by=MERCHANT)
        await runner.wait_for_headline("Paid")

    scenario = replace(CAPTURED, chat=GROUP, after=capture)
    planted = mutations.make_everyone_admin
    found = await violations_of(tmp_path, scenario, before=lambda world: planted(world.service))
    assert reports(found, 8, "was captured without a permitted request"), found


async def test_approval_by_admin_is_no_violation(tmp_path: Path) -> None:
    assert await violations_of(tmp_path, APPROVED_BY_ADMIN) == []
