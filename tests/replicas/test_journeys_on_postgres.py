"""The journeys of the other tests, on PostgreSQL: the program is the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.journeys import test_journeys
from tests.support.world import World


@pytest.mark.parametrize(
    "journey",
    [
        test_journeys.test_a_request_becomes_a_payment_message_with_a_link_and_the_payment_message_becomes_paid,
    ],
    ids=lambda journey: journey.__name__,
)
async def test_journey(world: World, journey: Callable[[World], Awaitable[None]]) -> None:
    await journey(world)
