"""The link's gRPC methods and options, the same for both ends.

The gateway never parses the chunks it relays; peers frame them without copying twice. So method
handlers and stubs are made by hand from this table instead of by generated code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SERVICE: Final = "fedgate.v1.Link"
CONNECT: Final = f"/{SERVICE}/Connect"
FETCH_BUNDLE: Final = f"/{SERVICE}/FetchBundle"
UPLOAD_CARGO: Final = f"/{SERVICE}/UploadCargo"
DOWNLOAD_CARGO: Final = f"/{SERVICE}/DownloadCargo"
UPLOAD_OUTPUT: Final = f"/{SERVICE}/UploadOutput"
RENEW: Final = f"/{SERVICE}/RenewCertificate"

PROTOCOL: Final = 4
#: A letter (2 MiB), a chunk of cargo (up to 4 MiB here), and their framing.
MAX_MESSAGE: Final = 5 * 1024 * 1024
CHUNK: Final = 1024 * 1024

Options = Sequence[tuple[str, int | str]]
_SHARED: Final[Options] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    # A connection that broke without a word is noticed within 8 s, as a silent peer is
    # (``silent_seconds``): before an enclave's grace is over.
    ("grpc.keepalive_time_ms", 4_000),
    # Bytes that nobody acknowledges (TCP_USER_TIMEOUT), and pings that nobody answers: what stands
    # between acknowledges bytes, so gRPC would wait a minute for the second.
    ("grpc.keepalive_timeout_ms", 4_000),
    ("grpc.http2.ping_timeout_ms", 4_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
CLIENT_OPTIONS: Final[Options] = (
    *_SHARED,
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
SERVER_OPTIONS: Final[Options] = (
    *_SHARED,
    ("grpc.http2.min_ping_interval_without_data_ms", 2_000),
    ("grpc.so_reuseport", 0),
    # Before it, nobody knows who is there; gRPC would wait for two minutes.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_concurrent_streams", 10_000),
    # What a stream may send ahead of its reader. Left to itself gRPC lets this grow to many
    # megabytes for each of the streams that models come in on.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
)
