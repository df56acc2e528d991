"""The versions of the tables, and the steps from each to the next."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

VERSIONS = ("v0001",)
"""Every version that this program can migrate, oldest first; stated here so that Alembic is imported only to migrate.

`0001` to `0005` were those of development versions, whose databases cannot be migrated.
"""

HEAD = VERSIONS[-1]
"""The version that this program needs."""

FOREIGN = "foreign"
"""Stands for the version of a database whose tables Kvit did not create."""

_VERSION_TABLE = "alembic_version"


class UnknownVersion(Exception):
    """The database is another program's or another version's. `detail` and `hint` are sentences for the operator."""

    def __init__(self, version: str) -> None:
        if version == FOREIGN:
            self.detail = "The database has tables that Kvit did not create: it belongs to another program."
            self.hint = "Set DATABASE_URL to another one; nothing was changed in this one."
        else:
            self.detail = (
                f"The schema has version {version}, which this version of Kvit does not know: a newer version, "
                "a development version or another program wrote it."
            )
            self.hint = "Run the version that wrote it, or set DATABASE_URL to another one; nothing was changed."
        super().__init__(f"{self.detail} {self.hint}")


def version_of(connection: sa.Connection) -> str | None:
    """The version of the tables: None without tables, `FOREIGN` if only another program's are there."""
    tables = set(sa.inspect(connection).get_table_names())
    found: str | None = None
    if _VERSION_TABLE in tables:
        found = connection.exec_driver_sql(f"SELECT version_num FROM {_VERSION_TABLE}").scalar()  # noqa: S608
    return found or (FOREIGN if tables - {_VERSION_TABLE} else None)


def check_known(version: str | None) -> None:
    """Returns if this program can use or migrate a database of this version.

    Raises:
        UnknownVersion: it cannot.
    """
    if version is not None and version not in VERSIONS:
        raise UnknownVersion(version)


def upgrade(connection: sa.Connection) -> None:
    """Run the missing steps in the open transaction of `connection`; the caller commits.

    Raises:
        UnknownVersion: the tables have a version that this program does not know.
    """
    from alembic import command
    from alembic.config import Config

    check_known(version_of(connection))
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    command.upgrade(config, "head")
