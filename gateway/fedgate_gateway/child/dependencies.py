"""What a workload depends on, checked against the interpreters that a site or enclave has prepared.

Nothing is installed for a job: a missing package is a reason to decline, by its name, before the
job starts. Extras are not followed (``flwr[simulation]`` asks for a simulator that nobody needs
here), and of a dependency on a URL only the name is checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from fedgate.codes import Code
from fedgate.errors import Denied
from fedgate.notice import Notice
from fedgate_gateway.child.interpreter import ask
from fedgate_gateway.config import EnclaveConfig, Runtime, SiteConfig

_MOST_NAMED = 20
#: What children themselves run on, whatever the workload depends on.
_OURS = "fedgate"
#: Projects that publish builds of the same modules and versions under other names.
_BUILDS: Mapping[str, tuple[str, ...]] = {
    "xgboost": ("xgboost-cpu",),
    "tensorflow": ("tensorflow-cpu",),
    "tensorflow-cpu": ("tensorflow",),
    "opencv-python": ("opencv-python-headless", "opencv-contrib-python"),
    "psycopg2": ("psycopg2-binary",),
    "faiss-cpu": ("faiss-gpu",),
}
#: Only a site's answer in review says beside its code what is missing.
_CODES: Mapping[str, Code] = {
    "site": Code.SITE_LACKS_DEPENDENCIES, "enclave": Code.LACKS_DEPENDENCIES,
}  # fmt: skip
#: Only what is asked for: what all packages of an environment say takes ten times as long to read.
_ASK = """
import json, sys
from importlib import metadata
found = {}
for name in json.load(sys.stdin):
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(["%d.%d" % sys.version_info[:2], "%d.%d.%d" % sys.version_info[:3], found]))
"""


@dataclass(frozen=True)
class Offer:
    """What an interpreter has: versions by canonical name, and its own for markers."""

    python: str
    python_full: str
    packages: Mapping[str, str]

    def missing(self, dependencies: Iterable[str]) -> list[str]:
        """Each dependency that is not satisfied, with why."""
        environment = {
            **{name: str(value) for name, value in default_environment().items()},
            "python_version": self.python,
            "python_full_version": self.python_full,
            "extra": "",
        }
        found = []
        for text in dependencies:
            try:
                wanted = Requirement(text)
            except InvalidRequirement:
                found.append(f"{text[:100]!r} (malformed)")
                continue
            if wanted.marker is not None and not wanted.marker.evaluate(environment):
                continue
            version = self._version(canonicalize_name(wanted.name))
            if version is None:
                found.append(f"{wanted.name}{wanted.specifier} (not installed)")
            elif not wanted.specifier.contains(version, prereleases=True):
                found.append(f"{wanted.name}{wanted.specifier} ({version} is installed)")
        return found

    def _version(self, name: str) -> str | None:
        found = (self.packages.get(other) for other in (name, *_BUILDS.get(name, ())))
        return next((version for version in found if version is not None), None)


def offer_of(
    interpreter: str, environment: Mapping[str, str], dependencies: Iterable[str]
) -> Offer:
    """Ask an interpreter; raises :class:`InvalidConfig` for one that does not answer.

    Asked anew each time (less than a tenth of a second), so that what its owner installs counts at
    once.
    """
    python, full, packages = ask(interpreter, _ASK, environment, _names(dependencies))
    return Offer(python, full, packages)


def _names(dependencies: Iterable[str]) -> list[str]:
    """Of all packages that may satisfy them; malformed ones have none."""
    names: set[str] = set()
    for text in dependencies:
        with suppress(InvalidRequirement):
            name = canonicalize_name(Requirement(text).name)
            names |= {name, *_BUILDS.get(name, ())}
    return sorted(names)


def choose_runtime(dependencies: tuple[str, ...], config: SiteConfig | EnclaveConfig) -> Runtime:
    """The runtime, with the first interpreter that has all of ``dependencies`` and fedgate.

    Raises :class:`Denied` that names what each of them lacks.
    """
    if config.runtime.interpreter or config.interpreters:
        dependencies = (_OURS, *dependencies)
    if not dependencies:
        return config.runtime
    who = "site" if isinstance(config, SiteConfig) else "enclave"
    lacking: dict[str, list[str]] = {}
    environment = config.runtime.environment
    for name, interpreter in (
        ("runtime", config.runtime.interpreter),
        *config.interpreters.items(),
    ):
        missing = offer_of(interpreter, environment, dependencies).missing(dependencies)
        if not missing:
            return config.runtime.model_copy(update={"interpreter": interpreter})
        lacking[name] = missing
    if len(lacking) == 1:
        about = lacking["runtime"][:_MOST_NAMED]
        why = ", ".join(about)
    else:
        about = [f"{n} lacks {', '.join(m[:_MOST_NAMED])}" for n, m in lacking.items()]
        why = "; ".join(about)
    raise Denied(
        f"{who} {config.name} does not have what this workload depends on",
        why=why[:2000],
        remedy="its operator can install it, or list a prepared environment in interpreters",
        notice=Notice(_CODES[who]),
        about=about,
    )
