"""`check` on webhooks: Stripe's endpoint, its secret and deliveries; Telegram's webhook."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.terminal import PUBLIC, Terminal, failing, installed, noted, serving
from tests.support.world import World, free_port

ENDPOINT, DELIVERY, WEBHOOK = "webhook endpoint", "webhook delivery", "telegram webhook"


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    async with installed(tmp_path) as running:
        yield running


async def test_missing_endpoint_is_a_failure_that_names_the_mode_and_other_urls(terminal: Terminal) -> None:
    terminal.stripe.store.webhook_endpoints.clear()
    line = await failing(terminal, ENDPOINT)
    assert f"In test mode Stripe has none for {PUBLIC}/stripe/webhook. Run `python -m bot setup-webhooks`" in line
    terminal.endpoint(url="https://old.example.dk/stripe/webhook")
    assert "only one for https://old.example.dk/stripe/webhook" in await failing(terminal, ENDPOINT)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"api_version": "2024-06-20"}, "we_1 has the API version 2024-06-20, not 2026-10-28.endive."),
        ({"api_version": None}, "we_1 has the API version of the account"),
        ({"enabled_events": ["payment_intent.succeeded"]}, "we_1 does not receive payment_intent.requires_action"),
        ({"status": "disabled"}, "we_1 is disabled"),
    ],
)
async def test_wrong_endpoint_is_a_failure_that_setup_webhooks_fixes(
    terminal: Terminal, wrong: dict[str, Any], said: str
) -> None:
    terminal.stripe.store.webhook_endpoints["we_1"] |= wrong
    line = await failing(terminal, ENDPOINT)
    assert said in line
    assert "Run `python -m bot setup-webhooks`." in line
    assert (await terminal.run("setup-webhooks")).code == 0
    assert (await terminal.run("check")).code == 0


async def test_additional_events_and_endpoints_are_warnings(terminal: Terminal) -> None:
    terminal.stripe.store.webhook_endpoints["we_1"]["enabled_events"] = ["*"]
    assert "receives events that Kvit does not need" in await noted(terminal, ENDPOINT)
    terminal.endpoint(api_version="2024-06-20")
    assert "Delete we_2" in await noted(terminal, ENDPOINT)


async def test_wrong_token_is_one_failure(terminal: Terminal) -> None:
    line = await failing(terminal, "telegram token", telegram_bot_token="7700000001:" + "x" * 35)
    assert "Copy TELEGRAM_BOT_TOKEN from @BotFather" in line


async def test_unreachable_telegram_is_one_failure(terminal: Terminal) -> None:
    terminal.telegram.state.down = True
    assert "Telegram cannot be reached" in await failing(terminal, "telegram token")


async def test_webhook_while_polling_is_a_failure_that_shows_only_its_host(terminal: Terminal) -> None:
    terminal.telegram.webhook.url = "https://elsewhere.example/hidden-word-in-the-path"
    line = await failing(terminal, WEBHOOK)
    assert "leads to elsewhere.example is set" in line
    assert "--take-over-webhook" in line
    assert "hidden-word" not in line


async def test_webhook_with_another_url_or_kinds_is_a_failure(terminal: Terminal) -> None:
    mode = {"telegram_mode": "webhook"}
    assert "is not set, but Kvit needs it. Run `python -m bot setup-webhooks`" in await failing(
        terminal, WEBHOOK, **mode
    )
    terminal.telegram.webhook.url = "https://elsewhere.example/telegram/webhook"
    assert "leads to elsewhere.example instead of" in await failing(terminal, WEBHOOK, **mode)
    await terminal.run("setup-webhooks", **mode)
    assert (await terminal.run("check", **mode)).lines[WEBHOOK].startswith("ok")
    terminal.telegram.state.updates.allowed = ["message"]
    assert "does not receive callback_query" in await failing(terminal, WEBHOOK, **mode)


async def test_telegrams_last_error_is_a_failure_while_updates_are_pending(terminal: Terminal) -> None:
    mode = {"telegram_mode": "webhook", "public_url": f"http://127.0.0.1:{free_port()}"}
    terminal.endpoint(url=f"{mode['public_url']}/stripe/webhook")
    assert (await terminal.run("setup-webhooks", **mode)).code == 0
    terminal.telegram.send(terminal.telegram.chat_id, terminal.telegram.owner_id, "/pay 5")
    await terminal.telegram.wait_until(lambda telegram: telegram.webhook.last_error)
    line = await failing(terminal, WEBHOOK, **mode)
    assert "1 updates are pending. Check that `serve` runs" in line
    terminal.telegram.state.updates.clear()
    assert "0 updates are pending" in await noted(terminal, WEBHOOK, **mode)


async def test_webhook_with_another_secret_is_a_failure_that_setup_webhooks_fixes(tmp_path: Path) -> None:
    async with serving(tmp_path, telegram_mode="webhook") as (terminal, world):
        terminal.endpoint(url=f"{world.settings.public_url}/stripe/webhook")
        await terminal.run("setup-webhooks", telegram_webhook_secret="another")
        world.say("/id")
        await terminal.telegram.wait_until(lambda telegram: telegram.webhook.last_error)
        assert "403" in (line := await failing(terminal, WEBHOOK))
        assert line.endswith("Run `python -m bot setup-webhooks`.")
        assert (await terminal.run("setup-webhooks")).code == 0
        assert (await terminal.run("check")).lines[WEBHOOK].startswith("ok")


async def test_privacy_mode_is_a_warning(terminal: Terminal) -> None:
    assert "/setprivacy" in await noted(terminal, "group privacy")
    terminal.telegram.state.privacy = False
    assert (await terminal.run("check")).lines["group privacy"].startswith("ok")


async def test_delivered_event_is_ok_beside_a_running_serve(tmp_path: Path) -> None:
    async with serving(tmp_path) as (terminal, world):
        assert (await terminal.run("setup-webhooks")).code == 0
        assert (await terminal.run("check")).code == 0
        await paid(world, "✅ Paid:")
        assert (await terminal.run("check")).lines[DELIVERY] == "ok   The newest event was delivered."


async def test_wrong_secret_and_wrong_url_have_different_hints(tmp_path: Path) -> None:
    async with serving(tmp_path, stripe_webhook_secrets="whsec_of_another_endpoint") as (terminal, world):
        await terminal.run("setup-webhooks")
        await paid(world)
        line = (await terminal.run("check")).lines[DELIVERY]
        assert line.startswith("FAIL 2 of the newest 2 events were not delivered, though the URL leads here")
        assert "Copy the secret again" in line
        assert "whsec_of" not in line
        await world.stop()
        line = (await terminal.run("check")).lines[DELIVERY]
        assert "does not lead here, as far as this machine can tell. Check that `serve` runs" in line


async def test_delivery_is_ok_when_a_later_event_arrived(tmp_path: Path) -> None:
    async with serving(tmp_path) as (terminal, world):
        await terminal.run("setup-webhooks")
        terminal.stripe.webhooks.mode = "lose"
        world.say("/pay 5 Tea")
        await world.message("Waiting for payment")
        terminal.stripe.webhooks.mode = "deliver"
        await paid(world, "✅ Paid:")
        assert (await terminal.run("check")).lines[DELIVERY].startswith("ok")


async def test_delivery_fails_when_the_newest_events_are_lost(tmp_path: Path) -> None:
    async with serving(tmp_path) as (terminal, world):
        await terminal.run("setup-webhooks")
        await paid(world, "✅ Paid:")
        terminal.stripe.webhooks.mode = "lose"
        world.say("/pay 5 Tea")
        await world.message("5.00")
        world.advance(70)
        assert (await terminal.run("check")).lines[DELIVERY].startswith("FAIL 1 of the newest 3 events")


async def test_event_of_the_last_minute_is_not_counted(tmp_path: Path) -> None:
    async with serving(tmp_path) as (terminal, world):
        await terminal.run("setup-webhooks")
        terminal.stripe.webhooks.mode = "lose"
        world.say("/pay 5 Tea")
        await world.message("Waiting for payment")
        assert (await terminal.run("check")).lines[DELIVERY].startswith("note")


async def paid(world: World, card: str = "Waiting for payment") -> None:
    """A payment from beginning to end; then time goes by until its events must have arrived."""
    world.say("/pay 149,50 Coffee")
    await world.message("Waiting for payment")
    await world.decide("approve")
    await world.message(card)
    await deliveries(world, 2)
    world.advance(70)


async def deliveries(world: World, number: int) -> None:
    """Return once Stripe has tried to deliver so many events, whatever came of it."""
    async with asyncio.timeout(10):
        while len(world.stripe.store.deliveries) < number:
            await asyncio.sleep(0.01)
