"""Stripe's webhooks stored per second, against a bare handler and against one commit per event, round by round.

python scripts/bench_intake.py [ROUNDS] [REQUESTS]

The servers run in processes of their own and get the same signed events of 4 KB over 64 connections. The bare one reads
the body and answers; Kvit's verifies it, commits it to SQLite (synchronous=FULL) and answers, and the third is Kvit's,
let in one event at a time, so that none shares its commit.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import aiohttp  # noqa: E402
from aiohttp import web  # noqa: E402
from aiohttp.typedefs import Handler, Middleware  # noqa: E402
from bench import Program, now, running, spread  # noqa: E402

from bot.app import Service  # noqa: E402
from bot.clock import SystemClock  # noqa: E402
from bot.settings import make_settings  # noqa: E402

SECRET = "whsec_bench"
TOKEN = "7700000001:AABenchmarkTokenThatOpensNothing_00000"
NOWHERE = "http://127.0.0.1:9"
CONNECTIONS = 64


def main(arguments: list[str]) -> None:
    """Print the ratios of requests per second and of CPU per request."""
    if arguments[:1] == ["serve"]:
        asyncio.run(serve(arguments[1], arguments[2]))
        return
    rounds, requests = (int(arguments[0]) if arguments else 5), (int(arguments[1]) if len(arguments) > 1 else 8000)
    with tempfile.TemporaryDirectory() as folder:
        serving = ["scripts/bench_intake.py", "serve"]
        with (
            running([*serving, "bare", folder]) as bare,
            running([*serving, "kvit", folder]) as kvit,
            running([*serving, "single", folder]) as single,
        ):
            compare(bare, kvit, single, rounds, requests)


def compare(bare: Program, kvit: Program, single: Program, rounds: int, requests: int) -> None:
    """Load one after the other in each round; the first round warms up and does not count."""
    bases = {program: program.line() for program in (bare, kvit, single)}
    speed: dict[Program, list[float]] = {program: [] for program in bases}
    cost: dict[Program, list[float]] = {program: [] for program in bases}
    for number in range(rounds + 1):
        for program, base in bases.items():
            cpu, began = program.cpu, now()
            asyncio.run(load(base, requests, f"{number}"))
            speed[program].append(requests / (now() - began))
            cost[program].append((program.cpu - cpu) / requests * 1e6)
    ratios = [ours / theirs for ours, theirs in zip(speed[kvit][1:], speed[bare][1:], strict=True)]
    gains = [ours / theirs for ours, theirs in zip(speed[kvit][1:], speed[single][1:], strict=True)]
    costs = [theirs / ours for ours, theirs in zip(cost[kvit][1:], cost[bare][1:], strict=True)]
    print(f"bare handler   {spread(speed[bare][1:], '.0f')} req/s   {spread(cost[bare][1:], '.0f')} µs CPU")
    print(f"durable intake {spread(speed[kvit][1:], '.0f')} req/s   {spread(cost[kvit][1:], '.0f')} µs CPU")
    print(f"one commit each {spread(speed[single][1:], '.0f')} req/s   {spread(cost[single][1:], '.0f')} µs CPU")
    print(f"against one commit per event {spread(gains)}")
    print(f"ratio of req/s {spread(ratios)}   ratio of CPU {spread(costs)}   (aim: at least 0.5)")


async def load(base: str, requests: int, name: str) -> None:
    """Send that many events, each of its own, over the connections."""
    waiting = iter(list(events(requests, name)))
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def send() -> None:
            for body, signature in waiting:
                headers = {"Stripe-Signature": signature}
                async with session.post(f"{base}/stripe/webhook", data=body, headers=headers) as answer:
                    if answer.status != 200:
                        raise SystemExit(f"an event was answered with {answer.status}")

        await asyncio.gather(*(send() for _ in range(CONNECTIONS)))


def events(requests: int, name: str) -> Iterator[tuple[bytes, str]]:
    """Signed events of about 4 KB, as Stripe sends them."""
    at = int(time.time())
    for number in range(requests):
        intent = {"id": f"pi_{number % 100}", "object": "payment_intent", "metadata": {"kvit_payment": "p"}}
        whole = {"id": f"evt_{name}_{number}", "object": "event", "type": "payment_intent.succeeded", "livemode": False}
        whole |= {"data": {"object": intent | {"description": "x" * 3600}}}
        body = json.dumps(whole).encode()
        digest = hmac.new(SECRET.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
        yield body, f"t={at},v1={digest}"


async def serve(which: str, folder: str) -> None:
    """One of the servers, until it is terminated."""
    app = bare_app() if which == "bare" else await door(folder, which)
    if which == "single":
        app.middlewares.append(one_at_a_time())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


def bare_app() -> web.Application:
    """The least that can be done with a webhook."""

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    app = web.Application()
    app.router.add_post("/stripe/webhook", take)
    return app


def one_at_a_time() -> Middleware:
    """Lets the next one in when the one before is committed."""
    turn = asyncio.Lock()

    @web.middleware
    async def wait(request: web.Request, handler: Handler) -> web.StreamResponse:
        async with turn:
            return await handler(request)

    return wait


async def door(folder: str, name: str) -> web.Application:
    """Kvit's whole site, built as `serve` does; nobody empties the belt meanwhile, and no vendor is there."""
    settings = make_settings(
        telegram_bot_token=TOKEN,
        stripe_api_key="rk_test_bench",
        stripe_webhook_secrets=SECRET,
        stripe_api_base=NOWHERE,
        telegram_api_base=NOWHERE,
        database_url=f"sqlite:///{folder}/{name}.db",
    )
    service = Service(settings, SystemClock())
    await service._open_database()
    return service._components.web_app


if __name__ == "__main__":
    main(sys.argv[1:])
