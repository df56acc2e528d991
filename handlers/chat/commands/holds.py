"""`/hold`, `/capture`, `/release`: money is reserved first, then charged or released after a confirmation."""

from __future__ import annotations

from handlers import i18n
from handlers.access.membership import MAX_NAME_LENGTH
from handlers.access.permissions import Action, is_allowed
from handlers.chat import arguments
from handlers.chat.commands import payments
from handlers.chat.context import Context, prompt_button
from handlers.i18n import html, text
from handlers.messages.outbox_message import OutboxMessage, to_job
from handlers.messages.question_jobs import hold_subject
from handlers.payments.holds import is_awaiting_decision
from handlers.telegram.messenger import Button, Message
from storage import payment_queries
from storage.errors import HoldAlreadyDecided, NoHold, UnknownPayment
from storage.models.payment import ChatTarget, Payment, PaymentStatus
from storage.prompts import Prompt


async def hold(context: Context) -> None:
    """Request a reservation, or show what to type and when that is the right way."""
    if not context.message.args:
        await context.reply("hold.how", currency=context.shop.currency)
        return
    await payments.request(context, manual=True)


async def capture(context: Context) -> None:
    """Ask for confirmation of a capture."""
    payment, _ = await arguments.resolve_payment(context)
    await _ask(context, payment, "capture")


async def release(context: Context) -> None:
    """Ask for confirmation of a release."""
    payment, _ = await arguments.resolve_payment(context)
    await _ask(context, payment, "release")


async def on_capture(context: Context, payment: Payment) -> None:
    """The *Capture* button: it asks for confirmation, for money moves."""
    await _ask(context, payment, "capture")


async def on_ask_admin(context: Context, payment: Payment) -> None:
    """The *Ask an admin* button: in a group it asks there, in a private chat each admin; once a day."""
    if payment.status is not PaymentStatus.AUTHORIZED:
        raise NoHold(ref=payment.reference)
    shop, params = context.shop, {"ref": payment.reference, "amount": payment.amount}
    people = [one for one in await context.services.authorization.approvers(shop.id) if one != context.actor.id]
    if not people:
        await context.edit(context.html("capture.no_admin", **params))
        return
    name = context.actor.name[:MAX_NAME_LENGTH]
    said = html(shop.language, "capture.requested", name=name, shop=shop.name, **params)
    label = text(shop.language, "button.capture", amount=i18n.money(shop.language, payment.amount))
    message = Message(said, ((Button(label, data=f"k:{payment.id}", style="success"),),))
    chats = [ChatTarget(one) for one in people] if context.is_private else [context.chat]
    key = f"capture:{payment.id}:asked:{context.actor.id}:{context.now:%Y-%m-%d}"
    question = (hold_subject(payment.id), shop.language)
    jobs = [
        to_job(OutboxMessage(chat, message, shop=shop.id, question=question), key=f"{key}:{chat.chat_id}")
        for chat in chats
    ]
    await context.services.outbox.enqueue(*jobs, now=context.now)
    await context.edit(context.html("capture.asked", **params))
    await context.answer_callback("capture.asked_toast")


async def on_release(context: Context, payment: Payment) -> None:
    """The *Release* button: it asks for confirmation, for a released hold does not come back."""
    await _ask(context, payment, "release")


async def on_capture_confirmed(context: Context, prompt: Prompt, choice: int) -> None:
    """Capture, or leave the money reserved."""
    context.require(Action.CAPTURE)
    payment = await _payment(context, prompt)
    if await context.record_answer(prompt, choice):
        await _leave(context, payment)
        return
    payment = await context.services.payments.capture(payment.id, user_id=context.actor.id)
    await context.edit(await context.services.questions.hold_answer(payment, context.language))


async def on_release_confirmed(context: Context, prompt: Prompt, choice: int) -> None:
    """Release, or leave the money reserved."""
    payment = await _payment(context, prompt)
    _may_release(context, payment)
    if await context.record_answer(prompt, choice):
        await _leave(context, payment)
        return
    payment = await context.services.payments.release(payment.id, user_id=context.actor.id)
    await context.edit(await context.services.questions.hold_answer(payment, context.language))


async def _leave(context: Context, payment: Payment) -> None:
    """This answer does nothing; another person's answer may have done something since."""
    if not is_awaiting_decision(payment):
        raise HoldAlreadyDecided(ref=payment.reference)
    await context.edit(context.html("hold.left", ref=payment.reference))


async def _ask(context: Context, payment: Payment, what: str) -> None:
    """Name the amount and ask; only the person who asked may answer."""
    if what == "release":
        _may_release(context, payment)
    if payment.status is not PaymentStatus.AUTHORIZED:
        raise NoHold(ref=payment.reference)
    if what == "capture" and not is_allowed(context.role, Action.CAPTURE):
        button = Button(context.text("button.ask_admin"), data=f"ka:{payment.id}")
        said = context.html("capture.admins_only", amount=payment.amount, ref=payment.reference)
        await context.send(said, ((button,),))
        return
    prompt = await context.prompt(what, what, {"payment": payment.id})
    amount = i18n.money(context.language, payment.amount)
    keyboard = (
        (prompt_button(prompt, 0, context.text(f"button.{what}", amount=amount), style="success"),),
        (prompt_button(prompt, 1, context.text("button.leave")),),
    )
    key = "capture.ask" if what == "capture" else "release.ask"
    said = context.html(key, amount=payment.amount, ref=payment.reference)
    await context.send(said, keyboard, question=hold_subject(payment.id))


def _may_release(context: Context, payment: Payment) -> None:
    own = payment.created_by == context.actor.id
    context.require(Action.RELEASE_OWN if own else Action.RELEASE_ANY)


async def _payment(context: Context, prompt: Prompt) -> Payment:
    """The payment of the prompt, if it is still one of this chat's shop."""
    payment = await context.db.read(payment_queries.by_id, prompt.payload["payment"])
    if payment is None or payment.shop_id != context.shop.id:
        raise UnknownPayment
    return payment
