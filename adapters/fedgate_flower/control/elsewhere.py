"""Calls of the Control API that mean nothing here, and where to go instead."""

from __future__ import annotations

import re

from starlette.responses import JSONResponse

from fedgate_flower.control.answers import FORBIDDEN

_NO_HUB = "apps come from your directory: `flwr run . NAME`"
_PROJECTS = "a federation is a project of this gateway, and its administrator configures those"
_SITES = "see `fedgate site list`; a data owner joins with `fedgate site enroll`"
_AGENTS = "Fedgate runs apps that have a ServerApp and a ClientApp"
_SERIES = "a series is named by its runs: --run-config 'fedgate.series=\"study\"'"
_NAME = re.compile(r"[a-z][a-z-]{0,63}")

#: The start of a call's name -> what to say; the first that fits.
_HINTS = (
    ("list-nodes", _SITES),
    ("register-node", _SITES),
    ("unregister-node", _SITES),
    ("configure-simulation-federation", "sites are real here; there is nothing to simulate"),
    ("add-node-to-federation", _SITES),
    ("remove-node-from-federation", _SITES),
    ("list-apps", _NO_HUB),
    ("list-app-associations", _NO_HUB),
    ("add-app", _NO_HUB),
    ("remove-app", _NO_HUB),
    ("list-connectors", _AGENTS),
    ("disconnect-connector", _AGENTS),
    ("begin-connector", _AGENTS),
    ("complete-connector", _AGENTS),
    ("stream-run-events", "see `flwr log`, or `fedgate job watch`"),
    ("start-automation", "runs are started one by one, and each is decided on"),
    ("list-automations", "runs are started one by one, and each is decided on"),
    ("list-run-series", _SERIES),
    ("get-run-series", _SERIES),
    ("update-run-series", _SERIES),
    ("stop-automation", "runs are started one by one, and each is decided on"),
)
_FEDERATION_WORDS = ("federation", "invitation")


def not_offered(call: str) -> JSONResponse:
    """501 with a sentence; ``call`` comes from a stranger."""
    name = call if _NAME.fullmatch(call) else "this call"
    hint = next((hint for start, hint in _HINTS if name.startswith(start)), "")
    if not hint and any(word in name for word in _FEDERATION_WORDS):
        hint = _PROJECTS
    detail = f"a Fedgate gateway does not offer {name!r}" + (f": {hint}" if hint else "")
    return JSONResponse({"code": FORBIDDEN, "detail": detail}, 501)
