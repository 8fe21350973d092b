"""Who asks, and what for: the scopes of a token and the projects it is limited to."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from fedgate.errors import Denied


class Scope(enum.StrEnum):
    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    SITES_READ = "sites:read"
    AUDIT_READ = "audit:read"
    METRICS_READ = "metrics:read"
    #: Everything, and also tokens, enrolments and revocation.
    ADMIN = "admin"


@dataclass(frozen=True)
class Principal:
    name: str
    token: str
    scopes: frozenset[Scope]
    #: None: every project.
    projects: frozenset[str] | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def require(self, scope: Scope) -> None:
        """Raise :class:`Denied` unless the token has this scope."""
        if not self.may(scope):
            raise Denied(
                "this token may not do that",
                why=f"it lacks the scope {scope}",
                remedy="ask the gateway's administrator for a token that has it",
            )

    def sees(self, project: str) -> bool:
        return self.projects is None or project in self.projects

    def require_project(self, project: str) -> None:
        """Raise :class:`Denied` for other projects, whether they exist or not."""
        if not self.sees(project):
            raise Denied(
                f"this token is not for project {project!r}",
                why=f"it is for: {', '.join(sorted(self.projects or ())) or 'none'}",
                remedy="use a token of that project",
            )
