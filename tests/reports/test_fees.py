"""Stripe's fees and payouts, from its balance to the report and the export, between the fakes."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest

from bot.app import Service
from bot.sandbox.fake_stripe.state import RequestCause
from bot.sandbox.shared.fake_clock import FakeClock
from storage.models.balance import FEE_TYPES
from tests.support.evidence import at_stripe, eventually, idle, pass_time, rows, webhooks
from tests.support.people import ADMIN, GROUP, MERCHANT, open_second_shop, open_shop, reply_text, shown
from tests.support.refund_steps import paid, ref_of, refunded, texts
from tests.support.world import OWNER, Json, World, opened

HOUR, DAY = 3600, 86_400
FEES = {"fee_rate": 140, "fee_tax_rate": 2500, "dispute_fee": 7500}
"""1.4 percent including 25 percent VAT, and 75 kroner for a dispute."""


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await running.control("stripe", "options", FEES)
        await open_shop(running)
        yield running


async def read_balance(world: World, seconds: int = HOUR) -> None:
    """Passes time until Kvit has read Stripe's balance again."""

    def last() -> list[Json]:
        return rows(world, "SELECT value FROM installation_settings WHERE name = 'balance_read_at'")

    await eventually(last)
    before = last()
    await pass_time(world, seconds)
    await eventually(lambda: last() != before)
    await idle(world)


async def file(world: World, text: str, *, chat: int = OWNER) -> bytes:
    """The file that the owner gets in private after this command."""

    def documents() -> list[Json]:
        return [message["document"] for message in shown(world, OWNER) if "document" in message]

    before = len(documents())
    world.say(text, chat=chat)
    await world.until(lambda: len(documents()) > before)
    await idle(world)
    return world.telegram.state.files[documents()[-1]["file_id"]].content


async def export(world: World, text: str = "/export month plain", *, chat: int = OWNER) -> list[dict[str, str]]:
    """The rows of an export."""
    return list(csv.DictReader(StringIO((await file(world, text, chat=chat)).decode())))


async def report(world: World, text: str = "/report month", *, chat: int = OWNER) -> list[str]:
    """The lines of a report, without the title, empty lines, and the last one, which says what Kvit is not."""

    def captions() -> list[str]:
        return [str(message["caption"]) for message in shown(world, chat) if "photo" in message]

    before = len(captions())
    world.say(text, chat=chat)
    await world.until(lambda: len(captions()) > before)
    await idle(world)
    lines = [line for line in captions()[-1].replace("\u00a0", " ").split("\n")[1:] if line]
    assert lines[-1].startswith("Kvit is not a cash register")
    return lines[:-1]


async def pay_out(world: World, *, arrives: bool = True) -> Json:
    """An automatic payout of all that is due in kroner."""
    payout: Json = await world.control("stripe", "payouts", {})
    if arrives:
        await world.control("stripe", f"payouts/{payout['id']}/pay", {})
    await idle(world)
    return payout


async def sell_elsewhere(world: World) -> None:
    """A payment of the same Stripe account that another program asked for."""
    intent = await at_stripe(
        world,
        "payment_intents",
        amount="5000",
        currency="dkk",
        confirm="true",
        return_url="https://shop.example/thanks",
        **{"payment_method_data[type]": "mobilepay"},
    )
    await world.control("stripe", f"intents/{intent['id']}/approve", {})
    await pass_time(world, 10)


async def test_fee_is_read_within_an_hour_and_fills_report_and_export(world: World) -> None:
    await paid(world)
    [row] = await export(world)
    assert (row["gross"], row["fee"], row["settled_net"], row["balance_transaction"]) == ("125.00", "", "", "")
    assert (await report(world))[-1] == "The fee of 1 movement is not known yet."
    await read_balance(world)
    [row] = await export(world)
    assert (row["fee"], row["net"]) == ("1.75", "123.25")
    assert (row["settlement_currency"], row["settled_gross"], row["settled_fee"]) == ("DKK", "125.00", "1.75")
    assert row["balance_transaction"].startswith("txn_")
    assert (row["payout_id"], row["payout_date"], row["exchange_rate"]) == ("", "", "")
    assert (await report(world))[-2:] == ["Stripe's fees: DKK 1.75, of which VAT DKK 0.35", "After fees: DKK 123.25"]


async def test_fee_comes_with_charge_updated(world: World) -> None:
    await paid(world)
    [charge] = [each for each in world.stripe.store.charges.values() if each["captured"]]
    world.stripe.state.emit(RequestCause(world.clock.now()), "charge.updated", charge, {"balance_transaction": None})
    await eventually(lambda: rows(world, "SELECT id FROM balance_transactions"))
    assert [row["fee"] for row in await export(world)] == ["1.75"]


async def test_payment_settled_in_another_currency_is_not_converted_by_kvit(world: World) -> None:
    await world.control("stripe", "options", {"settlement_currency": "dkk", "exchange_rate": 7.4613})
    await paid(world, "/pay 20 EUR Guide")
    await read_balance(world)
    [row] = await export(world)
    assert (row["currency"], row["gross"], row["fee"], row["net"]) == ("EUR", "20.00", "", "")
    assert (row["settlement_currency"], row["exchange_rate"]) == ("DKK", "7.4613")
    assert (row["settled_gross"], row["settled_fee"], row["settled_net"]) == ("149.23", "2.09", "147.14")


async def test_payout_by_event_is_shown_and_a_failed_one_is_shown_no_more(world: World) -> None:
    card = await paid(world)
    await refunded(world, f"/refund {ref_of(card)} 25")
    await idle(world)
    payout = await pay_out(world)
    assert payout["amount"] == 12500 - 175 - 2500
    assert (await report(world))[-1] == "Paid out by Stripe on 26 Nov 2026: DKK 98.25"
    sold = [row for row in await export(world) if row["kind"] in {"payment", "refund"}]
    assert {(row["payout_id"], row["payout_date"]) for row in sold} == {(payout["id"], "2026-11-26")}
    await world.control("stripe", f"payouts/{payout['id']}/fail", {})
    await read_balance(world)
    found = await export(world)
    assert {row["payout_date"] for row in found} == {""}
    assert not [line for line in await report(world) if "Paid out" in line]
    again = await pay_out(world)
    await read_balance(world)
    found = await export(world)
    assert again["amount"] == payout["amount"]
    returned = [row for row in found if row["payout_id"] == again["id"] and row["kind"] == "payout"]
    assert [(row["text"], row["settled_net"]) for row in returned] == [
        ("payout_failure", "98.25"),
        ("payout", "-98.25"),
    ]


async def test_fees_without_a_payment_are_rows_of_their_own_and_part_of_the_fees(world: World) -> None:
    await paid(world)
    await world.control("stripe", "fees", {"amount": 3500})
    await read_balance(world)
    [sale, fee] = await export(world)
    assert (sale["kind"], fee["kind"], fee["text"], fee["entry"][0]) == ("payment", "stripe_fee", "stripe_fee", "B")
    assert (fee["gross"], fee["net"], fee["ref"]) == ("-35.00", "-35.00", "")
    assert "Stripe's fees: DKK 36.75, of which VAT DKK 0.35" in await report(world)


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_payout_adds_up_and_periods_add_up_to_the_whole(world: World, seed: int) -> None:
    chance, refs = random.Random(seed), [ref_of(await paid(world))]
    for step in [
        "pay",
        "payout",
        *chance.choices(["pay", "refund", "dispute", "fee", "other", "payout", "fail"], k=14),
    ]:
        await pass_time(world, chance.randrange(60, DAY))
        match step:
            case "pay":
                refs.append(ref_of(await paid(world, f"/pay {chance.randrange(100, 900)} Tea {len(refs)}")))
            case "refund":
                await refunded(world, f"/refund {chance.choice(refs)} {chance.randrange(3, 9)}.0{len(refs) % 9 + 1}")
            case "dispute":
                number = chance.randrange(len(refs))
                intent = list(world.stripe.store.intents.values())[number]["id"]
                async with world.http.post(f"{world.stripe.base}/_control/intents/{intent}/dispute", json={}):
                    pass
            case "fee":
                await world.control("stripe", "fees", {"amount": chance.randrange(100, 4000)})
            case "other":
                await sell_elsewhere(world)
            case "payout":
                await pay_out(world, arrives=chance.random() < 0.7)
            case _:
                newest = list(world.stripe.store.payouts.values())[-1]
                async with world.http.post(f"{world.stripe.base}/_control/payouts/{newest['id']}/fail", json={}):
                    pass
        await idle(world)
    await read_balance(world, DAY)
    period = f"2026-11-01..{world.clock.now() + timedelta(days=1):%Y-%m-%d}"
    found = await export(world, f"/export {period} plain")
    paid_out: dict[str, Decimal] = defaultdict(Decimal)
    for row in found:
        if row["text"] != "payout" or row["kind"] != "payout":
            paid_out[row["payout_id"]] += Decimal(row["settled_net"])
    at_bank = {each["id"]: Decimal(each["amount"]).scaleb(-2) for each in world.stripe.store.payouts.values()}
    assert {each: paid_out[each] for each in at_bank} == at_bank
    ledger = world.stripe.store.balance_transactions.values()
    assert sum(Decimal(row["settled_net"]) for row in found) == Decimal(sum(each["net"] for each in ledger)).scaleb(-2)
    assert sorted(row["balance_transaction"] for row in found) == sorted(each["id"] for each in ledger)
    days = sorted({row["date"] for row in found})
    by_day = [row for day in days for row in await export(world, f"/export {day} plain")]
    assert by_day == found
    foreign = {each["id"] for each in world.stripe.store.charges.values() if not each["metadata"]}
    own = [each for each in ledger if each["source"] not in foreign]
    fees = sum(-each["net"] if each["type"] in FEE_TYPES else each["fee"] for each in own)
    assert f"Stripe's fees: DKK {Decimal(fees).scaleb(-2):,.2f}" in (await report(world, f"/report {period}"))[4]


async def test_reading_again_changes_no_byte_of_an_export(world: World) -> None:
    await paid(world)
    await pay_out(world)
    await read_balance(world)
    before = await file(world, "/export 2026-11")
    recorded = rows(world, "SELECT * FROM balance_transactions")
    await read_balance(world, 2 * DAY)
    await world.stop()
    read = await Service(world.settings, world.clock).reconcile_movements(world.clock.now() - timedelta(days=30))
    await world.begin()
    assert (read.transactions, read.payouts) == (0, 0)
    assert rows(world, "SELECT * FROM balance_transactions") == recorded
    assert await file(world, "/export 2026-11") == before


async def test_without_the_rights_payments_go_on_and_the_past_is_read_once_they_are_given(world: World) -> None:
    world.stripe.options.missing_permissions = ("balance_transactions.read", "payouts.read")
    await paid(world)
    payout = await pay_out(world)
    await eventually(lambda: rows(world, "SELECT 1 FROM installation_settings WHERE name = 'balance_read_at'"))
    await pass_time(world, HOUR)
    await eventually(lambda: rows(world, "SELECT 1 FROM installation_settings WHERE name = 'balance_denied'"))
    assert (
        "Fees or payouts are missing here: the Stripe key lacks the right Balance: Read." in (await report(world))[-1]
    )
    assert not rows(world, "SELECT 1 FROM jobs WHERE state = 'dead'")
    await webhooks(world, "lose")
    world.stripe.options.missing_permissions = ()
    await world.stop()
    read = await Service(world.settings, world.clock).reconcile_movements(world.clock.now() - timedelta(days=1))
    assert (read.transactions, read.payouts, read.denied) == (2, 1, ())
    await world.begin()
    assert [(row["kind"], row["payout_id"]) for row in await export(world)] == [
        ("payment", payout["id"]),
        ("payout", payout["id"]),
    ]
    assert not [line for line in await report(world) if "missing" in line]


async def test_shops_that_share_an_account_see_their_own_fees_only(world: World) -> None:
    await open_second_shop(world, ADMIN)
    await paid(world, "/pay 125 Tea", by=MERCHANT, chat=GROUP)
    await world.control("stripe", "fees", {"amount": 3500})
    await sell_elsewhere(world)
    await pay_out(world)
    await read_balance(world)
    assert [(row["kind"], row["fee"]) for row in await export(world, chat=GROUP)] == [("payment", "1.75")]
    assert not [line for line in await report(world, chat=GROUP) if "Paid out" in line]
    second = await reply_text(world, "/report", chat=-70_020_002)
    assert "\n\nNo money moved in this period.\n\n" in second


async def test_merchants_see_no_fees(world: World) -> None:
    await paid(world, by=MERCHANT, chat=MERCHANT)
    await pay_out(world)
    await read_balance(world)
    await reply_text(world, "/today", by=MERCHANT)
    await reply_text(world, "/report", by=MERCHANT)
    assert not [text for text in texts(world, MERCHANT) if "1.75" in text or "123.25" in text or "Paid out" in text]
