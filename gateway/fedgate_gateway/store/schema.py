"""Versions of the schema, by Alembic; the migrations are part of the package."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData

_MIGRATIONS = Path(__file__).parent / "migrations"


def metadata() -> MetaData:
    """All tables, also those of the audit log, which lives in the same database."""
    import fedgate_gateway.audit.tables
    import fedgate_gateway.front.tables
    import fedgate_gateway.store.tables  # noqa: F401
    from fedgate_gateway.store.base import Base

    return Base.metadata


def config(connection: Connection | None = None) -> Config:
    settings = Config()
    settings.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    settings.attributes["connection"] = connection
    return settings


class UnknownVersion(Exception):
    """The database's schema is none that this version's migrations know."""


@cache
def _migrations() -> ScriptDirectory:
    return ScriptDirectory.from_config(config())


def upgrade(connection: Connection) -> None:
    """Run the missing migrations in the caller's transaction; raises :class:`UnknownVersion`."""
    for version in MigrationContext.configure(connection).get_current_heads():
        try:
            _migrations().get_revision(version)
        except CommandError as error:
            raise UnknownVersion(f"its schema is {version}") from error
    if not is_current(connection):
        command.upgrade(config(connection), "head")


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True}
    )
    return list(compare_metadata(context, metadata()))


def is_current(connection: Connection) -> bool:
    current = MigrationContext.configure(connection).get_current_heads()
    return set(current) == set(_migrations().get_heads())
