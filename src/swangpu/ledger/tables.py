"""The ledger's tables, for SQLite and PostgreSQL alike."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, String, Table, Text

__all__ = ["SCHEMA_VERSION", "demand", "journal", "metadata", "profile", "schema", "snapshot", "usage"]

#: a ledger of a newer version is refused, an older one is brought here: ``migrations/versions`` has a file for each
SCHEMA_VERSION = 4

metadata = MetaData()

schema = Table("schema_version", metadata, Column("version", Integer, nullable=False))

journal = Table(
    "journal",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("now", Double, nullable=False),
    Column("policy_version", Integer, nullable=False),
    Column("event", Text, nullable=False),
    Column("commands", Text, nullable=False),
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("sha256", String(64), nullable=False),
    Column("state", Text, nullable=False),
)

usage = Table(
    "usage",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("user", String(255), nullable=False),
    Column("project", String(255)),
    Column("kind", String(32), nullable=False),
    Column("pool", String(255), nullable=False),
    Column("flavor", String(255), nullable=False),
    Column("count", Integer, nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double, nullable=False),
    Column("held_s", Double, nullable=False),
    Column("busy_s", Double),
    Column("end_reason", String(32), nullable=False),
    Column("simulated", Boolean, nullable=False),
    Column("pauses", Integer, nullable=False, server_default="0"),
    Column("paused_s", Double, nullable=False, server_default="0"),
    Column("recoverable_s", Double, nullable=False, server_default="0"),
    Column("end_code", String(64), nullable=False, server_default=""),
    Index("usage_ended_at", "ended_at"),
)

demand = Table(
    "demand",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("user", String(255), nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("pool", String(255)),
    Column("flavor", String(255)),
    Column("memory_bytes", BigInteger),
    Column("count", Integer, nullable=False),
    Column("duration_s", Double),
    Column("waited_s", Double),
    Column("project", String(255)),
    Column("session_id", String(64)),
    Column("reason_code", String(64)),
    Index("demand_at", "at"),
)

profile = Table(
    "profile",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("session_id", String(64), nullable=False),
    Column("user", String(255), nullable=False),
    Column("path", Text),
    Column("kernel_id", String(255), nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("every_cell", Boolean, nullable=False),
    Column("pool", String(255), nullable=False),
    Column("flavor", String(255), nullable=False),
    Column("share_memory_bytes", BigInteger, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double, nullable=False),
    Column("busy_percent", Double),
    Column("busy_percent_min", Double),
    Column("busy_percent_max", Double),
    Column("memory_peak_bytes", BigInteger),
    Column("memory_source", String(32)),
    Column("allocators", Text, nullable=False),
    Column("run_peak_bytes", BigInteger),
    Column("energy_mj", BigInteger),
    Column("samples", Integer, nullable=False),
    Column("missing", Text, nullable=False),
    Column("simulated", Boolean, nullable=False),
    Index("profile_session_id", "session_id"),
    Index("profile_user_path", "user", "path"),
)
