"""StripeGateway against the fake Stripe."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from bot.sandbox.fake_stripe import FakeStripe
from bot.sandbox.shared.fake_clock import FakeClock
from bot.stripe.gateway import StripeGateway
from handlers.stripe.gateway import GatewayError, Intent, IntentRequest, IntentStatus

KEY = "rk_test_JourneyKey1234567890"
COFFEE = IntentRequest("pay_1", "K7F3", 14950, "DKK", "Coffee", "https://pay.example.dk/p/TOKEN")
CREATE = "POST /v1/payment_intents"
CONFIRM = "POST /v1/payment_intents/:id/confirm"


class Sandbox:
    """A gateway with the pretend Stripe behind it, and the hands of the customer."""

    def __init__(self, fake: FakeStripe, base: str) -> None:
        self.fake = fake
        self.base = base
        self.gateway = StripeGateway(KEY, api_base=base, timeout=5)

    async def ask(self, request: IntentRequest = COFFEE, key: str = "create:pay_1:1") -> Intent:
        return await self.gateway.create(self.gateway.create_params(request), key=key)

    async def control(self, path: str, body: dict[str, Any] | None = None) -> None:
        async with aiohttp.ClientSession() as session, session.post(f"{self.base}/_control/{path}", json=body) as said:
            assert said.status < 300, await said.text()

    async def customer(self, intent: Intent, does: str) -> Intent:
        await self.control(f"intents/{intent.id}/{does}", {})
        return await self.gateway.retrieve(intent.id)

    async def fault(self, method: str, when: str, how: str) -> None:
        await self.control("faults", {"method": method, "nth": 1, "when": when, "how": how})

    async def event_types(self, cursor: str | None, clock: FakeClock) -> list[tuple[str, str]]:
        found = self.gateway.list_events(cursor, clock.now())
        return [(change.id, change.type) async for change, _ in found]


@pytest.fixture
async def sandbox(clock: FakeClock) -> AsyncIterator[Sandbox]:
    fake = FakeStripe(clock, key=KEY, webhook_secret="whsec_journey")
    sandbox = Sandbox(fake, await fake.start())
    yield sandbox
    await sandbox.gateway.close()
    await fake.stop()


async def test_intent_is_created_approved_and_paid(sandbox: Sandbox) -> None:
    opened = await sandbox.ask()
    assert opened.status is IntentStatus.REQUIRES_ACTION
    assert opened.redirect_url is not None
    assert (opened.amount, opened.currency, opened.livemode, opened.amount_received) == (14950, "DKK", False, 0)
    assert opened.metadata == {"kvit_payment": "pay_1", "kvit_ref": "K7F3"}
    paid = await sandbox.customer(opened, "approve")
    assert (paid.status, paid.amount_received, paid.redirect_url) == (IntentStatus.SUCCEEDED, 14950, None)


@pytest.mark.parametrize(
    ("does", "code"),
    [
        ("decline", "payment_intent_authentication_failure"),
        ("lapse", "payment_intent_payment_attempt_expired"),
    ],
)
async def test_confirm_after_a_failed_attempt_returns_a_new_redirect_url(
    sandbox: Sandbox, does: str, code: str
) -> None:
    opened = await sandbox.ask()
    failed = await sandbox.customer(opened, does)
    assert (failed.status, failed.error_code, failed.redirect_url) == (IntentStatus.REQUIRES_PAYMENT_METHOD, code, None)
    params = sandbox.gateway.confirm_params(COFFEE)
    again = await sandbox.gateway.confirm(opened.id, params, key="confirm:pay_1:2")
    assert (again.id, again.status, again.error_code) == (opened.id, IntentStatus.REQUIRES_ACTION, None)
    assert again.redirect_url not in (None, opened.redirect_url)
    assert (await sandbox.customer(again, "approve")).status is IntentStatus.SUCCEEDED


async def test_authorized_intent_can_be_canceled(sandbox: Sandbox) -> None:
    hold = IntentRequest("pay_2", "M2P8", 50000, "EUR", "", "https://t.me/KvitBot", manual_capture=True)
    held = await sandbox.customer(await sandbox.ask(hold, "create:pay_2:1"), "approve")
    assert (held.status, held.amount_received) == (IntentStatus.REQUIRES_CAPTURE, 0)
    assert (await sandbox.gateway.cancel(held.id, key="cancel:pay_2:1")).status is IntentStatus.CANCELED


@pytest.mark.parametrize("how", ["timeout", "drop", "429"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_create_makes_one_intent_despite_a_fault(sandbox: Sandbox, when: str, how: str) -> None:
    gateway = StripeGateway(KEY, api_base=sandbox.base, timeout=0.5)
    await sandbox.fault(CREATE, when, how)
    intent = await gateway.create(gateway.create_params(COFFEE), key="create:pay_1:1")
    await gateway.close()
    assert list(sandbox.fake.store.intents) == [intent.id]
    assert intent.status is IntentStatus.REQUIRES_ACTION


async def test_find_intent_finds_the_intent_behind_a_stored_500(sandbox: Sandbox, clock: FakeClock) -> None:
    await sandbox.fault(CREATE, "after", "500")
    with pytest.raises(GatewayError) as caught:
        await sandbox.ask()
    assert (caught.value.code, caught.value.retryable, caught.value.replayed) == ("server", True, True)
    found = await sandbox.gateway.find_intent("pay_1", since=clock.now(), until=clock.now())
    assert found is not None
    assert list(sandbox.fake.store.intents) == [found.id]


async def test_create_repeated_after_payment_returns_the_paid_intent(sandbox: Sandbox) -> None:
    opened = await sandbox.ask()
    await sandbox.customer(opened, "approve")
    again = await sandbox.ask()
    assert (again.id, again.status) == (opened.id, IntentStatus.SUCCEEDED)


async def test_confirm_with_a_lost_response_starts_one_attempt(sandbox: Sandbox) -> None:
    failed = await sandbox.customer(await sandbox.ask(), "decline")
    await sandbox.fault(CONFIRM, "after", "drop")
    params = sandbox.gateway.confirm_params(COFFEE)
    again = await sandbox.gateway.confirm(failed.id, params, key="confirm:pay_1:2")
    assert again.status is IntentStatus.REQUIRES_ACTION
    assert len(sandbox.fake.store.attempts[failed.id]) == 2


async def test_cancel_of_a_paid_intent_is_an_error_with_the_intent(sandbox: Sandbox) -> None:
    opened = await sandbox.ask()
    await sandbox.customer(opened, "approve")
    with pytest.raises(GatewayError) as caught:
        await sandbox.gateway.cancel(opened.id, key="cancel:pay_1:1")
    assert (caught.value.code, caught.value.retryable) == ("payment_intent_unexpected_state", False)
    assert caught.value.intent is not None
    assert caught.value.intent.status is IntentStatus.SUCCEEDED


async def test_other_params_with_the_same_key_are_a_final_error(sandbox: Sandbox) -> None:
    await sandbox.ask()
    tea = IntentRequest("pay_1", "K7F3", 14950, "DKK", "Tea", COFFEE.return_url)
    with pytest.raises(GatewayError) as caught:
        await sandbox.ask(tea)
    assert (caught.value.code, caught.value.retryable, caught.value.replayed) == ("idempotency", False, True)


async def test_wrong_key_and_unknown_intent_have_different_codes(sandbox: Sandbox) -> None:
    other_key = StripeGateway("sk_test_somebody_else", api_base=sandbox.base)
    for gateway, code in ((other_key, "authentication"), (sandbox.gateway, "resource_missing")):
        with pytest.raises(GatewayError, match=code):
            await gateway.retrieve("pi_unknown")
    await other_key.close()


async def test_find_intent_finds_by_metadata_near_the_creation_time(sandbox: Sandbox, clock: FakeClock) -> None:
    opened = await sandbox.ask()
    other = IntentRequest("pay_2", "M2P8", 14950, "DKK", "", COFFEE.return_url)
    await sandbox.ask(other, "create:pay_2:1")
    found = await sandbox.gateway.find_intent("pay_1", since=clock.now(), until=clock.now())
    assert found == opened
    clock.advance(7200)
    found = await sandbox.gateway.find_intent("pay_1", since=clock.now(), until=clock.now())
    assert found is not None
    assert found.id == opened.id
    clock.advance(2 * 86_400)
    assert await sandbox.gateway.find_intent("pay_1", since=clock.now(), until=clock.now()) is None


async def test_list_events_returns_events_after_the_cursor_oldest_first(sandbox: Sandbox, clock: FakeClock) -> None:
    opened = await sandbox.ask()
    await sandbox.customer(opened, "decline")
    everything = await sandbox.event_types(None, clock)
    assert [kind for _, kind in everything] == ["payment_intent.requires_action", "payment_intent.payment_failed"]
    await sandbox.gateway.cancel(opened.id, key="cancel:pay_1:1")
    last, _ = everything[-1]
    assert [kind for _, kind in await sandbox.event_types(last, clock)] == ["payment_intent.canceled"]
    assert len(await sandbox.event_types("evt_forgotten", clock)) == 3
    async for change, raw in sandbox.gateway.list_events(None, clock.now()):
        assert (change.intent_id, change.payment_id, change.created_at) == (opened.id, "pay_1", clock.now())
        assert json.loads(raw)["data"]["object"]["client_secret"] == ""


async def test_list_events_reads_all_pages(sandbox: Sandbox, clock: FakeClock) -> None:
    for number in range(120):
        await sandbox.ask(key=f"create:pay_1:{number}")
    by_time = await sandbox.event_types(None, clock)
    by_cursor = await sandbox.event_types(by_time[0][0], clock)
    assert len(by_time) == 120
    assert by_cursor == by_time[1:]


async def test_account_has_mobilepay(sandbox: Sandbox) -> None:
    assert (await sandbox.gateway.account()).mobilepay == "active"
