"""Who counts as a second person for a refund that needs two: nobody whom invitations connect with the first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.evidence import idle
from tests.support.invitations import invited, join
from tests.support.people import ADMIN, MERCHANT, alert_text, caught_up, open_shop, reply
from tests.support.refund_steps import drafted, paid, ref_of, refund_calls, refund_states, texts
from tests.support.world import OWNER, Json, World, opened

SECOND, THIRD, FOURTH = 70_050_002, 70_050_003, 70_050_004
CONNECTED = "not a second person"


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    """A shop in which more than DKK 50 needs two people."""
    async with opened(clock, tmp_path, refund_approval_above=5000) as running:
        await open_shop(running)
        await caught_up(running, ADMIN, by=ADMIN)
        yield running


async def invite(world: World, user_id: int, *, by: int, role: str = "admin") -> None:
    """One admin invites another."""
    await join(world, await invited(world, role, by=by), by=user_id)


async def revoke(world: World, user_id: int, *, by: int) -> None:
    await reply(world, world.say(f"/revoke {user_id}", by=by), "no longer", chat=by)


async def first_approval(world: World, *, by: int) -> Json:
    """A draft of a refund of DKK 60 that this admin has approved."""
    draft = await drafted(world, f"/refund {ref_of(await paid(world))} 60", by=by, chat=by)
    await world.answer(world.tap(draft, "Refund", by=by))
    await idle(world)
    return draft


def ask_data(world: World) -> str:
    """The data of the button that approves the refund, wherever it was asked last."""
    rows = [row for e in world.sent("asks to refund") for row in e.params["reply_markup"]["inline_keyboard"]]
    return str(rows[-2][0]["callback_data"]) if len(rows) > 1 else str(rows[0][0]["callback_data"])


async def approve(world: World, *, by: int) -> str:
    """Presses the button of the second question, which this person need not have been shown."""
    message = await reply(world, world.say("/id", by=by), chat=by)
    return world.telegram.press_button(message["message_id"], by, ask_data(world), by)


async def second_is_refused(world: World, *, by: int) -> None:
    assert CONNECTED in await alert_text(world, await approve(world, by=by))
    await idle(world)
    assert refund_calls(world) == []


async def second_is_accepted(world: World, *, by: int) -> None:
    await world.answer(await approve(world, by=by))
    await idle(world)
    assert refund_states(world) == [(6000, "succeeded")]


async def test_admin_does_not_approve_twice_by_a_second_account(world: World) -> None:
    await invite(world, SECOND, by=ADMIN)
    await first_approval(world, by=ADMIN)
    await second_is_refused(world, by=SECOND)
    assert not [one for one in texts(world, SECOND) if "asks to refund" in one]
    await second_is_accepted(world, by=OWNER)


async def test_order_of_the_two_accounts_does_not_matter(world: World) -> None:
    await invite(world, SECOND, by=ADMIN)
    await first_approval(world, by=SECOND)
    await second_is_refused(world, by=ADMIN)


async def test_chain_of_invitations_connects(world: World) -> None:
    await invite(world, SECOND, by=ADMIN)
    await invite(world, THIRD, by=SECOND)
    await first_approval(world, by=ADMIN)
    await second_is_refused(world, by=THIRD)


async def test_chain_whose_middle_was_revoked_connects(world: World) -> None:
    await invite(world, SECOND, by=ADMIN)
    await invite(world, THIRD, by=SECOND)
    await revoke(world, SECOND, by=ADMIN)
    await first_approval(world, by=ADMIN)
    await second_is_refused(world, by=THIRD)


async def test_two_accounts_invited_by_one_admin_are_connected(world: World) -> None:
    await invite(world, SECOND, by=ADMIN)
    await invite(world, THIRD, by=ADMIN)
    await first_approval(world, by=SECOND)
    await second_is_refused(world, by=THIRD)


async def test_merchant_whom_an_admin_made_admin_is_connected(world: World) -> None:
    await invite(world, SECOND, by=OWNER, role="merchant")
    await invite(world, SECOND, by=ADMIN)
    await first_approval(world, by=ADMIN)
    await second_is_refused(world, by=SECOND)


async def test_admin_whom_an_owner_invited_is_a_second_person(world: World) -> None:
    await invite(world, SECOND, by=OWNER)
    await first_approval(world, by=ADMIN)
    await second_is_accepted(world, by=SECOND)


async def test_role_given_anew_by_an_owner_connects_no_more(world: World) -> None:
    await invite(world, SECOND, by=ADMIN)
    await revoke(world, SECOND, by=OWNER)
    await invite(world, SECOND, by=OWNER)
    await first_approval(world, by=ADMIN)
    await second_is_accepted(world, by=SECOND)


async def test_admins_invited_by_two_admins_of_the_owner_are_two_people(world: World) -> None:
    await invite(world, SECOND, by=OWNER)
    await invite(world, THIRD, by=ADMIN)
    await invite(world, FOURTH, by=SECOND)
    await first_approval(world, by=THIRD)
    await second_is_accepted(world, by=FOURTH)


async def test_request_of_a_merchant_is_not_approved_twice_by_one_person(world: World) -> None:
    await invite(world, SECOND, by=ADMIN)
    ref = ref_of(await paid(world, by=MERCHANT, chat=MERCHANT))
    await drafted(world, f"/refund {ref} 60", by=MERCHANT, chat=MERCHANT, says="have been asked")
    await idle(world)
    await world.answer(await approve(world, by=ADMIN))
    await idle(world)
    await second_is_refused(world, by=SECOND)
    await second_is_accepted(world, by=OWNER)


async def test_owner_approves_first_and_anyone_of_the_admins_second(world: World) -> None:
    await invite(world, SECOND, by=ADMIN)
    await first_approval(world, by=OWNER)
    await second_is_accepted(world, by=SECOND)
