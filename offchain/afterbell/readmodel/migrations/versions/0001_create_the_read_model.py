"""Create the read model."""

import sqlalchemy as sa
from alembic import op

from afterbell.readmodel.types import FixedBytes, Quote

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("account", FixedBytes(length=30), nullable=False),
        sa.Column("first_seen_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_accounts")),
    )
    op.create_table(
        "batches",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("matched_at_s", sa.BigInteger(), nullable=False),
        sa.Column("sealed_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("head", FixedBytes(length=32), nullable=False),
        sa.Column("codes", sa.LargeBinary(), nullable=False),
        sa.Column("n_operations", sa.SmallInteger(), nullable=False),
        sa.Column("n_orders", sa.SmallInteger(), nullable=False),
        sa.Column("n_fills", sa.SmallInteger(), nullable=False),
        sa.Column("payload_bytes", sa.BigInteger(), nullable=False),
        sa.Column("transaction_hash", FixedBytes(length=32), nullable=True),
        sa.Column("block", sa.BigInteger(), nullable=True),
        sa.Column("gas_used", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_batches")),
    )
    with op.batch_alter_table("batches", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_batches_status_sequence"), ["status", "sequence"], unique=False)

    op.create_table(
        "cursors",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_cursors")),
    )
    op.create_table(
        "fills",
        sa.Column("fill_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("market", sa.SmallInteger(), nullable=False),
        sa.Column("price_ticks", sa.BigInteger(), nullable=False),
        sa.Column("size_lots", sa.BigInteger(), nullable=False),
        sa.Column("maker_order_id", FixedBytes(length=32), nullable=False),
        sa.Column("taker_order_id", FixedBytes(length=32), nullable=False),
        sa.Column("maker_account", FixedBytes(length=30), nullable=False),
        sa.Column("taker_account", FixedBytes(length=30), nullable=False),
        sa.Column("taker_is_buy", sa.Boolean(), nullable=False),
        sa.Column("maker_fee_quote", Quote(), nullable=False),
        sa.Column("taker_fee_quote", Quote(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.SmallInteger(), nullable=True),
        sa.PrimaryKeyConstraint("fill_id", name=op.f("pk_fills")),
    )
    with op.batch_alter_table("fills", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_fills_maker_account_fill_id"), ["maker_account", "fill_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_fills_maker_order_id"), ["maker_order_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_fills_market_fill_id"), ["market", "fill_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_fills_market_time_ms"), ["market", "time_ms"], unique=False)
        batch_op.create_index(batch_op.f("ix_fills_sequence"), ["sequence"], unique=False)
        batch_op.create_index(batch_op.f("ix_fills_taker_account_fill_id"), ["taker_account", "fill_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_fills_taker_order_id"), ["taker_order_id"], unique=False)

    op.create_table(
        "orders",
        sa.Column("order_id", FixedBytes(length=32), nullable=False),
        sa.Column("account", FixedBytes(length=30), nullable=False),
        sa.Column("market", sa.SmallInteger(), nullable=False),
        sa.Column("is_buy", sa.Boolean(), nullable=False),
        sa.Column("size_lots", sa.BigInteger(), nullable=False),
        sa.Column("limit_ticks", sa.BigInteger(), nullable=False),
        sa.Column("filled_lots", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=True),
        sa.Column("nonce", sa.BigInteger(), nullable=False),
        sa.Column("time_in_force", sa.SmallInteger(), nullable=False),
        sa.Column("reduce_only", sa.Boolean(), nullable=False),
        sa.Column("post_only", sa.Boolean(), nullable=False),
        sa.Column("expiry_s", sa.BigInteger(), nullable=False),
        sa.Column("max_fee_ppm", sa.BigInteger(), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("placed_sequence", sa.BigInteger(), nullable=False),
        sa.Column("placed_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_orders")),
    )
    with op.batch_alter_table("orders", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_orders_account_placed_sequence"), ["account", "placed_sequence"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_orders_account_status_placed_sequence"),
            ["account", "status", "placed_sequence"],
            unique=False,
        )

    op.create_table(
        "prices",
        sa.Column("market", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("journal_sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("mark_ticks", sa.BigInteger(), nullable=False),
        sa.Column("index_ticks", sa.BigInteger(), nullable=False),
        sa.Column("external_ticks", sa.BigInteger(), nullable=False),
        sa.Column("session", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("market", "journal_sequence", name=op.f("pk_prices")),
    )
    with op.batch_alter_table("prices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_prices_market_time_ms"), ["market", "time_ms"], unique=False)

    op.create_table(
        "transfers",
        sa.Column("transfer_id", sa.String(length=66), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("account", FixedBytes(length=30), nullable=False),
        sa.Column("quote", Quote(), nullable=False),
        sa.Column("counterparty", FixedBytes(length=20), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("code", sa.String(length=40), nullable=True),
        sa.Column("transaction_hash", FixedBytes(length=32), nullable=True),
        sa.Column("block", sa.BigInteger(), nullable=True),
        sa.Column("paid_transaction_hash", FixedBytes(length=32), nullable=True),
        sa.Column("paid_block", sa.BigInteger(), nullable=True),
        sa.Column("placed_sequence", sa.BigInteger(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_transfers")),
    )
    with op.batch_alter_table("transfers", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_transfers_account_placed_sequence"), ["account", "placed_sequence"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_transfers_counterparty_kind"), ["counterparty", "kind"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("transfers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_transfers_counterparty_kind"))
        batch_op.drop_index(batch_op.f("ix_transfers_account_placed_sequence"))

    op.drop_table("transfers")
    with op.batch_alter_table("prices", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_prices_market_time_ms"))

    op.drop_table("prices")
    with op.batch_alter_table("orders", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_orders_account_status_placed_sequence"))
        batch_op.drop_index(batch_op.f("ix_orders_account_placed_sequence"))

    op.drop_table("orders")
    with op.batch_alter_table("fills", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_fills_taker_order_id"))
        batch_op.drop_index(batch_op.f("ix_fills_taker_account_fill_id"))
        batch_op.drop_index(batch_op.f("ix_fills_sequence"))
        batch_op.drop_index(batch_op.f("ix_fills_market_time_ms"))
        batch_op.drop_index(batch_op.f("ix_fills_market_fill_id"))
        batch_op.drop_index(batch_op.f("ix_fills_maker_order_id"))
        batch_op.drop_index(batch_op.f("ix_fills_maker_account_fill_id"))

    op.drop_table("fills")
    op.drop_table("cursors")
    with op.batch_alter_table("batches", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_batches_status_sequence"))

    op.drop_table("batches")
    op.drop_table("accounts")
