"""NVIDIA FLARE 2.9 jobs as Fedgate workloads.

FLARE's own server runner and client runners run unmodified jobs; tasks and results leave them as
neutral ones. Importing this package, or its ``adapter`` module, does not import nvflare; asking
for :class:`FedgateEnv`, with which a recipe runs through a gateway, does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedgate_flare.env import FedgateEnv

__all__ = ["FedgateEnv"]


def __getattr__(name: str) -> Any:
    if name == "FedgateEnv":
        from fedgate_flare.env import FedgateEnv

        return FedgateEnv
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
