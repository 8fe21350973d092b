"""Namespaces of its own for the inspection server, which every inspection inherits for nothing.

What it had of its program's network, of shared memory and of message queues is gone, and its user
namespace keeps it from tracing processes outside, its program among them. It needs what the
bubblewrap sandbox needs, unprivileged user namespaces, and no program to be started.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from fedgate_gateway.child import kernel

log = logging.getLogger(__name__)


def leave_network() -> bool:
    """Of this process, which has one thread. False, and said once, where the kernel gives none."""
    uid, gid = os.getuid(), os.getgid()
    try:
        kernel.own_namespaces()
    except (OSError, NotImplementedError) as error:
        log.warning(
            "bundles are inspected in processes that could use this program's network: the kernel "
            'gives them no namespace of their own (%s); `sandbox = "bubblewrap"` needs the same',
            error.args[-1],
        )
        return False
    with suppress(OSError):  # without it files are somebody's all the same: the same user's
        for name, text in (
            ("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1"),
        ):  # fmt: skip
            Path("/proc/self", name).write_text(text, "ascii")
    with suppress(OSError):  # one in there would be its ruler
        Path("/proc/sys/user/max_user_namespaces").write_text("0", "ascii")
    kernel.drop_capabilities()
    return True
