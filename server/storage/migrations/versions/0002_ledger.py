"""The ledger of callers' complaints, and the numbers that turned out to be shared."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "ledger",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("instance", sa.String(length=320), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("caller_key", sa.String(length=64), nullable=False),
        sa.Column("utc_ms", sa.BigInteger(), nullable=False),
        sa.Column("model_version", sa.String(length=128), nullable=False),
        sa.Column("centre", sa.LargeBinary(), nullable=False),
        sa.Column("raisings", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "instance", "ordinal"),
    )
    op.create_index("ledger_by_caller", "ledger", ["tenant", "caller_key", "utc_ms"], unique=False)
    op.create_table(
        "ledger_shared",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("caller_key", sa.String(length=64), nullable=False),
        sa.Column("utc_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "caller_key"),
    )
