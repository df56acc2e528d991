"""Steps shared by the journeys of refunds, holds and disputes: a paid request, a draft, and refunds at Stripe."""

from __future__ import annotations

import re
import shutil
from typing import Any

from storage import shops
from storage.models.shop import Role
from tests.support.people import open_database, reply
from tests.support.world import OWNER, Json, World

DAY = 86_400


def ref_of(message: Json) -> str:
    """The reference in a payment message, without its `#`."""
    return str(re.findall(r"(?m)^#([A-Z][0-9][0-9A-Z]{2,6})$", message["text"])[0])


async def paid(world: World, text: str = "/pay 125 Tea", *, by: int = OWNER, chat: int = OWNER) -> Json:
    """The payment message of a request that the customer has paid."""
    message = await reply(world, world.say(text, by=by, chat=chat), "Waiting for payment", chat=chat)
    await world.decide("approve")
    reference = ref_of(message)
    await world.until(lambda: any(reference in one and "✅ Paid:" in one for one in texts(world, chat)))
    return await world.message(f"#{reference}", chat=chat, but="Paid:")


async def held(world: World, text: str = "/hold 125 Bicycle", *, by: int = OWNER, chat: int = OWNER) -> Json:
    """The payment message of a request whose money the customer has reserved."""
    message = await reply(world, world.say(text, by=by, chat=chat), "Waiting for payment", chat=chat)
    await world.decide("approve")
    reference = ref_of(message)
    await world.until(lambda: any(reference in one and "🔒 Reserved:" in one for one in texts(world, chat)))
    return await world.message(f"#{reference}", chat=chat, but="Reserved:")


async def drafted(world: World, text: str, *, by: int = OWNER, chat: int = OWNER, says: str = "Refund ") -> Json:
    """The answer to `/refund`: the message with the button that approves it."""
    return await reply(world, world.say(text, by=by, chat=chat), says, chat=chat)


async def refunded(world: World, text: str, *, by: int = OWNER, chat: int = OWNER) -> Json:
    """A refund requested and approved by one user; the message as it is after the button press."""
    draft = await drafted(world, text, by=by, chat=chat)
    await world.answer(world.tap(draft, "Refund", by=by))
    return draft


def texts(world: World, chat: int = OWNER) -> list[str]:
    """The messages of the bot in a chat as they are now, oldest first, with plain spaces."""
    state = world.telegram.state.chats.get(chat)
    found = [m["text"] for m in state.messages.values() if m["message_id"] in state.bot_message_ids] if state else []
    return [one.replace("\u00a0", " ") for one in found]


async def wait_for_text(world: World, text: str, chat: int = OWNER) -> str:
    """The newest message of the bot that contains the text, once there is one."""
    await world.until(lambda: any(text in one for one in texts(world, chat)))
    return next(one for one in reversed(texts(world, chat)) if text in one)


def refunds(world: World) -> list[Json]:
    """The refunds at Stripe, oldest first."""
    return list(world.stripe.store.refunds.values())


def refund_calls(world: World) -> list[Any]:
    """Every request for a refund that reached Stripe, successful or not."""
    return [r for r in world.stripe.store.requests if r.method == "POST" and r.path == "/v1/refunds"]


def refund_states(world: World) -> list[tuple[int, str]]:
    """Amount and status of the refunds at Stripe."""
    return [(refund["amount"], refund["status"]) for refund in refunds(world)]


async def promote(world: World, user_id: int) -> None:
    """Makes a user an admin of the first shop, directly in the database."""
    async with open_database(world) as db:
        shop = (await db.read(shops.list_shops))[0]
        await db.write(shops.set_member, shop.id, user_id, Role.ADMIN, name="", now=world.clock.now())


async def set_next_refund(world: World, status: str, **more: Any) -> None:
    """Sets the status of the next refund at Stripe."""
    await world.control("stripe", "refunds/next", {"status": status, **more})


async def move(world: World, verb: str, number: int = -1, **body: Any) -> None:
    """Makes a refund at Stripe succeed, fail, be canceled or require action."""
    await world.control("stripe", f"refunds/{refunds(world)[number]['id']}/{verb}", body)


async def dashboard_refund(world: World, minor: int, number: int = -1) -> None:
    """Refunds in Stripe's Dashboard."""
    await world.control("stripe", f"intents/{world.intent(number)['id']}/refund", {"amount": minor})


async def back_up(world: World) -> None:
    """Copies the database as it is now."""
    await world.stop()
    shutil.copy(world.database, world.database.with_suffix(".kept"))
    await world.begin()


async def restore(world: World) -> None:
    """Replaces the database by the copy, and starts with it an hour later."""
    await world.stop()
    for suffix in ("db-wal", "db-shm"):
        world.database.with_suffix(f".{suffix}").unlink(missing_ok=True)
    shutil.copy(world.database.with_suffix(".kept"), world.database)
    world.advance(3600)
    await world.begin()
