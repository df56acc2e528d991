"""CPU of one pay page against a bare aiohttp handler, and the memory of a thousand open pages.

python scripts/bench_page.py [ROUNDS]
"""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import aiohttp  # noqa: E402
from bench import Program, running, spread  # noqa: E402
from bench_start import TOKEN, UNREACHABLE  # noqa: E402

from storage import shops  # noqa: E402
from storage.database.database import Database  # noqa: E402
from storage.job_queue import JobQueue  # noqa: E402
from storage.models.money import Money  # noqa: E402
from storage.models.payment import Attempt, AttemptStatus, ChatTarget, Origin, Payment, PaymentStatus  # noqa: E402
from storage.models.shop import Shop  # noqa: E402
from storage.payments import PaymentRepository, new_page_token  # noqa: E402

OPEN_PAGES = 1000
PAGES_PER_ROUND = 500
"""Pages fetched one after the other in a round, none twice."""

PUBLIC_URL = "https://pay.example.dk"
PHONE = {"User-Agent": "Mobile", "Accept": "text/html", "Accept-Language": "da-DK,da;q=0.9,en;q=0.8"}
DESKTOP = PHONE | {"User-Agent": "Desktop"}
BARE_SERVER = """
import sys
from aiohttp import web
async def page(request):
    return web.Response(text="<!doctype html>" + "x" * 9000, content_type="text/html")
app = web.Application()
app.add_routes([web.get("/p/{token}", page)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=lambda *_: print("ready", flush=True))
"""


async def create_payments(url: str) -> list[str]:
    """Creates a shop with a thousand open payments without a scheduled check; returns their page tokens."""
    db = Database(url)
    await db.migrate()
    now = datetime.now(UTC)
    shop = Shop(0, "Annas Kaffebar", "DKK", "da", "Europe/Copenhagen")
    shop = await db.write(shops.create_shop, shop, now=now)
    payments = PaymentRepository(db, JobQueue(db, "outbox"), lambda before, after: (), lambda payment, at: None)
    tokens = []
    for number in range(OPEN_PAGES):
        payment = _request(shop, number, now)
        await db.write(payments.create, payment, params=lambda _: "{}")
        await db.write(payments.update, payment.id, _expire_attempt, now=now, actor="bench", action="expired")
        tokens.append(payment.page_token)
    await db.close()
    return tokens


def _expire_attempt(payment: Payment) -> Payment:
    expired = replace(payment.attempt, status=AttemptStatus.EXPIRED)
    return replace(payment, status=PaymentStatus.OPEN, attempt=expired)


def _request(shop: Shop, number: int, now: datetime) -> Payment:
    return Payment(
        id=f"pay_{number}",
        shop_id=shop.id,
        reference="",
        page_token=new_page_token(),
        chat=ChatTarget(7),
        request_key=f"bench:{number}",
        created_by=7,
        amount=Money(149_50, "DKK"),
        description="To kaffe og en kanelsnurre",
        status=PaymentStatus.CREATED,
        attempt=Attempt(1, AttemptStatus.REQUESTED, Origin.CHAT, requested_at=now),
        created_at=now,
        expires_at=now + timedelta(days=20),
    )


async def milliseconds(program: Program, urls: list[str], headers: dict[str, str]) -> float:
    """CPU of the program for one of these pages."""
    async with aiohttp.ClientSession(headers=headers) as http:
        before = program.cpu
        for url in urls:
            async with http.get(url) as response:
                await response.read()
                assert response.status == 200, response.status
        return (program.cpu - before) * 1000 / len(urls)


async def open_pages(service: Program, base: str, tokens: list[str]) -> tuple[float, float]:
    """The memory of a thousand open pages in MB, and the CPU of an idle second."""
    before = service.megabytes
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        streams = []
        for number, token in enumerate(tokens):
            headers = {"Accept": "text/event-stream", "X-Forwarded-For": f"192.0.2.{number % 250}"}
            stream = await http.get(f"{base}/p/{token}/state", headers=headers)
            assert stream.status == 200, stream.status
            await stream.content.readline()
            streams.append(stream)
        await asyncio.sleep(2)
        cpu_before, megabytes = service.cpu, service.megabytes - before
        await asyncio.sleep(20)
        idle = (service.cpu - cpu_before) / 20
        for stream in streams:
            stream.close()
    return megabytes, idle


def settings(url: str, port: int) -> dict[str, str]:
    return {
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "STRIPE_API_KEY": "rk_test_bench",
        "STRIPE_API_BASE": UNREACHABLE,
        "TELEGRAM_API_BASE": UNREACHABLE,
        "TELEGRAM_MODE": "polling",
        "PUBLIC_URL": PUBLIC_URL,
        "DATABASE_URL": url,
        "PORT": str(port),
        "LOG_LEVEL": "error",
    }


def main(rounds: int) -> None:
    """Runs both programs and measures them in turn."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    with tempfile.TemporaryDirectory() as folder:
        url, bare_port = f"sqlite:///{Path(folder, 'bench.db')}", 28471
        tokens = asyncio.run(create_payments(url))
        with (
            running(["-c", BARE_SERVER, str(bare_port)]) as bare,
            running(["-m", "bot", "serve"], **settings(url, bare_port + 1)) as service,
        ):
            bare.line()
            base = service.line().rpartition(" ")[2]
            _report(bare, f"http://127.0.0.1:{bare_port}", service, base, tokens, rounds)


def _report(bare: Program, bare_base: str, service: Program, base: str, tokens: list[str], rounds: int) -> None:
    costs: dict[str, list[float]] = {"bare": [], "phone": [], "desktop": []}
    for number in range(rounds + 1):
        batch = tokens[:PAGES_PER_ROUND] if number % 2 else tokens[PAGES_PER_ROUND:]
        costs["bare"].append(asyncio.run(milliseconds(bare, [f"{bare_base}/p/{token}" for token in batch], PHONE)))
        pages = [f"{base}/p/{token}" for token in batch]
        costs["phone"].append(asyncio.run(milliseconds(service, pages, PHONE)))
        costs["desktop"].append(asyncio.run(milliseconds(service, pages, DESKTOP)))
    for name, costs_of_name in costs.items():
        print(
            f"CPU of one page, {name}: {spread(costs_of_name[1:])} ms"
            + ("" if name == "bare" else " (target: at most 2)")
        )
    megabytes, idle = asyncio.run(open_pages(service, base, tokens))
    print(
        f"a thousand open pages: {megabytes:.0f} MB more (target: at most 60), {idle * 100:.1f} % of a core when idle"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
