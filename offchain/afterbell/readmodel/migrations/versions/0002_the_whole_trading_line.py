"""Keep triggers, signers, amendments, session keys, funding payments and candles.

What is here already lacks them, and the journal has them all: the tables are emptied, cursors included, and the next
start fills them again from the first frame.
"""

import sqlalchemy as sa
from alembic import op

from afterbell.readmodel.types import FixedBytes, Quote

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_FILLED_FROM_THE_JOURNAL = ("accounts", "batches", "cursors", "fills", "orders", "prices", "transfers")


def _empty_tables() -> None:
    for name in _FILLED_FROM_THE_JOURNAL:
        op.execute(sa.delete(sa.table(name)))


def upgrade() -> None:
    _empty_tables()
    op.create_table(
        "candles",
        sa.Column("market", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=6), nullable=False),
        sa.Column("interval_s", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("time_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("open_ticks", sa.BigInteger(), nullable=False),
        sa.Column("high_ticks", sa.BigInteger(), nullable=False),
        sa.Column("low_ticks", sa.BigInteger(), nullable=False),
        sa.Column("close_ticks", sa.BigInteger(), nullable=False),
        sa.Column("volume_lots", sa.BigInteger(), nullable=False),
        sa.Column("volume_quote", Quote(), nullable=False),
        sa.Column("n_trades", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("market", "kind", "interval_s", "time_s", name=op.f("pk_candles")),
    )
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
    op.create_table(
        "session_keys",
        sa.Column("account", FixedBytes(length=30), nullable=False),
        sa.Column("key", FixedBytes(length=20), nullable=False),
        sa.Column("expiry_s", sa.BigInteger(), nullable=False),
        sa.Column("max_notional_quote", Quote(), nullable=False),
        sa.Column("markets", sa.BigInteger(), nullable=False),
        sa.Column("trade_only", sa.Boolean(), nullable=False),
        sa.Column("reduce_only", sa.Boolean(), nullable=False),
        sa.Column("link_operation_id", FixedBytes(length=32), nullable=True),
        sa.Column("link_sequence", sa.BigInteger(), nullable=True),
        sa.Column("link_transaction_hash", FixedBytes(length=32), nullable=True),
        sa.Column("link_code", sa.String(length=40), nullable=True),
        sa.Column("linked_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoke_operation_id", FixedBytes(length=32), nullable=True),
        sa.Column("revoke_sequence", sa.BigInteger(), nullable=True),
        sa.Column("revoke_transaction_hash", FixedBytes(length=32), nullable=True),
        sa.Column("revoked_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("account", "key", name=op.f("pk_session_keys")),
    )
    with op.batch_alter_table("batches", recreate="always") as batch_op:
        batch_op.add_column(sa.Column("mined_at_ms", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("fills", recreate="always") as batch_op:
        batch_op.add_column(sa.Column("maker_funding_quote", Quote(), nullable=False))
        batch_op.add_column(sa.Column("taker_funding_quote", Quote(), nullable=False))
    with op.batch_alter_table("orders", recreate="always") as batch_op:
        batch_op.add_column(sa.Column("remaining_lots", sa.BigInteger(), nullable=False))
        batch_op.add_column(sa.Column("trigger_ticks", sa.BigInteger(), nullable=False))
        batch_op.add_column(sa.Column("trigger_kind", sa.SmallInteger(), nullable=False))
        batch_op.add_column(sa.Column("signer", FixedBytes(length=20), nullable=False))
        batch_op.add_column(sa.Column("amends", FixedBytes(length=32), nullable=True))
    with op.batch_alter_table("orders") as batch_op:
        batch_op.create_index(
            batch_op.f("ix_orders_account_client_id_placed_sequence"), ["account", "client_id", "placed_sequence"]
        )
        batch_op.create_index(batch_op.f("ix_orders_account_nonce"), ["account", "nonce"])


def downgrade() -> None:
    _empty_tables()
    with op.batch_alter_table("orders") as batch_op:
        batch_op.drop_index(batch_op.f("ix_orders_account_nonce"))
        batch_op.drop_index(batch_op.f("ix_orders_account_client_id_placed_sequence"))
    with op.batch_alter_table("orders") as batch_op:
        for name in ("amends", "signer", "trigger_kind", "trigger_ticks", "remaining_lots"):
            batch_op.drop_column(name)
    with op.batch_alter_table("fills") as batch_op:
        batch_op.drop_column("taker_funding_quote")
        batch_op.drop_column("maker_funding_quote")
    with op.batch_alter_table("batches") as batch_op:
        batch_op.drop_column("mined_at_ms")
    op.drop_table("session_keys")
    op.drop_table("funding")
    op.drop_table("candles")
