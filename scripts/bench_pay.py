"""CPU of one `/pay`, from the raw update to the payment message, and the time from an approval to its edit.

python scripts/bench_pay.py [PAYMENTS]

The fake Stripe and Telegram run in this process, Kvit in another one that is measured from outside. First all payments
are requested at once, for their CPU. Then they are approved one by one, for the time from the approval to the edited
payment message, which includes the time of the fake vendors.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import socket
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import aiohttp  # noqa: E402
from bench import Program, now, percentile, running  # noqa: E402

from bot.sandbox.fake_services import create_webhook_endpoint, environment  # noqa: E402
from bot.sandbox.fake_stripe import FakeStripe  # noqa: E402
from bot.sandbox.fake_telegram import FakeTelegram  # noqa: E402
from bot.sandbox.shared.fake_clock import FakeClock  # noqa: E402

FIRST_OWNER = 90_000_000
CHATS = 100
PER_SECOND = 10
IDLE = 0.05
"""Seconds of CPU per second, below which the service counts as idle."""

REFERENCE = re.compile(r"#([A-Z0-9]{4,8})\b")


async def main(payments: int) -> None:
    """Prints CPU per payment and the delays."""
    clock = FakeClock()
    stripe, telegram = FakeStripe(clock), FakeTelegram(clock, flood_control=False)
    owners = ",".join(str(FIRST_OWNER + number) for number in range(CHATS))
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as reservation:
        port = reservation.getsockname()[1]
        reservation.close()
        await stripe.start()
        await telegram.start()
        settings = environment(stripe, telegram) | {
            "OWNER_IDS": owners,
            "DATABASE_URL": f"sqlite:///{folder}/bench.db",
            "PORT": str(port),
            "LOG_LEVEL": "error",
        }
        with running(["scripts/bench_service.py"], **settings) as service:
            base = await asyncio.to_thread(service.line)
            await create_webhook_endpoint(stripe, base)
            await request_payments(telegram, 20)
            memory = service.megabytes
            cpu = await cpu_per_payment(service, telegram, payments)
            await wait_until_idle(service)
            delays = await measure_approvals(stripe, telegram, payments)
    print(f"CPU of one /pay: {cpu * 1000:.1f} ms (target: at most 15)")
    percentiles = [
        f"{name} {percentile(delays, fraction) * 1000:.0f} ms" for name, fraction in (("p50", 0.5), ("p99", 0.99))
    ]
    load = f"at {PER_SECOND}/s over {CHATS} chats"
    print(f"approval to edited payment message {load}: {', '.join(percentiles)} (target for p99: at most 100)")
    print(f"memory of the service: {memory:.0f} MB (target: at most 130)")
    await telegram.stop()
    await stripe.stop()


async def request_payments(telegram: FakeTelegram, payments: int) -> None:
    """Requests so many payments, spread over the chats, and waits for their messages."""
    before = count_sent(telegram)
    for number in range(payments):
        owner = FIRST_OWNER + number % CHATS
        telegram.send(owner, owner, f"/pay 125 DKK Coffee {before + number}")
    await telegram.wait_until(lambda t: count_sent(t) >= before + payments, timeout=600)


async def cpu_per_payment(service: Program, telegram: FakeTelegram, payments: int) -> float:
    """Seconds of CPU for one request."""
    before = service.cpu
    await request_payments(telegram, payments)
    return (service.cpu - before) / payments


async def wait_until_idle(service: Program) -> None:
    """Returns once the service is idle."""
    before = -1.0
    while service.cpu - before > IDLE:
        before = service.cpu
        await asyncio.sleep(1)


async def measure_approvals(stripe: FakeStripe, telegram: FakeTelegram, payments: int) -> list[float]:
    """Seconds from each approval to the edit of its payment message, at a steady rate."""
    approved_at: dict[str, float] = {}
    delays: list[float] = []
    intents = list(stripe.store.intents.values())[-payments:]
    links = {intent["metadata"]["kvit_ref"]: intent["id"] for intent in intents}

    async def watch() -> None:
        count = len(telegram.transcript)
        async for _ in telegram.subscribe():
            for entry in itertools.islice(telegram.transcript, count, None):
                count += 1
                if entry.method == "editMessageText" and "Paid" in entry.params["text"]:
                    reference = REFERENCE.search(entry.params["text"])
                    if reference and reference[1] in approved_at:
                        delays.append(now() - approved_at.pop(reference[1]))
            if len(delays) == len(links):
                return

    watcher = asyncio.create_task(watch())
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        for reference, intent in links.items():
            approved_at[reference] = now()
            await (await http.post(f"{stripe.base}/_control/intents/{intent}/approve", json={})).read()
            await asyncio.sleep(1 / PER_SECOND)
        async with asyncio.timeout(60):
            await watcher
    return delays


def count_sent(telegram: FakeTelegram) -> int:
    return sum(entry.method == "sendMessage" for entry in telegram.transcript)


if __name__ == "__main__":
    os.chdir(ROOT)
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
