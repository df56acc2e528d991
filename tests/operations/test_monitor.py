"""What goes wrong as a whole is told to the owner once, is told to be over once, and a restart repeats neither."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from bot.sandbox.shared.fake_clock import FakeClock
from storage import installation, shops
from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.models.job import NewJob
from storage.models.shop import Role, Shop
from tests.support.evidence import alerts, event, idle, pass_time, post_event, rows, webhooks, work_done
from tests.support.world import OWNER, Json, World, free_port, opened

SILENT = "⚠️ Stripe's webhooks are not arriving."
BACK = "ℹ️ Stripe's webhooks are arriving again."
REFUSED = "⚠️ Stripe does not accept Kvit's key"
ACCEPTED = "ℹ️ Stripe accepts Kvit's key again"
STANDS = "⚠️ Kvit is stuck on this: Stripe events. The oldest item has waited for 17 minutes."
DEAF = "⚠️ Messages to the bot are not reaching Kvit"
HEARS = "ℹ️ Messages to the bot reach Kvit again."
MOVES = "ℹ️ Kvit is no longer stuck on this: Stripe events."


async def sell(world: World) -> None:
    """One sale that Kvit learns of in whatever way it can."""
    before = len(world.sent("✅ Paid:"))
    world.say("/pay 149,50 Coffee")
    await world.until(lambda: len(world.stripe.store.intents) > before)
    await idle(world)
    await world.decide("approve")
    await pass_time(world, 61)
    await world.until(lambda: len(world.sent("✅ Paid:")) > before)


async def hour(world: World) -> None:
    for _ in range(61):
        await pass_time(world, 60)


async def told(world: World, *beginnings: str) -> None:
    """The owner was told this, in this order, and nothing else."""
    await world.until(lambda: len(alerts(world)) >= len(beginnings))
    await idle(world)
    said = alerts(world)
    assert [line[: len(begin)] for line, begin in zip(said, beginnings, strict=True)] == list(beginnings)


async def again(world: World) -> None:
    await world.stop()
    await world.begin()
    await idle(world)


@pytest.mark.long
async def test_webhooks_that_stop_are_told_once_and_so_is_their_return(world: World) -> None:
    await sell(world)
    await webhooks(world, "lose")
    for _ in range(3):
        await sell(world)
    assert alerts(world) == []  # an hour without one is not over
    await hour(world)
    await told(world, SILENT)
    await hour(world)
    await again(world)
    await pass_time(world, 61)
    await told(world, SILENT)
    assert await post_event(world, event(world, "payment_intent.succeeded")) == 200
    await pass_time(world, 61)
    await told(world, SILENT, BACK)
    await again(world)
    await pass_time(world, 61)
    await told(world, SILENT, BACK)


@pytest.mark.long
async def test_a_quiet_shop_hears_of_no_webhook_for_hours_and_nothing_is_wrong(world: World) -> None:
    await sell(world)
    await hour(world)
    await hour(world)
    assert alerts(world) == []


async def test_one_webhook_among_those_that_were_lost_shows_that_they_arrive(world: World) -> None:
    await webhooks(world, "lose")
    for _ in range(4):
        await sell(world)
    for _ in range(4):
        await pass_time(world, 30 * 60)
        assert await post_event(world, event(world, "payment_intent.succeeded")) == 200
    assert alerts(world) == []


def thin(world: World) -> Json:
    """An event as an endpoint of payload style "thin" gets it."""
    intent = world.intent()["id"]
    related = {"id": intent, "type": "payment_intent", "url": f"/v1/payment_intents/{intent}"}
    return {
        "id": "evt_thin",
        "object": "v2.core.event",
        "type": "v1.payment_intent.succeeded",
        "livemode": False,
        "created": "2026-11-24T12:00:00.000Z",
        "related_object": related,
    }


def about(world: World, **subject: object) -> Json:
    """An event of another program that uses the same Stripe account."""
    return event(world, "payment_intent.succeeded") | {"id": "evt_about", "data": {"object": subject}}


def other_events(world: World) -> list[Json]:
    """Events that show nothing about the endpoint of this installation."""
    foreign, unknown = {"id": "pi_foreign", "object": "payment_intent"}, {"kvit_payment": "of-another-installation"}
    return [
        thin(world),
        event(world, "payment_intent.succeeded") | {"livemode": True},
        about(world, **foreign, metadata={}),
        about(world, **foreign, metadata=unknown) | {"type": "payment_intent.processing"},
        about(world, id="ch_foreign", object="charge", payment_intent="pi_foreign", metadata={}),
        about(world, id="dp_foreign", object="dispute", payment_intent="pi_foreign", metadata={}),
        {"id": "evt_v2", "object": "v2.core.event", "type": "v2.core.account.updated", "livemode": False, "data": {}},
    ]


@pytest.mark.parametrize("kind", range(7), ids=["thin", "mode", "intent", "installation", "charge", "dispute", "v2"])
async def test_webhooks_about_other_things_do_not_hide_that_ours_are_missing(world: World, kind: int) -> None:
    await webhooks(world, "lose")
    for _ in range(3):
        await sell(world)
    other = other_events(world)[kind]
    for number in range(4):
        await pass_time(world, 20 * 60)
        assert await post_event(world, other | {"id": f"evt_{number}"}) == 200
        await idle(world)
    await pass_time(world, 61)
    await told(world, SILENT)
    assert await post_event(world, other | {"id": "evt_last"}) == 200
    await pass_time(world, 61)
    await told(world, SILENT)


async def test_thin_event_is_logged_once_with_the_payload_style_to_set(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await sell(world)
    for number in range(3):
        assert await post_event(world, thin(world) | {"id": f"evt_{number}"}) == 200
    [line] = [record for record in caplog.records if "thin" in record.getMessage()]
    assert line.levelname == "WARNING"
    assert 'payload style of the webhook endpoint has to be "snapshot"' in line.getMessage()
    assert rows(world, "SELECT key FROM jobs WHERE key LIKE 'evt___'") == []


@pytest.mark.long
async def test_who_expects_no_webhooks_is_not_told_that_none_come(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path, webhooks=False) as world:
        for _ in range(4):
            await sell(world)
        await hour(world)
        assert alerts(world) == []


async def key_is(world: World, accepted: bool) -> None:
    ours = world.settings.stripe_api_key.get_secret_value()
    world.stripe.state.key = ours if accepted else "sk_test_ofSomebodyElse0000000000"


async def test_a_refused_key_is_told_once_however_many_days_and_once_that_it_is_over(world: World) -> None:
    await key_is(world, accepted=False)
    world.say("/pay 149,50 Coffee")
    await world.message("#")
    await pass_time(world, 120)
    await told(world, REFUSED)
    for _ in range(20):
        await pass_time(world, 1800)
    await again(world)
    await pass_time(world, 1800)
    await told(world, REFUSED)
    await key_is(world, accepted=True)
    for _ in range(4):
        await pass_time(world, 300)
    await told(world, REFUSED, ACCEPTED)
    await again(world)
    await pass_time(world, 120)
    await told(world, REFUSED, ACCEPTED)


async def looks(world: World, number: int) -> None:
    """Lets minutes pass, with one check of the monitor in each."""
    for _ in range(number):
        await pass_time(world, 61)


async def bot_api(world: World, method: str, **params: object) -> None:
    """Somebody else who has the bot's token calls Telegram."""
    token = world.settings.telegram_bot_token.get_secret_value()
    async with world.http.post(f"{world.telegram.base}/bot{token}/{method}", json=params) as answer:
        assert answer.status == 200, await answer.text()


async def test_a_webhook_of_somebody_else_is_told_once_and_once_that_it_is_gone(world: World) -> None:
    await pass_time(world, 61)
    await bot_api(world, "setWebhook", url="http://127.0.0.1:9/elsewhere")
    await pass_time(world, 240)
    assert alerts(world) == []
    await looks(world, 10)
    await told(world, DEAF)
    await bot_api(world, "deleteWebhook")
    await looks(world, 3)
    await told(world, DEAF, HEARS)
    await again(world)
    await pass_time(world, 61)
    await told(world, DEAF, HEARS)


async def test_a_webhook_of_ours_that_is_replaced_is_told(clock: FakeClock, tmp_path: Path) -> None:
    async with opened(clock, tmp_path, telegram_mode="webhook", public_url="http://127.0.0.1:8080") as world:
        ours = "http://127.0.0.1:8080/telegram/webhook"
        await world.stop()
        await bot_api(world, "setWebhook", url=ours)
        await world.begin()
        await pass_time(world, 61)
        await bot_api(world, "setWebhook", url="http://127.0.0.1:9/elsewhere")
        await looks(world, 13)
        await told(world, DEAF)
        await bot_api(world, "setWebhook", url=ours)
        await looks(world, 7)
        await told(world, DEAF, HEARS)


class Proxy:
    """A proxy in front of Kvit: while it is broken, every client gets a 502."""

    def __init__(self, port: int) -> None:
        self.is_broken = True
        self.again: dict[str, str] = {}
        self._port = port

    async def pass_on(self, request: web.Request) -> web.Response:
        if self.is_broken:
            return web.Response(status=502, headers=self.again)
        url, secret = f"http://127.0.0.1:{self._port}{request.path}", "X-Telegram-Bot-Api-Secret-Token"
        async with (
            ClientSession() as session,
            session.post(url, data=await request.read(), headers={secret: request.headers[secret]}) as answer,
        ):
            return web.Response(status=answer.status)


@asynccontextmanager
async def behind_a_broken_proxy(clock: FakeClock, tmp_path: Path) -> AsyncIterator[tuple[World, Proxy]]:
    proxy = Proxy(port := free_port())
    site = web.Application()
    site.router.add_post("/telegram/webhook", proxy.pass_on)
    async with TestServer(site) as server:
        public = str(server.make_url("")).rstrip("/")
        async with opened(clock, tmp_path, telegram_mode="webhook", public_url=public, port=port) as world:
            secret = world.settings.update_secret.get_secret_value()
            await bot_api(world, "setWebhook", url=f"{public}/telegram/webhook", secret_token=secret)
            yield world, proxy


async def minutes(world: World, number: int) -> None:
    """So many minutes, while Telegram may be left with updates that it cannot bring."""
    for _ in range(number):
        await work_done(world)
        world.advance(61)
    await work_done(world)


async def test_updates_that_wait_are_told_until_they_come_however_long_telegram_rests(
    clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bot")
    async with behind_a_broken_proxy(clock, tmp_path) as (world, proxy):
        proxy.again = {"Retry-After": "3000"}
        world.say("/pay 80 DKK Cake")
        await minutes(world, 13)
        assert [line[: len(DEAF)] for line in alerts(world)] == [DEAF]
        await minutes(world, 20)
        world.telegram.state.updates.clear()  # Telegram keeps an update for a day
        await world.control("telegram", "faults", {"method": "getWebhookInfo", "how": "500", "times": 2})
        await minutes(world, 5)
        assert [line[: len(DEAF)] for line in alerts(world)] == [DEAF]
        assert "come in again" not in caplog.text
        world.say("/pay 80 DKK Cake")
        await minutes(world, 2)
        await world.stop()
        await world.begin()
        await minutes(world, 2)
        assert [line[: len(DEAF)] for line in alerts(world)] == [DEAF]
        proxy.is_broken = False
        await minutes(world, 20)
        await world.message("This command arrived late")
        await told(world, DEAF, HEARS)


async def test_what_failed_while_kvit_was_away_and_comes_soon_after_is_not_told(
    clock: FakeClock, tmp_path: Path
) -> None:
    async with behind_a_broken_proxy(clock, tmp_path) as (world, proxy):
        world.say("/pay 80 DKK Cake")
        await work_done(world)
        await world.stop()
        world.advance(300)
        await world.begin()
        proxy.is_broken = False
        await minutes(world, 8)
        assert len(world.stripe.store.intents) == 1
        assert alerts(world) == []


async def test_a_look_that_telegram_does_not_answer_says_nothing(
    clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with behind_a_broken_proxy(clock, tmp_path) as (world, _):
        await work_done(world)
        await world.control("telegram", "faults", {"method": "getWebhookInfo", "how": "500", "times": 3})
        await minutes(world, 30)
        assert "cannot read the state of Telegram's webhook" in caplog.text
        assert "come in again" not in caplog.text
        assert alerts(world) == []


async def stands_still(world: World) -> JobQueue:
    """A Stripe event that waits far too long, as behind a worker that hangs."""
    queue: JobQueue = world.service._components.queues[0]
    assert queue.queue == "events"
    now = world.clock.now()
    db: Database = world.service._db
    late = NewJob(
        "evt_stuck", "pi_stuck", "payment_intent.succeeded", b"{}", scheduled_at=now.replace(year=now.year + 1)
    )
    await db.write(queue.enqueue_in, late, now=now)
    return queue


async def test_a_worker_that_stands_still_is_told_once_and_once_that_it_moves_again(world: World) -> None:
    world.say("/id")
    await world.message(str(OWNER))
    await stands_still(world)
    await pass_time(world, 14 * 60)
    await pass_time(world, 120)
    assert alerts(world) == []
    await pass_time(world, 60)
    await told(world, STANDS)
    await pass_time(world, 3600)
    await again(world)
    await pass_time(world, 61)
    await told(world, STANDS)
    await world.service._db.write(lambda tx: tx.exec_driver_sql("DELETE FROM jobs WHERE key = 'evt_stuck'").rowcount)
    await pass_time(world, 61)
    await told(world, STANDS, MOVES)


async def test_the_owner_of_a_danish_shop_is_told_in_danish(world: World) -> None:
    world.say("/id")
    await world.message(str(OWNER))
    db = world.service._db
    shop = await db.write(shops.create_shop, Shop(0, "Kaffe", "DKK", "da", "Europe/Copenhagen"), now=world.clock.now())
    await db.write(shops.set_member, shop.id, OWNER, Role.ADMIN, name="Olga", now=world.clock.now())
    await stands_still(world)
    await pass_time(world, 16 * 60)
    await pass_time(world, 60)
    await world.until(lambda: any("kommer ikke videre" in line for line in alerts(world)))


async def test_a_crash_between_the_note_and_the_word_does_not_swallow_the_word(world: World) -> None:
    await stands_still(world)
    await world.service._db.write(installation.set_setting, "watch:queue:events", world.clock.now().isoformat())
    await world.stop()
    world.advance(16 * 60)
    await world.begin()
    await pass_time(world, 60)
    await told(world, STANDS)


async def test_what_waited_while_everything_paused_is_no_sign_of_a_worker_that_stands(world: World) -> None:
    await stands_still(world)
    world.advance(3600)
    await idle(world)
    await world.service._db.write(lambda tx: tx.exec_driver_sql("DELETE FROM jobs WHERE key = 'evt_stuck'").rowcount)
    await pass_time(world, 61)
    assert alerts(world) == []
