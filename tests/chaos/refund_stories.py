"""What becomes of money that came: it is given back, taken or let go, whatever dies or breaks meanwhile."""

from __future__ import annotations

from tests.chaos.stories import Stage, Story
from tests.support.people import ADMIN, GROUP, MERCHANT
from tests.support.world import OWNER, Json

TAKES_HIS_TIME = 70
"""Seconds between two things that somebody in Stripe's Dashboard does: longer than a sweep."""


async def drafted(stage: Stage, words: str = "", *, by: int | None = None) -> Json:
    """Somebody asks for a refund; the message with the button that lets it go."""
    said = stage.say(f"/refund {stage.ref} {words}".strip(), by=by)
    return await stage.message("efund ", since=said)


async def refunded_in_full(stage: Stage) -> None:
    stage.tap(await drafted(stage), "Refund")
    await stage.shows("Refunded", "DKK 149.50: refunded")


async def refunded_in_two_equal_parts(stage: Stage) -> None:
    stage.tap(await drafted(stage, "40 one cup"), "Refund")
    await stage.shows("Partly refunded", "DKK 40.00: refunded")
    stage.tap(await drafted(stage, "40 another cup"), "Refund")
    await stage.shows("Partly refunded", "DKK 40.00: refunded\n↩️ DKK 40.00: refunded")


async def tapped_twice(stage: Stage) -> None:
    draft = await drafted(stage, "40")
    stage.tap(draft, "Refund")
    stage.tap(draft, "Refund")
    await stage.shows("Partly refunded", "DKK 40.00: refunded")


async def approved_by_an_admin(stage: Stage) -> None:
    stage.tap(await drafted(stage, "40", by=MERCHANT), "Refund", by=ADMIN)
    await stage.shows("Partly refunded", "DKK 40.00: refunded")


async def approved_by_two(stage: Stage) -> None:
    draft = await drafted(stage, "60", by=ADMIN)
    stage.tap(draft, "Refund", by=ADMIN)
    asks = await stage.message("asks to refund", since=draft["message_id"])
    stage.tap(asks, "Refund", by=OWNER)
    await stage.shows("Partly refunded", "DKK 60.00: refunded")


async def declined(stage: Stage) -> None:
    stage.tap(await drafted(stage, "40", by=MERCHANT), "Do not refund", by=ADMIN)
    await stage.world.pass_time(TAKES_HIS_TIME)
    await stage.shows("Paid")


async def pending_then_done(stage: Stage) -> None:
    await _pending(stage)
    await _move(stage, "succeed")
    await stage.shows("Partly refunded", "DKK 40.00: refunded")


async def pending_then_failed(stage: Stage) -> None:
    await _pending(stage)
    await _move(stage, "fail")
    await stage.shows("Paid", "DKK 40.00: refund failed")


async def done_then_failed(stage: Stage) -> None:
    """It fails after all, and is asked for anew."""
    stage.tap(await drafted(stage, "40"), "Refund")
    await stage.shows("Partly refunded", "DKK 40.00: refunded")
    await stage.world.pass_time(TAKES_HIS_TIME)
    await _move(stage, "fail")
    await stage.shows("Paid", "DKK 40.00: refund failed")
    stage.tap(await drafted(stage, "149,50"), "Refund")
    await stage.shows("Refunded", "DKK 149.50: refunded")


async def beside_the_dashboard(stage: Stage) -> None:
    """Both give a part back at the same time; whose sum has changed meanwhile asks anew."""
    draft = await drafted(stage, "40")
    stage.tap(draft, "Refund")
    await _in_the_dashboard(stage, 3000)
    await stage.shows("Partly refunded", "DKK 30.00: refunded")
    if any(m["message_id"] == draft["message_id"] and m.get("reply_markup") for m in stage.messages):
        stage.tap(await drafted(stage, "40"), "Refund")
    await stage.shows("Partly refunded", "DKK 40.00: refunded")


async def overtaken_by_the_dashboard(stage: Stage) -> None:
    """All of it was given back there while we ask: Stripe refuses ours, if it gets so far."""
    stage.tap(await drafted(stage, "40"), "Refund")
    await _in_the_dashboard(stage, None)
    await stage.shows("efunded")
    await stage.world.pass_time(TAKES_HIS_TIME)


async def short_of_balance(stage: Stage) -> None:
    await stage.world.control("stripe", "balance", {"available": 0, "refuse": True})
    stage.tap(await drafted(stage, "40"), "Refund")
    short = await stage.message("Stripe did not refund")
    await stage.world.control("stripe", "balance", {"available": None})
    stage.tap(short, "Try again")
    await stage.shows("Partly refunded", "DKK 40.00: refunded")


async def captured(stage: Stage) -> None:
    said = stage.say(f"/capture {stage.ref}")
    stage.tap(await stage.message("Charge DKK", since=said), "Charge")
    await stage.shows("Paid")


async def released(stage: Stage) -> None:
    said = stage.say(f"/release {stage.ref}")
    stage.tap(await stage.message("Release DKK", since=said), "Release")
    await stage.shows("Cancelled")


async def lapsed(stage: Stage) -> None:
    await stage.world.control("stripe", f"intents/{stage.world.intent()['id']}/expire_hold", {})
    await stage.shows("Cancelled")


async def disputed(stage: Stage) -> None:
    """The customer goes to his bank, and the merchant wins."""
    await stage.world.control("stripe", f"intents/{stage.world.intent()['id']}/dispute", {})
    await stage.shows("Paid", "disputed this payment")
    await stage.world.pass_time(TAKES_HIS_TIME)
    [dispute] = stage.world.stripe.store.disputes
    await stage.world.control("stripe", f"disputes/{dispute}/close", {"status": "won"})
    await stage.shows("Paid", "The shop won the dispute")


async def _pending(stage: Stage) -> None:
    await stage.world.control("stripe", "refunds/next", {"status": "pending"})
    stage.tap(await drafted(stage, "40"), "Refund")
    await stage.shows("Paid", "DKK 40.00: refund not finished yet")
    await stage.world.pass_time(TAKES_HIS_TIME)


async def _move(stage: Stage, verb: str) -> None:
    """Stripe's bank does something with the newest refund."""
    await stage.world.control("stripe", f"refunds/{list(stage.world.stripe.store.refunds)[-1]}/{verb}", {})


async def _in_the_dashboard(stage: Stage, amount: int | None) -> None:
    """Somebody gives so much back there, or all that is left."""
    await stage.world.control("stripe", f"intents/{stage.world.intent()['id']}/refund", {"amount": amount})


HOLD = "/hold 149,50 Bicycle"
TWO_PEOPLE = {"refund_approval_above": "5000"}
REFUNDED = Story("refunded in full", ("approve",), after=refunded_in_full)
TAPPED_TWICE = Story("tapped twice", ("approve",), after=tapped_twice)
BY_AN_ADMIN = Story("approved by an admin", ("approve",), chat=GROUP, by=MERCHANT, after=approved_by_an_admin)
BY_TWO = Story("approved by two", ("approve",), chat=GROUP, by=ADMIN, settings=TWO_PEOPLE, after=approved_by_two)
PENDING = Story("pending, then refunded", ("approve",), after=pending_then_done)
FAILED_LATE = Story("refunded, then failed", ("approve",), after=done_then_failed)
CAPTURED = Story("captured", ("approve",), ends="Reserved", command=HOLD, after=captured)
RELEASED = Story("released", ("approve",), ends="Reserved", command=HOLD, after=released)
DASHBOARD = Story("beside the Dashboard", ("approve",), after=beside_the_dashboard)
REFUNDED_IN_PARTS = Story("refunded in two equal parts", ("approve",), after=refunded_in_two_equal_parts)
DISPUTED = Story("disputed and won", ("approve",), after=disputed)
MONEY_OUT = (
    REFUNDED,
    REFUNDED_IN_PARTS,
    TAPPED_TWICE,
    BY_AN_ADMIN,
    BY_TWO,
    Story("declined by an admin", ("approve",), chat=GROUP, by=MERCHANT, after=declined),
    PENDING,
    Story("pending, then failed", ("approve",), after=pending_then_failed),
    FAILED_LATE,
    DASHBOARD,
    Story("overtaken by the Dashboard", ("approve",), after=overtaken_by_the_dashboard),
    Story("short of balance, then tried again", ("approve",), after=short_of_balance),
    CAPTURED,
    RELEASED,
    Story("the hold lapsed", ("approve",), ends="Reserved", command=HOLD, after=lapsed),
    DISPUTED,
)
