"""Loading plugins by stevedore. Loading runs a plugin's code, so configuration names who may."""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from stevedore import DriverManager
from stevedore.exception import NoMatches

from fedgate.adapter import Adapter
from fedgate.bundle import BundleTree
from fedgate.errors import (
    AdapterFailed,
    Conflict,
    FedgateError,
    PluginUnavailable,
    UnknownFramework,
)

if TYPE_CHECKING:
    from fedgate.front_door import FrontDoor
    from fedgate.side_door import SideDoor

ADAPTERS = "fedgate.adapters"
FRONT_DOORS = "fedgate.front_doors"
SIDE_DOORS = "fedgate.side_doors"


def names(group: str) -> list[str]:
    """Names registered under an entry-point group; nothing is imported."""
    return sorted({entry.name for entry in _registered(group)})


def _registered(group: str) -> list[EntryPoint]:
    """All of an entry-point group, read once in a process, for us and for stevedore.

    By itself stevedore reads every group of every distribution unless it finds a file in the home
    folder that says so; a child's home is its scratch folder, which is empty.
    """
    cache = DriverManager.ENTRY_POINT_CACHE
    if group not in cache:
        cache[group] = list(dict.fromkeys(entry_points(group=group)))
    return cache[group]


def load(group: str, name: str, *, allowed: Collection[str] | None = None) -> Any:
    """The object behind one entry point, called without arguments if it is a class.

    Raises :class:`PluginUnavailable` when it is not allowed, not installed, or does not load.
    """
    if allowed is not None and name not in allowed:
        raise PluginUnavailable(
            f"the plugin {name!r} is not allowed here",
            why=f"allowed in {group} are: {', '.join(sorted(allowed)) or 'none'}",
            remedy="add its name to the configuration's list of plugins",
        )
    _registered(group)
    try:
        manager = DriverManager(
            namespace=group,
            name=name,
            invoke_on_load=False,
            on_load_failure_callback=_reraise,
        )
    except NoMatches:
        raise PluginUnavailable(
            f"no plugin {name!r} is installed",
            why=f"installed in {group} are: {', '.join(names(group)) or 'none'}",
            remedy="install the distribution that provides it",
        ) from None
    except FedgateError:
        raise
    except Exception as error:
        raise PluginUnavailable(f"the plugin {name!r} does not load", why=repr(error)) from error
    driver = manager.driver
    return driver() if isinstance(driver, type) else driver


def _reraise(_manager: Any, entry: Any, error: BaseException) -> None:
    raise PluginUnavailable(f"the plugin {entry.name!r} does not load", why=repr(error)) from error


def load_adapter(framework: str, *, allowed: Collection[str] | None = None) -> Adapter:
    adapter = load(ADAPTERS, framework, allowed=allowed)
    if not isinstance(adapter, Adapter):
        raise PluginUnavailable(f"the plugin {framework!r} is not an adapter")
    return adapter


def load_front_door(name: str, *, allowed: Collection[str] | None = None) -> FrontDoor:
    from fedgate.front_door import FrontDoor  # children load adapters alone

    door = load(FRONT_DOORS, name, allowed=allowed)
    if not isinstance(door, FrontDoor):
        raise PluginUnavailable(f"the plugin {name!r} is not a front door")
    return door


def load_side_door(name: str, *, allowed: Collection[str] | None = None) -> SideDoor:
    from fedgate.side_door import SideDoor

    door = load(SIDE_DOORS, name, allowed=allowed)
    if not isinstance(door, SideDoor):
        raise PluginUnavailable(f"the plugin {name!r} is not a side door")
    return door


def recognise(tree: BundleTree, *, allowed: Collection[str] | None = None) -> Adapter:
    """The adapter whose workload this is.

    An adapter that does not load or raises is passed over: it must not disable the others. Raises
    :class:`Conflict` when two say that it is theirs, the error of a broken one when nobody does,
    and :class:`UnknownFramework` when all were asked.
    """
    tried = [n for n in names(ADAPTERS) if allowed is None or n in allowed]
    broken: FedgateError | None = None
    found: dict[str, Adapter] = {}
    for name in tried:
        try:
            adapter = load_adapter(name, allowed=allowed)
            if adapter.recognises(tree):
                found[name] = adapter
        except PluginUnavailable as error:
            broken = error
        except Exception as error:
            broken = AdapterFailed(
                f"adapter {name!r} failed on this bundle, and no other recognises it",
                why=repr(error)[:300],
                remedy=f"report it to the authors of {name!r}, or take it out of `adapters`",
            )
    if len(found) > 1:
        raise Conflict(
            f"more than one adapter recognises this workload: {', '.join(found)}",
            why="what would run must not hang on the order in which they are asked",
            remedy="leave out the files of the frameworks that it is not for",
        )
    for adapter in found.values():
        return adapter
    if broken is not None:
        raise broken
    raise UnknownFramework(
        "no adapter recognises this workload",
        why=f"asked: {', '.join(tried) or 'none'}; top-level files: {', '.join(sorted(tree)[:5])}",
        remedy="submit a Flower app, a FLARE job, or install the adapter of your framework",
    )
