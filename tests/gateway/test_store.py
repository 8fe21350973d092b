"""The database and the object store."""

from __future__ import annotations

import asyncio
import hashlib
import re
import stat
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, StatementError

from fedgate.errors import Conflict, NotFound, Unavailable
from fedgate_gateway.store import Database, Objects, StoreAway, StoredObject, schema
from fedgate_gateway.store.base import Base
from fedgate_gateway.store.tables import JobEventRow, TokenRow


@pytest.fixture
def database(tmp_path):
    opened = Database.in_folder(tmp_path)
    opened.migrate()
    yield opened
    opened.close()


def token_row(**changes):
    values = {
        "id": "tok-1", "name": "a", "hash": b"h" * 32, "scopes": [], "projects": None,
        "created": datetime.now(UTC), "expires": None, "revoked": None,
    }  # fmt: skip
    return TokenRow(**{**values, **changes})


def test_a_new_database_is_what_all_migrations_give(database, tmp_path):
    """To the letter, but for the order of lines within a table."""

    def tables(engine):
        with engine.connect() as connection:
            found = connection.execute(text("SELECT name, sql FROM sqlite_master")).all()
        return {name: parts(sql or "") for name, sql in found}

    def parts(sql):
        head, _, body = " ".join(sql.split()).removesuffix(")").partition("(")
        return head, sorted(part.strip() for part in re.split(r",(?![^(]*\))", body))

    other = Database.at(f"sqlite:///{tmp_path / 'migrated.db'}")
    with other.engine.begin() as connection:
        schema.migrate(connection)
    assert tables(other.engine) == tables(database.engine)
    assert other.differences() == database.differences() == []
    other.check()
    assert max(schema._migrations().get_heads()) == schema.HEAD
    other.close()


def test_a_model_without_its_migration_is_noticed(database):
    with database.engine.begin() as connection:
        connection.execute(text("DROP TABLE outputs"))
        connection.execute(text("ALTER TABLE jobs ADD COLUMN surprise INTEGER"))
    assert {change[0] for change in database.differences()} == {"add_table", "remove_column"}


def test_migrating_again_changes_nothing(database):
    database.migrate()
    database.check()
    assert database.differences() == []


def test_downgrading_takes_everything_away(database):
    from alembic import command

    with database.engine.begin() as connection:
        command.downgrade(schema.config(connection), "base")
    with database.engine.connect() as connection:
        left = connection.execute(text("SELECT name FROM sqlite_master WHERE type='table'"))
        assert {row[0] for row in left} <= {"alembic_version", "sqlite_sequence"}


def test_a_database_of_another_version_is_not_ready(database):
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'elsewhere'"))
    with pytest.raises(Unavailable, match="schema"):
        database.check()


def test_sqlite_runs_as_we_need_it(database):
    with database.read() as session:
        ask = lambda name: session.execute(text(f"PRAGMA {name}")).scalar_one()  # noqa: E731
        assert ask("journal_mode") == "wal"
        assert ask("synchronous") == 2
        assert ask("foreign_keys") == 1


def test_the_embedded_database_is_readable_by_its_owner_only(database, tmp_path):
    with database.write() as session:
        session.add(token_row())
    files = list(tmp_path.glob("gateway.db*"))
    assert files
    assert all(stat.S_IMODE(file.stat().st_mode) & 0o077 == 0 for file in files)


def test_a_transaction_that_raises_leaves_nothing(database):
    def broken():
        with database.write() as session:
            session.add(token_row())
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    with database.read() as session:
        assert session.get(TokenRow, "tok-1") is None


def test_rows_of_unknown_jobs_are_refused(database):
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(JobEventRow(job="job-none", at=datetime.now(UTC), kind="x", data={}))


def test_times_come_back_in_utc_and_need_a_zone(database):
    early = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    with database.write() as session:
        session.add(token_row(created=early))
    with database.read() as session:
        found = session.get(TokenRow, "tok-1")
        assert found.created == early
        assert found.created.tzinfo is UTC
    with pytest.raises(StatementError), database.write() as session:
        session.add(token_row(id="tok-2", hash=b"i" * 32, created=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_writers_take_turns(database):
    def add(number):
        for step in range(10):
            name = f"{number}-{step}"
            with database.write() as session:
                session.add(token_row(id=name, hash=name.encode().ljust(32)))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert session.query(TokenRow).count() == 60


def test_every_table_names_its_constraints():
    for table in Base.metadata.tables.values():
        assert all(constraint.name for constraint in table.constraints), table.name


# -- objects -------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "file", "memory"])
def objects(request, tmp_path):
    if request.param == "folder":
        return Objects.in_folder(tmp_path / "objects")
    return Objects.open("memory:///" if request.param == "memory" else f"file://{tmp_path}/url")


async def chunks_of(*parts):
    for part in parts:
        yield part


async def collect(stream):
    return b"".join([chunk async for chunk in stream])


def test_objects_come_back_whole_and_as_a_stream(objects):
    async def run():
        content = bytes(range(256)) * 10_000
        stored = await objects.put("a/b", content)
        assert (stored.size, await objects.get("a/b")) == (len(content), content)
        assert await collect(objects.stream("a/b")) == content
        assert await objects.keys() == ["a/b"]

    asyncio.run(run())


def test_objects_are_never_overwritten(objects):
    async def run():
        await objects.put("a", b"first")
        for attempt in (
            lambda: objects.put("a", b"second"),
            lambda: objects.put_stream("a", chunks_of(b"second")),
        ):
            with pytest.raises(Conflict):
                await attempt()
        assert await objects.get("a") == b"first"

    asyncio.run(run())


def test_a_stream_over_its_limit_or_with_an_error_leaves_nothing(objects):
    async def broken():
        yield b"half"
        raise OSError

    async def run():
        with pytest.raises(Conflict, match="too large"):
            await objects.put_stream("a", chunks_of(b"12", b"34"), limit=3)
        with pytest.raises(OSError):
            await objects.put_stream("a", broken())
        assert await objects.keys() == []
        stored = await objects.put_stream("a", chunks_of(b"12", b"34"), limit=4)
        assert stored == StoredObject("a", 4, "sha256:" + hashlib.sha256(b"1234").hexdigest())

    asyncio.run(run())


def test_what_is_not_there_is_not_found_and_deleting_it_is_no_error(objects):
    async def run():
        with pytest.raises(NotFound):
            await objects.get("a")
        with pytest.raises(NotFound):
            await collect(objects.stream("a"))
        await objects.delete("a")
        await objects.put("a", b"1")
        await objects.delete("a")
        assert not await objects.exists("a")

    asyncio.run(run())


def test_a_file_becomes_an_object(objects, tmp_path):
    file = tmp_path / "source"
    file.write_bytes(b"x" * 6_000_000)

    async def run():
        stored = await objects.put_file("big", file)
        assert stored.size == 6_000_000
        assert await collect(objects.stream("big")) == file.read_bytes()

    asyncio.run(run())


def test_an_object_store_that_cannot_be_opened_says_so():
    with pytest.raises(Unavailable, match="object store"):
        Objects.open("gopher://nowhere")


class Hanging:
    """A store that takes a question and never answers."""


def test_a_store_that_hangs_is_away_after_a_while_and_keeps_nobody_else_waiting(
    caplog, monkeypatch
):
    """However often it is asked: the database's work has other threads."""
    end, asked = threading.Event(), []

    def head(*_):
        asked.append(1)
        end.wait(60)
        raise FileNotFoundError

    monkeypatch.setattr("obstore.head", head)
    objects = Objects(Hanging())

    async def run():
        checks = [objects.check(0.2) for _ in range(40)]
        found = await asyncio.gather(*checks, return_exceptions=True)
        assert {type(error) for error in found} == {StoreAway}
        many = [asyncio.ensure_future(objects.exists(f"{n}")) for n in range(40)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "not stuck"), 30) == "not stuck"
        assert objects.away
        end.set()
        assert not any(await asyncio.gather(*many))
        await objects.check(60)
        assert not objects.away

    asyncio.run(run())
    assert len(asked) <= 42, "those who check share one question"
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(" (")[0].split(", ")[0] for line in said] == [
        "the object store does not answer: no answer within 0.2 s",
        "the object store answers again",
    ]
