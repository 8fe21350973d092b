"""Which of FLARE's messages come in at all, whoever sends them.

Commands, uploads and downloads travel in streams, on channels that the admin server registers. What
else a cell of FLARE's answers is for clients and job processes, or steers the network: whoever has
a kit could stop the server with one message. None of it has a place here, and nothing is passed on.
"""

from __future__ import annotations

from typing import Any

from fedgate_flare._nvflare_private import (
    FQCN,
    STREAM_CHANNEL,
    CellChannel,
    CellChannelTopic,
    CellReturnCode,
    MessageHeaderKey,
    MessageType,
    make_cell_reply,
)

_TOPICS = frozenset(
    {
        (CellChannel.SERVER_MAIN, CellChannelTopic.Challenge),
        (CellChannel.SERVER_MAIN, CellChannelTopic.Register),
        (CellChannel.CELLNET, CellChannelTopic.Bye),
    }
)


def close_to_all_but_admins(cell: Any) -> None:
    """From now on, other requests are answered by a refusal, and other messages dropped."""
    cell.core_cell.set_message_interceptor(_refuse)
    # FLARE does not send what a filter answers, so this alone would let requests time out.
    cell.core_cell.add_incoming_filter(channel="*", topic="*", cb=_drop)


def _refuse(request: Any) -> Any:
    """An answer to a request that has no place here; None lets it in."""
    channel = request.get_header(MessageHeaderKey.CHANNEL)
    topic = request.get_header(MessageHeaderKey.TOPIC)
    offered = channel == STREAM_CHANNEL or (channel, topic) in _TOPICS
    return None if offered and _is_for_the_server(request) else _no()


def _drop(message: Any) -> Any:
    """Replies to what the server asked come in; nothing is passed on to others."""
    kind = message.get_header(MessageHeaderKey.MSG_TYPE)
    if kind == MessageType.REQ or (kind == MessageType.REPLY and _is_for_the_server(message)):
        return None
    return _no()


def _is_for_the_server(message: Any) -> bool:
    return bool(message.get_header(MessageHeaderKey.DESTINATION) == FQCN.ROOT_SERVER)


def _no() -> Any:
    return make_cell_reply(CellReturnCode.INVALID_REQUEST, "a front door takes no such message")
