"""How often and how long a session was paused, and what would have been recovered of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns: nothing was paused before."""
    op.add_column("usage", sa.Column("pauses", sa.Integer, nullable=False, server_default="0"))
    op.add_column("usage", sa.Column("paused_s", sa.Double, nullable=False, server_default="0"))
    op.add_column("usage", sa.Column("recoverable_s", sa.Double, nullable=False, server_default="0"))
