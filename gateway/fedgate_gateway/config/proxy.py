"""The one way out through a proxy: for HTTPS and for the link alike, and from files alone.

The environment is not asked. What a shell happens to hold would decide who sees which peer talks to
which gateway, and gRPC and HTTP libraries read other variables, in other ways.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator


def check_proxy(url: str) -> str:
    """As it is used; raises :class:`ValueError`."""
    if not url:
        return url
    parts = urlsplit(url)
    plain = parts.path in ("", "/") and not parts.query and not parts.fragment
    if parts.scheme != "http" or not parts.hostname or not parts.port or not plain:
        raise ValueError(
            "an HTTP proxy that takes CONNECT, as http://proxy.example:3128; what passes through "
            "it stays encrypted to the gateway"
        )
    return url.rstrip("/")


#: ``http://[user:password@]host:port``, or "" for none.
Proxy = Annotated[str, AfterValidator(check_proxy)]
