"""Profiles of cells."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "profile",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("session_id", sa.String(64), nullable=False),
        sa.Column("user", sa.String(255), nullable=False),
        sa.Column("path", sa.Text),
        sa.Column("kernel_id", sa.String(255), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("every_cell", sa.Boolean, nullable=False),
        sa.Column("pool", sa.String(255), nullable=False),
        sa.Column("flavor", sa.String(255), nullable=False),
        sa.Column("share_memory_bytes", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double, nullable=False),
        sa.Column("busy_percent", sa.Double),
        sa.Column("busy_percent_min", sa.Double),
        sa.Column("busy_percent_max", sa.Double),
        sa.Column("memory_peak_bytes", sa.BigInteger),
        sa.Column("memory_source", sa.String(32)),
        sa.Column("allocators", sa.Text, nullable=False),
        sa.Column("run_peak_bytes", sa.BigInteger),
        sa.Column("energy_mj", sa.BigInteger),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("missing", sa.Text, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
    )
    op.create_index("profile_session_id", "profile", ["session_id"])
    op.create_index("profile_user_path", "profile", ["user", "path"])
