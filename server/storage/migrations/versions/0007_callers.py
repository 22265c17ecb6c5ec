"""Whose a call was, by keyed hash; notes on flags as bytes, so that they can be sealed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column, which is null for calls from before, and changes the other."""
    op.add_column("calls", sa.Column("caller_key", sa.String(length=64), nullable=True))
    op.create_index("calls_by_caller", "calls", ["tenant", "caller_key"])
    if op.get_bind().dialect.name == "postgresql":
        using = "convert_to(note, 'UTF8')"
        op.alter_column("flags", "note", type_=sa.LargeBinary(), postgresql_using=using)
        return
    with op.batch_alter_table("flags", table_kwargs={"sqlite_autoincrement": True}) as flags:
        flags.alter_column("note", existing_type=sa.String(length=4096), type_=sa.LargeBinary(), nullable=False)
    op.execute("UPDATE flags SET note = CAST(note AS BLOB)")
