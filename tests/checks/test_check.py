"""`check`: each problem has a line of its own with a hint, and no line shows a secret."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from bot.checks.machine import LOW_FREE, MIN_FREE, address, disk
from bot.settings import make_settings
from tests.support.terminal import Terminal, failing, installed, noted, secrets_in, serving

LIVE = "rk_live_51CanaryRestrictedKey"
ENDPOINT, DELIVERY, WEBHOOK = "webhook endpoint", "webhook delivery", "telegram webhook"
ALL = (
    *("settings", "database", "schema", "payments of the other mode", "the bot", "owners", "disk", "public address"),
    *("clock", "stripe key", "stripe rights", "mobilepay", "webhook secret", ENDPOINT, DELIVERY),
    *("telegram token", WEBHOOK, "group privacy"),
)


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    async with installed(tmp_path) as running:
        yield running


async def test_check_of_a_right_installation_succeeds(terminal: Terminal) -> None:
    ended = await terminal.run("check")
    assert ended.code == 0
    assert tuple(ended.lines) == ALL
    notes = {name for name, line in ended.lines.items() if not line.startswith("ok")}
    assert notes <= {DELIVERY, "group privacy", "disk"}
    assert "test mode: no money moves" in ended.lines["stripe key"]
    assert secrets_in(ended.output, terminal) == []


async def test_check_json_lists_all_findings(terminal: Terminal) -> None:
    ended = await terminal.run("check", "--json")
    found = json.loads(ended.output)
    assert [it["name"] for it in found] == list(ALL)
    assert all(set(it) == {"name", "ok", "detail", "remedy"} and it["ok"] is True for it in found)
    wrong = await terminal.run("check", "--json", stripe_webhook_secrets=None)
    (failed,) = (it for it in json.loads(wrong.output) if not it["ok"])
    assert (wrong.code, failed["name"]) == (1, "webhook secret")
    assert "setup-webhooks" in failed["remedy"]


async def test_check_changes_nothing(terminal: Terminal) -> None:
    await terminal.run("check")
    assert {request.method for request in terminal.stripe.store.requests} == {"GET"}
    assert {entry.method for entry in terminal.telegram.transcript} == {"getMe", "getWebhookInfo"}


async def test_invalid_settings_are_findings_with_exit_code_1(terminal: Terminal) -> None:
    ended = await terminal.run("check", telegram_bot_token=None, stripe_api_key="pk_test_1")
    assert ended.code == 1
    token, key = ended.lines["settings"].splitlines()
    assert token.startswith("FAIL TELEGRAM_BOT_TOKEN is missing. It must be the token from @BotFather")
    assert key.startswith("FAIL STRIPE_API_KEY is a publishable key")
    as_json = json.loads((await terminal.run("check", "--json", stripe_api_key=None)).output)
    assert [(it["name"], it["ok"]) for it in as_json] == [("settings", False)]
    assert as_json[0]["remedy"].startswith("It must be rk_test_…")


async def test_missing_database_is_a_warning(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "kvit.db").unlink()
    assert "`serve` creates it" in await noted(terminal, "database")
    assert list(tmp_path.iterdir()) == []


async def test_unusable_database_is_a_failure(terminal: Terminal, tmp_path: Path) -> None:
    missing = await failing(terminal, "database", database_url=f"sqlite:///{tmp_path}/nowhere/deep/kvit.db")
    assert "Create that folder" in missing
    (tmp_path / "text.db").write_text("this is no database, and it is long enough to look at" * 20)
    strange = await failing(terminal, "database", database_url=f"sqlite:///{tmp_path}/text.db")
    assert "cannot be used" in strange


async def test_unknown_schema_is_a_failure_and_an_empty_database_a_warning(terminal: Terminal, tmp_path: Path) -> None:
    for version in ("0001", "v9999"):
        with closing(sqlite3.connect(tmp_path / "kvit.db", isolation_level=None)) as file:
            file.execute("UPDATE alembic_version SET version_num = ?", [version])
        assert f"version {version}, which this version of Kvit does not know" in await failing(terminal, "schema")
    assert "The database is empty" in await noted(terminal, "schema", database_url=f"sqlite:///{empty(tmp_path)}")


def empty(folder: Path) -> Path:
    (folder / "empty.db").touch()
    return folder / "empty.db"


@pytest.mark.parametrize(
    ("free", "mark"), [(LOW_FREE, "ok"), (LOW_FREE - 1, "note"), (MIN_FREE, "note"), (MIN_FREE - 1, "FAIL")]
)
def test_disk_finding_follows_free_space(free: int, mark: str) -> None:
    assert disk(free).line.startswith(mark)


async def test_disk_finding_is_about_the_databases_disk(terminal: Terminal, tmp_path: Path) -> None:
    line = (await terminal.run("check")).lines["disk"]
    shown = int(line.split()[1])
    assert abs(shown - shutil.disk_usage(tmp_path).free // 2**20) < 2048


async def test_missing_owner_is_a_warning(terminal: Terminal, tmp_path: Path) -> None:
    assert "Put your Telegram id into OWNER_IDS" in await noted(terminal, "owners", owner_ids=None)
    file = sqlite3.connect(tmp_path / "kvit.db")
    file.execute("INSERT INTO owners (user_id, name, since) VALUES (5, 'Olivia', 0)")
    file.commit()
    file.close()
    assert (await terminal.run("check", owner_ids=None)).lines["owners"].startswith("ok   5 (claimed on 1970-01-01).")


async def test_owners_are_listed_and_a_claim_from_before_owner_ids_is_named(terminal: Terminal, tmp_path: Path) -> None:
    assert (await terminal.run("check", owner_ids="7,9")).lines["owners"] == "ok   OWNER_IDS: 7, 9."
    with closing(sqlite3.connect(tmp_path / "kvit.db")) as file, file:
        file.execute("INSERT INTO owners (user_id, name, since) VALUES (5, 'Olivia', 0)")
    said = await noted(terminal, "owners", owner_ids="7,9")
    assert "OWNER_IDS: 7, 9. Not owners while it is set: 5 (claimed on 1970-01-01)." in said
    assert "/revoke ID" in said


@pytest.mark.parametrize("seconds", [90, 45])
async def test_clock_skew_over_a_minute_is_a_failure(terminal: Terminal, seconds: int) -> None:
    terminal.clock.advance(seconds)
    if seconds < 60:
        assert (await terminal.run("check")).code == 0
        return
    line = await failing(terminal, "clock")
    assert "seconds behind Stripe's. Set this machine's clock by NTP." in line
    assert 89 <= int(line.split()[3]) <= 95


async def test_clock_is_checked_with_a_rejected_key(terminal: Terminal) -> None:
    terminal.clock.advance(600)
    ended = await terminal.run("check", stripe_api_key="rk_test_another")
    assert ended.lines["clock"].startswith("FAIL")
    assert ended.lines["stripe key"].startswith("FAIL Stripe rejects the key. Copy STRIPE_API_KEY from")
    assert "stripe rights" not in ended.lines


async def test_unreachable_stripe_is_one_failure(terminal: Terminal) -> None:
    terminal.stripe.state.down = True
    line = await failing(terminal, "stripe key")
    assert "Stripe cannot be reached" in line
    assert "STRIPE_API_BASE" in line


async def test_missing_right_is_named(terminal: Terminal) -> None:
    terminal.stripe.options.missing_permissions = ("payment_intents.read",)
    line = await failing(terminal, "stripe rights")
    assert "The key lacks the right PaymentIntents: Write. Give the key the right PaymentIntents: Write" in line


@pytest.mark.parametrize(
    ("lacking", "right"), [("refunds.read", "Refunds: Write"), ("disputes.read", "Disputes: Read")]
)
async def test_rights_for_refunds_and_disputes_are_checked(terminal: Terminal, lacking: str, right: str) -> None:
    terminal.stripe.options.missing_permissions = (lacking,)
    line = await (failing if right.startswith("Refunds") else noted)(terminal, "stripe rights")
    assert f"Give the key the right {right}" in line


@pytest.mark.parametrize(
    ("lacking", "right"), [("balance_transactions.read", "Balance: Read"), ("payouts.read", "Payouts: Read")]
)
async def test_missing_right_to_read_fees_or_payouts_is_a_warning(terminal: Terminal, lacking: str, right: str) -> None:
    terminal.stripe.options.missing_permissions = (lacking,)
    line = await noted(terminal, "stripe rights")
    assert f"Without the right {right} reports lack fees or payouts. Give the key the right {right}" in line


async def test_all_missing_rights_are_named(terminal: Terminal) -> None:
    terminal.stripe.options.missing_permissions = ("payment_intents.read", "events.read")
    assert "PaymentIntents: Write and Events: Read" in await failing(terminal, "stripe rights")


async def test_optional_rights_are_warnings(terminal: Terminal) -> None:
    terminal.stripe.options.missing_permissions = ("events.read",)
    assert "Give the key the right Events: Read" in await noted(terminal, "stripe rights")
    terminal.stripe.options.missing_permissions = ("webhook_endpoints.read",)
    assert "the right Webhook Endpoints: Read" in await noted(terminal, ENDPOINT)
    terminal.stripe.options.missing_permissions = ("account.read", "payment_method_configurations.read")
    assert "Account: Read and Payment Method Configurations: Read" in await noted(terminal, "mobilepay")


@pytest.mark.parametrize("lacking", ["account.read", "payment_method_configurations.read"])
async def test_mobilepay_is_checked_with_either_right(terminal: Terminal, lacking: str) -> None:
    terminal.stripe.options.missing_permissions = (lacking,)
    assert (await terminal.run("check")).lines["mobilepay"].startswith("ok")
    terminal.stripe.options.mobilepay = "inactive"
    assert "turn MobilePay on" in await failing(terminal, "mobilepay")


async def test_pending_or_disabled_mobilepay_is_a_failure(terminal: Terminal) -> None:
    terminal.stripe.options.mobilepay = "pending"
    assert "Wait for Stripe's email" in await failing(terminal, "mobilepay")
    terminal.stripe.options.mobilepay = "active"
    terminal.stripe.options.mobilepay_enabled = False
    assert "turn MobilePay on" in await failing(terminal, "mobilepay")


async def test_missing_webhook_secret_is_a_failure(terminal: Terminal) -> None:
    line = await failing(terminal, "webhook secret", stripe_webhook_secrets=None)
    assert "STRIPE_WEBHOOK_SECRETS is not set" in line


async def test_missing_public_url_is_a_warning(terminal: Terminal) -> None:
    env = {"public_url": None, "stripe_webhook_secrets": None}
    assert "Set PUBLIC_URL" in await noted(terminal, "public address", **env)
    assert "slower" in await noted(terminal, ENDPOINT, **env)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://localhost:8080", "Telegram rejects buttons that lead to localhost, without a dot. Use a name"),
        ("http://127.0.0.1:8080", "Only this machine can open http://127.0.0.1:8080."),
        (None, "There is none"),
    ],
)
async def test_local_public_url_is_a_warning_in_test_mode_and_a_failure_in_live_mode(
    terminal: Terminal, address: str | None, said: str
) -> None:
    url = f"{address}/stripe/webhook"
    terminal.endpoint(url=url)
    assert said in await noted(terminal, "public address", public_url=address)
    terminal.stripe.state.key = LIVE
    assert said in await failing(terminal, "public address", public_url=address, stripe_api_key=LIVE)


@pytest.mark.parametrize(("port", "mark"), [(":9443", "FAIL"), (":8443", "ok"), ("", "ok")])
def test_public_url_port_must_suit_telegrams_webhook(port: str, mark: str) -> None:
    token, key = "7700000001:" + "x" * 35, "rk_test_1"
    settings = make_settings(telegram_bot_token=token, stripe_api_key=key, public_url=f"https://pay.example.dk{port}")
    assert address(settings).line.startswith(mark)


async def test_live_key_with_open_test_payments_is_a_failure(tmp_path: Path) -> None:
    async with serving(tmp_path) as (terminal, world):
        world.say("/pay 149,50 Coffee")
        await world.message("Waiting for payment")
        terminal.stripe.state.key = LIVE
        ended = await terminal.run("check", stripe_api_key=LIVE)
        terminal.stripe.state.key = terminal.stripe.key
    mode = ended.lines["payments of the other mode"]
    assert mode.startswith("FAIL STRIPE_API_KEY is a live key, and 1 open payments or refunds need a test key.")
    assert "live mode: real money moves" in ended.lines["stripe key"]


async def test_database_of_another_bot_is_a_failure(tmp_path: Path) -> None:
    async with serving(tmp_path) as (terminal, _):
        assert (await terminal.run("check")).lines["the bot"].startswith("ok")
        ended = await terminal.run("check", telegram_bot_token=f"424242:{'x' * 35}")
    assert ended.lines["the bot"].startswith(
        "FAIL TELEGRAM_BOT_TOKEN belongs to the bot 424242, but the database belongs to"
    )
