"""What strangers, lost answers and moving groups try: nobody is stopped, little is repeated, no money goes unsaid."""

from __future__ import annotations

import pytest

from tests.support.evidence import idle
from tests.support.world import OWNER, Json, World, labels

GUEST, GROUP = 4242, -4001


async def at_stripe(world: World, **metadata: str) -> Json:
    """Somebody makes an intent at Stripe that names a payment of ours."""
    wanted = {
        "amount": "10000",
        "currency": "dkk",
        "confirm": "true",
        "return_url": "https://kvit.example/",
        "automatic_payment_methods[enabled]": "true",
        "payment_method_data[type]": "mobilepay",
        **{f"metadata[{name}]": value for name, value in metadata.items()},
    }
    headers = {"Authorization": f"Bearer {world.stripe.key}"}
    async with world.http.post(f"{world.stripe.base}/v1/payment_intents", data=wanted, headers=headers) as answer:
        intent: Json = await answer.json()
        return intent


@pytest.mark.parametrize(
    "data", ["s:" + "9" * 30, "q:x:" + "9" * 30, "o:" + "9" * 30, "v:zone:x", "n:x", "zz", "g:x:1"]
)
async def test_a_forged_button_of_a_stranger_stops_nobody_and_alarms_nobody(world: World, data: str) -> None:
    world.say("/setup", chat=GROUP)
    tied = await world.message("belongs to", chat=GROUP)
    query = world.telegram.press_button(tied["message_id"], GUEST, data, GROUP)
    assert await world.answer(query)
    world.say("/pay 125 DKK Coffee", chat=GROUP)
    await world.message("Waiting for payment", chat=GROUP)
    assert world.sent("could not finish") == []


async def test_a_message_that_is_never_answered_is_repeated_once_and_then_told_to_the_owner(world: World) -> None:
    world.say("/pay 125 DKK Coffee")
    await world.message("Waiting for payment")
    await world.control("telegram", "faults", {"method": "sendMessage", "how": "drop", "when": "after", "times": 2})
    await world.decide("approve")
    await world.until(lambda: len(world.sent("✅ Paid:")) == 1)
    await idle(world)
    world.advance(60)
    alarm = await world.message("could not finish")
    assert alarm["chat"]["id"] == OWNER
    assert len(world.sent("✅ Paid:")) == 2


async def test_a_payment_message_follows_its_group_and_never_overwrites_another(world: World) -> None:
    world.say("/setup", chat=GROUP)
    await world.message("belongs to", chat=GROUP)
    world.say("/pay 100 DKK Alpha", chat=GROUP)
    await world.message("Alpha", chat=GROUP)
    moved: int = (await world.control("telegram", "migrate", {"chat_id": GROUP}))["chat_id"]
    alpha = await world.message("Alpha", chat=moved)
    world.say("/pay 200 DKK Beta", chat=moved)
    beta = await world.message("Beta", chat=moved)
    await world.decide("approve", 0)
    paid = await world.message("Paid · TEST", chat=moved)
    assert paid["message_id"] == alpha["message_id"] != beta["message_id"]
    assert "Beta" in world.telegram.state.chats[moved].messages[beta["message_id"]]["text"]
    await world.message("✅ Paid:", chat=moved)


@pytest.mark.parametrize("named", ["of a paid request", "of an open request", "of nothing in the book"])
async def test_money_on_an_intent_that_is_not_in_the_book_is_told_to_the_owner(world: World, named: str) -> None:
    world.say("/pay 100 DKK Coffee")
    await world.message("Waiting for payment")
    payment = world.intent()["metadata"]["kvit_payment"]
    if named == "of a paid request":
        await world.decide("approve")
        await world.message("✅ Paid:")
    twin = await at_stripe(world, kvit_payment="lost" if named == "of nothing in the book" else payment)
    await world.control("stripe", f"intents/{twin['id']}/approve", {})
    alarm = await world.message("could not finish")
    assert "the database does not have" in alarm["text"]
    assert len(world.sent("✅ Paid:")) == (named == "of a paid request")


async def test_the_owner_hears_of_trouble_in_the_language_of_his_shop(world: World) -> None:
    world.say("/settings language da")
    await world.message("Language: Dansk")
    stray = await at_stripe(world, kvit_payment="lost")
    await world.control("stripe", f"intents/{stray['id']}/approve", {})
    assert "reconcile --retry-dead" in (await world.message("Kvit kunne ikke gøre en opgave færdig"))["text"]


async def test_a_chat_is_not_given_to_another_shop_while_requests_are_open_in_it(world: World) -> None:
    world.say("/setup", chat=GROUP)
    await world.message("belongs to", chat=GROUP)
    world.say("/pay 100 DKK Coffee", chat=GROUP)
    await world.message("Waiting for payment", chat=GROUP)
    world.say("/setup NEW Other Shop", chat=GROUP)
    await world.message("Nothing was changed", chat=GROUP)
    await world.decide("approve")
    await world.message("✅ Paid:", chat=GROUP)
    world.say("/setup NEW Other Shop", chat=GROUP)
    await world.message("Other Shop", chat=GROUP)


async def test_a_stranger_who_repeats_himself_in_a_group_is_refused_once_a_minute(world: World) -> None:
    world.say("/setup", chat=GROUP)
    await world.message("belongs to", chat=GROUP)
    for _ in range(5):
        world.say("/pay 1", by=GUEST, chat=GROUP)
    world.say("/pay 100 DKK Coffee", chat=GROUP)
    await world.message("Waiting for payment", chat=GROUP)
    assert len(world.sent("access")) == 1
    world.advance(61)
    world.say("/pay 1", by=GUEST, chat=GROUP)
    await world.until(lambda: len(world.sent("access")) == 2)


async def test_a_late_request_with_a_long_text_is_still_asked_about(world: World) -> None:
    await world.control("telegram", "down", {"down": True})
    world.say("/pay 100 DKK " + "x" * 4000)
    world.advance(11 * 60)
    await world.control("telegram", "down", {"down": False})
    world.advance(60)
    assert labels(await world.message("This command arrived late")) == ["Do it now", "Skip it"]
