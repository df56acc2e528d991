"""`move-db` that is killed at a commit: `KVIT_KILL=2:before` names its number in this process, and the moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from bot import cli, move_db
from storage.database.database import Database

NUMBER, _, MOMENT = os.environ["KVIT_KILL"].partition(":")


class KillableDatabase(Database):
    """Counts the commits of both databases together."""

    commits = 0

    async def write(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As the database does, until the named commit."""
        KillableDatabase.commits += 1
        self._die("before")
        result = await super().write(fn, *args, **kwargs)
        self._die("after")
        return result

    async def run_migration(self, fn: Callable[..., Any]) -> Any:
        """The same; killed within the transaction, after its last statement, in place of before it."""
        KillableDatabase.commits += 1

        def killed_within(tx: Any) -> Any:
            result = fn(tx)
            self._die("before")
            return result

        result = await super().run_migration(killed_within)
        self._die("after")
        return result

    def _die(self, moment: str) -> None:
        if (str(self.commits), moment) == (NUMBER, MOMENT):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    move_db.Database = KillableDatabase  # type: ignore[attr-defined]
    cli.main()
