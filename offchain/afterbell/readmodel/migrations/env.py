"""Run migrations on the connection that database.migrate opened; never offline."""

from alembic import context

from afterbell.readmodel.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
