"""`python -m bot export`, beside the running service."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.shared.fake_clock import FakeClock
from tests.support.people import OTHER_GROUP, open_shop, reply
from tests.support.program import ended, running
from tests.support.refund_steps import paid, ref_of
from tests.support.world import World, opened


@pytest.fixture
async def world(clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(clock, tmp_path) as running_world:
        await open_shop(running_world)
        yield running_world


async def run_export(world: World, *options: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    settings = world.settings
    environment = {
        "TELEGRAM_BOT_TOKEN": settings.telegram_bot_token.get_secret_value(),
        "STRIPE_API_KEY": settings.stripe_api_key.get_secret_value(),
        "DATABASE_URL": settings.database_url,
    }
    async with running("export", *options, **environment) as process:
        return await ended(process)


async def test_file_is_written_once_and_never_over_another(world: World, tmp_path: Path) -> None:
    card, target = await paid(world, "/pay 149,50 Coffee"), tmp_path / "month.csv"
    options = ("--period", f"{world.clock.now():%Y-%m}", "--plain", "--out", str(target))
    code, out, errors = await run_export(world, *options)
    assert (code, out, errors) == (0, f"The file was written to {target}.\n", "")
    [row] = csv.DictReader(target.read_text("utf-8").splitlines())
    assert (row["ref"], row["gross"], row["currency"]) == (ref_of(card), "149.50", "DKK")
    code, out, errors = await run_export(world, *options)
    assert (code, out) == (2, "")
    assert errors == f"No file was written. {target} exists already: name another file with --out.\n"


async def test_shop_and_period_have_to_be_clear(world: World, tmp_path: Path) -> None:
    await reply(world, world.say("/setup NEW Second", chat=OTHER_GROUP), chat=OTHER_GROUP)
    target = tmp_path / "file.csv"
    code, _, errors = await run_export(world, "--out", str(target))
    assert code == 2
    assert "Name one shop with --shop, by number or name. The shops: 1 Kvit, 2 Second." in errors
    code, _, errors = await run_export(world, "--shop", "Second", "--period", "soon", "--out", str(target))
    assert code == 2
    assert "No period can be read in 'soon'" in errors
    assert not target.exists()
