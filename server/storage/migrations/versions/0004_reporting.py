"""Indices that reports read alone: counting does not touch the rows, which hold whole alerts."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replaces the index by time, and adds that of the calls."""
    op.drop_index("alerts_by_time", table_name="alerts")
    op.create_index(
        "alerts_reported",
        "alerts",
        ["tenant", "raised_ms", "state", "kind", "level", "queue", "labels", "outcome", "acknowledged_ms", "agent_id"],
    )
    op.create_index("calls_reported", "calls", ["tenant", "started_ms", "queue", "level", "agent_id", "talk_ms"])
