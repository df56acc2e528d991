"""Two replicas on one database act as one program: what one commits the other continues, and nothing happens twice."""

from __future__ import annotations

import asyncio

import aiohttp
import asyncpg  # type: ignore[import-untyped]
import pytest

from bot.app import Service
from bot.sandbox.fake_services import create_webhook_endpoint
from bot.sandbox.shared.fake_clock import FakeClock
from handlers.runtime.concurrency import KeyedLocks
from handlers.runtime.leases import LEADER, LeaseLost, held_lease
from storage import leases
from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.models.job import Done, NewJob
from tests.replicas.conftest import Replica
from tests.support.evidence import calls, idle, rows
from tests.support.people import reply_text, shown
from tests.support.postgres import Server, opened_database
from tests.support.refund_steps import dashboard_refund
from tests.support.world import PATIENCE, World


async def leads(service: Service) -> None:
    """Returns once a replica leads."""
    async with asyncio.timeout(PATIENCE):
        while not service._components.leadership.is_leader:
            await asyncio.sleep(0.02)


async def test_second_replica_is_ready_and_follows(world: World, replica: Replica) -> None:
    await leads(world.service)
    other = await replica()
    assert not other._components.leadership.is_leader
    async with world.http.get(f"{other.base}/readyz") as response:
        assert response.status == 200


async def test_payment_is_asked_for_and_paid_once_though_every_event_comes_to_both(
    world: World, replica: Replica
) -> None:
    other = await replica()
    await create_webhook_endpoint(world.stripe, other.base)
    world.say("/pay 149,50 Coffee")
    await world.message("Waiting for payment")
    await world.decide("approve")
    await world.message("✅ Paid:")
    assert [charge["status"] for charge in world.stripe.store.charges.values()] == ["succeeded"]
    assert (len(world.sent("Waiting")), len(world.sent("✅ Paid:"))) == (1, 1)
    assert len(calls(world, "create")) == 1


async def test_follower_takes_over_at_once_when_the_leader_stops(world: World, replica: Replica) -> None:
    await leads(world.service)
    other = await replica()
    await world.stop()
    await leads(other)
    world.say("/pay 149,50 Coffee")
    await world.message("Waiting for payment")


async def test_change_on_one_replica_reaches_the_page_that_another_holds(world: World, replica: Replica) -> None:
    other = await replica()
    world.say("/pay 149,50 Coffee")
    await world.message("Waiting for payment")
    [payment] = rows(world, "SELECT page_token FROM payments")
    patience, accept = aiohttp.ClientTimeout(total=PATIENCE), {"Accept": "text/event-stream"}
    async with world.http.get(
        f"{other.base}/p/{payment['page_token']}/state", timeout=patience, headers=accept
    ) as page:
        assert page.content_type == "text/event-stream"
        await world.decide("approve")
        async for line in page.content:
            if b"paid" in line:
                break
        else:
            pytest.fail("the page was not told")


async def test_last_months_report_and_file_are_sent_once(world: World, replica: Replica) -> None:
    await replica()
    assert "(reports monthly): on" in await reply_text(world, "/settings reports monthly")
    world.advance(8 * 24 * 3600)
    others = [Service(world.settings, world.clock) for _ in range(2)]
    await asyncio.gather(*(service.reconcile(retry_dead=False) for service in others))
    await world.until(lambda: any("document" in message for message in shown(world)))
    await idle(world)
    found = [message.get("text") or message.get("caption", "") for message in shown(world)]
    assert len([said for said in found if "2026-11-01..2026-11-30" in said]) == 2


async def test_credit_notes_are_numbered_without_a_gap(world: World, replica: Replica) -> None:
    other = await replica()
    await create_webhook_endpoint(world.stripe, other.base)
    for text in ("/pay 125 Tea", "/pay 99 Cake"):
        world.say(text)
        await world.message(text.split()[-1])
        await idle(world)
        await world.decide("approve")
        await idle(world)
    parts = [(number, amount) for number in (0, 1) for amount in (1000, 2000, 3000)]
    await asyncio.gather(*(dashboard_refund(world, amount, number) for number, amount in parts))
    await idle(world)
    query = "SELECT credit_note_number FROM movements WHERE kind = 'refund' ORDER BY credit_note_number"
    assert [row["credit_note_number"] for row in rows(world, query)] == [1, 2, 3, 4, 5, 6]


async def test_sum_over_replicas_counts_each_payment_once(world: World, replica: Replica) -> None:
    await leads(world.service)
    other = await replica()
    world.say("/pay 149,50 Coffee")
    await world.message("Waiting for payment")
    pages = []
    for service in (world.service, other):
        async with world.http.get(f"{service.base}/metrics") as response:
            pages.append(await response.text())
    lines = [line for page in pages for line in page.splitlines() if line.startswith("kvit_payments{")]
    assert lines == ['kvit_payments{currency="DKK",state="open"} 1.0']
    assert sorted(line for page in pages for line in page.splitlines() if line.startswith("kvit_leader ")) == [
        "kvit_leader 0.0",
        "kvit_leader 1.0",
    ]


async def test_second_replica_waits_for_the_one_that_asks_stripe_about_the_payment(postgres: Server) -> None:
    url = await postgres.create()
    async with opened_database(url) as one, opened_database(url) as two:
        order: list[str] = []
        inside, leave = asyncio.Event(), asyncio.Event()

        async def first() -> None:
            async with KeyedLocks(one).lock("p1"):
                inside.set()
                await leave.wait()
                order.append("first")

        async def second() -> None:
            async with KeyedLocks(two).lock("p1"):
                order.append("second")

        tasks = [asyncio.create_task(first())]
        await asyncio.wait_for(inside.wait(), PATIENCE)
        tasks.append(asyncio.create_task(second()))
        async with asyncio.timeout(PATIENCE), KeyedLocks(two).lock("p2"):  # another payment does not wait
            assert order == []
        leave.set()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
        assert order == ["first", "second"]


async def test_block_under_a_lost_lease_is_cancelled_before_anything_else_happens(postgres: Server) -> None:
    async with opened_database(await postgres.create()) as db:
        happened: list[str] = []

        async def lose() -> None:
            async with held_lease(db, LEADER, 0.3):
                await db.write(lambda tx: tx.exec_driver_sql("UPDATE leases SET holder = 'another'").rowcount)
                await asyncio.sleep(PATIENCE)
                happened.append("went on")

        with pytest.raises(LeaseLost):
            await lose()
        assert happened == []
        assert await db.read(lambda tx: tx.exec_driver_sql("SELECT holder FROM leases").scalar()) == "another"


async def test_younger_job_that_is_committed_first_and_runs_keeps_the_older_one_back(
    postgres: Server, clock: FakeClock
) -> None:
    url, now = await postgres.create(), clock.now()
    async with opened_database(url) as one, opened_database(url) as two:
        queue, other = JobQueue(one, "updates"), JobQueue(two, "updates")
        slow = await asyncpg.connect(url)
        try:
            async with slow.transaction():
                await slow.execute(
                    "INSERT INTO jobs (queue, key, ordering_key, kind, payload, created_at, scheduled_at, attempts,"
                    " state, reason) VALUES ('updates', 'old', 'chat', 'kind', '', 0, 0, 0, 'pending', '')"
                )
                await queue.enqueue(NewJob("young", "chat", "kind", b""), now=now)
                [young] = await queue.claim(now=now, limit=5, lease_seconds=60)
        finally:
            await slow.close()
        assert await other.claim(now=now, limit=5, lease_seconds=60) == []
        assert await queue.finish(young, Done(), now=now)
        assert [job.key for job in await other.claim(now=now, limit=5, lease_seconds=60)] == ["old"]


async def test_many_claims_of_three_replicas_at_once_hand_out_each_job_once(postgres: Server, clock: FakeClock) -> None:
    url, now = await postgres.create(), clock.now()
    replicas = [Database(url) for _ in range(3)]
    queues = [JobQueue(replica, "updates") for replica in replicas]
    await queues[0].enqueue(*(NewJob(f"{n}", f"chat {n % 20}", "kind", b"") for n in range(60)), now=now)
    ended: dict[str, list[int]] = {}

    async def work(queue: JobQueue) -> None:
        while await queue.depth():
            for job in await queue.claim(now=now, limit=3, lease_seconds=60):
                ended.setdefault(job.ordering_key, []).append(int(job.key))
                assert await queue.finish(job, Done(), now=now)

    await asyncio.wait_for(asyncio.gather(*map(work, queues)), PATIENCE)
    assert sum(map(len, ended.values())) == 60
    assert all(order == sorted(order) for order in ended.values())
    for replica in replicas:
        await replica.close()


async def test_jobs_of_a_replica_without_a_sign_of_life_are_claimed_again(postgres: Server, clock: FakeClock) -> None:
    url, now = await postgres.create(), clock.now()
    async with opened_database(url) as living, opened_database(url) as dead:
        queue, lost = JobQueue(living, "updates"), JobQueue(dead, "updates")
        await queue.enqueue(NewJob("a", "chat a", "kind", b""), NewJob("b", "chat b", "kind", b""), now=now)
        [stays] = await queue.claim(now=now, limit=1, lease_seconds=60)
        [goes] = await lost.claim(now=now, limit=1, lease_seconds=60)
        async with held_lease(living, leases.REPLICA + living.process_id, 10, holder=living.process_id):
            assert await living.write(leases.release_jobs_of_dead_processes, living) == 1
        [again] = await queue.claim(now=now, limit=5, lease_seconds=60)
        assert (again.id, await lost.finish(goes, Done(), now=now)) == (goes.id, False)
        assert await queue.finish(stays, Done(), now=now)
