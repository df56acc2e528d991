"""Whether those who wanted something may still want it: asked again just before Stripe is."""

from __future__ import annotations

from handlers.access.membership import Actor, MembershipService
from handlers.access.permissions import Action, is_allowed
from storage.messages import MessageRepository
from storage.models.payment import ChatTarget, Payment, PaymentStatus
from storage.models.refund import Refund
from storage.models.shop import Role
from storage.shops import ShopRepository


class Authorization:
    """Roles as they are now, for wishes that were stored a while ago."""

    def __init__(self, membership: MembershipService, shops: ShopRepository, messages: MessageRepository) -> None:
        self._membership = membership
        self._shops = shops
        self._messages = messages

    async def chat_belongs_to_shop(self, shop_id: int, chat: ChatTarget) -> bool:
        """Whether what concerns the shop may still be said there.

        A group may have gone over to another shop, and a person may have lost his role.
        """
        if chat.chat_id > 0:
            return await self._membership.role(shop_id, Actor(chat.chat_id, "")) > Role.NONE
        tied = await self._shops.shop_of_chat((await self._messages.chat_status(chat.chat_id)).chat_id)
        return tied is None or tied.id == shop_id

    async def approvers(self, shop_id: int) -> list[int]:
        """Everybody who may approve a refund of the shop now: its admins and the owners."""
        admins = [
            one.user_id for one in await self._shops.members(shop_id) if is_allowed(one.role, Action.APPROVE_REFUND)
        ]
        return sorted({*admins, *await self._membership.owners()})

    async def is_request_authorized(self, payment: Payment) -> bool:
        """Whether whoever wants the hold taken, or the request ended, may want that now."""
        by = payment.cancel_requested_by if payment.capture_requested_by is None else payment.capture_requested_by
        if by is None:
            return True
        if payment.capture_requested_by is not None:
            return await self._may(payment.shop_id, by, Action.CAPTURE)
        held, own = payment.status is PaymentStatus.AUTHORIZED, payment.created_by == by
        if held:
            return await self._may(payment.shop_id, by, Action.RELEASE_OWN if own else Action.RELEASE_ANY)
        return await self._may(payment.shop_id, by, Action.CANCEL_OWN if own else Action.CANCEL_ANY)

    async def is_refund_authorized(self, refund: Refund) -> bool:
        """Whether everybody who approved a refund may approve one now, and as many did as were needed."""
        people = refund.approvers
        if len(set(people)) < refund.approvals_needed:
            return False
        allowed = [await self._may(refund.shop_id, person, Action.APPROVE_REFUND) for person in people]
        return all(allowed)

    async def _may(self, shop_id: int, user_id: int, action: Action) -> bool:
        return is_allowed(await self._membership.role(shop_id, Actor(user_id, "")), action)
