"""What the cluster keeps beside calls and alerts: owners of partitions, and alert events on their way to the stream."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables, and adds the partition to calls, null where there is no cluster."""
    op.add_column("calls", sa.Column("partition", sa.Integer(), nullable=True))
    op.create_index("calls_by_partition", "calls", ["partition", "ended_ms"])
    op.create_table(
        "partitions",
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("seq_epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("partition"),
    )
    op.create_table(
        "untold",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("alert_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "alert_id", "version"),
    )
    op.create_index("untold_by_partition", "untold", ["partition"])
