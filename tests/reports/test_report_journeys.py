"""`/report` and `/export`, from the command to the picture and the file, between the fakes."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path

import pytest

from bot.app import AdapterOverrides
from bot.sandbox.shared.fake_clock import FakeClock
from tests.messages.test_qr_message import FORUM, NoPictures
from tests.support.evidence import eventually, idle, pass_time, rows
from tests.support.people import (
    ADMIN,
    GROUP,
    MERCHANT,
    STRANGER,
    break_telegram,
    chat_of,
    dead_letters,
    deliver_raw,
    open_second_shop,
    open_shop,
    remove_roles,
    reply_text,
    send_message,
    shown,
)
from tests.support.refund_steps import paid, ref_of, refunded
from tests.support.world import OWNER, Json, World, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


async def report(world: World, text: str, *, by: int = OWNER, chat: int | None = None) -> Json:
    """The newest picture that the bot sent to a chat after this command."""
    world.say(text, by=by, chat=chat)
    return await _newest(world, "photo", chat or by)


async def export(world: World, text: str, *, by: int = OWNER, chat: int | None = None) -> list[dict[str, str]]:
    """The rows of the CSV file that a person gets in private after this command."""
    world.say(text, by=by, chat=chat)
    message = await _newest(world, "document", by)
    content = world.telegram.state.files[message["document"]["file_id"]].content
    return list(csv.DictReader(StringIO(content.decode("utf-8-sig")), delimiter=";"))


async def _newest(world: World, kind: str, chat: int) -> Json:
    def found() -> list[Json]:
        return (
            [message for message in shown(world, chat) if kind in message] if chat in world.telegram.state.chats else []
        )

    before = len(found())
    await world.until(lambda: len(found()) > before)
    await idle(world)
    return found()[-1]


async def test_report_has_all_numbers_in_words_below_a_picture(world: World) -> None:
    card = await paid(world, "/pay 149,50 Coffee")
    await paid(world, "/pay 20 EUR Guide")
    await refunded(world, f"/refund {ref_of(card)} 49,50")
    await idle(world)
    message = await report(world, "/report")
    caption = message["caption"].replace("\u00a0", " ")
    day = f"{world.clock.now():%Y-%m-%d}"
    assert caption.split("\n") == [
        f"Kvit · {day}",
        *("", "Received: DKK 149.50 (1)", "Refunded: DKK 49.50", "Disputed: DKK 0.00", "Net: DKK 100.00"),
        *("", "Received: €20.00 (1)", "Refunded: €0.00", "Disputed: €0.00", "Net: €20.00"),
        *("", "The fees of 3 movements are not known yet."),
        *("", "Kvit is not a cash register and not a bookkeeping system. It makes no X or Z reports."),
    ]
    assert message["photo"][-1]["width"] == 1080


@pytest.mark.parametrize("end", ["closed", "deleted"])
async def test_report_in_a_topic_that_is_closed_or_gone_is_sent_outside_of_it(world: World, end: str) -> None:
    await world.service.seed("Kvit", [(ADMIN, "Ada", "admin")], [FORUM])
    await paid(world, "/pay 149,50 Coffee")
    send_message(world, "/id", by=ADMIN, chat=FORUM, message_thread_id=77)
    await idle(world)
    if end == "closed":
        await world.control("telegram", "topics", {"chat_id": FORUM, "message_thread_id": 77})
    else:
        chat_of(world, FORUM).topics.discard(77)
    deliver_raw(world, "/report", by=ADMIN, chat=FORUM, message_thread_id=77, is_topic_message=True)
    message = await _newest(world, "photo", FORUM)
    assert "message_thread_id" not in message
    assert await dead_letters(world) == []


async def test_report_in_a_chat_without_pictures_is_a_text_and_the_chat_stays_open(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with opened(clock, tmp_path, overrides=AdapterOverrides(messenger=NoPictures)) as world:
        await open_shop(world)
        await paid(world, "/pay 149,50 Coffee")
        assert "Received: DKK\u00a0149.50 (1)" in await reply_text(world, "/report", by=ADMIN, chat=GROUP)
        assert await reply_text(world, "/id", by=ADMIN, chat=GROUP)
        assert await dead_letters(world) == []


async def test_report_without_movements_is_a_text(world: World) -> None:
    assert "No money moved in this period." in await reply_text(world, "/report yesterday")


async def test_help_says_what_kvit_is_not(world: World) -> None:
    assert "not a cash register and not a bookkeeping system" in await reply_text(world, "/help", by=MERCHANT)


async def test_export_lists_each_movement_and_adds_up_to_the_report(world: World) -> None:
    card = await paid(world, "/pay 149,50 =Coffee; to go")
    await refunded(world, f"/refund {ref_of(card)} 49,50")
    await reply_text(world, f"/note {ref_of(card)} +Table 4")
    await idle(world)
    found = await export(world, "/export today")
    assert [row["note"] for row in found] == ["'+Table 4"] * 2
    assert [(row["kind"], row["ref"], row["gross"], row["currency"], row["text"]) for row in found] == [
        ("payment", ref_of(card), "149.50", "DKK", "'=Coffee; to go"),
        ("refund", ref_of(card), "-49.50", "DKK", "'=Coffee; to go"),
    ]
    assert found[1]["stripe_id"].startswith("re_")
    assert "exported a file of payments" in await reply_text(world, "/log")


async def test_vat_is_that_of_the_receipt_also_for_a_later_refund(world: World) -> None:
    for line in ("seller Kvit ApS", "address Street 1", "number 12345678", "contact a@example.dk", "vat 25"):
        await reply_text(world, f"/settings {line}")
    card = await paid(world, "/pay 125 Tea")
    await pass_time(world, 3600)
    await reply_text(world, "/settings vat 12")
    await pass_time(world, 3600)
    await refunded(world, f"/refund {ref_of(card)} 50")
    await idle(world)
    found = await export(world, "/export today")
    columns = ("gross", "vat_rate", "vat", "receipt_no", "credit_note_no")
    assert [tuple(row[name] for name in columns) for row in found] == [
        ("125.00", "25.00", "25.00", "TEST-1-1", ""),
        ("-50.00", "25.00", "-10.00", "TEST-1-1", "TEST-1-C1"),
    ]


async def test_vat_of_refunds_adds_up_to_that_of_the_payment(world: World) -> None:
    await reply_text(world, "/settings vat 25")
    card = await paid(world, "/pay 0,50 EUR Sweet")
    for part in ("0,17", "0,17", "0,16"):
        world.advance(60)
        await refunded(world, f"/refund {ref_of(card)} {part}")
        await idle(world)
    assert [row["vat"] for row in await export(world, "/export today")] == ["0.10", "-0.03", "-0.04", "-0.03"]


async def test_export_asked_for_in_a_group_is_sent_in_private(world: World) -> None:
    await paid(world)
    found = await export(world, "/export", by=OWNER, chat=GROUP)
    assert [row["gross"] for row in found] == ["125.00"]
    assert not [message for message in shown(world, GROUP) if "document" in message]
    assert any("private chat" in message["text"] for message in shown(world, GROUP))


@pytest.mark.parametrize("command", ["/report", "/export"])
@pytest.mark.parametrize("by", [MERCHANT, STRANGER])
async def test_only_admins_read_reports(world: World, command: str, by: int) -> None:
    await paid(world)
    assert "125" not in await reply_text(world, command, by=by)
    await idle(world)
    assert not rows(world, "SELECT id FROM jobs WHERE kind IN ('report', 'export')")


async def test_admin_who_lost_the_role_gets_no_file(world: World) -> None:
    await paid(world)
    await break_telegram(world, "sendDocument", "500")
    world.say("/export", by=ADMIN)
    await eventually(lambda: rows(world, "SELECT id FROM jobs WHERE kind = 'export' AND attempts > 0"))
    await remove_roles(world, ADMIN)
    await pass_time(world, 120)
    assert [row["state"] for row in rows(world, "SELECT state FROM jobs WHERE kind = 'export'")] == ["done"]
    assert not [message for message in shown(world, ADMIN) if "document" in message]


async def test_reports_of_two_shops_are_apart(world: World) -> None:
    await paid(world, "/pay 125 Tea", chat=GROUP)
    await open_second_shop(world, ADMIN)
    text = await reply_text(world, "/report", chat=-70_020_002)
    assert text.startswith("Second · ")
    assert "No money moved in this period." in text


@pytest.mark.parametrize("command", ["/report 2026-13", "/report coffee", "/export csv xlsx", "/export pdf"])
async def test_what_cannot_be_read_is_answered_with_what_to_write(world: World, command: str) -> None:
    assert "I cannot read this period." in await reply_text(world, command)
