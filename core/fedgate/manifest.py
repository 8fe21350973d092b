"""What a bundle says about itself, read from its files without running any of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fedgate.task import Scalar


@dataclass(frozen=True)
class Manifest:
    framework: str
    name: str
    version: str = ""
    #: The framework version the workload asks for, as it writes it (">=1.41,<2").
    framework_version: str = ""
    #: role ("coordinator", "worker", …) -> what runs there, in the framework's own notation.
    entry_points: Mapping[str, str] = field(default_factory=dict)
    #: Settings with defaults that a submitter may override.
    config: Mapping[str, Scalar] = field(default_factory=dict)
    dependencies: tuple[str, ...] = ()
    min_sites: int = 1
    #: Sites the workload names itself; empty means any.
    sites: tuple[str, ...] = ()
    #: Sites that it cannot go on without, whichever others take part.
    mandatory: tuple[str, ...] = ()
    #: "site:resource" -> how much of it the workload asks that site for.
    resources: Mapping[str, Scalar] = field(default_factory=dict)
    #: "channel:topic" of opaque frames the workload is known to need.
    frames: tuple[str, ...] = ()
    #: Others that it sends if it may and does well without: where one is refused, it can be named.
    spare_frames: tuple[str, ...] = ()
    #: What it is known to need of a site's egress guard beyond the strict rules; see
    #: :mod:`fedgate.guard_rules`.
    guard: tuple[str, ...] = ()
    #: Does it wait at each site for a trainer that the site's owner starts, outside the sandbox?
    attaches: bool = False
    #: Does it bring code of its own? False only where an adapter is sure that it does not.
    brings_code: bool = True
    #: Classes that its configuration names to be loaded, as it writes them.
    components: tuple[str, ...] = ()
    #: What is handed to them: ``class: argument = value``, one line each.
    arguments: tuple[str, ...] = ()
    #: Facts for a reviewer that fit nowhere else.
    notes: tuple[str, ...] = ()

    def declared_frames(self) -> tuple[str, ...]:
        """Every frame that is known by name before anything runs."""
        return (*self.frames, *self.spare_frames)

    def resources_of(self, site: str) -> dict[str, float]:
        """Resource -> amount that is asked of one site; what is no number, nobody has."""
        lead = f"{site}:"
        return {
            name.removeprefix(lead): float(amount) if isinstance(amount, int | float) else math.inf
            for name, amount in self.resources.items()
            if name.startswith(lead)
        }

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Manifest:
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**known)
