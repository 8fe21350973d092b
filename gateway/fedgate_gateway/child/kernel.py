"""Calls of Linux that Python has no name for, for processes that start and end others."""

from __future__ import annotations

import ctypes
import itertools
import os
import platform

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
_CAPABILITIES_V3 = 0x20080522
_KEYCTL_JOIN_SESSION_KEYRING = 1
#: Numbers of keyctl(2).
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}

_libc = ctypes.CDLL(None, use_errno=True)


def end_with_parent(signal_number: int) -> None:
    """Send this process ``signal_number`` when its parent ends; 0: nothing."""
    _call(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0))


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _call(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def name_process(name: str) -> None:
    """What this process is called where processes are listed; up to 15 bytes."""
    _call(_libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0))


def leave_keyring() -> None:
    """Take a new, empty session keyring: keys of whoever started us are not ours any more.

    Before any thread exists. A kernel without keyrings has none to leave.
    """
    number = _KEYCTL.get(platform.machine())
    if number is None:
        return
    try:
        _call(_libc.syscall(number, _KEYCTL_JOIN_SESSION_KEYRING, None))
    except (NotImplementedError, PermissionError):  # ENOSYS; a container's filter: closed anyway
        return


def own_namespaces() -> None:
    """Leave for a user, network and IPC namespace of this process's own; it has one thread.

    The network has no interface that is up. In there the process has every capability.
    """
    _call(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC))


def drop_capabilities() -> None:
    """Have none, and get none from any program."""
    _call(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    _call(_libc.capset(header, (ctypes.c_uint32 * 6)()))


def version() -> tuple[int, int]:
    major, minor = platform.release().split(".")[:2]
    digits = "".join(itertools.takewhile(str.isdigit, minor))
    return int(major), int(digits or 0)


def _call(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        if number == 38:  # ENOSYS
            raise NotImplementedError(os.strerror(number))
        raise OSError(number, os.strerror(number))
