"""The QR code in the chat: sent below the payment message on request, and deleted when the payment is closed."""

from __future__ import annotations

import json
import logging

from handlers.clock import Clock
from handlers.i18n import html
from handlers.messages.delivery import MessageDelivery, in_topic_or_outside
from handlers.messages.payment_message import DisplaySettings, page_url
from handlers.qr_code import qr_png
from handlers.telegram.messenger import DeliveryError, Message, Messenger
from storage import messages, payment_queries, shops
from storage.database.database import Database
from storage.messages import chat_ordering_key
from storage.models.job import DeadLetter, Done, Job, NewJob, Outcome
from storage.models.payment import ChatTarget, Payment
from storage.models.shop import Shop

log = logging.getLogger(__name__)

QR_MESSAGE = "qr_message"
"""The kind of job that sends the QR code of a payment's page."""


def qr_message_job(payment: Payment, *, key: str) -> NewJob:
    """The job that sends the code, once for each `key`."""
    return NewJob(
        key, chat_ordering_key(payment.chat.chat_id), QR_MESSAGE, json.dumps({"payment": payment.id}).encode()
    )


class QrMessages:
    """Handles jobs about QR codes and passes all others to `MessageDelivery`."""

    def __init__(
        self,
        db: Database,
        outbox: MessageDelivery,
        messenger: Messenger,
        clock: Clock,
        display: DisplaySettings,
    ) -> None:
        self._outbox = outbox
        self._db = db
        self._messenger = messenger
        self._clock = clock
        self._display = display

    async def deliver(self, job: Job) -> Outcome:
        """Send a code; after a payment message was edited, delete a code that leads to nothing any more."""
        if job.kind == QR_MESSAGE:
            return await self._picture(job)
        verdict = await self._outbox.handle(job)
        if job.kind == "payment_message" and isinstance(verdict, Done | DeadLetter):
            await self._remove_stale(json.loads(job.payload)["payment"])
        return verdict

    async def _picture(self, job: Job) -> Outcome:
        payment = await self._db.read(payment_queries.by_id, json.loads(job.payload)["payment"])
        shop = await self._db.read(shops.get_shop, payment.shop_id) if payment else None
        page = page_url(self._display.public_url, payment) if payment else None
        if payment is None or shop is None or page is None or not _is_wanted(payment):
            return Done("the payment cannot be paid any more")
        shown = await self._db.read(messages.get_payment_message, payment.id)
        chat, wait = await self._outbox.acquire_slot(job, shown.chat)
        if wait:
            return wait
        try:
            if shown.qr_message_id is not None:
                await self._remove(payment.id, chat, shown.qr_message_id)
            message = Message(
                html(shop.language, "qr.caption", ref=payment.reference, amount=payment.amount, link=page)
            )
            png = qr_png(page)
            picture_id = await in_topic_or_outside(
                chat, shown.message_id, lambda to, reply: self._messenger.send_photo(to, png, message, reply_to=reply)
            )
        except DeliveryError as failed:
            if not failed.permanent:
                return await self._outbox.handle_error(job, failed)
            return await self._refused(job, shop, chat, failed)
        await self._db.write(messages.set_qr_message, payment.id, picture_id)
        return Done()

    async def _refused(self, job: Job, shop: Shop, chat: ChatTarget, error: DeliveryError) -> Outcome:
        """A chat that accepts no pictures may accept text, so the answer is a text and the chat counts as available."""
        log.warning("Telegram did not accept a QR code: %s", error)
        try:
            refusal = Message(html(shop.language, "qr.refused"))
            await in_topic_or_outside(chat, None, lambda to, _: self._messenger.send(to, refusal))
        except DeliveryError as closed:
            return await self._outbox.handle_error(job, closed)
        return Done(f"no picture: {error}")

    async def _remove_stale(self, payment_id: str) -> None:
        picture = await self._db.read(messages.stale_qr_message, payment_id)
        if picture is not None:
            chat = ChatTarget((await self._db.read(messages.get_chat_status, picture[0])).chat_id)
            await self._remove(payment_id, chat, picture[1])

    async def _remove(self, payment_id: str, chat: ChatTarget, picture_id: int) -> None:
        """Delete it; if that fails no harm is done, for its page is right whenever it is opened."""
        try:
            await self._messenger.delete(chat, picture_id)
        except DeliveryError as failed:
            log.info("a QR code could not be deleted: %s", failed)
        await self._db.write(messages.set_qr_message, payment_id, None)


def _is_wanted(payment: Payment) -> bool:
    """Whether the payment can still be paid by scanning it."""
    return payment.is_payable and payment.cancel_requested is None
