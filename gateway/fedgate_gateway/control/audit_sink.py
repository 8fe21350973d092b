"""Where decisions and transitions are written down for good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy.orm import Session


class AuditSink(Protocol):
    """The part of :class:`fedgate_gateway.audit.AuditLog` that the gateway's services use."""

    def append(
        self,
        kind: str,
        data: Mapping[str, Any],
        *,
        job: str | None = None,
        actor: str = "",
        session: Session | None = None,
    ) -> int:
        """Add an entry; with a ``session`` as part of its transaction."""
