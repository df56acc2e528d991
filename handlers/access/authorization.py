"""Checks stored requests against the roles that their authors hold now, just before Stripe is called."""

from __future__ import annotations

from handlers.access.membership import Actor, MembershipService
from handlers.access.permissions import Action, is_allowed
from storage import messages, shops
from storage.database.database import Database
from storage.models.payment import ChatTarget, Payment, PaymentStatus
from storage.models.refund import Refund
from storage.models.shop import Role


class Authorization:
    """Decides by current roles whether a stored request may still be carried out."""

    def __init__(self, db: Database, membership: MembershipService) -> None:
        self._db = db
        self._membership = membership

    async def chat_belongs_to_shop(self, shop_id: int, chat: ChatTarget) -> bool:
        """Whether messages about the shop may still be sent to this chat.

        A group may have been linked to another shop since, and a member may have lost the role.
        """
        if chat.chat_id > 0:
            return await self._membership.role(shop_id, Actor(chat.chat_id, "")) > Role.NONE
        status = await self._db.read(messages.get_chat_status, chat.chat_id)
        linked = await self._db.read(shops.shop_of_chat, status.chat_id)
        return linked is None or linked.id == shop_id

    async def approvers(self, shop_id: int) -> list[int]:
        """The ids of all who may approve a refund of the shop now: its admins and the owners, in rising order."""
        admins = [
            member.user_id
            for member in await self._db.read(shops.list_members, shop_id)
            if is_allowed(member.role, Action.APPROVE_REFUND)
        ]
        return sorted({*admins, *await self._membership.owners()})

    async def may_export(self, shop_id: int, user_id: int) -> bool:
        """Whether this person may read reports and export files of the shop now."""
        return await self._has_permission(shop_id, user_id, Action.REPORT)

    async def is_request_authorized(self, payment: Payment) -> bool:
        """Whether the author of the payment's pending request (capture, release or cancel) may still make it."""
        by = payment.cancel_requested_by if payment.capture_requested_by is None else payment.capture_requested_by
        if by is None:
            return True
        if payment.capture_requested_by is not None:
            return await self._has_permission(payment.shop_id, by, Action.CAPTURE)
        is_own = payment.created_by == by
        if payment.status is PaymentStatus.AUTHORIZED:
            action = Action.RELEASE_OWN if is_own else Action.RELEASE_ANY
        else:
            action = Action.CANCEL_OWN if is_own else Action.CANCEL_ANY
        return await self._has_permission(payment.shop_id, by, action)

    async def is_refund_authorized(self, refund: Refund) -> bool:
        """Whether the refund has the approvals it needs, and every approver may still approve refunds."""
        approvers = refund.approvers
        if len(set(approvers)) < refund.approvals_needed:
            return False
        allowed = [await self._has_permission(refund.shop_id, user_id, Action.APPROVE_REFUND) for user_id in approvers]
        return all(allowed)

    async def _has_permission(self, shop_id: int, user_id: int, action: Action) -> bool:
        return is_allowed(await self._membership.role(shop_id, Actor(user_id, "")), action)
