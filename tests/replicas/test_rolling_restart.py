"""Replicas that are restarted one after another behind deploy/Caddyfile.replicas: no request fails, nothing is lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from bot.sandbox.fake_services import create_webhook_endpoint
from bot.sandbox.fake_stripe.delivery import signature
from tests.deploy.proxies import DEPLOY, changed, program, running
from tests.replicas.test_kills import OWNERS, all_paid
from tests.support.postgres import Server, query_server
from tests.support.process_world import Outside, outside
from tests.support.world import PATIENCE, free_port

pytestmark = pytest.mark.long

CADDY = (DEPLOY / "Caddyfile.replicas").read_text("utf-8")
READERS, SENDERS = 6, 4
PROXY_SECONDS = 5
"""How long the proxy may take to see that a replica is ready, as in docs/operations.md."""


def caddy_command(folder: Path, base: str, ports: list[int]) -> list[str]:
    """Caddy with deploy/Caddyfile.replicas before these ports."""
    command = program("caddy")
    changes = {
        "kvit1:8080 kvit2:8080": " ".join(f"127.0.0.1:{port}" for port in ports),
        "/etc/caddy/kvit": str(DEPLOY),
        "{$KVIT_NAME}": base,
    }
    conf = changed(CADDY, changes)
    conf = conf.replace("{\n", "{\n\tadmin off\n", 1)
    (folder / "Caddyfile").write_text(conf, "utf-8")
    return [command, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


class Load:
    """Customers who look at a page, and Stripe that delivers an event again and again, until `over` is set."""

    def __init__(self, world: Outside, base: str) -> None:
        self._world = world
        self._base = base
        self.over = asyncio.Event()
        self.answers: Counter[str] = Counter()

    async def read_page(self, url: str) -> None:
        """Loads the page, one time after another."""
        while not self.over.is_set():
            async with aiohttp.ClientSession() as http, http.get(url) as answer:
                await self._count(answer)

    async def deliver_event(self) -> None:
        """Posts the newest event with a valid signature, one time after another."""
        while not self.over.is_set():
            body = json.dumps([*self._world.stripe.store.events.values()][-1])
            signed = signature(self._world.stripe.webhook_secret, int(time.time()), body)
            headers = {"Stripe-Signature": signed}
            url = f"{self._base}/stripe/webhook"
            async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers) as answer:
                await self._count(answer)

    async def _count(self, answer: aiohttp.ClientResponse) -> None:
        body = await answer.text()
        text = "" if answer.ok else f": {body[:200]}"
        self.answers[f"{answer.method} {answer.status}{text}"] += 1


async def test_replicas_restarted_one_after_another_under_load_answer_every_request(
    tmp_path: Path, postgres: Server
) -> None:
    url, port, ports = await postgres.create(), free_port(), [free_port(), free_port()]
    base = f"http://127.0.0.1:{port}"
    settings = {"DATABASE_URL": url, "OWNER_IDS": ",".join(map(str, OWNERS)), "PUBLIC_URL": base}
    settings |= {"TELEGRAM_MODE": "polling", "DRAIN_SECONDS": "6"}

    async with outside(tmp_path / "kvit", **settings) as world:

        async def start(own: int) -> asyncio.subprocess.Process:
            world.port = own
            return await world.ready(PORT=str(own))

        replicas = [await start(own) for own in ports]
        async with running(caddy_command(tmp_path, base, ports), tmp_path, port):
            await create_webhook_endpoint(world.stripe, base)
            world.telegram.send(OWNERS[0], OWNERS[0], "/pay 149,50 Coffee")
            await world.message("Waiting for payment", chat=OWNERS[0])
            [payment] = query_server(url, "SELECT page_token FROM payments")
            load = Load(world, base)
            page = f"{base}/p/{payment['page_token']}"
            tasks = [asyncio.create_task(load.read_page(page)) for _ in range(READERS)]
            tasks += [asyncio.create_task(load.deliver_event()) for _ in range(SENDERS)]
            for number, owner in enumerate(OWNERS[1:]):
                world.telegram.send(owner, owner, "/pay 149,50 Coffee")
                which = number % 2
                await world.stopped(replicas[which])
                replicas[which] = await start(ports[which])
                await asyncio.sleep(PROXY_SECONDS)
            await all_paid(world)
            load.over.set()
            await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
            assert load.answers.keys() == {"GET 200", "POST 200"}, load.answers
            assert load.answers.total() > 100
            for replica in replicas:
                await world.stopped(replica)
    assert query_server(url, "SELECT key FROM jobs WHERE state <> 'done'") == []
    assert query_server(url, "SELECT DISTINCT status FROM payments") == [{"status": "succeeded"}]
