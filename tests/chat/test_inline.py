"""Inline mode: offered in any chat, asked for only once it is chosen, and the message there becomes the card."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.world import OWNER, Json, World, labels

GUEST = 4242


async def offers(world: World, words: str, *, by: int = OWNER) -> tuple[str, list[Json]]:
    """What the list shows while somebody types, and the query's id."""
    query = (await world.control("telegram", "inline", {"from_id": by, "query": words}))["inline_query_id"]
    answer = await world.telegram.wait_until(lambda t: t.state.inline_queries[query].answer)
    return query, answer["results"]


async def choose(world: World, query: str, result: Json) -> str:
    """Send one of the results; returns the message's id."""
    body = {"inline_query_id": query, "result_id": result["id"]}
    return str((await world.control("telegram", "choose", body))["inline_message_id"])


async def shows(world: World, inline_id: str, words: str) -> Json:
    """The message there, once it says so."""

    def found() -> Json | None:
        message: Json = world.telegram.state.inline_messages[inline_id]
        return message if words in message["text"] else None

    message: Json = await world.until(found)
    return message


async def test_a_chosen_result_becomes_the_payment_message_where_it_was_sent(world: World) -> None:
    query, [offer] = await offers(world, "125 dkk Coffee")
    assert "125.00" in offer["title"]
    assert offer["description"] == "Coffee"
    assert world.stripe.store.intents == {}
    card = await choose(world, query, offer)
    assert labels(await shows(world, card, "Waiting for payment")) == ["Pay DKK 125.00", "Copy link", "Share", "Cancel"]
    await world.decide("approve")
    assert labels(await shows(world, card, "Paid · TEST")) == []
    await world.message("✅ Paid:")
    assert len(world.stripe.store.intents) == 1
    assert len(world.sent()) == 1


async def test_an_ambiguous_amount_is_two_results(world: World) -> None:
    query, [larger, smaller] = await offers(world, "5.678 Lamp")
    assert ("5,678.00" in larger["title"], "5.67" in smaller["title"]) == (True, True)
    await shows(world, await choose(world, query, smaller), "Waiting for payment")
    assert len((await offers(world, "1.234 Lamp"))[1]) == 1
    assert world.intent()["amount"] == 567


async def test_get_link_is_the_way_out_where_the_choice_was_not_told(world: World) -> None:
    query, [offer] = await offers(world, "80 Cake")
    await world.control("telegram", "down", {"down": True})
    card = await choose(world, query, offer)
    world.telegram.state.updates.clear()
    await world.control("telegram", "down", {"down": False})
    world.advance(60)
    message = world.telegram.state.inline_messages[card]
    [button] = [b for row in message["reply_markup"]["inline_keyboard"] for b in row]
    assert button["text"] == "Get link"
    data = {"inline_message_id": card, "data": button["callback_data"]}
    stranger = await world.control("telegram", "taps", {"from_id": GUEST, **data})
    assert "access" in await world.answer(stranger["callback_query_id"])
    assert world.stripe.store.intents == {}
    for _ in range(2):
        tap = await world.control("telegram", "taps", {"from_id": OWNER, **data})
        assert await world.answer(tap["callback_query_id"]) == "Here is a new link."
    await shows(world, card, "Waiting for payment")
    assert len(world.stripe.store.intents) == 1


@pytest.mark.parametrize(
    ("words", "by", "why"),
    [("125 coffee", GUEST, "4242"), ("", OWNER, "Type an amount"), ("125 USD", OWNER, "USD"), ("0", OWNER, "zero")],
)
async def test_what_cannot_be_offered_is_explained_by_one_harmless_result(
    world: World, words: str, by: int, why: str
) -> None:
    query, [only] = await offers(world, words, by=by)
    assert why in only["description"]
    assert "reply_markup" not in only
    await choose(world, query, only)
    await offers(world, "", by=by)
    assert world.stripe.store.intents == {}


async def test_buttons_under_the_payment_message_obey_only_people_of_the_shop(world: World) -> None:
    query, [offer] = await offers(world, "125 Coffee")
    card = await choose(world, query, offer)
    message = await shows(world, card, "Waiting for payment")
    cancel = next(
        b["callback_data"] for row in message["reply_markup"]["inline_keyboard"] for b in row if "Cancel" in b["text"]
    )

    async def tap(by: int, inline_id: str = card) -> str:
        body: dict[str, Any] = {"inline_message_id": inline_id, "from_id": by, "data": cancel}
        return await world.answer((await world.control("telegram", "taps", body))["callback_query_id"])

    assert "access" in await tap(GUEST)
    other_query, [other] = await offers(world, "90 Tea")
    elsewhere = await choose(world, other_query, other)
    await shows(world, elsewhere, "Waiting for payment")
    assert "expired" in await tap(OWNER, elsewhere)
    assert [intent["status"] for intent in world.stripe.store.intents.values()] == ["requires_action"] * 2
    assert "private chat" in await tap(OWNER)
    question = await world.message("Cancel the request for DKK\u00a0125.00")
    assert "cancelled" in await world.answer(world.tap(question, "Cancel the request"))
    await shows(world, card, "Cancelled")


async def test_message_of_inline_mode_speaks_to_the_customer_in_every_state(world: World) -> None:
    query, [offer] = await offers(world, "55 Bun")
    assert "asks for DKK" in offer["input_message_content"]["message_text"]
    inline_id = await choose(world, query, offer)
    seen = [(await shows(world, inline_id, "Waiting for payment"))["text"]]
    await world.decide("decline")
    seen.append((await shows(world, inline_id, "Payment attempt failed"))["text"])
    tap = {"inline_message_id": inline_id, "from_id": OWNER, "data": f"n:{world.intent()['metadata']['kvit_payment']}"}
    await world.control("telegram", "taps", tap)
    seen.append((await shows(world, inline_id, "Waiting for payment"))["text"])
    await world.decide("lapse")
    seen.append((await shows(world, inline_id, "link expired"))["text"])
    for text in (one.replace("\u00a0", " ") for one in seen):
        assert "asks for DKK 55.00 – Bun" in text
        assert "the customer" not in text.lower()
    assert "approve in MobilePay" in seen[0]
    assert "has made a new link" in seen[1]
