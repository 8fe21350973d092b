"""The key that a token's holder wants outputs sealed to, for commands that cannot name one."""

from __future__ import annotations

from fedgate.errors import InvalidMessage, SealBroken
from fedgate_gateway.audit.log import AuditLog
from fedgate_gateway.control.principal import Principal
from fedgate_gateway.front.tables import TokenRecipientRow
from fedgate_gateway.link.terms import fingerprint
from fedgate_gateway.sealed.keys import SealingPublicKey
from fedgate_gateway.store import Database


class Recipients:
    """One key for each token; public, and checked by every enclave against its project file."""

    def __init__(self, database: Database, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit

    def of(self, token: str) -> bytes | None:
        with self._database.read() as session:
            row = session.get(TokenRecipientRow, token)
        return None if row is None else row.public_key

    def register(self, principal: Principal, public_key: bytes) -> str:
        """Keep a key for the token of ``principal``; returns its fingerprint.

        Saying it again changes nothing. Raises :class:`InvalidMessage` for what is no X-Wing key.
        """
        try:
            SealingPublicKey(public_key)
        except SealBroken as error:
            raise InvalidMessage(
                "the recipient is not an X-Wing public key", why=error.why or error.what
            ) from error
        printed = fingerprint(public_key)
        with self._database.write() as session:
            row = session.get(TokenRecipientRow, principal.token)
            if row is not None and row.public_key == public_key:
                return printed
            if row is None:
                session.add(TokenRecipientRow(token=principal.token, public_key=public_key))
            else:
                row.public_key = public_key
            session.flush()
            told = {"token": principal.token, "recipient": printed}
            self._audit.append("recipient.registered", told, actor=principal.name, session=session)
        return printed
