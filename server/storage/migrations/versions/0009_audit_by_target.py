"""Finds what was done to an alert on a long audit trail."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the index."""
    op.create_index("audit_by_target", "audit", ["target"])
