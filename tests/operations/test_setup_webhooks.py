"""`setup-webhooks`: webhooks at Stripe and Telegram, the bot's menus; a second run changes nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.fake_telegram.api_error import bad_request
from bot.stripe.admin_client import API_VERSION
from bot.stripe.serialization import WEBHOOK_EVENT_TYPES
from bot.telegram.menus import menu_languages
from bot.telegram.polling import ALLOWED_UPDATES
from handlers.chat.routes import COMMANDS
from handlers.i18n import text
from tests.support.terminal import PUBLIC, SECRET, Terminal, opened, secrets_in

SETUP = "setup-webhooks"
WEBHOOK, ENDPOINT, MENUS = "telegram webhook", "webhook endpoint", "telegram menus"


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    async with opened(tmp_path) as running:
        yield running


def endpoints(terminal: Terminal) -> list[dict[str, Any]]:
    return list(terminal.stripe.store.webhook_endpoints.values())


async def test_endpoint_is_created_and_its_secret_shown_once(terminal: Terminal) -> None:
    first = await terminal.run(SETUP, stripe_webhook_secrets=None)
    assert first.code == 0
    (made,) = endpoints(terminal)
    assert made["url"] == f"{PUBLIC}/stripe/webhook"
    assert (made["api_version"], made["enabled_events"]) == (API_VERSION, list(WEBHOOK_EVENT_TYPES))
    assert first.lines[ENDPOINT].endswith(f"STRIPE_WEBHOOK_SECRETS={SECRET}")
    assert first.output.count(SECRET) == 1
    again = await terminal.run(SETUP)
    assert (again.code, endpoints(terminal)) == (0, [made])
    assert again.lines[ENDPOINT].startswith(f"ok   {made['id']} for {made['url']} exists already")
    assert secrets_in(again.output, terminal) == []


async def test_existing_endpoint_without_known_secret_is_a_warning(terminal: Terminal) -> None:
    terminal.endpoint()
    ended = await terminal.run(SETUP, stripe_webhook_secrets=None)
    assert ended.code == 0
    assert "put it into STRIPE_WEBHOOK_SECRETS" in ended.lines[ENDPOINT]


async def test_new_secret_is_added_to_the_present_ones(terminal: Terminal) -> None:
    ended = await terminal.run(SETUP, stripe_webhook_secrets="whsec_of_another_endpoint")
    assert "after the present ones and a comma" in ended.lines[ENDPOINT]
    assert "whsec_of_another_endpoint" not in ended.output


@pytest.mark.parametrize(
    "wrong", [{"enabled_events": ["*"]}, {"enabled_events": ["charge.updated"]}, {"status": "disabled"}]
)
async def test_endpoint_with_other_events_or_disabled_is_updated(terminal: Terminal, wrong: dict[str, Any]) -> None:
    endpoint = terminal.endpoint(**wrong)
    ended = await terminal.run(SETUP)
    assert ended.code == 0
    assert "now receives exactly Kvit's events" in ended.lines[ENDPOINT]
    assert endpoints(terminal) == [endpoint]
    assert (endpoint["status"], endpoint["enabled_events"]) == ("enabled", list(WEBHOOK_EVENT_TYPES))


@pytest.mark.parametrize("version", ["2024-06-20", None])
async def test_endpoint_with_another_api_version_is_replaced(terminal: Terminal, version: str | None) -> None:
    old = terminal.endpoint(api_version=version, status="disabled")
    ended = await terminal.run(SETUP)
    kept, made = endpoints(terminal)
    assert (kept, kept["api_version"], made["api_version"]) == (old, version, API_VERSION)
    assert old["status"] == "disabled"
    assert f"Delete {old['id']} in Stripe's Dashboard" in ended.lines[ENDPOINT]
    assert ended.lines[ENDPOINT].endswith(f"={SECRET}")


async def test_endpoints_with_other_urls_are_unchanged(terminal: Terminal) -> None:
    before = dict(terminal.endpoint(url="https://elsewhere.example/hook", enabled_events=["charge.updated"]))
    await terminal.run(SETUP)
    assert len(endpoints(terminal)) == 2
    assert endpoints(terminal)[0] == before


@pytest.mark.parametrize("address", [None, "http://127.0.0.1:8080"])
async def test_endpoint_needs_an_https_url(terminal: Terminal, address: str | None) -> None:
    ended = await terminal.run(SETUP, public_url=address, stripe_api_base=None)
    assert ended.code == 1
    assert ended.lines[ENDPOINT].startswith("FAIL Stripe sends to https addresses only")
    assert "Set PUBLIC_URL" in ended.lines[ENDPOINT]
    assert ended.lines[MENUS].startswith("ok")


async def test_fake_stripe_accepts_an_http_url(terminal: Terminal) -> None:
    ended = await terminal.run(SETUP, public_url="http://127.0.0.1:8080")
    assert (ended.code, endpoints(terminal)[0]["url"]) == (0, "http://127.0.0.1:8080/stripe/webhook")


async def test_missing_right_to_create_endpoints_is_named(terminal: Terminal) -> None:
    terminal.stripe.options.missing_permissions = ("webhook_endpoints.write",)
    ended = await terminal.run(SETUP)
    assert (ended.code, endpoints(terminal)) == (1, [])
    assert "Give the key the right Webhook Endpoints: Write" in ended.lines[ENDPOINT]


async def test_wrong_key_and_wrong_token_are_two_failures(terminal: Terminal) -> None:
    ended = await terminal.run(SETUP, stripe_api_key="rk_test_another", telegram_bot_token="7700000001:" + "x" * 35)
    assert ended.code == 1
    assert "Stripe rejects the key. Copy STRIPE_API_KEY from" in ended.lines[ENDPOINT]
    assert "Copy TELEGRAM_BOT_TOKEN from @BotFather" in ended.lines[MENUS]


async def test_unreachable_telegram_does_not_stop_the_endpoint(terminal: Terminal) -> None:
    terminal.telegram.state.down = True
    ended = await terminal.run(SETUP)
    assert ended.code == 1
    assert "Telegram cannot be reached" in ended.lines[MENUS]
    assert ended.lines[ENDPOINT].startswith("note we_")


async def test_telegrams_webhook_is_set(terminal: Terminal) -> None:
    for _ in range(2):  # Telegram takes one change a second; the second run waits for that
        ended = await terminal.run(SETUP, telegram_mode="auto")
        assert (ended.code, ended.lines[WEBHOOK][:2]) == (0, "ok")
        assert terminal.telegram.webhook.secret not in ended.output
    sent = terminal.sent("setWebhook")[-1]
    assert (sent["url"], int(sent["max_connections"])) == (f"{PUBLIC}/telegram/webhook", 40)
    assert sent["drop_pending_updates"] in (False, "false")
    assert terminal.telegram.state.updates.allowed == list(ALLOWED_UPDATES)
    assert len(terminal.telegram.webhook.secret) == 64
    given = await terminal.run(SETUP, telegram_mode="webhook", telegram_webhook_secret="chosen")
    assert (given.code, terminal.telegram.webhook.secret) == (0, "chosen")
    assert "chosen" not in given.output


async def test_telegrams_webhook_is_unchanged_when_polling(terminal: Terminal) -> None:
    terminal.telegram.webhook.url = "https://elsewhere.example/bot"
    ended = await terminal.run(SETUP)
    assert (ended.code, terminal.telegram.webhook.url) == (0, "https://elsewhere.example/bot")
    assert terminal.sent("setWebhook") == terminal.sent("deleteWebhook") == []


async def test_rejected_webhook_has_a_hint(terminal: Terminal) -> None:
    terminal.telegram._http_api._methods["setWebhook"] = refuse
    ended = await terminal.run(SETUP, telegram_mode="webhook")
    assert ended.code == 1
    assert "port 443, 80, 88 or 8443" in ended.lines[WEBHOOK]
    assert ended.lines[MENUS].startswith("ok")


def refuse(call: object) -> None:
    raise bad_request("bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443")


async def test_long_retry_after_is_a_failure(terminal: Terminal) -> None:
    order = {"method": "setMyDescription", "how": "429", "retry_after": 900}
    terminal.telegram._http_api.faults.add(order)
    ended = await terminal.run(SETUP)
    assert ended.code == 1
    assert "Telegram asks to wait for 900 seconds." in ended.lines[MENUS]


async def test_menus_are_set_for_every_scope_and_language(terminal: Terminal) -> None:
    assert (await terminal.run(SETUP)).code == 0
    menus, descriptions = terminal.telegram.state.menus, terminal.telegram.state.descriptions
    scopes = {"default", "all_private_chats", "all_group_chats", "all_chat_administrators"}
    codes = {code for code, _ in menu_languages()}
    assert {"", "en"} <= codes
    assert {(json.loads(scope)["type"], code) for scope, code in menus} == {(s, c) for s in scopes for c in codes}
    assert {name for name, _ in descriptions} == {"description", "short_description"}
    assert {code for _, code in descriptions} == codes


@pytest.mark.parametrize("wallet", ["MobilePay", "Vipps"])
async def test_descriptions_of_the_bot_name_the_wallet_as_set(terminal: Terminal, wallet: str) -> None:
    assert (await terminal.run(SETUP, wallet_name=wallet)).code == 0
    (other,) = {"MobilePay", "Vipps"} - {wallet}
    for (name, code), shown in terminal.telegram.state.descriptions.items():
        assert wallet in shown, (name, code)
        assert other not in shown, (name, code)


async def test_menu_lists_available_commands(terminal: Terminal) -> None:
    await terminal.run(SETUP)
    shown = {
        json.loads(scope)["type"]: [it["command"] for it in menu]
        for (scope, code), menu in terminal.telegram.state.menus.items()
        if not code
    }
    assert shown["all_private_chats"] == shown["all_chat_administrators"] == list(COMMANDS)
    assert {"pay", "status"} <= set(shown["all_group_chats"])
    assert {"setup", "settings"}.isdisjoint(shown["all_group_chats"])
    assert {"help", "terms"} <= set(shown["default"])
    assert {"pay", "setup"}.isdisjoint(shown["default"])


@pytest.mark.parametrize("language", [language for code, language in menu_languages() if code])
def test_menu_texts_fit_telegrams_limits(language: str) -> None:
    for name in COMMANDS:
        assert 1 <= len(text(language, f"menu.{name}")) <= 60
    assert len(text(language, "bot.description", wallet="MobilePay")) <= 512
    assert len(text(language, "bot.short_description", wallet="MobilePay")) <= 120
