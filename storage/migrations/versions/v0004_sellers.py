"""What each shop said of its seller, and since when: so that a receipt stays what it was.

Written out as it was on the day; later changes of the house do not change it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

BigInt = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table; what a shop says today is taken for what it always said, as every receipt had it so far."""
    op.create_table(
        "sellers",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("shop_id", BigInt, nullable=False),
        sa.Column("since", BigInt, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("contact", sa.Text(), nullable=False),
        sa.Column("vat_rate", sa.Integer()),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name="fk_sellers_shop_id_shops"),
        sa.PrimaryKeyConstraint("id", name="pk_sellers"),
        sqlite_strict=True,
    )
    op.create_index("ix_sellers_shop_id", "sellers", ["shop_id", "since"])
    op.execute(
        "INSERT INTO sellers (shop_id, since, name, address, number, contact, vat_rate)"
        " SELECT id, created_at, seller_name, seller_address, seller_number, seller_contact, vat_rate FROM shops"
        " WHERE seller_name || seller_address || seller_number || seller_contact <> '' OR vat_rate IS NOT NULL"
    )
