"""Alembic's entry: always online, always on the connection that the database hands over."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from fedgate_gateway.store import schema
from fedgate_gateway.store.base import UtcDateTime


def render_item(_kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write our own column types as what the database sees: a migration outlives our code."""
    return "sa.DateTime(timezone=True)" if isinstance(item, UtcDateTime) else False


connection = context.config.attributes["connection"]
if connection is None:
    raise RuntimeError("migrations run through fedgate_gateway.store.Database.migrate()")
context.configure(
    connection=connection,
    target_metadata=schema.metadata(),
    render_item=render_item,
    render_as_batch=connection.dialect.name == "sqlite",
    transaction_per_migration=False,
)
# The connection's own transaction holds everything, so a migration that fails leaves nothing.
context.run_migrations()
