from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, create_engine

from fedgate_gateway.audit import AuditLog, LogSigner
from fedgate_gateway.audit.tables import create_tables


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/audit.db")
    create_tables(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def signer() -> LogSigner:
    return LogSigner(Ed25519PrivateKey.generate(), "test.example/audit")


@pytest.fixture
def log(engine: Engine, signer: LogSigner) -> AuditLog:
    return AuditLog(engine, signer)
