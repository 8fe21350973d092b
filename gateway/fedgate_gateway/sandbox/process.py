"""No sandbox: an ordinary process. A site or enclave uses it only when it names it."""

from __future__ import annotations

from collections.abc import Sequence

from fedgate_gateway.sandbox import family
from fedgate_gateway.sandbox.contract import Confinement, Sandbox


class UnconfinedProcess(Sandbox):
    name = "process"
    confines = False

    def unavailable(self) -> str | None:
        if not family.available():
            return "this kernel does not tell the children of a process (CONFIG_PROC_CHILDREN)"
        return None

    def command(self, argv: Sequence[str], confinement: Confinement) -> list[str]:
        return list(argv)
