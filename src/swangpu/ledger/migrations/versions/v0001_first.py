"""The first ledger: journal, snapshots, usage and demand. Nothing leads here; it is where upgrades start."""

from __future__ import annotations

revision = "0001"
down_revision = None


def upgrade() -> None:
    """A new ledger gets its tables from ``tables.py``."""
