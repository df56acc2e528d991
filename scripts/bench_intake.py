"""Stripe's webhooks per second into the real service, against a bare handler, round by round, driven by wrk.

python scripts/bench_intake.py [ROUNDS] [SECONDS]      needs wrk (Debian: apt-get install wrk)

Each server runs in a process of its own and gets signed events of 3.7 KB, each with an id of its own, over 64
connections. The bare one reads the body and answers. The service is started as `serve` starts it, without its log:
once with workers that are held (each waits for ever for Stripe, so that intake alone is measured) and once with workers
that run (the events are about intents that the database does not know).
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from aiohttp import web  # noqa: E402
from bench import running, spread  # noqa: E402

from bot import logging_setup  # noqa: E402
from bot.app import AdapterOverrides, Service  # noqa: E402
from bot.clock import SystemClock  # noqa: E402
from bot.settings import make_settings  # noqa: E402
from handlers.runtime.worker import CONCURRENCY  # noqa: E402
from handlers.stripe.gateway import PaymentGateway  # noqa: E402
from handlers.telegram.messenger import Messenger  # noqa: E402
from storage import shops  # noqa: E402
from storage.database.database import Database  # noqa: E402
from storage.job_queue import JobQueue  # noqa: E402
from storage.models.money import Money  # noqa: E402
from storage.models.payment import (  # noqa: E402
    Attempt,
    AttemptStatus,
    ChatTarget,
    Origin,
    Payment,
    PaymentStatus,
)
from storage.models.shop import Shop  # noqa: E402
from storage.payments import PaymentRepository, new_page_token  # noqa: E402

SECRET = "whsec_bench"
TOKEN = "7700000001:AABenchmarkTokenThatOpensNothing_00000"
NOWHERE = "http://127.0.0.1:9"
CONNECTIONS = 64
WARM_UP, EVENTS = 4_000, 30_000
"""Events that wrk has at hand for a load; once they are used up it sends them again."""

KINDS = ("bare", "held", "running")
LUA = """
local events, at = {}, 0
function init()
  for line in io.lines(os.getenv("BENCH_EVENTS")) do
    local signature, body = line:match("^(%S+) (.*)$")
    events[#events + 1] = wrk.format("POST", "/stripe/webhook", {["Stripe-Signature"] = signature}, body)
  end
end
function request() at = at % #events + 1; return events[at] end
"""


def main(arguments: list[str]) -> None:
    """Print requests per second, CPU per request and their ratios, each as median [min..max]."""
    if arguments[:1] == ["serve"]:
        asyncio.run(serve(arguments[1], Path(arguments[2])))
        return
    if shutil.which("wrk") is None:
        raise SystemExit("There is no wrk here: apt-get install wrk.")
    rounds, seconds = (int(arguments[0]) if arguments else 5), (int(arguments[1]) if len(arguments) > 1 else 4)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "load.lua").write_text(LUA)
        speed: dict[str, list[float]] = {kind: [] for kind in KINDS}
        cost: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for number in range(rounds):
            for kind in KINDS:
                measure(kind, folder, f"{number}", seconds, speed[kind], cost[kind])
        for kind in KINDS:
            print(f"{kind:8} {spread(speed[kind], '.0f')} req/s   {spread(cost[kind], '.0f')} µs CPU a request")
        for kind in KINDS[1:]:
            per_second = [ours / bare for ours, bare in zip(speed[kind], speed["bare"], strict=True)]
            cpu = [bare / ours for ours, bare in zip(cost[kind], cost["bare"], strict=True)]
            print(f"{kind:8} against bare: {spread(per_second)} of its requests per second, {spread(cpu)} by CPU")


def measure(kind: str, folder: Path, name: str, seconds: int, speed: list[float], cost: list[float]) -> None:
    """One server, one second of warm-up, then the measured load."""
    write_events(folder / "warm-up", f"{name}_warm_up", WARM_UP)
    write_events(folder / "events", name, EVENTS)
    with running(["scripts/bench_intake.py", "serve", kind, str(folder)]) as program:
        base = program.line()
        load(base, folder, "warm-up", 1)
        cpu = program.cpu
        requests, took = load(base, folder, "events", seconds)
        speed.append(requests / took)
        cost.append((program.cpu - cpu) / requests * 1e6)


def load(base: str, folder: Path, events: str, seconds: int) -> tuple[int, float]:
    """Have wrk send events for so long; the number of requests and the seconds they took."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(folder / "load.lua"), base]
    environment = {**os.environ, "BENCH_EVENTS": str(folder / events)}
    printed = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ).stdout
    found = re.search(r"(\d+) requests in ([\d.]+)s", printed)
    if found is None or "Non-2xx" in printed:
        raise SystemExit(f"wrk says:\n{printed}")
    return int(found[1]), float(found[2])


def write_events(file: Path, name: str, number: int) -> None:
    """Signed events as Stripe sends them, of some 3.7 KB, a line each: the signature and the body."""
    at = int(time.time())
    with file.open("w") as lines:
        for count in range(number):
            body = json.dumps(event(f"evt_{name}_{count}", f"pi_{count % 5000}", at))
            digest = hmac.new(SECRET.encode(), f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
            lines.write(f"t={at},v1={digest} {body}\n")


def event(event_id: str, intent_id: str, at: int) -> dict[str, Any]:
    """A `payment_intent.processing` with the fields that Stripe's API documents for MobilePay."""
    options = {"mobilepay": {"capture_method": None, "setup_future_usage": None}}
    intent: dict[str, Any] = {
        "id": intent_id,
        "object": "payment_intent",
        "amount": 14950,
        "amount_capturable": 0,
        "amount_details": {"tip": {}, "line_items": None},
        "amount_received": 14950,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{intent_id}_secret_0123456789abcdefghijklmno",
        "confirmation_method": "automatic",
        "created": at - 60,
        "currency": "dkk",
        "customer": None,
        "description": "Coffee for two and a cinnamon roll",
        "last_payment_error": None,
        "latest_charge": f"py_{intent_id}",
        "livemode": False,
        "metadata": {"kvit_payment": "pay_0123456789abcdef", "kvit_ref": "K7F3"},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": f"pm_{intent_id}",
        "payment_method_configuration_details": None,
        "payment_method_options": options,
        "payment_method_types": ["mobilepay"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "processing",
        "transfer_data": None,
        "transfer_group": None,
    }
    return {
        "id": event_id,
        "object": "event",
        "api_version": "2026-06-24.dahlia",
        "created": at,
        "data": {"object": intent, "previous_attributes": {"status": "processing", "next_action": "x" * 1900}},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": "payment_intent.processing",
    }


async def serve(kind: str, folder: Path) -> None:
    """One of the servers, until it is terminated; the first line says where it is."""
    if kind == "bare":
        runner = web.AppRunner(bare_app(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    else:
        service = await started(kind, folder)
        print(service.base, flush=True)
    await asyncio.Event().wait()


def bare_app() -> web.Application:
    """The least that can be done with a webhook."""

    async def receive(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    app = web.Application()
    app.router.add_post("/stripe/webhook", receive)
    return app


async def started(kind: str, folder: Path) -> Service:
    """The service on an empty database; its log goes to nowhere, for a terminal would be measured too."""
    logging_setup.configure(level="CRITICAL")
    database = Path(tempfile.mkdtemp(dir=folder)) / "kvit.db"
    settings = make_settings(
        telegram_bot_token=TOKEN,
        stripe_api_key="rk_test_bench",
        stripe_webhook_secrets=SECRET,
        stripe_api_base=NOWHERE,
        telegram_api_base=NOWHERE,
        database_url=f"sqlite:///{database}",
        owner_ids="70010001",
        port=0,
    )
    overrides = AdapterOverrides(
        gateway=lambda inner: cast("PaymentGateway", SilentStripe(inner)),
        messenger=lambda inner: cast("Messenger", SilentTelegram(inner)),
    )
    service = Service(settings, SystemClock(), overrides=overrides)
    db = Database(settings.database_url)
    await db.migrate()
    if kind == "held":
        await add_payments(db)
    await db.close()
    await service.start()
    gc.collect()
    gc.freeze()  # as `serve` does
    return service


async def add_payments(db: Database) -> None:
    """The payments of the first intents: one event about each keeps a worker waiting for Stripe."""
    now = datetime.now(UTC)
    shop = await db.write(shops.create_shop, Shop(0, "Bench", "DKK", "en", "Europe/Copenhagen"), now=now)
    payments = PaymentRepository(db, JobQueue(db, "outbox"), lambda before, after: (), lambda payment, at: None)
    for number in range(CONCURRENCY):
        payment = Payment(
            id=f"pay_{number}",
            shop_id=shop.id,
            reference="",
            page_token=new_page_token(),
            chat=ChatTarget(1),
            request_key=f"bench:{number}",
            created_by=1,
            amount=Money(14950, "DKK"),
            description="",
            status=PaymentStatus.OPEN,
            attempt=Attempt(1, AttemptStatus.ACTIVE, Origin.CHAT, now, now, now + timedelta(minutes=5)),
            created_at=now,
            expires_at=now + timedelta(days=1),
            intent_id=f"pi_{number}",
        )
        await db.write(payments.create, payment, params=lambda _: "{}")


class SilentStripe:
    """Never answers."""

    def __init__(self, inner: PaymentGateway) -> None:
        self.livemode = inner.livemode

    async def list_events(self, *_arguments: object) -> AsyncGenerator[Any, None]:
        """No page ever comes."""
        await asyncio.Event().wait()
        yield

    def __getattr__(self, name: str) -> Any:
        async def call(*_arguments: object, **_named: object) -> Any:
            await asyncio.Event().wait()

        return call


class SilentTelegram:
    """Takes every message and says nothing."""

    def __init__(self, inner: Messenger) -> None:
        self.username, self.bot_id = inner.username or "bench_bot", 7700000001

    def __getattr__(self, name: str) -> Any:
        async def call(*_arguments: object, **_named: object) -> int:
            return 1

        return call


if __name__ == "__main__":
    main(sys.argv[1:])
