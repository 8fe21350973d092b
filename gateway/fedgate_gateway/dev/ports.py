"""Free ports of the loopback interface, and telling whether one is still free."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from fedgate.errors import Unavailable

HOST = "127.0.0.1"


def choose(count: int) -> list[int]:
    """Different ports that are free now; all are held until the last one is chosen."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def require_free(port: int, *, what: str, file: str) -> None:
    """Raises :class:`Unavailable` when somebody listens on ``port``."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise Unavailable(
                f"the port {port} for {what} is taken",
                why=f"{error.strerror}; is this federation running already?",
                remedy=f"stop whoever uses it, or change the port in {file} (and wherever "
                "enclave.toml, site-*.toml and profile.toml name it)",
            ) from error
