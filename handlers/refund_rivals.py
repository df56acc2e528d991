"""Pure decisions whether an approved refund may still go out, for all that went back besides it since then."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from storage.models.refund import Refund
from storage.refunds import Room


def overtaken(refund: Refund, room: Room, others: Iterable[Refund], now: datetime) -> bool:
    """Whether somebody's hand at Stripe or a dispute has taken of what whoever approved it was shown.

    What was approved here since then took its share knowingly, and is no reason. What came to nothing since then makes
    room again, but does not undo that somebody helped himself.
    """
    others = [one for one in others if one.is_alive and one.id != refund.id]
    if any(_came_since(one, refund, now) for one in others):
        return True
    since = [one for one in others if _approved_since(one, refund)]
    left = room.payment.refundable - room.lost + refund.amount.minor
    return left + sum(one.amount.minor for one in since) < refund.refundable_then


def _approved_since(one: Refund, refund: Refund) -> bool:
    if not one.params or one.reserved_at is None or refund.reserved_at is None:
        return False
    return one.reserved_at >= refund.reserved_at


def _came_since(one: Refund, refund: Refund, now: datetime) -> bool:
    """Whether it was seen at Stripe since then, though nobody here had approved it by what the book says.

    What lies ahead of `now` was dated by a clock that was wrong, and says nothing.
    """
    if one.params or refund.reserved_at is None:
        return False
    # Older versions reserved nothing for what they found; nor is it for a wish that a restored book knows as undecided.
    counted_at = one.reserved_at or (one.asked_at if one.asked_by is None else one.settled_at)
    return counted_at is not None and refund.reserved_at < counted_at <= now
