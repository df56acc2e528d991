"""Each planted bug must be reported under the invariant that it breaks."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from bot.app import AdapterOverrides
from bot.sandbox.fake_telegram.transcript import LOST, TranscriptEntry
from handlers.stripe.gateway import PaymentGateway
from handlers.telegram.messenger import Messenger
from tests.chaos.crash_world import CrashWorld, crash_world
from tests.chaos.scenarios import PAID, SCENARIOS, Scenario, play
from tests.chaos.stop_points import StopPoint
from tests.invariants import mutations
from tests.invariants.checker import repeats, violations
from tests.invariants.transcript import REFERENCE_LINE

FAILED, EXPIRED = SCENARIOS[1:3]
FEW_WAITS = 6


async def violations_of(
    folder: Path,
    scenario: Scenario,
    *,
    gateway: Callable[[PaymentGateway], PaymentGateway] = lambda gateway: gateway,
    messenger: Callable[[Messenger], Messenger] = lambda messenger: messenger,
    crash_at: tuple[StopPoint, ...] = (),
    before: Callable[[CrashWorld], None] = lambda _: None,
) -> list[str]:
    """Plays a scenario with a bug and returns the checker's report; the scenario may get stuck."""
    folder.mkdir(exist_ok=True)
    planted = AdapterOverrides(gateway, messenger)
    async with crash_world(folder, crash_at=crash_at, mutations=planted, **scenario.settings) as world:
        before(world)
        try:
            await play(world, scenario, max_waits=FEW_WAITS)
        except AssertionError:
            await world.wait_until_quiet()
        return violations(world.evidence())


def reports(found: list[str], invariant: int, text: str) -> bool:
    """Whether a violation of this invariant contains the text."""
    return any(line.startswith(f"{invariant}: ") and text in line for line in found)


async def test_new_key_per_request_creates_second_intent(tmp_path: Path) -> None:
    crash_at = (StopPoint(1, "after", "create"),)
    found = await violations_of(tmp_path, PAID, gateway=mutations.NewKeyPerRequest, crash_at=crash_at)
    assert reports(found, 1, "has 2 intents"), found
    assert reports(found, 2, "is not stored with its payment"), found


async def test_payment_dated_by_its_retrieval(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, PAID, gateway=mutations.DatesPaymentsByRetrieval)
    assert [line for line in found if line.startswith("dates: ") and "was paid at" in line], found
    assert {line.partition(":")[0] for line in found} == {"dates"}, found


async def test_cached_intent_hides_payment(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, PAID, gateway=mutations.CachedIntents)
    assert reports(found, 4, "is open in the database and succeeded at Stripe"), found
    assert reports(found, 11, "was paid"), found
    assert reports(found, 12, "at the end, and Stripe has paid"), found


async def test_confirm_while_attempt_is_open(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, PAID, gateway=mutations.ConfirmsTwice)
    assert reports(found, 5, "while its attempt 1 was open"), found


async def test_confirm_without_request(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, FAILED, gateway=mutations.ConfirmsUnasked)
    assert reports(found, 5, "times without a request"), found
    assert any(line.startswith("S2: confirm 1 of") for line in found), found


async def test_cancel_without_request(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, PAID, gateway=mutations.CancelsUnasked)
    assert reports(found, 8, "was canceled without a request"), found


async def test_retry_with_same_key_and_other_params(tmp_path: Path) -> None:
    crash_at = (StopPoint(1, "after", "create"),)
    found = await violations_of(tmp_path, PAID, gateway=mutations.ChangesParams, crash_at=crash_at)
    assert reports(found, 1, "was sent again with other parameters"), found


async def test_command_without_payment_and_payment_without_command(tmp_path: Path) -> None:
    async with crash_world(tmp_path) as world:
        await play(world, PAID)
        with closing(sqlite3.connect(tmp_path / "kvit.db")) as db, db:
            db.execute("UPDATE payments SET request_key = 'message:1:1'")
        found = violations(world.evidence())
    assert reports(found, 1, "created 0 payments"), found
    assert reports(found, 1, "no command requested #"), found


async def test_payment_announced_before_it_succeeds(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, PAID, gateway=mutations.OpenCountsAsPaid)
    assert reports(found, 12, "shows paid"), found
    assert reports(found, 13, "was called paid"), found


async def test_amount_off_by_one(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, PAID, gateway=mutations.OffByOne)
    assert reports(found, 3, "(14950, 'DKK') in the database and (14951, 'DKK') at Stripe"), found


async def test_intent_with_metadata_of_another_payment(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, PAID, gateway=mutations.WrongMetadata)
    assert reports(found, 2, "is not stored with its payment lost"), found


async def test_notification_sent_twice(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, PAID, messenger=mutations.SendsNotificationsTwice)
    assert reports(found, 10, "paid was sent 1 times too often"), found


async def test_second_payment_message_instead_of_edit(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, PAID, messenger=mutations.SendsInsteadOfEditing)
    assert reports(found, 10, "payment_message was sent"), found
    assert reports(found, 12, "at the end, and Stripe has paid"), found


async def test_failure_not_announced(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, FAILED, messenger=mutations.DropsFailures)
    assert [line[:3] for line in found] == ["11:"], found
    assert reports(found, 11, "was failed"), found


async def test_notification_in_foreign_chat(tmp_path: Path) -> None:
    def open_chat(world: CrashWorld) -> None:
        world.telegram.users.private_chat(mutations.FOREIGN_CHAT)

    found = await violations_of(tmp_path, PAID, messenger=mutations.SendsToWrongChat, before=open_chat)
    assert reports(found, 9, f"appears in chat {mutations.FOREIGN_CHAT}"), found


async def test_payment_message_not_edited_after_payment(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, PAID, messenger=mutations.DropsPaidEdit)
    assert reports(found, 12, "at the end, and Stripe has paid"), found


async def test_payment_called_expired_after_paid(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, EXPIRED, messenger=mutations.CallsPaidExpired)
    assert reports(found, 13, "was called expired after it was called paid"), found


async def test_payment_message_with_another_amount(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, PAID, messenger=mutations.ShowsWrongAmount)
    assert reports(found, 3, "its payment_message shows (14905, 'DKK')"), found


async def test_notification_delayed_for_ever(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, PAID, messenger=mutations.DelaysNotifications)
    assert reports(found, 11, "was paid"), found
    assert reports(found, 14, "(notification) is still pending"), found


async def test_notification_given_up_without_alert(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, PAID, messenger=mutations.DropsAlerts)
    assert reports(found, 11, "was paid"), found
    assert reports(found, 14, "is dead and no owner was notified"), found


async def test_events_lost_without_reconciliation(tmp_path: Path) -> None:
    found = await violations_of(tmp_path, PAID, before=stop_recovery)
    assert reports(found, 4, "is open in the database and succeeded at Stripe"), found
    assert reports(found, 11, "was paid"), found


async def test_one_repeat_is_excused_by_one_crash_only(tmp_path: Path) -> None:
    async with crash_world(tmp_path, crash_at=[StopPoint(1, "after", "send")]) as world:
        await play(world, PAID)
        evidence = world.evidence()
    assert (violations(evidence), repeats(evidence)) == ([], 1)
    without_crash = replace(evidence, crashes=())
    assert reports(violations(without_crash), 10, "payment_message was sent 1 times too often")


async def test_one_repeat_is_excused_by_one_lost_response_only(tmp_path: Path) -> None:
    async with crash_world(tmp_path) as world:
        await world.control("telegram", "faults", {"method": "sendMessage", "when": "after", "how": "drop"})
        await play(world, PAID)
        evidence = world.evidence()
    assert (violations(evidence), repeats(evidence)) == ([], 1)
    received = [replace(entry, fault="") for entry in evidence.transcript]
    without_fault = replace(evidence, transcript=received)
    assert reports(violations(without_fault), 10, "payment_message was sent 1 times too often")
    unread = [replace(entry, fault=entry.fault and LOST) for entry in evidence.transcript]
    assert violations(replace(evidence, transcript=unread)) == []


async def test_response_lost_in_crash_excuses_no_second_repeat(tmp_path: Path) -> None:
    async with crash_world(tmp_path, crash_at=[StopPoint(1, "after", "send")]) as world:
        await play(world, PAID)
        evidence = world.evidence()
    entries = [replace(entry, fault="") for entry in evidence.transcript]
    first, second = (
        number for number, entry in enumerate(entries) if entry.method == "sendMessage" and is_payment_message(entry)
    )
    third = replace(entries[second], result=entries[second].result | {"message_id": 999})

    def is_reported(unread: int) -> bool:
        lost = [replace(entry, fault=LOST) if number == unread else entry for number, entry in enumerate(entries)]
        sent_thrice = replace(evidence, transcript=[*lost[: second + 1], third, *lost[second + 1 :]])
        return reports(violations(sent_thrice), 10, "payment_message was sent 2 times too often")

    assert is_reported(first)
    assert not is_reported(second)
    assert world.crashes


def is_payment_message(entry: TranscriptEntry) -> bool:
    return REFERENCE_LINE.search(entry.params["text"]) is not None


def stop_recovery(world: CrashWorld) -> None:
    """Loses all events, and stops the reconciler and the event backfill."""
    world.stripe.webhooks.mode = "lose"
    stopped = [task for task in world.service._tasks if task.get_name() in RECOVERY_TASKS]
    assert len(stopped) == len(RECOVERY_TASKS)
    for task in stopped:
        task.cancel()


RECOVERY_TASKS = {"reconciler", "event backfill"}
