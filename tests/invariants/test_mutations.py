"""The checker is worth what it catches: each bug that is planted here must be named by the invariant that it breaks."""

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
from tests.chaos.crash_world import MortalWorld, mortal
from tests.chaos.stop_points import Moment
from tests.chaos.stories import PAID, STORIES, Story, tell
from tests.invariants import mutations
from tests.invariants.checker import repeats, violations
from tests.invariants.transcript import REF_LINE

FAILED, LAPSED = STORIES[1:3]


IMPATIENT = 6


async def judged(
    folder: Path,
    story: Story,
    *,
    gateway: Callable[[PaymentGateway], PaymentGateway] = lambda gateway: gateway,
    messenger: Callable[[Messenger], Messenger] = lambda messenger: messenger,
    ends: tuple[Moment, ...] = (),
    before: Callable[[MortalWorld], None] = lambda _: None,
) -> list[str]:
    """What the checker says of a story with a bug in it; the people in it may wait in vain."""
    async with mortal(folder, ends=ends, plants=AdapterOverrides(gateway, messenger), **story.settings) as world:
        before(world)
        try:
            await tell(world, story, patience=IMPATIENT)
        except AssertionError:
            await world.quiet()
        return violations(world.evidence())


def names(found: list[str], invariant: int, words: str) -> bool:
    """Whether a violation of this invariant says so."""
    return any(line.startswith(f"{invariant}: ") and words in line for line in found)


async def test_a_fresh_key_for_every_try_makes_a_second_intent(tmp_path: Path) -> None:
    found = await judged(tmp_path, PAID, gateway=mutations.FreshKeys, ends=(Moment(1, "after", "create"),))
    assert names(found, 1, "has 2 intents"), found
    assert names(found, 2, "is not in the book"), found


async def test_an_old_answer_that_is_believed_hides_the_money(tmp_path: Path) -> None:
    found = await judged(tmp_path, PAID, gateway=mutations.OldAnswers)
    assert names(found, 4, "is open in the book and succeeded at Stripe"), found
    assert names(found, 11, "was paid"), found
    assert names(found, 12, "in the end, and Stripe paid"), found


async def test_a_confirm_over_an_open_attempt(tmp_path: Path) -> None:
    found = await judged(tmp_path, PAID, gateway=mutations.ConfirmsTwice)
    assert names(found, 5, "while its attempt 1 was open"), found


async def test_a_confirm_that_nobody_wanted(tmp_path: Path) -> None:
    found = await judged(tmp_path, FAILED, gateway=mutations.ConfirmsUnasked)
    assert names(found, 5, "which nobody wanted"), found
    assert any(line.startswith("S2: the confirm 1 of") for line in found), found


async def test_a_cancel_that_nobody_wanted(tmp_path: Path) -> None:
    found = await judged(tmp_path, PAID, gateway=mutations.CancelsUnasked)
    assert names(found, 8, "was canceled, which nobody wanted"), found


async def test_a_try_that_says_something_else_with_the_same_key(tmp_path: Path) -> None:
    found = await judged(tmp_path, PAID, gateway=mutations.ChangesItsWords, ends=(Moment(1, "after", "create"),))
    assert names(found, 1, "came again with something else"), found


async def test_a_request_that_is_not_in_the_book_and_one_that_nobody_made(tmp_path: Path) -> None:
    async with mortal(tmp_path) as world:
        await tell(world, PAID)
        with closing(sqlite3.connect(tmp_path / "kvit.db")) as db, db:
            db.execute("UPDATE payments SET request_key = 'message:1:1'")
        found = violations(world.evidence())
    assert names(found, 1, "made 0 payments"), found
    assert names(found, 1, "nobody asked for #"), found


async def test_money_that_is_announced_before_it_came_though_it_comes_in_the_end(tmp_path: Path) -> None:
    found = await judged(tmp_path, PAID, gateway=mutations.Hasty)
    assert names(found, 12, "says paid"), found
    assert names(found, 13, "was called paid"), found


async def test_an_amount_that_is_off_by_one(tmp_path: Path) -> None:
    found = await judged(tmp_path, PAID, gateway=mutations.OffByOne)
    assert names(found, 3, "(14950, 'DKK') in the book and (14951, 'DKK') at Stripe"), found


async def test_an_intent_that_does_not_say_whose_it_is(tmp_path: Path) -> None:
    found = await judged(tmp_path, PAID, gateway=mutations.Nameless)
    assert names(found, 2, "is not in the book as that of its payment lost"), found


async def test_a_notice_that_is_sent_twice(tmp_path: Path) -> None:
    found = await judged(tmp_path, PAID, messenger=mutations.TellsTwice)
    assert names(found, 10, "paid was said 1 times too often"), found


async def test_a_second_card_in_the_place_of_an_edit(tmp_path: Path) -> None:
    found = await judged(tmp_path, PAID, messenger=mutations.PostsAnew)
    assert names(found, 10, "card was said"), found
    assert names(found, 12, "in the end, and Stripe paid"), found


async def test_news_of_a_failure_that_are_lost(tmp_path: Path) -> None:
    found = await judged(tmp_path, FAILED, messenger=mutations.LosesFailures)
    assert [line[:3] for line in found] == ["11:"], found
    assert names(found, 11, "was failed"), found


async def test_news_in_the_wrong_chat(tmp_path: Path) -> None:
    meet = lambda world: world.telegram.people.private_chat(mutations.STRANGERS)  # noqa: E731
    found = await judged(tmp_path, PAID, messenger=mutations.WrongChat, before=meet)
    assert names(found, 9, f"is spoken of in chat {mutations.STRANGERS}"), found


async def test_a_card_that_is_not_changed_when_the_money_came(tmp_path: Path) -> None:
    found = await judged(tmp_path, PAID, messenger=mutations.OldCard)
    assert names(found, 12, "in the end, and Stripe paid"), found


async def test_a_payment_that_is_called_expired_after_it_was_called_paid(tmp_path: Path) -> None:
    found = await judged(tmp_path, LAPSED, messenger=mutations.CallsPaidExpired)
    assert names(found, 13, "was called expired after it was called paid"), found


async def test_a_card_that_names_another_amount(tmp_path: Path) -> None:
    found = await judged(tmp_path, PAID, messenger=mutations.WrongWords)
    assert names(found, 3, "its card says (14905, 'DKK')"), found


async def test_news_that_are_put_off_for_ever(tmp_path: Path) -> None:
    found = await judged(tmp_path, PAID, messenger=mutations.Sulks)
    assert names(found, 11, "was paid"), found
    assert names(found, 14, "(notification) still waits"), found


async def test_news_that_are_given_up_without_a_word_to_the_owner(tmp_path: Path) -> None:
    found = await judged(tmp_path, PAID, messenger=mutations.GivesUpSilently)
    assert names(found, 11, "was paid"), found
    assert names(found, 14, "no owner has a word about it"), found


async def test_events_that_are_dropped_while_nobody_sweeps(tmp_path: Path) -> None:
    found = await judged(tmp_path, PAID, before=blind)
    assert names(found, 4, "is open in the book and succeeded at Stripe"), found
    assert names(found, 11, "was paid"), found


async def test_one_repeat_is_excused_by_one_death_and_by_nothing_else(tmp_path: Path) -> None:
    async with mortal(tmp_path, ends=[Moment(1, "after", "send")]) as world:
        await tell(world, PAID)
        evidence = world.evidence()
    assert (violations(evidence), repeats(evidence)) == ([], 1)
    assert names(violations(replace(evidence, deaths=())), 10, "card was said 1 times too often")


async def test_one_repeat_is_excused_by_an_answer_that_was_cut_off(tmp_path: Path) -> None:
    async with mortal(tmp_path) as world:
        await world.control("telegram", "faults", {"method": "sendMessage", "when": "after", "how": "drop"})
        await tell(world, PAID)
        evidence = world.evidence()
    assert (violations(evidence), repeats(evidence)) == ([], 1)
    heard = [replace(entry, fault="") for entry in evidence.transcript]
    assert names(violations(replace(evidence, transcript=heard)), 10, "card was said 1 times too often")
    unread = [replace(entry, fault=entry.fault and LOST) for entry in evidence.transcript]
    assert violations(replace(evidence, transcript=unread)) == []


async def test_an_answer_that_died_with_the_process_excuses_no_second_repeat(tmp_path: Path) -> None:
    async with mortal(tmp_path, ends=[Moment(1, "after", "send")]) as world:
        await tell(world, PAID)
        evidence = world.evidence()
    said = [replace(entry, fault="") for entry in evidence.transcript]
    first, again = (number for number, entry in enumerate(said) if entry.method == "sendMessage" and is_card(entry))
    third = replace(said[again], result=said[again].result | {"message_id": 999})

    def complains(unread: int) -> bool:
        told = [replace(entry, fault=LOST) if number == unread else entry for number, entry in enumerate(said)]
        thrice = [*told[: again + 1], third, *told[again + 1 :]]
        return names(violations(replace(evidence, transcript=thrice)), 10, "card was said 2 times too often")

    assert complains(first)
    assert not complains(again)
    assert world.deaths


def is_card(entry: TranscriptEntry) -> bool:
    return REF_LINE.search(entry.params["text"]) is not None


def blind(world: MortalWorld) -> None:
    """No event comes in, and nobody looks at Stripe of his own accord."""
    world.stripe.webhooks.mode = "lose"
    for loop in world.service._tasks:
        if loop.get_name() in {"reconciler", "missed events"}:
            loop.cancel()
