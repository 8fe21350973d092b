"""Versions of the schema, by Alembic; the migrations are part of the package.

Alembic is imported where a migration runs: a gateway whose database is new or current needs none,
and starts half a second of processor time sooner without it and its dialects.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

#: The newest migration.
HEAD = "0004"
_MIGRATIONS = Path(__file__).parent / "migrations"
#: As Alembic makes it.
_VERSIONS = Table(
    "alembic_version",
    MetaData(naming_convention={"pk": "%(table_name)s_pkc"}),
    Column("version_num", String(32), primary_key=True),
)


def metadata() -> MetaData:
    """All tables, also those of the audit log, which lives in the same database."""
    import fedgate_gateway.audit.tables
    import fedgate_gateway.front.tables
    import fedgate_gateway.store.tables  # noqa: F401
    from fedgate_gateway.store.base import Base

    return Base.metadata


def config(connection: Connection | None = None) -> Config:
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    settings.attributes["connection"] = connection
    return settings


class UnknownVersion(Exception):
    """The database's schema is none that this version's migrations know."""


@cache
def _migrations() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(config())


def upgrade(connection: Connection) -> None:
    """Bring the schema to :data:`HEAD` in the caller's transaction; raises
    :class:`UnknownVersion`.
    """
    if is_current(connection):
        return
    if connection.dialect.name == "sqlite" and not inspect(connection).get_table_names():
        _create(connection)
    else:
        migrate(connection)


def _create(connection: Connection) -> None:
    """At once what all migrations give one after the other, to the letter: a test compares."""
    metadata().create_all(connection)
    _VERSIONS.create(connection)
    connection.execute(_VERSIONS.insert().values(version_num=HEAD))


def migrate(connection: Connection) -> None:
    """Run the missing migrations; raises :class:`UnknownVersion`."""
    from alembic import command
    from alembic.util import CommandError

    for version in _versions(connection):
        try:
            _migrations().get_revision(version)
        except CommandError as error:
            raise UnknownVersion(f"its schema is {version}") from error
    command.upgrade(config(connection), "head")


def differences(connection: Connection) -> list[Any]:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True}
    )
    return list(compare_metadata(context, metadata()))


def is_current(connection: Connection) -> bool:
    return _versions(connection) == {HEAD}


def _versions(connection: Connection) -> set[str]:
    """Empty for a database that no gateway has used."""
    if not inspect(connection).has_table(_VERSIONS.name):
        return set()
    return set(connection.scalars(select(_VERSIONS.c.version_num)))
