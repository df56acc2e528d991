"""What the checker is worth where money goes out: each bug that is planted is named by the invariant that it breaks."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bot.app import AdapterOverrides
from handlers.stripe.gateway import PaymentGateway
from handlers.telegram.messenger import Messenger
from tests.chaos.crash_world import MortalWorld, mortal
from tests.chaos.refund_stories import (
    BY_AN_ADMIN,
    BY_TWO,
    CAPTURED,
    DISPUTED,
    FAILED_LATE,
    PENDING,
    REFUNDED,
    REFUNDED_IN_PARTS,
    RELEASED,
    TAPPED_TWICE,
    drafted,
)
from tests.chaos.stop_points import Moment
from tests.chaos.stories import Stage, Story, tell
from tests.invariants import refund_mutations as planted
from tests.invariants.checker import violations
from tests.invariants.test_mutations import IMPATIENT, names
from tests.support.people import ADMIN, GROUP, MERCHANT
from tests.support.world import OWNER

pytestmark = pytest.mark.long

Before = Callable[[MortalWorld], None]


async def judged(
    folder: Path,
    story: Story,
    *,
    gateway: Callable[[PaymentGateway], PaymentGateway] = lambda gateway: gateway,
    messenger: Callable[[Messenger], Messenger] = lambda messenger: messenger,
    ends: tuple[Moment, ...] = (),
    before: Before = lambda _: None,
) -> list[str]:
    """What the checker says of a story with a bug in it; the people in it may wait in vain."""
    folder.mkdir(exist_ok=True)
    async with mortal(folder, ends=ends, plants=AdapterOverrides(gateway, messenger), **story.settings) as world:
        before(world)
        try:
            await tell(world, story, patience=IMPATIENT)
        except AssertionError:
            await world.quiet()
        return violations(world.evidence())


async def test_a_fresh_key_for_every_try_refunds_twice(tmp_path: Path) -> None:
    death = (Moment(1, "after", "refund"),)
    found = await judged(tmp_path, REFUNDED_IN_PARTS, gateway=planted.FreshRefundKeys, ends=death)
    assert names(found, 6, "became 2 refunds"), found


async def test_a_refund_that_is_keyed_by_the_click_happens_with_each_click(tmp_path: Path) -> None:
    found = await judged(tmp_path, TAPPED_TWICE, before=lambda world: planted.a_refund_per_click(world.service))
    assert names(found, 6, "became 2 refunds"), found


async def test_a_refund_that_nobody_drafted(tmp_path: Path) -> None:
    found = await judged(tmp_path, REFUNDED_IN_PARTS, gateway=planted.OneMore)
    assert names(found, 6, "has no approved draft"), found


async def test_a_refund_that_is_smaller_than_what_was_approved(tmp_path: Path) -> None:
    found = await judged(tmp_path, TAPPED_TWICE, gateway=planted.SmallerRefund)
    assert names(found, 3, "is (3999, 'DKK'), and its button says"), found


async def test_a_refund_that_is_called_done_while_it_is_pending(tmp_path: Path) -> None:
    found = await judged(tmp_path, PENDING, gateway=planted.PendingIsDone)
    assert names(found, 7, "was called succeeded"), found
    assert names(found, 7, "lists 4000 as succeeded"), found


async def test_a_failure_that_is_never_seen(tmp_path: Path) -> None:
    found = await judged(tmp_path, FAILED_LATE, gateway=planted.NeverLooksAgain)
    assert names(found, 4, "is succeeded in the book and failed at Stripe"), found
    assert names(found, 11, "were failed, and 0 are told"), found


async def test_a_failure_that_is_not_told(tmp_path: Path) -> None:
    found = await judged(tmp_path, FAILED_LATE, messenger=planted.LosesRefundFailures)
    assert [line[:3] for line in found] == ["11:"], found
    assert names(found, 11, "1 refunds of 4000"), found


async def test_a_refund_that_is_told_twice(tmp_path: Path) -> None:
    found = await judged(tmp_path, REFUNDED, messenger=planted.TellsRefundsTwice)
    assert names(found, 10, "refund_succeeded of (14950, 'DKK') was said 1 times too often"), found


async def test_a_card_that_says_paid_for_ever(tmp_path: Path) -> None:
    found = await judged(tmp_path, REFUNDED, messenger=planted.OldRefundCard)
    assert names(found, 12, "says paid in the end, and Stripe refunded"), found


async def test_a_dispute_that_is_not_told(tmp_path: Path) -> None:
    found = await judged(tmp_path, DISPUTED, messenger=planted.LosesDisputes)
    assert names(found, 11, "nobody was told that the dispute"), found


async def test_a_merchant_who_approves_what_he_asked_for(tmp_path: Path) -> None:
    async def by_himself(stage: Stage) -> None:
        stage.tap(await drafted(stage, "40", by=MERCHANT), "Refund", by=MERCHANT)
        await stage.shows("Partly refunded")

    story = Story("a merchant alone", ("approve",), chat=GROUP, by=MERCHANT, after=by_himself)
    assert await judged(tmp_path / "well", story) == []
    found = await judged(tmp_path, story, before=lambda world: planted.everybody_is_an_admin(world.service))
    assert names(found, 8, "went out after 0 yes and not 1"), found


async def test_a_refund_that_goes_out_without_a_tap(tmp_path: Path) -> None:
    found = await judged(tmp_path, REFUNDED, before=lambda world: planted.approved_at_once(world.service))
    assert names(found, 8, "went out after 0 yes and not 1"), found


async def test_one_person_who_says_yes_twice(tmp_path: Path) -> None:
    async def alone(stage: Stage) -> None:
        draft = await drafted(stage, "60", by=ADMIN)
        stage.tap(draft, "Refund", by=ADMIN)
        asks = await stage.message("asks to refund", since=draft["message_id"])
        stage.tap(asks, "Refund", by=ADMIN)
        await stage.shows("Partly refunded")

    story = Story("alone", ("approve",), chat=GROUP, by=ADMIN, settings=BY_TWO.settings, after=alone)
    found = await judged(tmp_path, story, before=lambda world: planted.the_same_person_is_two(world.service, OWNER))
    assert names(found, 8, "went out after 1 yes and not 2"), found


async def test_a_role_that_was_lost_before_stripe_was_asked(tmp_path: Path) -> None:
    async def dismissed(stage: Stage) -> None:
        draft = await drafted(stage, "40", by=MERCHANT)
        await stage.world.control("stripe", "down", {"down": True})
        stage.tap(draft, "Refund", by=ADMIN)
        await stage.world.pass_time(5)
        stage.say(f"/revoke {ADMIN}", by=OWNER)
        await stage.world.pass_time(1)
        await stage.world.control("stripe", "down", {"down": False})
        await stage.world.pass_time(300)

    story = Story("dismissed", ("approve",), chat=GROUP, by=MERCHANT, after=dismissed)
    assert await judged(tmp_path / "well", story) == []
    found = await judged(tmp_path, story, before=lambda world: planted.nobody_is_asked_again(world.service))
    assert names(found, 8, "went out after 0 yes and not 1"), found


async def test_two_taps_at_once_that_both_find_room_below_the_limit(tmp_path: Path) -> None:
    async def at_once(stage: Stage) -> None:
        there = replace(stage, chat=GROUP)
        here, said = await drafted(stage, "40"), there.say(f"/refund {stage.ref} 40")
        other = await there.message("efund ", since=said)
        stage.tap(here, "Refund")
        there.tap(other, "Refund")
        await stage.world.pass_time(5)

    def limited(world: MortalWorld) -> None:
        with closing(sqlite3.connect(world.database)) as db, db:
            db.execute("UPDATE shops SET refund_limit = 6000")

    def broken(world: MortalWorld) -> None:
        limited(world)
        planted.checks_and_writes_apart(world.service)

    story = Story("two at once", ("approve",), after=at_once)
    assert await judged(tmp_path / "well", story, before=limited) == []
    found = await judged(tmp_path, story, before=broken)
    assert names(found, 8, "within a day, and may 6000"), found


async def test_a_hold_that_is_taken_without_a_tap(tmp_path: Path) -> None:
    found = await judged(tmp_path, CAPTURED, gateway=planted.TakesUnasked)
    assert names(found, 8, "was taken, which nobody wanted who may"), found
    assert any(line.startswith("S2: the capture 1 of") for line in found), found


async def test_a_hold_that_is_let_go_without_a_tap(tmp_path: Path) -> None:
    found = await judged(tmp_path, RELEASED, gateway=planted.LetsGoUnasked)
    assert names(found, 8, "was let go, which nobody wanted who may"), found


async def test_a_merchant_who_takes_a_hold(tmp_path: Path) -> None:
    async def by_a_merchant(stage: Stage) -> None:
        said = stage.say(f"/capture {stage.ref}", by=MERCHANT)
        stage.tap(await stage.message("Charge DKK", since=said), "Charge", by=MERCHANT)
        await stage.shows("Paid")

    story = replace(CAPTURED, chat=GROUP, after=by_a_merchant)
    found = await judged(tmp_path, story, before=lambda world: planted.everybody_is_an_admin(world.service))
    assert names(found, 8, "was taken, which nobody wanted who may"), found


async def test_an_admin_who_approves_is_no_violation(tmp_path: Path) -> None:
    assert await judged(tmp_path, BY_AN_ADMIN) == []
