"""Indexes for what was read from end to end: a group that becomes a supergroup, and questions that are forgotten.

Written out as it was on the day; later changes of the house do not change it.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the indexes; no row changes."""
    op.create_index("ix_payments_chat_id", "payments", ["chat_id"])
    op.create_index("ix_cards_chat_id", "cards", ["chat_id"])
    op.create_index("ix_questions_chat_id", "questions", ["chat_id"])
    op.create_index("ix_questions_asked_at", "questions", ["asked_at"])
