"""Getting back into a gateway whose last administrator, or whose CA, is gone.

For whoever can write the gateway's data folder and database, and while no gateway runs on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedgate.errors import InvalidConfig
from fedgate_gateway.audit.log import AuditLog
from fedgate_gateway.audit.signer import LogSigner
from fedgate_gateway.config import GatewayConfig
from fedgate_gateway.control.state import ADMIN_TOKEN_FILE, open_database
from fedgate_gateway.control.tokens import Tokens
from fedgate_gateway.pki.peers import revoke_everybody
from fedgate_gateway.pki.private_files import private_folder
from fedgate_gateway.store.lease import take_lease


@dataclass(frozen=True)
class Recovered:
    token_file: Path
    revoked_peers: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {"token_file": str(self.token_file), "revoked_peers": self.revoked_peers}


def recover(config: GatewayConfig, *, new_ca: bool = False) -> Recovered:
    """A new administrator's token, in ``<data>/admin-token``; with ``new_ca`` all peers are revoked
    as well, so that the next start makes another CA. Both are in the audit log.

    Raises :class:`Conflict` while a gateway runs on the same database, and :class:`InvalidConfig`
    when the CA that is given up is still there.
    """
    data = private_folder(config.data)
    if new_ca and (data / "pki" / "ca.key").exists():
        raise InvalidConfig(
            f"the gateway's CA is still in {data / 'pki'}",
            remedy="leave --new-ca out; or move that folder away first, to give the CA up",
        )
    database = open_database(config)
    lease = take_lease(database, data, patience=0)
    try:
        database.migrate()
        audit = AuditLog(database.engine, LogSigner.open(data / "audit.key"))
        revoked = revoke_everybody(database, audit) if new_ca else 0
        file = data / ADMIN_TOKEN_FILE
        Tokens(database, audit).recover(file)
        audit.checkpoint()
        return Recovered(file, revoked)
    finally:
        lease.release()
        database.close()
