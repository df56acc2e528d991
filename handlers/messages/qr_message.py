"""The QR code in the chat: posted below the card when somebody asks for it, and taken away when the payment is over."""

from __future__ import annotations

import json
import logging

from handlers.clock import Clock
from handlers.i18n import html
from handlers.messages.delivery import Outbox
from handlers.messages.outbox_message import lane_of
from handlers.messages.payment_message import Looks, page_of
from handlers.qr_code import qr_png
from handlers.telegram.messenger import DeliveryFailed, Letter, Messenger
from storage.messages import Posts
from storage.models.job import Discard, Done, Draft, Mail, Verdict
from storage.models.payment import Payment, Place
from storage.models.shop import Shop
from storage.payment_queries import Queries
from storage.shops import Directory

log = logging.getLogger(__name__)

PICTURE = "picture"
"""The kind of mail that has the code of a payment's page posted."""


def picture_due(payment: Payment, *, key: str) -> Draft:
    """The mail that has the code posted, once for each `key`."""
    return Draft(key, lane_of(payment.place.chat_id), PICTURE, json.dumps({"payment": payment.id}).encode())


class Pictures:
    """Stands before the outbox, which brings everything else out."""

    def __init__(
        self,
        outbox: Outbox,
        post: Posts,
        queries: Queries,
        directory: Directory,
        messenger: Messenger,
        clock: Clock,
        looks: Looks,
    ) -> None:
        self._outbox = outbox
        self._post = post
        self._queries = queries
        self._directory = directory
        self._messenger = messenger
        self._clock = clock
        self._looks = looks

    async def deliver(self, mail: Mail) -> Verdict:
        """Post a code; and after a card was shown, take the code away that leads to nothing any more."""
        if mail.kind == PICTURE:
            return await self._picture(mail)
        verdict = await self._outbox.deliver(mail)
        if mail.kind == "card" and isinstance(verdict, Done | Discard):
            await self._tidy(json.loads(mail.body)["payment"])
        return verdict

    async def _picture(self, mail: Mail) -> Verdict:
        payment = await self._queries.payment(json.loads(mail.body)["payment"])
        shop = await self._directory.shop(payment.shop_id) if payment else None
        page = page_of(self._looks.public_url, payment) if payment else None
        if payment is None or shop is None or page is None or not _is_wanted(payment):
            return Done("there is nothing to scan any more")
        shown = await self._post.card(payment.id)
        place, wait = await self._outbox.admitted(mail, shown.place)
        if wait:
            return wait
        try:
            if shown.picture_id is not None:
                await self._remove(payment.id, place, shown.picture_id)
            letter = Letter(html(shop.language, "qr.caption", ref=payment.ref, amount=payment.amount, link=page))
            picture_id = await self._messenger.send_photo(place, qr_png(page), letter, reply_to=shown.message_id)
        except DeliveryFailed as failed:
            if not failed.permanent:
                return await self._outbox.failed(mail, failed)
            return await self._refused(mail, shop, place, failed)
        await self._post.pictured(payment.id, picture_id)
        return Done()

    async def _refused(self, mail: Mail, shop: Shop, place: Place, failed: DeliveryFailed) -> Verdict:
        """A chat that takes no pictures may well take words; so it is told in words, and the chat stays open."""
        log.warning("a picture was not taken: %s", failed)
        try:
            await self._messenger.send(place, Letter(html(shop.language, "qr.refused")))
        except DeliveryFailed as closed:
            return await self._outbox.failed(mail, closed)
        return Done(f"no picture: {failed}")

    async def _tidy(self, payment_id: str) -> None:
        picture = await self._post.idle_picture(payment_id)
        if picture is not None:
            place = Place((await self._post.state_of(picture[0])).chat_id)
            await self._remove(payment_id, place, picture[1])

    async def _remove(self, payment_id: str, place: Place, picture_id: int) -> None:
        """Delete it; one that stays for whatever reason does no harm, for its page is right whenever it is opened."""
        try:
            await self._messenger.delete(place, picture_id)
        except DeliveryFailed as failed:
            log.info("a picture stays: %s", failed)
        await self._post.pictured(payment_id, None)


def _is_wanted(payment: Payment) -> bool:
    """Whether somebody may still scan it to pay."""
    return payment.is_payable and payment.cancel_asked is None
