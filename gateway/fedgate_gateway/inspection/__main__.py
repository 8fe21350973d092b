"""``python -m fedgate_gateway.inspection FD ADAPTER…``: the server, where a fork is no choice."""

from __future__ import annotations

import socket
import sys

from fedgate_gateway.inspection.server import Server, load_adapters, settle

if __name__ == "__main__":
    control = socket.socket(fileno=int(sys.argv[1]))
    settle(control)
    load_adapters(sys.argv[2:])
    Server(control).run()
