"""A PostgreSQL server of a test's own, that can be killed and started again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


class PostgreSQL:
    """``url`` is that of its only database."""

    def __init__(self, binaries: Path, folder: Path, user: str | None) -> None:
        self._binaries, self._folder, self._user = binaries, folder, user
        self._cluster = folder / "cluster"
        self.url = f"postgresql://fedgate@/postgres?host={folder}"
        self._run("initdb", "-D", self._cluster, "-U", "fedgate", "-A", "trust", "-N")

    def start(self) -> None:
        sockets = f"-c listen_addresses='' -c unix_socket_directories='{self._folder}'"
        options = ("-l", self._folder / "log", "-o", f"{sockets} -c fsync=off")
        self._run("pg_ctl", "-D", self._cluster, "-w", *options, "start")

    def kill(self) -> None:
        """As a crash would end it."""
        self._run("pg_ctl", "-D", self._cluster, "-m", "immediate", "-w", "stop")

    def own(self, user: str) -> None:
        """Make ``user`` a master of it, as the distribution's own is."""
        make = f"CREATE ROLE {user} SUPERUSER LOGIN"
        self._run("psql", "-U", "fedgate", "-d", "postgres", "-c", make, **self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """With which its programs find it."""
        return {"PGHOST": str(self._folder), "PATH": f"{self._binaries}:/usr/sbin:/usr/bin:/bin"}

    def _run(self, program: str, *arguments: object, **environment: str) -> None:
        done = subprocess.run(
            [str(self._binaries / program), *map(str, arguments)], user=self._user,
            env={**os.environ, **environment}, cwd=self._folder, timeout=60,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def programs() -> Path | None:
    """Where initdb and postgres are, if they are."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """One that runs."""
    pytest.importorskip("psycopg")
    binaries = programs()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    # It refuses to run as root, so root lends it a harmless user.
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="fedgate-pg-", dir="/tmp"))  # sockets need a short path
    try:
        if user:
            shutil.chown(folder, user)
            folder.chmod(0o755)  # other users come to its socket
        server = PostgreSQL(binaries, folder, user)
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
