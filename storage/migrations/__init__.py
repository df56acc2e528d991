"""The versions of the tables, and the steps from each to the next."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

HEAD = "0001"
"""The version that this program needs; stated here so that Alembic is imported only for a migration."""


class UnknownVersion(Exception):
    """The database was written by a newer version of this program."""


def upgrade(connection: sa.Connection) -> None:
    """Run the missing steps in the open transaction of `connection`; the caller commits.

    Raises:
        UnknownVersion: the tables have a version that this program does not know.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise UnknownVersion(f"the database was written by a newer version of this program ({error})") from error
