"""What a site's owner may change while its agent runs: all of site.toml but who and where it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedgate.errors import InvalidConfig
from fedgate_gateway.config import ProjectConfig, SiteConfig, load_config
from fedgate_gateway.site.decision import Decider

#: Keys of site.toml that count from the start of the program to its end.
_FIXED = ("name", "data", "gateway", "api", "proxy", "adapters", "inspection",
          "outputs_bytes", "outputs_days", "series_days")  # fmt: skip


@dataclass(frozen=True)
class Rules:
    """A site's files, read and found right together."""

    config: SiteConfig
    decider: Decider

    @classmethod
    def of(cls, config: SiteConfig) -> Rules:
        """Read policy and projects; raises :class:`InvalidConfig` for what is wrong with them."""
        projects: dict[str, ProjectConfig] = {}
        for path in config.projects:
            project = load_config(ProjectConfig, path)
            projects[project.name] = project
        try:
            return cls(config, Decider(config, projects))
        except OSError as error:
            raise InvalidConfig("cannot read the site's policy", why=str(error)) from error

    def again(self, path: Path) -> Rules:
        """The same files as they are now; raises :class:`InvalidConfig` and changes nothing."""
        found = load_config(SiteConfig, path)
        changed = [key for key in _FIXED if getattr(found, key) != getattr(self.config, key)]
        if found.runtime.sandbox != self.config.runtime.sandbox:
            changed.append("runtime.sandbox")
        if changed:
            raise InvalidConfig(
                f"{', '.join(changed)} cannot change while the agent runs",
                why=f"{path} says otherwise than when it started",
                remedy="restart the agent, or set it back",
            )
        return Rules.of(found)
