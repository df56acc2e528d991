"""Notifies the owners, once each, of what needs an operator."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from handlers.access.membership import Actor, MembershipService
from handlers.clock import Clock
from handlers.i18n import MessageKey, html
from handlers.messages.outbox_message import CHAT_UNAVAILABLE, OutboxMessage, to_job
from handlers.stripe.error_codes import AUTH_ERRORS, CLOCK_DIFFERS, INTENT_MISMATCH
from handlers.telegram.messenger import Message
from storage import installation, shops
from storage.database.database import Database
from storage.job_queue import JobQueue
from storage.models.job import Job, NewJob
from storage.models.payment import ChatTarget, Payment
from storage.models.refund import Refund
from storage.models.shop import Shop

ALERT_AFTER_ATTEMPTS = 100
"""Tries without an answer from Stripe, some hours' worth, after which the owners are notified."""


class Alerts:
    """Decides what is worth a message to the owners."""

    def __init__(self, owners: OwnerNotifier, clock: Clock, incidents: Incidents) -> None:
        self._owners = owners
        self._clock = clock
        self._incidents = incidents

    async def dead_letter(self, job: Job, reason: str) -> Sequence[NewJob]:
        """The message about a dead job: where and why, once a day.

        A job that was retried and died again is reported again. All versions of a payment message, all jobs to a chat
        that cannot be reached, and all answers to a chat that fail for one reason are one report.
        """
        if job.key.startswith(ALERT):
            return ()
        subject = job.payload.decode() if job.kind == "payment_message" else str(job.id)
        if job.kind == "message":  # an answer: repeating the command is no new cause
            subject = f"answer:{job.ordering_key}:{reason}"
        if reason.startswith(CHAT_UNAVAILABLE):
            subject = f"closed:{job.ordering_key.partition(':')[0]}"
        queue = MessageKey(f"part.{job.queue}")
        params = {"queue": queue, "kind": job.kind, "reason": reason, "job": job.id}
        return await self._owners.notification_jobs(f"{subject}:{self._today}", "alert.dead_letter", **params)

    @property
    def _today(self) -> str:
        """An outage is reported once a day, not once for each payment that waits."""
        return f"{self._clock.now():%Y-%m-%d}"

    async def payment_error(self, payment: Payment) -> None:
        """A payment waits for something that needs an operator.

        A rejected key is reported once, everything else daily.
        """
        if payment.last_error in AUTH_ERRORS:
            await self._incidents.open(KEY, "alert.key", ref=payment.reference)
        elif payment.last_error == CLOCK_DIFFERS:
            await self._incidents.open(CLOCK, "alert.clock_differs")
        elif payment.last_error == INTENT_MISMATCH:
            await self._owners.notify(f"mismatch:{payment.id}", "alert.mismatch", ref=payment.reference)
        elif payment.last_error and payment.error_count >= ALERT_AFTER_ATTEMPTS:
            await self._owners.notify(f"payment_error:{self._today}", "alert.payment_error", ref=payment.reference)

    async def admin_invited(self, shop: Shop, inviter: Actor, digest: str) -> None:
        """A person who is no owner invites an admin: reported once per invitation."""
        params = {"shop": shop.name, "name": inviter.name, "id": inviter.id}
        await self._owners.notify(f"invited:{digest}", "alert.admin_invited", **params)

    async def refund_error(self, refund: Refund, payment: Payment) -> None:
        """A refund waits for something that needs an operator; insufficient balance is reported in the chat."""
        if refund.last_error in AUTH_ERRORS:
            await self._incidents.open(KEY, "alert.refund_key", ref=payment.reference, amount=refund.amount)
        elif refund.error_count >= ALERT_AFTER_ATTEMPTS:
            params = {"ref": payment.reference, "amount": refund.amount}
            await self._owners.notify(f"refund:{self._today}", "alert.refund_error", **params)


KEY = "key"
CLOCK = "clock"


class Incidents:
    """Incidents that open and resolve. A setting records what was reported, so that a restart does not repeat it."""

    def __init__(self, db: Database, owners: OwnerNotifier, clock: Clock) -> None:
        self._db = db
        self._owners = owners
        self._clock = clock
        self._told: dict[str, datetime] = {}

    async def opened_at(self, name: str) -> datetime | None:
        """When this incident opened (UTC); None while it is not open."""
        known = await self._db.read(installation.get_setting, _setting_name(name))
        return datetime.fromisoformat(known) if known else None

    async def open(self, name: str, key: str, **params: object) -> None:
        """Open the incident and report it, unless it is open.

        The setting is written first, so a crash repeats nothing.
        """
        since = await self.opened_at(name)
        if since is not None and self._told.get(name) == since:
            return
        if since is None:
            since = self._clock.now()
            await self._db.write(installation.set_setting, _setting_name(name), since.isoformat())
        await self._owners.notify(f"{name}:{since:%Y-%m-%dT%H:%M:%S}", key, **params)
        self._told[name] = since

    async def resolve(self, name: str, key: str, **params: object) -> None:
        """Resolve the incident and report that, if it was open."""
        since = await self.opened_at(name)
        if since is not None:
            await self._owners.notify(f"{name}:{since:%Y-%m-%dT%H:%M:%S}:over", key, **params)
            await self._db.write(installation.set_setting, _setting_name(name), "")
        self._told.pop(name, None)


def _setting_name(name: str) -> str:
    return f"watch:{name}"


ALERT = "alert:"
"""How the keys of these jobs begin; one that cannot be delivered is no reason for another."""


class OwnerNotifier:
    """Sends messages to all owners."""

    def __init__(self, db: Database, membership: MembershipService, outbox: JobQueue, clock: Clock) -> None:
        self._db = db
        self._membership = membership
        self._outbox = outbox
        self._clock = clock

    async def notify(self, subject: str, key: str, **params: object) -> None:
        """Enqueue the text `key` of the catalogues for each owner, once per `subject`.

        Raises:
            DatabaseUnavailable: nothing was enqueued.
        """
        await self._outbox.enqueue(*await self.notification_jobs(subject, key, **params), now=self._clock.now())

    async def notification_jobs(self, subject: str, key: str, **params: object) -> list[NewJob]:
        """The jobs that `notify` enqueues, for callers that enqueue them with others."""
        return [
            to_job(
                OutboxMessage(ChatTarget(owner), Message(html(await self._language(owner), key, **params))),
                key=f"{ALERT}{subject}:{owner}",
            )
            for owner in sorted(await self._membership.owners())
        ]

    async def _language(self, owner: int) -> str:
        """The language of the owner's shops if they share one, else of all shops; otherwise English."""
        own = [membership.shop for membership in await self._db.read(shops.memberships, owner)]
        every = own or [*await self._db.read(shops.list_shops)]
        languages = {shop.language for shop in every}
        return languages.pop() if len(languages) == 1 else "en"
