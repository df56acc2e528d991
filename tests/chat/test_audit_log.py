"""The history of a shop: who did what and when, in pages, searched, and never written over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.sandbox.shared.fake_clock import FakeClock
from handlers.chat.audit_text import ACTION_MESSAGES
from handlers.i18n import html
from storage import audit_log, shops
from storage.audit_log import MOST_SEARCHED, record
from storage.database.database import Database
from storage.models.payment import PaymentStatus
from storage.models.shop import Shop
from storage.schema.audit_log import audit_log as audit_log_table
from tests.chat.test_shop_selection import asked, ref_of
from tests.support.empty_database import ON_POSTGRES
from tests.support.evidence import idle, rows
from tests.support.invitations import invited, join, trail
from tests.support.people import (
    ADMIN,
    COLLEAGUE,
    GROUP,
    MERCHANT,
    NO_SHOP,
    OTHER_GROUP,
    STRANGER,
    alert_text,
    caught_up,
    open_database,
    open_second_shop,
    open_shop,
    posts,
    press,
    reply,
    reply_text,
    send_message,
    shown,
    status_is,
)
from tests.support.world import OWNER, Json, World, labels, opened

GUEST = 70_030_001


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


def lines(text: str) -> list[str]:
    """The lines of a log without its head and without the times."""
    return [line.partition(" · ")[2] for line in text.splitlines()[1:]]


async def log(world: World, what: str = "", *, by: int = ADMIN, chat: int | None = None) -> list[str]:
    return lines(await reply_text(world, f"/log {what}", by=by, chat=chat))


async def add(world: World, shop_id: int, number: int, *, actor: str = "kvit", action: str = "shop_created") -> None:
    """Fill a shop's history, as years would."""
    now = world.clock.now()

    def fill(tx: sa.Connection) -> None:
        for count in range(number):
            record(tx, shop_id, actor, action, {"row": f"r{count}"}, now)

    async with open_database(world) as db:
        await db.write(fill)


async def test_log_lists_all_actors_newest_first(world: World) -> None:
    ref = ref_of(await asked(world))
    await world.decide("approve")
    await status_is(world, PaymentStatus.SUCCEEDED)
    await idle(world)
    said = await reply_text(world, "/log", by=ADMIN)
    assert said.splitlines()[0] == "Activity in Kvit, newest first:"
    assert said.splitlines()[1].startswith("24 Nov 2026, 13:00 · ")
    assert lines(said) == [
        f"Stripe · checked with Stripe · Paid · #{ref}",
        f"Mads ({MERCHANT}) · created a link · Link created · #{ref}",
        f"Mads ({MERCHANT}) · requested a payment · #{ref}",
        "Kvit · linked a chat to the shop",
        "Kvit · created the shop",
    ]


async def test_members_and_settings_are_logged(world: World) -> None:
    payload = await invited(world)
    world.telegram.state.ensure_user(GUEST, first_name="Gerda <b>")
    await join(world, payload, by=GUEST)
    await reply_text(world, "/settings limit 5000", by=ADMIN)
    await reply_text(world, "/settings address Hemmeligvej 1", by=ADMIN)
    await reply_text(world, "/setup", chat=NO_SHOP)
    await reply_text(world, f"/revoke {GUEST}")
    assert (await log(world))[:6] == [
        f"{OWNER} · removed the role merchant from {GUEST}",
        f"{OWNER} · linked a chat to the shop",
        f"Ada ({ADMIN}) · changed a setting: address",
        f"Ada ({ADMIN}) · changed a setting: limit 5000",
        f"{GUEST} · joined as merchant",
        f"Ada ({ADMIN}) · invited someone as merchant",
    ]


async def test_a_reference_or_a_reply_restricts_it_to_one_payment(world: World) -> None:
    first, second = await asked(world), await asked(world, text="/pay 99 Cake")
    mine = [f"Mads ({MERCHANT}) · created a link · Link created", f"Mads ({MERCHANT}) · requested a payment"]
    assert await log(world, ref_of(first).lower()) == [f"{line} · #{ref_of(first)}" for line in mine]
    said = await reply(world, world.say("/log", by=ADMIN, chat=GROUP, reply_to=second["message_id"]), chat=GROUP)
    assert lines(said["text"]) == [f"{line} · #{ref_of(second)}" for line in mine]
    assert await log(world, f"{ref_of(first)} requested") == [f"{mine[1]} · #{ref_of(first)}"]
    assert "no payment with that reference" in await reply_text(world, "/log Z9ZZ", by=ADMIN)
    both = world.say(f"/log {ref_of(first)}", by=ADMIN, chat=GROUP, reply_to=second["message_id"])
    assert "but replied to the payment message of" in (await reply(world, both, chat=GROUP))["text"]


async def test_words_are_searched_for_in_action_detail_actor_and_name(world: World) -> None:
    await asked(world)
    await reply_text(world, "/settings limit 5000", by=ADMIN)
    changed = [f"Ada ({ADMIN}) · changed a setting: limit 5000"]
    for words in ("setting", "LIMIT", "5000 changed", f"{ADMIN} limit", "ada setting"):
        assert await log(world, words) == changed, words
    assert len(await log(world, "mads")) == 2
    for nothing in ("ada requested", "100%", "l_mit", "l%t", "\\", "nobody"):
        assert "Nothing found." in await reply_text(world, f"/log {nothing}", by=ADMIN), nothing
    for long in ("x" * 37, "æ" * 19, "word " * 20):
        assert "Too many search words" in await reply_text(world, f"/log {long}", by=ADMIN)


async def test_it_comes_ten_a_page_and_a_page_goes_on_where_the_one_before_ended(world: World) -> None:
    await add(world, 1, 23)
    sheet = await reply(world, world.say("/log row", by=ADMIN), chat=ADMIN)
    seen = [labels(sheet)]
    await add(world, 1, 5)  # what is added meanwhile moves nothing
    texts = [sheet["text"]]
    for label in ("Older", "Older"):
        sheet = await turned(world, sheet, label)
        seen.append(labels(sheet))
        texts.append(sheet["text"])
    assert seen == [["Older"], ["Newest", "Older"], ["Newest"]]
    assert [len(lines(text)) for text in texts] == [10, 10, 3]
    assert len(lines((await turned(world, sheet, "Newest"))["text"])) == 10


async def turned(world: World, sheet: Json, label: str) -> Json:
    """The message after one of its buttons was pressed."""
    await world.answer(world.tap(sheet, label, by=ADMIN))
    await idle(world)
    return next(m for m in shown(world, ADMIN) if m["message_id"] == sheet["message_id"])


@pytest.mark.parametrize(
    "forged", ["l:", "l:x", "l:99999999999999999999:", "l:٣::", "l:1", "l:5:K7F3:", "l::':--", "l::Z9ZZ:x", "l:::%"]
)
async def test_a_forged_page_shows_nothing_but_lines_of_this_shop(world: World, forged: str) -> None:
    await asked(world)
    await open_second_shop(world, COLLEAGUE)
    foreign = ref_of(await asked(world, by=COLLEAGUE, chat=OTHER_GROUP, text="/pay 99 Other"))
    sheet = await reply(world, world.say("/log", by=ADMIN), chat=ADMIN)
    for data in (forged, f"l::{foreign}:"):
        assert await world.answer(press(world, sheet, data, by=ADMIN)) == ""
        await idle(world)
        assert not any(foreign in m["text"] or "Second" in m["text"] for m in shown(world, ADMIN))
    assert f"Your Telegram ID is {MERCHANT}" in await alert_text(world, press(world, sheet, forged, by=MERCHANT))


async def test_the_log_of_one_shop_says_nothing_of_another(world: World) -> None:
    await open_second_shop(world, COLLEAGUE)
    foreign = ref_of(await asked(world, by=COLLEAGUE, chat=OTHER_GROUP, text="/pay 99 Other"))
    await asked(world)
    assert not any(foreign in line for line in await log(world))
    assert not any("Ada" in line or "Mads" in line for line in await log(world, by=OWNER, chat=OTHER_GROUP))
    assert "no payment with that reference" in await reply_text(world, f"/log {foreign}", by=ADMIN)


async def test_denied_action_is_logged_once_a_minute_per_person_and_chat(
    world: World,
) -> None:
    card = await asked(world)
    for _ in range(3):
        world.say("/pay 125", by=STRANGER, chat=GROUP)
        await alert_text(world, world.tap(card, "Cancel", by=STRANGER))
        await alert_text(world, world.tap(card, "Cancel", by=COLLEAGUE))
    await caught_up(world, GROUP)
    assert sorted(trail(world, "denied")) == [(f"user:{COLLEAGUE}", "denied"), (f"user:{STRANGER}", "denied")]
    world.advance(60)
    await alert_text(world, world.tap(card, "Cancel", by=STRANGER))
    assert (await log(world, "denied"))[0] == f"{STRANGER} · was not allowed to use a button · #{ref_of(card)}"
    world.advance(60)
    await reply_text(world, "/refund", by=STRANGER, chat=GROUP)
    assert (await log(world, "denied"))[0] == f"{STRANGER} · was not allowed to use /refund"
    assert len(trail(world, "denied")) == 4


async def test_denial_of_an_anonymous_admin_is_logged(world: World) -> None:
    said = send_message(world, "/pay 125", chat=GROUP, sender_chat=GROUP)
    await reply(world, said, chat=GROUP)
    assert len(trail(world, "denied")) == 1
    assert posts(world) == []


async def test_chat_that_changes_shops_is_logged_in_both_separately(world: World) -> None:
    await open_second_shop(world)
    question = await reply(world, world.say("/setup", chat=GROUP), chat=GROUP)
    await world.answer(world.tap(question, "Second"))
    await caught_up(world, GROUP)
    assert (await log(world, by=OWNER, chat=GROUP))[0] == f"{OWNER} · linked a chat to the shop"
    assert (await log(world))[0] == f"{OWNER} · unlinked a chat from the shop"


async def test_unknown_action_or_actor_is_shown_harmlessly(world: World) -> None:
    await add(world, 1, 1, actor="<i>robot</i>", action="danced <b>wildly</b>")
    assert (await log(world))[0] == "<i>robot</i> · something else (danced <b>wildly</b>)"


@pytest.mark.parametrize("language", ["en", "da", "sv", "nb", "fi"])
def test_every_action_has_a_text(language: str) -> None:
    for key in ACTION_MESSAGES.values():
        assert html(language, key)


async def test_audit_log_is_append_only(world: World) -> None:
    await asked(world)
    before = rows(world, "SELECT * FROM audit_log")
    replace = "REPLACE INTO audit_log SELECT id, payment_id, shop_id, at, 'nobody', action, detail FROM audit_log"
    statements = ["UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log WHERE id = 1"]
    for statement in statements if ON_POSTGRES else [*statements, replace]:
        async with open_database(world) as db:
            with pytest.raises(sa.exc.IntegrityError, match="append-only"):
                await db.write(sa.Connection.exec_driver_sql, statement)
    assert rows(world, "SELECT * FROM audit_log") == before != []


async def test_a_search_ends_after_so_many_rows_and_goes_on_from_there(db: Database, clock: FakeClock) -> None:
    shop = await db.write(shops.create_shop, Shop(0, "S", "DKK", "en", "Europe/Copenhagen"), now=clock.now())
    row = {"shop_id": shop.id, "at": clock.now(), "actor": "kvit", "action": "synced", "detail": "{}"}
    many = [row | {"action": "needle"}] + [row] * MOST_SEARCHED
    await db.write(lambda tx: tx.execute(audit_log_table.insert(), many).rowcount)
    first = await db.read(audit_log.get_page, shop.id, limit=10, words="needle")
    assert (first.lines, first.next_cursor is None) == ([], False)
    second = await db.read(audit_log.get_page, shop.id, limit=10, words="needle", before=first.next_cursor)
    assert ([line.action for line in second.lines], second.next_cursor) == (["needle"], None)
    if ON_POSTGRES:  # which scans a small table
        return
    query = "EXPLAIN QUERY PLAN SELECT id FROM audit_log WHERE shop_id = 1 AND id < 9 ORDER BY id DESC"
    plan = await db.read(lambda tx: tx.exec_driver_sql(query).all())
    assert "ix_audit_log_shop" in str(plan)
