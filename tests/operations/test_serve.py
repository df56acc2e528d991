"""`python -m bot serve` as an operator meets it: what it prints, how it ends, and when it does not even begin."""

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
"""So many chats that none has to wait for Telegram's limit of one message a second."""

CANARY = "Canary0123456789abcdefghijklmnopqrstuvw"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Outside]:
    async with outside(tmp_path / "kvit", OWNER_IDS=",".join(map(str, OWNERS)), RECONCILE_SECONDS="1") as opened:
        yield opened


async def refused(world: Outside, *command: str, **environment: str) -> list[str]:
    """What it says on stderr when it does not begin; nothing is said on stdout, and the exit code is 2."""
    said_before = len(world.log) if (world.folder / "stderr").exists() else 0
    process = await world.begin(*(command or ("bot", "serve")), **environment)
    assert await world.ended(process) == (2, ""), world.log
    return world.log[said_before:].splitlines()


@pytest.mark.parametrize("told", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
async def test_it_says_where_it_is_once_it_is_ready_logs_elsewhere_and_ends_when_told(
    world: Outside, told: signal.Signals
) -> None:
    process = await world.ready("bot", "serve", STRIPE_WEBHOOK_SECRETS="")
    async with world.http.get(f"{world.base}/readyz") as answer:
        assert answer.status == 200
    await world.stopped(process, told)
    lines = [json.loads(line) for line in world.log.splitlines()]
    assert any("STRIPE_WEBHOOK_SECRETS is not set" in line["event"] for line in lines)


async def test_told_to_end_with_payments_in_flight_it_ends_in_time_and_the_next_one_loses_nothing(
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
async def test_it_ends_in_time_though_stripe_does_not_answer_and_the_next_one_asks_for_the_same_again(
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


async def test_a_second_one_on_the_same_file_and_one_on_a_taken_port_are_refused_in_a_sentence(world: Outside) -> None:
    await world.ready()
    [line] = await refused(world)
    assert re.search(r"another process serves this database .*kvit\.db\.lock.*: one serve per file\.$", line)
    [line] = await refused(world, DATABASE_URL="sqlite:///other.db")
    assert re.fullmatch(rf"HOST and PORT: cannot listen on 127\.0\.0\.1:{world.port} \(.*\)\.", line)


@pytest.mark.long
async def test_a_database_that_another_program_holds_locked_ends_it_by_1_so_that_it_is_begun_again(
    world: Outside,
) -> None:
    assert (await world.ended(await world.begin("bot", "migrate")))[0] == 0
    with closing(sqlite3.connect(world.folder / "kvit.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await world.ended(await world.begin("bot", "serve")) == (1, "")
    assert world.log == f"DATABASE_URL: the database is out of reach: database is locked. {DATABASE_HINT}\n"
    await world.stopped(await world.ready())


@pytest.mark.long
async def test_a_folder_that_is_not_there_is_a_wrong_setting(world: Outside) -> None:
    [line] = await refused(world, DATABASE_URL="sqlite:///nowhere/kvit.db")
    assert line.startswith("DATABASE_URL: [Errno 2] No such file or directory")


async def test_wrong_settings_are_refused_with_a_line_for_each_and_without_their_values(world: Outside) -> None:
    wrong = {
        "TELEGRAM_BOT_TOKEN": CANARY,
        "STRIPE_API_KEY": f"pk_test_{CANARY}",
        "STRIPE_WEBHOOK_SECRETS": f"whsec_{CANARY},,",
        "DATABASE_URL": f"postgresql://kvit:{CANARY}@db/kvit",
        "PORT": "eighty",
        "METRICS_TOKEN": f"{CANARY} {CANARY}",
    }
    lines = await refused(world, **wrong)
    assert [line.partition(" ")[0] for line in lines] == list(wrong)
    assert CANARY not in world.log


@pytest.mark.long
async def test_missing_settings_are_named_each_in_a_line(world: Outside) -> None:
    lines = await refused(world, TELEGRAM_BOT_TOKEN="", STRIPE_API_KEY=" ")
    assert [line[: line.index(". It must be")] for line in lines] == [
        "TELEGRAM_BOT_TOKEN is missing",
        "STRIPE_API_KEY is missing",
    ]


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "value"), [("DATABASE_URL", "postgresql://kvit@db/kvit"), ("TELEGRAM_MODE", "webhook")]
)
async def test_what_cannot_work_here_is_refused(world: Outside, name: str, value: str) -> None:
    [line] = await refused(world, **{name: value})
    assert line.startswith(f"{name} asks for ")


@pytest.mark.long
async def test_a_webhook_at_telegram_is_left_alone_unless_it_is_to_be_taken_over(world: Outside) -> None:
    world.telegram.webhook.url = "https://elsewhere.example/bot"
    [line] = await refused(world)
    assert "--take-over-webhook" in line
    assert world.telegram.webhook.url
    process = await world.ready("bot", "serve", "--take-over-webhook")
    assert not world.telegram.webhook.url
    world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
    await world.message("Waiting for payment")
    await world.stopped(process)


@pytest.mark.long
async def test_while_telegram_is_down_it_becomes_ready_and_takes_stripes_events(world: Outside) -> None:
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
async def test_without_migrating_it_refuses_an_empty_file_and_takes_a_migrated_one(world: Outside) -> None:
    [line] = await refused(world, "bot", "serve", "--no-migrate")
    assert line == "DATABASE_URL: There is no kvit.db yet. `serve` creates it, and so does `python -m bot migrate`."
    migrated = await world.ended(await world.begin("bot", "migrate"))
    assert migrated == (0, f"The database has schema version {HEAD}.\n")
    await world.stopped(await world.ready("bot", "serve", "--no-migrate"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("0000", f"version 0000, not {HEAD}. `serve` migrates"),
        ("9999", f"version 9999, newer than {HEAD}. Run the newer"),
    ],
)
async def test_tables_of_another_version_are_told_apart_where_they_are_left_as_they_are(
    world: Outside, version: str, said: str
) -> None:
    assert (await world.ended(await world.begin("bot", "migrate")))[0] == 0
    with closing(sqlite3.connect(world.folder / "kvit.db", isolation_level=None)) as file:
        file.execute("UPDATE alembic_version SET version_num = ?", [version])
    for command in (["serve", "--no-migrate"], ["reconcile"]):
        [line] = await refused(world, "bot", *command)
        assert line.startswith(f"DATABASE_URL: The schema has {said}")


@pytest.mark.long
async def test_a_file_that_is_no_database_is_not_taken_for_an_old_one(world: Outside) -> None:
    (world.folder / "kvit.db").write_text("this is no database, and it is long enough to look at" * 20)
    for command in (["serve"], ["serve", "--no-migrate"], ["reconcile"], ["migrate"]):
        said_before = len(world.log) if (world.folder / "stderr").exists() else 0
        assert await world.ended(await world.begin("bot", *command)) == (1, "")
        assert (
            world.log[said_before:]
            == f"DATABASE_URL: the database is out of reach: file is not a database. {DATABASE_HINT}\n"
        )


async def test_the_version_is_that_of_the_project(world: Outside) -> None:
    code, said = await world.ended(await world.begin("bot", "--version"))
    assert code == 0
    assert re.fullmatch(r"kvit \d+\.\d+\.\d+\S*\n", said)


@pytest.mark.long
async def test_a_live_key_is_refused_while_test_payments_are_open(world: Outside) -> None:
    process = await world.ready()
    world.telegram.send(OWNER, OWNER, "/pay 149,50 Coffee")
    card = await world.message("Waiting for payment")
    await world.drained()
    await world.stopped(process)
    [line] = await refused(world, STRIPE_API_KEY=f"sk_live_{CANARY}")
    assert line.startswith("STRIPE_API_KEY is a live key, but this database has 1 open payments or refunds of a")
    process = await world.ready()
    await world.approve(card)
    await world.message("✅ Paid:")
    await world.stopped(process)
    await world.stopped(await world.ready("bot", "serve", STRIPE_API_KEY=f"sk_live_{CANARY}"))
    assert CANARY not in world.log


async def test_a_live_key_is_refused_while_a_test_refund_is_on_its_way(world: Outside) -> None:
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
    [line] = await refused(world, STRIPE_API_KEY=f"sk_live_{CANARY}")
    assert line.startswith("STRIPE_API_KEY is a live key, but this database has 1 open payments or refunds of a")


@pytest.mark.long
async def test_another_bot_is_refused_for_the_messages_are_not_its_own(world: Outside) -> None:
    await world.stopped(await world.ready())
    [line] = await refused(world, TELEGRAM_BOT_TOKEN=f"424242:{CANARY}")
    bot_id = world.telegram.token.partition(":")[0]
    assert line.startswith(
        f"TELEGRAM_BOT_TOKEN belongs to the bot 424242, but this database belongs to the bot {bot_id}, "
    )
    assert CANARY not in world.log
    await world.stopped(await world.ready("bot", "serve", TELEGRAM_BOT_TOKEN=f"{bot_id}:{CANARY}"))


async def test_a_whole_journey_with_accidents_leaves_no_secret_in_any_output(world: Outside) -> None:
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
