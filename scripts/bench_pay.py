"""CPU of one `/pay`, from the raw update to the card, and how soon a card follows an approval.

python scripts/bench_pay.py [PAYMENTS]

The pretend Stripe and Telegram run here, Kvit in a process of its own that is measured from outside. First all
requests are made at once, for their CPU; then payments are approved one by one, for the time from the approval to the
edited card, in which the pretend vendors' own time is contained.
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

FIRST_PERSON = 90_000_000
CHATS = 100
PER_SECOND = 10
IDLE = 0.05
"""Seconds of CPU in a second: below that the service has nothing left to do."""

REF = re.compile(r"#([A-Z0-9]{4,8})\b")


async def main(payments: int) -> None:
    """Print CPU per payment and the delays."""
    clock = FakeClock()
    stripe, telegram = FakeStripe(clock), FakeTelegram(clock, flood_control=False)
    owners = ",".join(str(FIRST_PERSON + number) for number in range(CHATS))
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        server.close()
        await stripe.start()
        await telegram.start()
        settings = environment(stripe, telegram) | {
            "OWNER_IDS": owners,
            "DATABASE_URL": f"sqlite:///{folder}/bench.db",
            "PORT": str(port),
            "LOG_LEVEL": "error",
        }
        with running(["scripts/bench_service.py"], **settings) as kvit:
            base = await asyncio.to_thread(kvit.line)
            await create_webhook_endpoint(stripe, base)
            await ask(telegram, 20)
            idle = kvit.megabytes
            cost = await asking(kvit, telegram, payments)
            await quiet(kvit)
            delays = await approving(stripe, telegram, payments)
    print(f"CPU of one /pay: {cost * 1000:.1f} ms (aim: at most 15)")
    shown = [f"{name} {percentile(delays, share) * 1000:.0f} ms" for name, share in (("p50", 0.5), ("p99", 0.99))]
    print(
        f"approval to edited card at {PER_SECOND}/s over {CHATS} chats: {', '.join(shown)} (aim for p99: at most 100)"
    )
    print(f"memory of the service: {idle:.0f} MB (aim: at most 130)")
    await telegram.stop()
    await stripe.stop()


async def ask(telegram: FakeTelegram, payments: int) -> None:
    """Have that many requests made, each in one of the chats, and wait for their cards."""
    before = sent(telegram)
    for number in range(payments):
        person = FIRST_PERSON + number % CHATS
        telegram.send(person, person, "/pay 125 DKK Coffee")
    await telegram.wait_until(lambda t: sent(t) >= before + payments, timeout=600)


async def asking(kvit: Program, telegram: FakeTelegram, payments: int) -> float:
    """Seconds of CPU for one request."""
    before = kvit.cpu
    await ask(telegram, payments)
    return (kvit.cpu - before) / payments


async def quiet(kvit: Program) -> None:
    """Wait until nothing of what was measured before is under way any more."""
    before = -1.0
    while kvit.cpu - before > IDLE:
        before = kvit.cpu
        await asyncio.sleep(1)


async def approving(stripe: FakeStripe, telegram: FakeTelegram, payments: int) -> list[float]:
    """Seconds from each approval to the edit of its card, at a steady rate."""
    began: dict[str, float] = {}
    delays: list[float] = []
    intents = list(stripe.store.intents.values())[-payments:]
    links = {intent["metadata"]["kvit_ref"]: intent["id"] for intent in intents}

    async def watch() -> None:
        seen = len(telegram.transcript)
        async for _ in telegram.subscribe():
            for entry in itertools.islice(telegram.transcript, seen, None):
                seen += 1
                if entry.method == "editMessageText" and "Paid" in entry.params["text"]:
                    ref = REF.search(entry.params["text"])
                    if ref and ref[1] in began:
                        delays.append(now() - began.pop(ref[1]))
            if len(delays) == len(links):
                return

    watching = asyncio.create_task(watch())
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        for ref, intent in links.items():
            began[ref] = now()
            await (await http.post(f"{stripe.base}/_control/intents/{intent}/approve", json={})).read()
            await asyncio.sleep(1 / PER_SECOND)
        async with asyncio.timeout(60):
            await watching
    return delays


def sent(telegram: FakeTelegram) -> int:
    return sum(entry.method == "sendMessage" for entry in telegram.transcript)


if __name__ == "__main__":
    os.chdir(ROOT)
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
