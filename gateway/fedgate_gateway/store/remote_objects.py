"""An object store elsewhere, and the way there: by our own settings, as for link and API."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from obstore.store import from_url

#: After this long without an answer the store is away; whoever needs it asks again by itself.
_RETRIES, _RETRY_SECONDS = 3, 15
#: Without a proxy of our own, obstore would use one that the environment names. So it gets one
#: that no address goes through.
_NONE = {"proxy_url": "http://127.0.0.1:9", "proxy_excludes": "*,0.0.0.0/0,::/0"}


def open_remote(url: str, *, proxy: str, ca: Path | None) -> Any:
    """As :meth:`Objects.open`; raises what obstore raises, and OSError for ``ca``."""
    if url.startswith("memory:"):
        return from_url(url)
    client: dict[str, Any] = {
        "connect_timeout": "5s", "read_timeout": "30s", "timeout": "1h",
        # Options of ours take the place of all that the environment says of connections.
        "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true",
        **({"proxy_url": proxy} if proxy else _NONE),
        **({"root_certificate": ca.read_bytes()} if ca else {}),
    }  # fmt: skip
    retry = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)}
    return from_url(url, client_options=client, retry_config=retry)  # type: ignore[call-overload]
