"""A step as a later release may bring it: it moves data and rebuilds a table that others refer to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "v0001"


def upgrade() -> None:
    """Give each shop a note, and a column that counts its notes."""
    op.create_table(
        "shop_notes",
        sa.Column("shop_id", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_shop_notes_shop_id_shops"),
        sqlite_strict=True,
    )
    op.execute("INSERT INTO shop_notes SELECT id, name || ' since ' || created_at FROM shops")
    with op.batch_alter_table("shops", recreate="always", table_kwargs={"sqlite_strict": True}) as batch:
        batch.add_column(sa.Column("notes", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE shops SET notes = 1")
