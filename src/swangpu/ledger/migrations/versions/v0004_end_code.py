"""Why what was held was taken: a lease, a reservation, a quota or idleness."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column: of what ended before it is not known."""
    op.add_column("usage", sa.Column("end_code", sa.String(64), nullable=False, server_default=""))
