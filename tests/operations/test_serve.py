"""`python -m bot serve`: output, exit codes, startup errors, shutdown."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from bot.checks.machine import DATABASE_HINT
from bot.settings import make_settings
from storage.migrations import HEAD
from tests.support.process_world import Outside, outside
from tests.support.world import OWNER

pytestmark = pytest.mark.timeout(300)

OWNERS = [OWNER + number for number in range(8)]
"""Enough chats that no message waits for Telegram's limit of one a second per chat."""

CANARY = "Canary0123456789abcdefghijklmnopqrstuvw"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Outside]:
    async with outside(tmp_path / "kvit", OWNER_IDS=",".join(map(str, OWNERS)), RECONCILE_SECONDS="1") as opened:
        yield opened


async def startup_errors(world: Outside, *command: str, **environment: str) -> list[str]:
    """The lines on stderr of a command that exits with 2 and prints nothing on stdout."""
    logged_before = len(world.log) if (world.folder / "stderr").exists() else 0
    process = await world.begin(*(command or ("bot", "serve")), **environment)
    assert await world.ended(process) == (2, ""), world.log
    return world.log[logged_before:].splitlines()


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
async def test_serve_prints_its_url_logs_to_stderr_and_stops_on_sigterm(
    world: Outside, stop_signal: signal.Signals
) -> None:
    process = await world.ready("bot", "serve", STRIPE_WEBHOOK_SECRETS="")
    async with world.http.get(f"{world.base}/readyz") as answer:
        assert answer.status == 200
    await world.stopped(process, stop_signal)
    lines = [json.loads(line) for line in world.log.splitlines()]
    assert any("STRIPE_WEBHOOK_SECRETS is not set" in line["event"] for line in lines)


async def test_serve_stops_in_time_with_payments_in_flight_and_loses_nothing(
    world: Outside,
) -> None:
    process = await world.ready()
    await world.subscribe("*")
    world.stripe.options.webhook_retries = (0.2,) * 100
    world.stripe.options.latency = 0.5
    await world.ask(OWNERS[:4])
    cards = [await world.message("Waiting for payment", chat=owner) for owner in OWNERS[:4]]
    await world.ask(OWNERS[4:])
    await asyncio.gather(*(world.approve(card) for card in cards))
    began = world.stripe.state.now()
    await world.stopped(process)
    assert (world.stripe.state.now() - began).total_seconds() < 20
    world.stripe.options.latency = 0
    process = await world.ready()
    await world.all_paid(process, OWNERS, waiting=OWNERS[4:])
    assert len(world.sent()) == len(world.sent("TEST")) + len(world.sent("✅ Paid:")) == 2 * len(OWNERS)


@pytest.mark.long
async def test_serve_stops_in_time_while_stripe_does_not_respond_and_repeats_the_request_later(
    world: Outside,
) -> None:
    process = await world.ready()
    await world.fault(world.stripe.base, "POST /v1/payment_intents", "timeout", when="after")
    world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
    await world.until(lambda: world.stripe.store.intents)
    began = world.stripe.state.now()
    await world.stopped(process)
    assert (world.stripe.state.now() - began).total_seconds() < 20
    process = await world.ready()
    await world.message("Waiting for payment")
    assert len(world.stripe.store.intents) == 1
    await world.stopped(process)


async def test_serve_fails_on_a_locked_file_and_on_a_taken_port(world: Outside) -> None:
    await world.ready()
    [line] = await startup_errors(world)
    assert re.search(r"another process serves this database .*kvit\.db\.lock.*: one serve per file\.$", line)
    [line] = await startup_errors(world, DATABASE_URL="sqlite:///other.db")
    where = f"127.0.0.1:{world.port} (the port is in use)"
    hint = "Stop the program that uses it, or set PORT to another one (0: any free port)."
    assert line == f"HOST and PORT: cannot listen on {where}. {hint}"


@pytest.mark.parametrize(
    "other_name",
    [
        "symbolic link",
        pytest.param("hard link", marks=pytest.mark.long),
        pytest.param("kvit.db", marks=pytest.mark.long),
    ],
)
async def test_second_serve_is_refused_by_every_name_of_the_file_and_without_its_lock_file(
    world: Outside, other_name: str
) -> None:
    first = await world.ready()
    database, other = world.folder / "kvit.db", world.folder / "elsewhere" / other_name
    other.parent.mkdir()
    if other_name == "symbolic link":
        other.symlink_to(database)
    elif other_name == "hard link":
        other.hardlink_to(database)
    else:
        other = database
    (world.folder / "kvit.db.lock").unlink()
    [line] = await startup_errors(world, DATABASE_URL=f"sqlite:///{other}", PORT="0")
    assert line.startswith("another process serves this database")
    await world.stopped(first)
    await world.stopped(await world.ready(DATABASE_URL=f"sqlite:///{other}"))


@pytest.mark.long
async def test_serve_exits_with_1_while_the_database_is_locked(
    world: Outside,
) -> None:
    assert (await world.ended(await world.begin("bot", "migrate")))[0] == 0
    with closing(sqlite3.connect(world.folder / "kvit.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await world.ended(await world.begin("bot", "serve")) == (1, "")
    assert world.log == f"DATABASE_URL: the database is out of reach: database is locked. {DATABASE_HINT}\n"
    await world.stopped(await world.ready())


@pytest.mark.long
async def test_serve_exits_with_2_without_the_databases_folder(world: Outside) -> None:
    [line] = await startup_errors(world, DATABASE_URL="sqlite:///nowhere/kvit.db")
    detail = f"nowhere/kvit.db cannot be created: the folder {world.folder.resolve()}/nowhere does not exist."
    assert line == f"DATABASE_URL: {detail} Create that folder for this user, or set DATABASE_URL to another file."


async def test_serve_reports_each_invalid_setting_without_its_value(world: Outside) -> None:
    wrong = {
        "TELEGRAM_BOT_TOKEN": CANARY,
        "STRIPE_API_KEY": f"pk_test_{CANARY}",
        "STRIPE_WEBHOOK_SECRETS": f"whsec_{CANARY},,",
        "DATABASE_URL": f"postgresql+asyncpg://kvit:{CANARY}@db/kvit",
        "PORT": "eighty",
        "METRICS_TOKEN": f"{CANARY} {CANARY}",
    }
    lines = await startup_errors(world, **wrong)
    assert [line.partition(" ")[0] for line in lines] == list(wrong)
    assert CANARY not in world.log


@pytest.mark.long
async def test_serve_reports_each_missing_setting(world: Outside) -> None:
    lines = await startup_errors(world, TELEGRAM_BOT_TOKEN="", STRIPE_API_KEY=" ")
    assert [line[: line.index(". It must be")] for line in lines] == [
        "TELEGRAM_BOT_TOKEN is missing",
        "STRIPE_API_KEY is missing",
    ]


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("DATABASE_URL", "postgresql+asyncpg://kvit@db/kvit", "is not the URL of a PostgreSQL database"),
        ("TELEGRAM_MODE", "webhook", "requires a webhook"),
    ],
)
async def test_serve_rejects_unsupported_settings(world: Outside, name: str, value: str, error: str) -> None:
    [line] = await startup_errors(world, **{name: value})
    assert line.startswith(f"{name} {error}")


@pytest.mark.long
async def test_serve_fails_with_a_webhook_unless_it_takes_over(world: Outside) -> None:
    world.telegram.webhook.url = "https://elsewhere.example/bot"
    [line] = await startup_errors(world)
    assert "--take-over-webhook" in line
    assert world.telegram.webhook.url
    process = await world.ready("bot", "serve", "--take-over-webhook")
    assert not world.telegram.webhook.url
    world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
    await world.message("Waiting for payment")
    await world.stopped(process)


@pytest.mark.long
async def test_serve_becomes_ready_while_telegram_is_down(world: Outside) -> None:
    process = await world.ready()
    await world.subscribe("payment_intent.succeeded")
    world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
    card = await world.message("Waiting for payment")
    await world.drained()
    await world.stopped(process)
    world.telegram.state.down = True
    process = await world.ready()
    await world.approve(card)
    [delivery] = await world.until(lambda: world.stripe.store.deliveries)
    assert delivery.status == 200
    world.telegram.state.down = False
    await world.message("Paid · TEST", which=card["message_id"])
    await world.message("✅ Paid:")
    await world.stopped(process)


@pytest.mark.long
async def test_serve_without_migration_needs_a_migrated_database(world: Outside) -> None:
    [line] = await startup_errors(world, "bot", "serve", "--no-migrate")
    assert line == "DATABASE_URL: There is no kvit.db yet. `serve` creates it, and so does `python -m bot migrate`."
    migrated = await world.ended(await world.begin("bot", "migrate"))
    assert migrated == (0, f"The database has schema version {HEAD}.\n")
    await world.stopped(await world.ready("bot", "serve", "--no-migrate"))


@pytest.mark.long
async def test_every_command_refuses_a_database_of_a_development_version(world: Outside) -> None:
    assert (await world.ended(await world.begin("bot", "migrate")))[0] == 0
    with closing(sqlite3.connect(world.folder / "kvit.db", isolation_level=None)) as file:
        file.execute("UPDATE alembic_version SET version_num = '0001'")
    for command in (["serve"], ["serve", "--no-migrate"], ["reconcile"], ["migrate"]):
        [line] = await startup_errors(world, "bot", *command)
        assert line.startswith("DATABASE_URL: The schema has version 0001, which this version of Kvit does not know: ")
    code, output = await world.ended(await world.begin("bot", "check"))
    assert (code, "FAIL  schema: The schema has version 0001, which" in output) == (1, True), output


@pytest.mark.long
async def test_every_command_refuses_the_database_of_another_program(world: Outside) -> None:
    with closing(sqlite3.connect(world.folder / "kvit.db", isolation_level=None)) as file:
        file.execute("CREATE TABLE notes (text)")
    for command in (["serve"], ["serve", "--no-migrate"], ["reconcile"], ["migrate"]):
        [line] = await startup_errors(world, "bot", *command)
        assert line.startswith("DATABASE_URL: The database has tables that Kvit did not create: ")
    code, output = await world.ended(await world.begin("bot", "check"))
    assert (code, "FAIL  schema: The database has tables that Kvit did not create: " in output) == (1, True), output


@pytest.mark.long
async def test_file_that_is_no_database_is_reported(world: Outside) -> None:
    (world.folder / "kvit.db").write_text("this is no database, and it is long enough to look at" * 20)
    for command in (["serve"], ["serve", "--no-migrate"], ["reconcile"], ["migrate"]):
        logged_before = len(world.log) if (world.folder / "stderr").exists() else 0
        assert await world.ended(await world.begin("bot", *command)) == (1, "")
        assert (
            world.log[logged_before:]
            == f"DATABASE_URL: the database is out of reach: file is not a database. {DATABASE_HINT}\n"
        )


async def test_version_is_that_of_the_project(world: Outside) -> None:
    code, error = await world.ended(await world.begin("bot", "--version"))
    assert code == 0
    assert re.fullmatch(r"kvit \d+\.\d+\.\d+\S*\n", error)


@pytest.mark.long
async def test_serve_rejects_a_live_key_with_open_test_payments(world: Outside) -> None:
    process = await world.ready()
    world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
    card = await world.message("Waiting for payment")
    await world.drained()
    await world.stopped(process)
    [line] = await startup_errors(world, STRIPE_API_KEY=f"sk_live_{CANARY}")
    assert line.startswith("STRIPE_API_KEY is a live key, but this database has 1 open payments or refunds of a")
    process = await world.ready()
    await world.approve(card)
    await world.message("✅ Paid:")
    await world.stopped(process)
    await world.stopped(await world.ready("bot", "serve", STRIPE_API_KEY=f"sk_live_{CANARY}"))
    assert CANARY not in world.log


async def test_serve_rejects_a_live_key_with_a_pending_test_refund(world: Outside) -> None:
    process = await world.ready()
    await world.subscribe("*")
    world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
    await world.approve(await world.message("Waiting for payment"))
    await world.message("✅ Paid:")
    async with world.http.post(f"{world.stripe.base}/_control/refunds/next", json={"status": "pending"}) as answer:
        assert answer.status == 200
    [ref] = (row[0] for row in world.rows("SELECT reference FROM payments"))
    world.telegram.send(OWNER, OWNER, f"/refund {ref}")
    world.tap(await world.message("Refund "), "Refund")
    await world.until(lambda: world.rows("SELECT status FROM refunds") == [("pending",)])
    await world.stopped(process)
    [line] = await startup_errors(world, STRIPE_API_KEY=f"sk_live_{CANARY}")
    assert line.startswith("STRIPE_API_KEY is a live key, but this database has 1 open payments or refunds of a")


@pytest.mark.long
async def test_serve_rejects_another_bot(world: Outside) -> None:
    await world.stopped(await world.ready())
    [line] = await startup_errors(world, TELEGRAM_BOT_TOKEN=f"424242:{CANARY}")
    bot_id = world.telegram.token.partition(":")[0]
    assert line.startswith(
        f"TELEGRAM_BOT_TOKEN belongs to the bot 424242, but this database belongs to the bot {bot_id}, "
    )
    assert CANARY not in world.log
    await world.stopped(await world.ready("bot", "serve", TELEGRAM_BOT_TOKEN=f"{bot_id}:{CANARY}"))


@pytest.mark.long
async def test_serve_writes_no_secret_during_payments_and_faults(world: Outside) -> None:
    process = await world.ready("bot", "serve", LOG_LEVEL="debug", METRICS_TOKEN=CANARY)
    await world.subscribe("*")
    forged = {"Stripe-Signature": f"t=1,v1={CANARY}"}
    async with world.http.post(f"{world.base}/stripe/webhook", data=CANARY, headers=forged) as answer:
        assert answer.status == 400
    await world.fault(world.stripe.base, "POST /v1/payment_intents", "drop", times=3)
    await world.fault(world.stripe.base, "GET /v1/payment_intents/:id", "500")
    await world.fault(world.telegram.base, "sendMessage", "drop")
    await world.fault(world.telegram.base, "getUpdates", "drop")
    world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
    await world.approve(await world.message("Waiting for payment"), "fail")
    card = await world.message("Payment attempt failed")
    world.tap(card, "New link")
    await world.approve(await world.message("Waiting for payment", which=card["message_id"]))
    await world.message("✅ Paid:")
    await world.drained()
    await world.stopped(process)
    assert "Stripe could not be called" in world.log
    assert [name for name, secret in secrets_of(world).items() if secret in world.log] == []


def secrets_of(world: Outside) -> dict[str, str]:
    """Everything that opens something, by its name."""
    token, key = world.telegram.token, world.stripe.key
    [intent] = world.stripe.store.intents.values()
    [(page,)] = world.rows("SELECT page_token FROM payments")
    return {
        "bot token": token.partition(":")[2],
        "Stripe's key": key,
        "webhook secret": world.stripe.webhook_secret,
        "secret of Telegram's webhook": make_settings(
            telegram_bot_token=token, stripe_api_key=key
        ).update_secret.get_secret_value(),
        "token of the metrics, and what strangers sent": CANARY,
        "client secret": intent["client_secret"],
        "token of the page": page,
        **{f"link {number}": nonce for number, nonce in enumerate(world.stripe.store.links)},
    }
