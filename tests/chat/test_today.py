"""`/today`: the sums of a day, week or month and its last payments, each of which can be opened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import idle, rows
from tests.support.people import (
    ADMIN,
    GROUP,
    MERCHANT,
    OTHER_GROUP,
    STRANGER,
    alert_text,
    open_second_shop,
    open_shop,
    press,
    reply,
)
from tests.support.refund_steps import dashboard_refund, held, paid, ref_of, refunded, texts, wait_for_text
from tests.support.world import OWNER, Json, World, button, free_port, labels, opened

DAY = 86_400


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def today(world: World, *, by: int = OWNER, chat: int | None = None) -> Json:
    """The answer to /today."""
    return await reply(world, world.say("/today", by=by, chat=chat), "Net before", chat=chat or by)


def lines(message: Json) -> list[str]:
    return [line for line in message["text"].replace("\u00a0", " ").splitlines() if line]


def is_shown(message: Json, period: str) -> bool:
    """Whether the message shows this period."""
    return lines(message)[0].startswith(period)


async def test_day_has_six_sums_per_currency(world: World) -> None:
    ref = ref_of(await paid(world, "/pay 125 Tea"))
    await paid(world, "/pay 75,50 Cake")
    await refunded(world, f"/refund {ref} 50")
    await wait_for_text(world, "↩️ Refunded:")
    await paid(world, "/pay 20 EUR Bun")
    await world.control("stripe", f"intents/{world.intent()['id']}/dispute", {})
    await wait_for_text(world, "disputed")
    await held(world, "/hold 300 Bicycle")
    await reply(world, world.say("/pay 10 Milk"), "Waiting for payment")
    assert lines(await today(world)) == [
        "Today · 24 Nov 2026 · Kvit · TEST",
        "Received: DKK 200.50 (2)",
        "Refunded: DKK 50.00 (1)",
        "Disputed: DKK 0.00",
        "Net before Stripe's fees: DKK 150.50",
        "Reserved now: DKK 300.00 (1)",
        "Open now: DKK 10.00 (1)",
        "Received: €20.00 (1)",
        "Refunded: €0.00 (0)",
        "Disputed: €20.00",
        "Net before Stripe's fees: €0.00",
        "Reserved now: €0.00 (0)",
        "Open now: €0.00 (0)",
        "The last payments. Tap one to open it:",
    ]


async def test_empty_day_has_the_sums_of_the_shop_currency(world: World) -> None:
    message = await today(world)
    assert lines(message)[1] == "Received: DKK 0.00 (0)"
    assert lines(message)[-1] == "There are no payments in this period."
    assert labels(message) == ["Yesterday", "Week", "Month"]


async def test_payments_are_buttons_in_pages_of_ten(world: World) -> None:
    for number in range(12):
        await reply(world, world.say(f"/pay {10 + number} Number {number}"), "Waiting for payment")
        world.advance(10)
    first = await today(world)
    assert labels(first)[0] == "⏳ 13:01 · DKK 21.00 · Waiting for payment · Number 11"
    assert labels(first)[9:] == [
        "⏳ 13:00 · DKK 12.00 · Waiting for payment · Number 2",
        "Older",
        "Yesterday",
        "Week",
        "Month",
    ]
    world.tap(first, "Older")
    second = await world.message("Net before", but="nothing")
    await world.until(lambda: "Newest" in labels(second))
    assert [label.rpartition(" ")[2] for label in labels(second)[:2]] == ["1", "0"]
    assert second["message_id"] == first["message_id"]
    world.tap(second, "Newest")
    await world.until(lambda: "Older" in labels(second))


async def test_another_period_edits_the_message(world: World) -> None:
    await paid(world, "/pay 125 Tea")
    world.advance(DAY)
    await paid(world, "/pay 20 Bun")
    message = await today(world)
    assert "Received: DKK 20.00 (1)" in lines(message)
    expected = {
        "Yesterday": "DKK 125.00 (1)",
        "Week": "DKK 145.00 (2)",
        "Month": "DKK 145.00 (2)",
        "Today": "20.00 (1)",
    }
    for label, received in expected.items():
        world.tap(message, label)
        await world.until(partial(is_shown, message, label))
        assert lines(message)[1].endswith(received)
        assert label not in labels(message)
    world.tap(message, "Week")
    await world.until(lambda: lines(message)[0].startswith("Week · 23 Nov 2026 – 29 Nov 2026"))
    assert labels(message)[0] == "✅ 25 Nov 13:00 · DKK 20.00 · Paid · Bun"
    assert len(world.sent("Net before")) == 1


async def test_payment_counts_on_the_day_it_was_paid_and_its_refund_on_its_own(world: World) -> None:
    await reply(world, world.say("/pay 125 Tea"), "Waiting for payment")
    world.advance(11 * 3600)
    await idle(world)
    await paid(world, "/pay 20 Bun")
    world.advance(3600)
    await dashboard_refund(world, 500)
    await wait_for_text(world, "↩️ Refunded:")
    message = await today(world)
    assert lines(message)[1:3] == ["Received: DKK 20.00 (1)", "Refunded: DKK 5.00 (1)"]
    assert [label for label in labels(message) if "Tea" in label] == []
    world.tap(message, "Yesterday")
    await world.until(lambda: lines(message)[0].startswith("Yesterday"))
    assert lines(message)[1:3] == ["Received: DKK 0.00 (0)", "Refunded: DKK 0.00 (0)"]
    assert [label for label in labels(message) if "Tea" in label] != []


@pytest.mark.parametrize(
    "forged",
    [
        "d:x",
        "d:9999-99-99",
        "d:0001-01-01",
        "d:2026-11-24..2026-11-30:٣:p",
        "d:2026-11-24:1",
        "d:9999-12-31",
        "d:::",
        "d:",
    ],
)
async def test_forged_period_shows_a_period(world: World, forged: str) -> None:
    await paid(world)
    message = await today(world)
    await world.answer(press(world, message, forged))
    await idle(world)
    assert lines(message)[1].startswith("Received: DKK")
    assert not any("went wrong" in text for text in texts(world))


async def test_payment_opens_with_history_receipt_link_and_refund(clock: FakeClock, tmp_path: Path) -> None:
    port = free_port()
    async with opened(clock, tmp_path, port=port, public_url=f"http://127.0.0.1:{port}") as world:
        await open_shop(world)
        ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
        message = await today(world, by=MERCHANT, chat=GROUP)
        world.tap(message, "Tea", by=MERCHANT)
        opened_payment = await world.message(" · Paid", chat=GROUP, but="Net before")
        assert f"#{ref}" in opened_payment["text"]
        assert labels(opened_payment) == ["Receipt", "Copy link", "Refund…"]
        receipt = button(opened_payment, "Receipt")["url"]
        async with world.http.get(receipt) as answer:
            assert (answer.status, receipt.endswith("/receipt")) == (200, True)
        assert button(opened_payment, "Copy link")["copy_text"]["text"] == receipt.removesuffix("/receipt")
        world.tap(opened_payment, "Refund…", by=MERCHANT)
        await world.message("asks to refund", chat=GROUP)
        await idle(world)
        assert [row["status"] for row in rows(world, "SELECT status FROM refunds")] == ["awaiting_approval"]
        world.tap(opened_payment, "Refund…", by=ADMIN)
        await world.message("Refund", chat=GROUP, but="asks")
        await idle(world)
        assert [row["status"] for row in rows(world, "SELECT status FROM refunds ORDER BY rowid")][1:] == ["draft"]
        assert world.stripe.store.refunds == {}


async def test_nothing_of_another_shop_is_shown_or_opened(world: World) -> None:
    await open_second_shop(world, STRANGER)
    await paid(world, by=MERCHANT, chat=GROUP)
    await paid(world, "/pay 20 EUR Bun", by=STRANGER, chat=OTHER_GROUP)
    ours, theirs = await today(world, by=MERCHANT, chat=GROUP), await today(world, by=STRANGER, chat=OTHER_GROUP)
    assert [label for label in labels(theirs) if "Tea" in label] == []
    assert lines(theirs)[1] == "Received: €20.00 (1)"
    foreign = button(ours, "Tea")["callback_data"]
    for data in (foreign, foreign.replace("p:", "rf:")):
        assert "there is no payment" in (await alert_text(world, press(world, theirs, data, by=STRANGER))).lower()
    assert "access" in await alert_text(world, press(world, ours, foreign, by=STRANGER))
    assert rows(world, "SELECT count(*) AS n FROM refunds")[0]["n"] == 0


async def test_who_has_no_role_gets_no_day(world: World) -> None:
    await paid(world, by=MERCHANT, chat=GROUP)
    assert "access" in (await reply(world, world.say("/today", by=STRANGER, chat=GROUP), chat=GROUP))["text"]
    message = await today(world, by=MERCHANT, chat=GROUP)
    assert "access" in await alert_text(world, press(world, message, "d:week", by=STRANGER))
