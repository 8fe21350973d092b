"""Which flwr the adapter works with, and whether a workload can live with that one."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from fedgate.errors import InvalidBundle, PluginUnavailable, UnsupportedVersion

#: The release whose non-public parts ``_flwr_private`` was read and tested against.
SUPPORTED = "1.41"
_FALLBACK = "1.41.0"
_NIGHTLY = "flwr-nightly"
#: hatch's notation for a folder next to the project: what flwr's own repository writes into its
#: test apps. Outside of that repository it names nothing, so whichever flwr is there must do.
_NEXT_TO_IT = "{root"


def installed() -> str | None:
    """The installed flwr, without importing it."""
    try:
        return metadata.version("flwr")
    except metadata.PackageNotFoundError:
        return None


def require_supported() -> str:
    """The installed version; raises :class:`PluginUnavailable` unless it is the supported one."""
    version = installed()
    if version is None:
        raise PluginUnavailable("flwr is not installed", remedy="pip install 'fedgate[flower]'")
    if Version(version).release[:2] != Version(SUPPORTED).release:
        raise PluginUnavailable(
            f"the Flower adapter works with flwr {SUPPORTED}, not with {version}",
            why="it relies on parts of flwr that are not public",
            remedy="pip install 'fedgate[flower]'",
        )
    return version


def flwr_requirement(dependencies: tuple[str, ...]) -> str:
    """The specifier of the workload's own flwr dependency ("" if it has none), after checking it.

    Raises :class:`InvalidBundle` for a dependency that does not parse or stands there twice, and
    :class:`UnsupportedVersion` for one that our flwr does not satisfy.
    """
    ours = installed() or _FALLBACK
    found: list[Requirement] = []
    for text in dependencies:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise InvalidBundle(
                f"the dependency {text[:200]!r} in [project].dependencies is malformed",
                why=str(error).splitlines()[0],
            ) from None
        if requirement.name.lower().replace("_", "-") == _NIGHTLY:
            raise UnsupportedVersion(
                "the app needs a nightly build of Flower",
                why=f"flwr {ours} runs here",
                remedy=f'depend on "flwr>={SUPPORTED},<2" instead',
            )
        if requirement.name.lower() == "flwr" and _applies(requirement):
            found.append(requirement)
    found = [requirement for requirement in found if not names_a_source_tree(requirement)]
    if not found:
        return ""
    if len(found) > 1:
        raise InvalidBundle("[project].dependencies names flwr more than once")
    _check(found[0], ours)
    return str(found[0].specifier)


def names_a_source_tree(requirement: Requirement) -> bool:
    """Does it ask for what lies next to the app in a source tree, as flwr's own test apps do?"""
    return (requirement.url or "").startswith(_NEXT_TO_IT)


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate()


def _check(requirement: Requirement, ours: str) -> None:
    if requirement.url:
        raise UnsupportedVersion(
            "the app takes flwr from an address of its own",
            why=requirement.url[:200],
            remedy=f'depend on "flwr>={SUPPORTED},<2" instead',
        )
    if not requirement.specifier.contains(ours, prereleases=True):
        raise UnsupportedVersion(
            f"the app needs flwr{requirement.specifier}",
            why=f"flwr {ours} runs here",
            remedy=f"update the app and its dependency, for example to flwr>={SUPPORTED},<2",
        )
