"""Every line of the log about a payment names it, from the command that asked for it to the card and the refund."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from bot.app import AdapterOverrides
from handlers.telegram.messenger import DeliveryError, Message, Messenger
from handlers.trace import Mark, current
from storage.models.payment import ChatTarget
from tests.support.evidence import eventually, fault, payment, rest
from tests.support.refund_steps import paid, ref_of, refunded, told
from tests.support.world import World


class Marked(logging.Handler):
    """Remembers each line with the marks of the work in hand."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[tuple[str, Mapping[str, Mark]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        own = {name: getattr(record, name) for name in ("payment", "shop") if hasattr(record, name)}
        self.lines.append((record.getMessage(), {**current(), **own}))

    def of(self, begins: str) -> list[Mapping[str, Mark]]:
        return [marks for line, marks in self.lines if line.startswith(begins)]


@pytest.fixture
def heard() -> Marked:  # type: ignore[misc]
    handler = Marked()
    loggers = [(logger, logger.level) for logger in map(logging.getLogger, ("handlers", "storage"))]
    for logger, _ in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    yield handler
    for logger, before in loggers:
        logger.removeHandler(handler)
        logger.setLevel(before)


class Clumsy:
    """Telegram takes the first card only at the second try."""

    def __init__(self, inner: Messenger) -> None:
        self._inner = inner
        self._fails = 1

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def send(
        self, chat: ChatTarget, message: Message, *, reply_to: int | None = None, silent: bool = False
    ) -> int:
        if self._fails:
            self._fails -= 1
            raise DeliveryError("not this time")
        return await self._inner.send(chat, message, reply_to=reply_to, silent=silent)


async def test_one_reference_leads_from_the_command_by_stripe_to_the_card(world: World, heard: Marked) -> None:
    await world.stop()
    world.seams = AdapterOverrides(messenger=lambda inner: Clumsy(inner))  # type: ignore[arg-type,return-value]
    await world.begin()
    await fault(world, "create", "500", times=3)
    world.say("/pay 149,50 Coffee")
    await eventually(lambda: heard.of("a message (card) did not get out"))
    ref = payment(world)["reference"]
    asked = heard.of("Stripe could not be asked about")
    assert asked[0]["payment"] == ref
    assert asked[0]["queue"] == "updates"
    assert "update" in asked[0]
    card = heard.of("a message (card) did not get out")
    assert (card[0]["payment"], card[0]["queue"]) == (ref, "outbox")


async def test_a_payment_that_goes_well_can_be_followed_by_its_reference(world: World, heard: Marked) -> None:
    """From the update that asked for it to the card, the event that paid it, and the money that went back."""
    card = await paid(world, "/pay 149,50 Coffee")
    await refunded(world, f"/refund {ref_of(card)} 49,50")
    await told(world, "↩️ Refunded:")
    await rest(world)
    followed = [line for line, marks in heard.lines if marks.get("payment") == ref_of(card)]
    steps = [
        "requested, by user:",
        "attempt begun, by user:",
        "card is done",
        "looked, by stripe",
        "payment_intent.succeeded is done",
        "refund asked, by user:",
        "refund approved, by user:",
        "refund sent, by user:",
        "refund looked, by stripe",
        "card is done",
    ]
    for step in steps:
        at = next((number for number, line in enumerate(followed) if line.startswith(step)), None)
        assert at is not None, (step, followed)
        followed = followed[at + 1 :]
    [asked] = heard.of("requested, by user:")
    assert {"update", "payment", "shop"} <= asked.keys()


async def test_what_the_sweep_finds_names_the_payment_too(world: World, heard: Marked) -> None:
    world.say("/pay 149,50 Coffee")
    await world.card("Waiting for payment")
    await rest(world)
    await fault(world, "retrieve", "500", times=3)
    heard.lines.clear()
    world.advance(70)
    await eventually(lambda: heard.of("Stripe could not be asked about"))
    marks = heard.of("Stripe could not be asked about")[0]
    assert marks == {"part": "reconciler", "payment": payment(world)["reference"]}


async def test_marks_do_not_leak_into_the_next_piece_of_work(world: World, heard: Marked) -> None:
    for text in ("Coffee", "Tea"):
        world.say(f"/pay 149,50 {text}")
        await world.card(text)
    await rest(world)
    assert current() == {}
    async with world.http.post(f"{world.service.base}/stripe/webhook", data=b"{}") as answer:
        assert answer.status == 400
    assert heard.of("refused what came to Stripe's webhook")[0].keys() == {"request"}
