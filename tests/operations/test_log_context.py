"""Log lines about a payment carry its reference, from the command to the payment message and the refund."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest
from structlog.contextvars import get_contextvars

from bot.app import AdapterOverrides
from handlers.telegram.messenger import DeliveryError, Message, Messenger
from storage.models.payment import ChatTarget
from tests.support.evidence import eventually, fault, idle, payment
from tests.support.refund_steps import paid, ref_of, refunded, wait_for_text
from tests.support.world import World


class ContextRecorder(logging.Handler):
    """Records each log line with its context."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[tuple[str, Mapping[str, str | int]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        own = {name: getattr(record, name) for name in ("payment", "shop") if hasattr(record, name)}
        self.lines.append((record.getMessage(), {**get_contextvars(), **own}))

    def of(self, prefix: str) -> list[Mapping[str, str | int]]:
        return [context for line, context in self.lines if line.startswith(prefix)]


@pytest.fixture
def recorder() -> ContextRecorder:  # type: ignore[misc]
    handler = ContextRecorder()
    loggers = [(logger, logger.level) for logger in map(logging.getLogger, ("handlers", "storage"))]
    for logger, _ in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    yield handler
    for logger, before in loggers:
        logger.removeHandler(handler)
        logger.setLevel(before)


class FailsFirstSend:
    """A messenger whose first send fails."""

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


async def test_log_lines_of_command_stripe_call_and_message_delivery_carry_the_same_reference(
    world: World, recorder: ContextRecorder
) -> None:
    await world.stop()
    world.overrides = AdapterOverrides(messenger=lambda inner: FailsFirstSend(inner))  # type: ignore[arg-type,return-value]
    await world.begin()
    await fault(world, "create", "500", times=3)
    world.say("/pay 149,50 Coffee")
    await eventually(lambda: recorder.of("a message (payment_message) was not delivered"))
    ref = payment(world)["reference"]
    call = recorder.of("Stripe could not be called for")[0]
    assert (call["payment"], call["queue"]) == (ref, "updates")
    assert "update" in call
    delivery = recorder.of("a message (payment_message) was not delivered")[0]
    assert (delivery["payment"], delivery["queue"]) == (ref, "outbox")


async def test_log_lines_of_a_payment_and_its_refund_can_be_followed_by_reference(
    world: World, recorder: ContextRecorder
) -> None:
    """The update, the payment message, the Stripe event that paid it, and the refund."""
    card = await paid(world, "/pay 149,50 Coffee")
    await refunded(world, f"/refund {ref_of(card)} 49,50")
    await wait_for_text(world, "↩️ Refunded:")
    await idle(world)
    followed = [line for line, context in recorder.lines if context.get("payment") == ref_of(card)]
    steps = [
        "requested, by user:",
        "attempt_started, by user:",
        "synced, by stripe",
        "refund_requested, by user:",
        "refund_approved, by user:",
        "refund_sent, by user:",
        "refund_synced, by stripe",
    ]
    # The jobs of the events and of the message run beside these steps, in an order of their own.
    assert followed.count("payment_intent.succeeded is done") == 1
    assert followed.count("payment_message is done") >= 2
    for step in steps:
        at = next((number for number, line in enumerate(followed) if line.startswith(step)), None)
        assert at is not None, (step, followed)
        followed = followed[at + 1 :]
    [requested] = recorder.of("requested, by user:")
    assert {"update", "payment", "shop"} <= requested.keys()


async def test_log_lines_of_the_reconciler_carry_the_reference(world: World, recorder: ContextRecorder) -> None:
    world.say("/pay 149,50 Coffee")
    await world.message("Waiting for payment")
    await idle(world)
    await fault(world, "retrieve", "500", times=3)
    recorder.lines.clear()
    world.advance(70)
    await eventually(lambda: recorder.of("Stripe could not be called for"))
    context = recorder.of("Stripe could not be called for")[0]
    assert context == {"part": "reconciler", "payment": payment(world)["reference"]}


async def test_log_context_of_a_job_does_not_leak_into_the_next(world: World, recorder: ContextRecorder) -> None:
    for text in ("Coffee", "Tea"):
        world.say(f"/pay 149,50 {text}")
        await world.message(text)
    await idle(world)
    assert get_contextvars() == {}
    async with world.http.post(f"{world.service.base}/stripe/webhook", data=b"{}") as answer:
        assert answer.status == 400
    assert recorder.of("rejected a request to Stripe's webhook")[0].keys() == {"request"}
