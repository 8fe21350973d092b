"""Why the other end closed a session, as far as it says so."""

from __future__ import annotations

from fedgate.codes import Code
from fedgate.notice import Notice, read_notice
from fedgate_proto.v1 import link_pb2 as pb


def closing(message: pb.SessionClosed, default: Code = Code.SITE_ENDED) -> Notice:
    """Not authenticated: whoever carries it may have changed it, within the known codes."""
    try:
        return read_notice(message.notice)
    except ValueError:
        return Notice(default)
