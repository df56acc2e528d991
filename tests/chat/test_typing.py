"""Commands as people type them: white space, punctuation, names, and values that a setting cannot have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.chat.test_shop_selection import asked, ref_of
from tests.support.evidence import rows
from tests.support.invitations import invited, join
from tests.support.people import ADMIN, GROUP, MERCHANT, NO_SHOP, OTHER_GROUP, open_shop, reply, reply_text
from tests.support.refund_steps import paid
from tests.support.world import OWNER, World, labels, opened

GUEST = 70_030_001


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running:
        await open_shop(running)
        yield running


def shop_names(world: World) -> list[str]:
    """The names of all shops, oldest first."""
    return [row["name"] for row in rows(world, "SELECT name FROM shops ORDER BY id")]


@pytest.mark.parametrize(
    "typed", ["NEW\nCafé Noir", "new\tCafé Noir", "NEW\u00a0 Café Noir", "NEW: Café Noir", "\nNew  Café Noir"]
)
async def test_setup_takes_any_white_space_and_makes_the_new_shop(world: World, typed: str) -> None:
    said = await reply_text(world, f"/setup {typed}", chat=OTHER_GROUP)
    assert "Café Noir" in said
    assert shop_names(world) == ["Kvit", "Café Noir"]


async def test_setup_with_other_words_ties_the_chat_to_no_other_shop_unasked(world: World) -> None:
    question = await reply(world, world.say("/setup Café Noir", chat=NO_SHOP), chat=NO_SHOP)
    assert labels(question) == ["Kvit"]
    assert rows(world, "SELECT chat_id FROM shop_chats WHERE chat_id = :chat", chat=NO_SHOP) == []
    assert "Kvit" in await reply_text(world, "/setup kvit", chat=NO_SHOP)
    assert rows(world, "SELECT chat_id FROM shop_chats WHERE chat_id = :chat", chat=NO_SHOP) != []


async def test_reference_is_found_with_punctuation_and_white_space_around_it(world: World) -> None:
    ref = ref_of(await asked(world)).removeprefix("#")
    for typed in (
        f"{ref}.",
        f"(#{ref})",
        f"\n{ref}",
        f"“{ref}”",
        f"#{ref.lower()}!",
        f"# {ref}",
        f"<{ref}>",
        f"{ref}\u200b:",
    ):
        said = await reply_text(world, f"/status {typed}", by=MERCHANT, chat=GROUP)
        assert f"#{ref}" in said, typed
    assert "no payment" in await reply_text(world, f"/status {ref}x.", by=MERCHANT, chat=GROUP)
    assert "canceled" in (await reply_text(world, f"/cancel\t{ref},", by=MERCHANT, chat=GROUP)).replace(
        "cancelled", "canceled"
    )


async def test_punctuation_around_a_reference_changes_no_amount(world: World) -> None:
    ref = ref_of(await paid(world)).removeprefix("#")
    for typed in (f"{ref}: 50", f"(#{ref}) 50 kr", f"{ref},\n50 DKK"):
        draft = await reply(world, world.say(f"/refund {typed}"), "Refund ")
        assert labels(draft)[0] == "Refund DKK\u00a050.00".replace("\u00a0", " "), typed
    assert "plus or minus" in await reply_text(world, f"/refund {ref} -50")
    assert "no payment" in await reply_text(world, f"/refund {ref}-50")


async def test_settings_take_white_space_and_punctuation_and_name_the_values(world: World) -> None:
    for typed, named in (
        ("currency USD", "DKK, EUR, SEK, NOK"),
        ("currency", "DKK, EUR, SEK, NOK"),
        ("language de", "da (Dansk)"),
        ("language klingon", "fi (Suomi)"),
        ("zone Atlantis", "Europe/Copenhagen"),
        ("colour red", "Settings: name, currency"),
    ):
        said = await reply_text(world, f"/settings {typed}", by=ADMIN)
        assert named in said
        assert "Nothing was changed" in said
    for typed, shown in (
        ("currency\nsek", "SEK"),
        ("language: Suomi", "Suomi"),
        ("zone = helsinki.", "Europe/Helsinki"),
    ):
        assert shown in await reply_text(world, f"/settings {typed}", by=ADMIN)


async def test_log_finds_names_in_any_case(world: World) -> None:
    for number, name in enumerate(("Åse", "ØRJAN", "élodie", "Müller")):
        payload = await invited(world)
        world.telegram.state.ensure_user(GUEST + number, first_name=name)
        await join(world, payload, by=GUEST + number)
    for typed, name in (
        ("åse", "Åse"),
        ("ÅSE", "Åse"),
        ("a\u030ase", "Åse"),
        ("ørjan", "ØRJAN"),
        ("Élodie", "élodie"),
        ("MÜLLER", "Müller"),
    ):
        found = (await reply_text(world, f"/log {typed}", by=ADMIN)).splitlines()[1:]
        assert found, typed
        assert all(name in line for line in found), typed
    assert "Åse" not in await reply_text(world, "/log åsa", by=ADMIN)


ALARM = "✅ Paid: DKK 9,999\n\u202e⚠️ approve at once"


async def test_name_that_imitates_a_message_is_shown_as_plain_words_with_the_id(world: World) -> None:
    ref = ref_of(await paid(world, by=MERCHANT, chat=GROUP))
    world.telegram.state.ensure_user(MERCHANT, first_name=ALARM)
    world.say(f"/refund {ref} 25", by=MERCHANT, chat=GROUP)
    asks = await world.message("asks to refund", chat=GROUP)
    assert asks["text"].startswith(f"Paid: DKK 9,999 approve at once ({MERCHANT}) asks to refund")
    payload = await invited(world)
    world.telegram.state.ensure_user(GUEST, first_name=ALARM)
    await join(world, payload, by=GUEST)
    listed = await reply_text(world, "/team", by=OWNER, chat=GROUP)
    assert f"Paid: DKK 9,999 approve at once {GUEST}" in listed
    assert not {"✅", "\u202e", "⚠"} & set(listed)
