"""`check`: everything a newcomer gets wrong has a line of its own that says what to do, and no line shows a secret."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.machine_check import LITTLE, TOO_LITTLE, address, disk
from bot.settings import settings_of
from storage.database import Database
from storage.migrations import HEAD
from tests.terminal import PUBLIC, Terminal, opened, secrets_in, serving
from tests.world import World, free_port

LIVE = "rk_live_51CanaryRestrictedKey"
ENDPOINT, DELIVERY, WEBHOOK = "webhook endpoint", "webhook delivery", "telegram webhook"
ALL = (
    *("settings", "database", "schema", "payments of the other mode", "owners", "disk", "public address"),
    *("clock", "stripe key", "stripe rights", "mobilepay", "webhook secret", ENDPOINT, DELIVERY),
    *("telegram token", WEBHOOK, "group privacy"),
)


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    """An installation in which nothing is wrong."""
    async with opened(tmp_path) as running:
        db = Database(f"sqlite:///{tmp_path}/kvit.db")
        await db.migrate()
        await db.close()
        running.endpoint()
        yield running


async def failing(terminal: Terminal, name: str, **env: str | None) -> str:
    """The line of that name, which is the only one that fails."""
    ended = await terminal.run("check", **env)
    assert ended.code == 1, ended.said
    assert [found for found, line in ended.lines.items() if "FAIL" in line] == [name], ended.said
    assert secrets_in(ended.said, terminal) == []
    return ended.lines[name]


async def noted(terminal: Terminal, name: str, **env: str | None) -> str:
    """The line of that name, which is a note; nothing fails."""
    ended = await terminal.run("check", **env)
    assert ended.code == 0, ended.said
    assert ended.lines[name].startswith("note"), ended.said
    return ended.lines[name]


async def test_where_nothing_is_wrong_every_line_says_so(terminal: Terminal) -> None:
    ended = await terminal.run("check")
    assert ended.code == 0
    assert tuple(ended.lines) == ALL
    notes = {name for name, line in ended.lines.items() if not line.startswith("ok")}
    assert notes <= {DELIVERY, "group privacy", "disk"}
    assert "test mode: no money moves" in ended.lines["stripe key"]
    assert secrets_in(ended.said, terminal) == []


async def test_a_program_reads_the_same_as_json(terminal: Terminal) -> None:
    ended = await terminal.run("check", "--json")
    found = json.loads(ended.said)
    assert [it["name"] for it in found] == list(ALL)
    assert all(set(it) == {"name", "ok", "detail", "remedy"} and it["ok"] is True for it in found)
    wrong = await terminal.run("check", "--json", stripe_webhook_secrets=None)
    (failed,) = (it for it in json.loads(wrong.said) if not it["ok"])
    assert (wrong.code, failed["name"]) == (1, "webhook secret")
    assert "setup-webhooks" in failed["remedy"]


async def test_looking_changes_nothing(terminal: Terminal) -> None:
    await terminal.run("check")
    assert {request.method for request in terminal.stripe.ledger.requests} == {"GET"}
    assert {entry.method for entry in terminal.telegram.transcript} == {"getMe", "getWebhookInfo"}


async def test_settings_that_cannot_be_read_are_the_first_line_and_no_usage_error(terminal: Terminal) -> None:
    ended = await terminal.run("check", telegram_bot_token=None, stripe_api_key="pk_test_1")
    assert ended.code == 1
    token, key = ended.lines["settings"].splitlines()
    assert token.startswith("FAIL TELEGRAM_BOT_TOKEN is missing. It must be the line that @BotFather gave you")
    assert key.startswith("FAIL STRIPE_API_KEY is a publishable key")
    as_json = json.loads((await terminal.run("check", "--json", stripe_api_key=None)).said)
    assert [(it["name"], it["ok"]) for it in as_json] == [("settings", False)]
    assert as_json[0]["remedy"].startswith("It must be rk_test_…")


async def test_before_the_first_start_there_is_no_database_and_that_is_all_right(
    terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "kvit.db").unlink()
    assert "`serve` makes it" in await noted(terminal, "database")
    assert list(tmp_path.iterdir()) == []


async def test_a_database_that_cannot_be_made_or_written_has_its_line(terminal: Terminal, tmp_path: Path) -> None:
    missing = await failing(terminal, "database", database_url=f"sqlite:///{tmp_path}/nowhere/deep/kvit.db")
    assert "Make that folder" in missing
    (tmp_path / "text.db").write_text("this is no database, and it is long enough to look at" * 20)
    strange = await failing(terminal, "database", database_url=f"sqlite:///{tmp_path}/text.db")
    assert "cannot be used" in strange


async def test_the_schema_may_be_older_but_not_newer(terminal: Terminal, tmp_path: Path) -> None:
    file = sqlite3.connect(tmp_path / "kvit.db")
    file.execute("UPDATE alembic_version SET version_num = '0000'")
    file.commit()
    assert f"not {HEAD}" in await noted(terminal, "schema")
    file.execute("UPDATE alembic_version SET version_num = '9999'")
    file.commit()
    file.close()
    assert "Run the newer version of Kvit" in await failing(terminal, "schema")
    assert "no tables yet" in await noted(terminal, "schema", database_url=f"sqlite:///{empty(tmp_path)}")


def empty(folder: Path) -> Path:
    (folder / "empty.db").touch()
    return folder / "empty.db"


@pytest.mark.parametrize(
    ("free", "mark"), [(LITTLE, "ok"), (LITTLE - 1, "note"), (TOO_LITTLE, "note"), (TOO_LITTLE - 1, "FAIL")]
)
def test_a_disk_that_fills_up_is_told_before_it_is_full(free: int, mark: str) -> None:
    assert disk(free).line.startswith(mark)


async def test_the_disk_is_the_one_of_the_database(terminal: Terminal, tmp_path: Path) -> None:
    told = (await terminal.run("check")).lines["disk"]
    shown = int(told.split()[1])
    assert abs(shown - shutil.disk_usage(tmp_path).free // 2**20) < 2048


async def test_without_an_owner_it_says_how_to_become_one(terminal: Terminal, tmp_path: Path) -> None:
    assert "Put your Telegram id into OWNER_IDS" in await noted(terminal, "owners", owner_ids=None)
    file = sqlite3.connect(tmp_path / "kvit.db")
    file.execute("INSERT INTO owners (user_id, name, since) VALUES (5, 'Olivia', 0)")
    file.commit()
    file.close()
    assert (await terminal.run("check", owner_ids=None)).lines["owners"] == "ok   There is one."


@pytest.mark.parametrize("seconds", [90, 45])
async def test_a_clock_that_is_off_by_more_than_a_minute_is_told(terminal: Terminal, seconds: int) -> None:
    terminal.clock.advance(seconds)
    if seconds < 60:
        assert (await terminal.run("check")).code == 0
        return
    line = await failing(terminal, "clock")
    assert "seconds behind Stripe's. Have this machine's clock set by NTP." in line
    assert 89 <= int(line.split()[3]) <= 95


async def test_the_clock_is_compared_even_where_the_key_is_refused(terminal: Terminal) -> None:
    terminal.clock.advance(600)
    ended = await terminal.run("check", stripe_api_key="rk_test_another")
    assert ended.lines["clock"].startswith("FAIL")
    assert ended.lines["stripe key"].startswith("FAIL Stripe refuses the key. Copy STRIPE_API_KEY anew")
    assert "stripe rights" not in ended.lines


async def test_stripe_out_of_reach_is_one_line(terminal: Terminal) -> None:
    terminal.stripe.world.down = True
    line = await failing(terminal, "stripe key")
    assert "Stripe cannot be reached" in line
    assert "STRIPE_API_BASE" in line


@pytest.mark.parametrize(
    ("lacking", "named"),
    [("payment_intents.read", "PaymentIntents: Write"), ("events.read", "Events: Read")],
)
async def test_a_restricted_key_is_told_which_right_it_lacks(terminal: Terminal, lacking: str, named: str) -> None:
    terminal.stripe.switches.lacking = (lacking,)
    line = await failing(terminal, "stripe rights")
    assert f"The key lacks the right {named}. Give the key the right {named}" in line


async def test_all_lacking_rights_are_named_at_once(terminal: Terminal) -> None:
    terminal.stripe.switches.lacking = ("payment_intents.read", "events.read")
    assert "PaymentIntents: Write and Events: Read" in await failing(terminal, "stripe rights")


async def test_rights_that_only_this_command_uses_are_a_note(terminal: Terminal) -> None:
    terminal.stripe.switches.lacking = ("webhook_endpoints.read",)
    assert "the right Webhook Endpoints: Read" in await noted(terminal, ENDPOINT)
    terminal.stripe.switches.lacking = ("account.read", "payment_method_configurations.read")
    assert "Account: Read and Payment Method Configurations: Read" in await noted(terminal, "mobilepay")


@pytest.mark.parametrize("lacking", ["account.read", "payment_method_configurations.read"])
async def test_one_right_is_enough_to_see_whether_mobilepay_is_on(terminal: Terminal, lacking: str) -> None:
    terminal.stripe.switches.lacking = (lacking,)
    assert (await terminal.run("check")).lines["mobilepay"].startswith("ok")
    terminal.stripe.switches.mobilepay = "inactive"
    assert "turn MobilePay on" in await failing(terminal, "mobilepay")


async def test_mobilepay_that_is_examined_or_switched_off_has_its_line(terminal: Terminal) -> None:
    terminal.stripe.switches.mobilepay = "pending"
    assert "Wait for Stripe's mail" in await failing(terminal, "mobilepay")
    terminal.stripe.switches.mobilepay = "active"
    terminal.stripe.switches.mobilepay_offered = False
    assert "turn MobilePay on" in await failing(terminal, "mobilepay")


async def test_without_a_secret_every_webhook_would_be_refused(terminal: Terminal) -> None:
    line = await failing(terminal, "webhook secret", stripe_webhook_secrets=None)
    assert "STRIPE_WEBHOOK_SECRETS is not set" in line


async def test_without_a_public_address_stripe_is_asked_instead(terminal: Terminal) -> None:
    env = {"public_url": None, "stripe_webhook_secrets": None}
    assert "Set PUBLIC_URL" in await noted(terminal, "public address", **env)
    assert "slower" in await noted(terminal, ENDPOINT, **env)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://localhost:8080", "Telegram refuses buttons that lead to localhost, without a dot. Take a name"),
        ("http://127.0.0.1:8080", "Only this machine can open http://127.0.0.1:8080."),
        (None, "There is none"),
    ],
)
async def test_an_address_for_this_machine_is_a_note_in_test_mode_and_wrong_in_live_mode(
    terminal: Terminal, address: str | None, said: str
) -> None:
    url = f"{address}/stripe/webhook"
    terminal.endpoint(url=url)
    assert said in await noted(terminal, "public address", public_url=address)
    terminal.stripe.world.key = LIVE
    assert said in await failing(terminal, "public address", public_url=address, stripe_api_key=LIVE)


@pytest.mark.parametrize(("port", "mark"), [(":9443", "FAIL"), (":8443", "ok"), ("", "ok")])
def test_telegram_sends_to_few_ports_only(port: str, mark: str) -> None:
    token, key = "7700000001:" + "x" * 35, "rk_test_1"
    settings = settings_of(telegram_bot_token=token, stripe_api_key=key, public_url=f"https://pay.example.dk{port}")
    assert address(settings).line.startswith(mark)


async def test_a_missing_endpoint_names_the_mode_and_what_leads_elsewhere(terminal: Terminal) -> None:
    terminal.stripe.ledger.endpoints.clear()
    line = await failing(terminal, ENDPOINT)
    assert f"In test mode Stripe has none for {PUBLIC}/stripe/webhook. Run `python -m bot setup-webhooks`" in line
    terminal.endpoint(url="https://old.example.dk/stripe/webhook")
    assert "only one for https://old.example.dk/stripe/webhook" in await failing(terminal, ENDPOINT)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"api_version": "2024-06-20"}, "we_1 has the API version 2024-06-20, not 2026-10-28.endive."),
        ({"api_version": None}, "we_1 has the API version of the account"),
        ({"enabled_events": ["payment_intent.succeeded"]}, "we_1 does not bring payment_intent.requires_action"),
        ({"status": "disabled"}, "we_1 is switched off"),
    ],
)
async def test_a_wrong_endpoint_says_what_is_wrong_and_setup_webhooks_heals_it(
    terminal: Terminal, wrong: dict[str, Any], said: str
) -> None:
    terminal.stripe.ledger.endpoints["we_1"] |= wrong
    line = await failing(terminal, ENDPOINT)
    assert said in line
    assert "Run `python -m bot setup-webhooks`." in line
    assert (await terminal.run("setup-webhooks")).code == 0
    assert (await terminal.run("check")).code == 0


async def test_too_many_events_and_a_second_endpoint_are_notes(terminal: Terminal) -> None:
    terminal.stripe.ledger.endpoints["we_1"]["enabled_events"] = ["*"]
    assert "brings events that Kvit does not need" in await noted(terminal, ENDPOINT)
    terminal.endpoint(api_version="2024-06-20")
    assert "Delete we_2" in await noted(terminal, ENDPOINT)


async def test_a_wrong_token_is_one_line(terminal: Terminal) -> None:
    line = await failing(terminal, "telegram token", telegram_bot_token="7700000001:" + "x" * 35)
    assert "Copy TELEGRAM_BOT_TOKEN anew from @BotFather" in line


async def test_telegram_out_of_reach_is_one_line(terminal: Terminal) -> None:
    terminal.telegram.world.down = True
    assert "Telegram cannot be reached" in await failing(terminal, "telegram token")


async def test_a_webhook_while_polling_shows_where_it_leads_and_no_more_of_it(terminal: Terminal) -> None:
    terminal.telegram.webhook.url = "https://elsewhere.example/hidden-word-in-the-path"
    line = await failing(terminal, WEBHOOK)
    assert "leads to elsewhere.example is set" in line
    assert "--take-over-webhook" in line
    assert "hidden-word" not in line


async def test_a_webhook_that_is_waited_for_has_to_be_ours(terminal: Terminal) -> None:
    mode = {"telegram_mode": "webhook"}
    assert "is not set, and Kvit waits for it. Run `python -m bot setup-webhooks`" in await failing(
        terminal, WEBHOOK, **mode
    )
    terminal.telegram.webhook.url = "https://elsewhere.example/telegram/webhook"
    assert "leads to elsewhere.example instead of" in await failing(terminal, WEBHOOK, **mode)
    await terminal.run("setup-webhooks", **mode)
    assert (await terminal.run("check", **mode)).lines[WEBHOOK].startswith("ok")
    terminal.telegram.world.updates.allowed = ["message"]
    assert "does not bring callback_query" in await failing(terminal, WEBHOOK, **mode)


async def test_telegrams_last_error_is_shown_and_counts_while_updates_wait(terminal: Terminal) -> None:
    mode = {"telegram_mode": "webhook", "public_url": f"http://127.0.0.1:{free_port()}"}
    terminal.endpoint(url=f"{mode['public_url']}/stripe/webhook")
    assert (await terminal.run("setup-webhooks", **mode)).code == 0
    terminal.telegram.say(terminal.telegram.chat_id, terminal.telegram.owner_id, "/pay 5")
    await terminal.telegram.until(lambda telegram: telegram.webhook.last_error)
    line = await failing(terminal, WEBHOOK, **mode)
    assert "1 updates wait. See that `serve` runs" in line
    terminal.telegram.world.updates.clear()
    assert "0 updates wait" in await noted(terminal, WEBHOOK, **mode)


async def test_a_webhook_with_another_secret_is_set_anew(tmp_path: Path) -> None:
    async with serving(tmp_path, telegram_mode="webhook") as (terminal, world):
        terminal.endpoint(url=f"{world.settings.public_url}/stripe/webhook")
        await terminal.run("setup-webhooks", telegram_webhook_secret="another")
        world.say("/id")
        await terminal.telegram.until(lambda telegram: telegram.webhook.last_error)
        assert "403" in (line := await failing(terminal, WEBHOOK))
        assert line.endswith("Run `python -m bot setup-webhooks`.")
        assert (await terminal.run("setup-webhooks")).code == 0
        assert (await terminal.run("check")).lines[WEBHOOK].startswith("ok")


async def test_privacy_mode_is_only_a_note(terminal: Terminal) -> None:
    assert "/setprivacy" in await noted(terminal, "group privacy")
    terminal.telegram.world.privacy = False
    assert (await terminal.run("check")).lines["group privacy"].startswith("ok")


async def test_a_live_key_on_a_database_with_open_test_payments_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as (terminal, world):
        world.say("/pay 149,50 Coffee")
        await world.card("Waiting for payment")
        terminal.stripe.world.key = LIVE
        ended = await terminal.run("check", stripe_api_key=LIVE)
        terminal.stripe.world.key = terminal.stripe.key
    mixed = ended.lines["payments of the other mode"]
    assert mixed.startswith("FAIL STRIPE_API_KEY is a live key, and 1 open payments need a test one.")
    assert "live mode: real money moves" in ended.lines["stripe key"]


async def test_beside_a_serve_that_runs_everything_is_right_and_webhooks_are_seen_to_arrive(tmp_path: Path) -> None:
    async with serving(tmp_path) as (terminal, world):
        assert (await terminal.run("setup-webhooks")).code == 0
        assert (await terminal.run("check")).code == 0
        await paid(world, "✅ Paid:")
        assert (await terminal.run("check")).lines[DELIVERY] == "ok   The newest event was taken."


async def test_a_wrong_secret_is_told_from_an_address_that_leads_nowhere(tmp_path: Path) -> None:
    async with serving(tmp_path, stripe_webhook_secrets="whsec_of_another_endpoint") as (terminal, world):
        await terminal.run("setup-webhooks")
        await paid(world)
        line = (await terminal.run("check")).lines[DELIVERY]
        assert line.startswith("FAIL 2 of the newest 2 events were not taken, though the address leads here")
        assert "Copy the secret anew" in line
        assert "whsec_of" not in line
        await world.stop()
        line = (await terminal.run("check")).lines[DELIVERY]
        assert "does not lead here, seen from this machine. See that `serve` runs" in line


async def test_what_was_lost_once_is_no_trouble_once_events_arrive_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as (terminal, world):
        await terminal.run("setup-webhooks")
        terminal.stripe.webhooks.mode = "lose"
        world.say("/pay 5 Tea")
        await world.card("Waiting for payment")
        terminal.stripe.webhooks.mode = "deliver"
        await paid(world, "✅ Paid:")
        assert (await terminal.run("check")).lines[DELIVERY].startswith("ok")


async def test_an_event_of_this_minute_may_still_be_on_its_way(tmp_path: Path) -> None:
    async with serving(tmp_path) as (terminal, world):
        await terminal.run("setup-webhooks")
        terminal.stripe.webhooks.mode = "lose"
        world.say("/pay 5 Tea")
        await world.card("Waiting for payment")
        assert (await terminal.run("check")).lines[DELIVERY].startswith("note")


async def paid(world: World, card: str = "Waiting for payment") -> None:
    """A payment from beginning to end; then time goes by until its events must have arrived."""
    world.say("/pay 149,50 Coffee")
    await world.card("Waiting for payment")
    await world.decide("approve")
    await world.card(card)
    await deliveries(world, 2)
    world.advance(70)


async def deliveries(world: World, number: int) -> None:
    """Return once Stripe has tried to deliver so many events, whatever came of it."""
    async with asyncio.timeout(10):
        while len(world.stripe.ledger.deliveries) < number:
            await asyncio.sleep(0.01)
