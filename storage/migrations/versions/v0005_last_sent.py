"""When Stripe was last asked for a refund or for what a person wants, and when the last line of a seller was said.

Written out as it was on the day; later changes of the house do not change it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

BigInt = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns. What is on its way counts as sent when it was to be looked at next, which is later."""
    op.add_column("refunds", sa.Column("last_sent_at", BigInt))
    op.add_column("payments", sa.Column("wish_sent_at", BigInt))
    op.add_column("sellers", sa.Column("said_at", BigInt))
    op.execute(
        "UPDATE refunds SET last_sent_at = COALESCE(look_at, sent_at) WHERE sent_at IS NOT NULL AND status = 'approved'"
    )
    op.execute(
        "UPDATE payments SET wish_sent_at = look_at"
        " WHERE (capture_by IS NOT NULL OR cancel_by IS NOT NULL) AND status NOT IN ('succeeded', 'canceled')"
    )
