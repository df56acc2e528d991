"""When Stripe was last asked for a refund or for what a person wants, and when the last line of a seller was said.

Written out as it was on the day; later changes of the house do not change it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

NOW = "CAST(strftime('%s', 'now') AS INTEGER) * 1000000"
BigInt = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns; what may be on its way counts as sent now."""
    op.add_column("refunds", sa.Column("last_sent_at", BigInt))
    op.add_column("payments", sa.Column("wish_sent_at", BigInt))
    op.add_column("sellers", sa.Column("said_at", BigInt))
    op.execute(f"UPDATE refunds SET last_sent_at = {NOW} WHERE sent_at IS NOT NULL AND status = 'approved'")  # noqa: S608
    op.execute(
        f"UPDATE payments SET wish_sent_at = {NOW}"  # noqa: S608
        " WHERE (capture_by IS NOT NULL OR cancel_by IS NOT NULL) AND status NOT IN ('succeeded', 'canceled')"
    )
