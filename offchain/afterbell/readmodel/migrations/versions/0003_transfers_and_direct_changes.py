"""Keep transfers between subaccounts, and funding that siblings' direct operations settle.

The journal has what is missing: the tables are emptied, cursors included, and the next start fills them again.
"""

import sqlalchemy as sa
from alembic import op

from afterbell.readmodel.types import FixedBytes, Quote

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_FILLED_FROM_THE_JOURNAL = (
    "accounts",
    "batches",
    "candles",
    "cursors",
    "fills",
    "orders",
    "prices",
    "session_keys",
    "transfers",
)


def _empty_tables() -> None:
    for name in _FILLED_FROM_THE_JOURNAL:
        op.execute(sa.delete(sa.table(name)))


def upgrade() -> None:
    _empty_tables()
    op.drop_table("funding")
    op.create_table(
        "funding",
        sa.Column("account", FixedBytes(length=30), nullable=False),
        sa.Column("payment_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fill_id", sa.BigInteger(), nullable=True),
        sa.Column("direct_op", sa.BigInteger(), nullable=True),
        sa.Column("market", sa.SmallInteger(), nullable=False),
        sa.Column("quote", Quote(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "payment_id", name=op.f("pk_funding")),
    )
    with op.batch_alter_table("transfers") as transfers:
        transfers.add_column(sa.Column("other_account", FixedBytes(length=30), nullable=True))


def downgrade() -> None:
    _empty_tables()
    with op.batch_alter_table("transfers") as transfers:
        transfers.drop_column("other_account")
    op.drop_table("funding")
    op.create_table(
        "funding",
        sa.Column("account", FixedBytes(length=30), nullable=False),
        sa.Column("fill_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("market", sa.SmallInteger(), nullable=False),
        sa.Column("quote", Quote(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "fill_id", name=op.f("pk_funding")),
    )
