"""The OpenAPI 3.1 document: complete, and true about errors."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from fedgate_gateway.api.problems import Problem

_ABOUT = (
    "Submit workloads written for Flower or NVIDIA FLARE, watch them, and fetch what they release. "
    "Every failure is a problem document (RFC 9457)."
)


def describe(app: FastAPI) -> None:
    """Let ``app.openapi()`` name our problem documents wherever a request can fail."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=_ABOUT,
                routes=app.routes,
                license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
            )
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema()
            # FastAPI's own shape of validation errors is never sent.
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
