"""The table of leases, by which replicas agree on who does what."""

from __future__ import annotations

import sqlalchemy as sa

from storage.schema.types import STRICT, BigInt, metadata

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("until", BigInt, nullable=False),
    **STRICT,
)
"""Who holds what, and until when (microseconds since 1970 by the database's clock). Empty on SQLite."""
