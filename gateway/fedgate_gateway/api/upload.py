"""Reading a submission: multipart, as it streams in, within bounds and after authentication.

FastAPI's own form parameters read the whole body before any dependency runs; a stranger without a
token could fill our disk. So the handler reads it, once it knows who sends it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from fedgate.bundle import KIB
from fedgate.errors import BundleTooLarge, InvalidMessage
from fedgate_gateway.api.problems import told
from fedgate_gateway.control.records import SubmitOptions
from fedgate_gateway.governance import REQUEST_BYTES

#: What the fields and the boundaries may take besides the archive.
OVERHEAD_BYTES = 512 * KIB
_MAX_FIELDS = 8
_MAX_FIELD_BYTES = (REQUEST_BYTES + 2) // 3 * 4


def _base64(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None


class SubmitForm(BaseModel):
    """The fields of a submission besides the file ``bundle``."""

    model_config = ConfigDict(extra="forbid")

    request: Annotated[
        bytes,
        BeforeValidator(_base64),
        Field(
            max_length=REQUEST_BYTES,
            description="base64 of what the submitter signed: an in-toto statement about the "
            "bundle in a DSSE envelope, with everything that a submitter chooses",
        ),
    ]
    recipient: Annotated[
        bytes | None,
        BeforeValidator(_base64),
        Field(
            description="base64 of the X-Wing public key (1216 bytes) that outputs are sealed to; "
            "the request names its fingerprint"
        ),
    ] = None

    def options(self, idempotency_key: str) -> SubmitOptions:
        return SubmitOptions(self.request, self.recipient, idempotency_key)


_TEXT = {"type": "string"}
#: The request body for OpenAPI, where a form is text fields and a file.
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["bundle", "request"],
                "additionalProperties": False,
                "properties": {
                    "bundle": {
                        "type": "string",
                        "contentMediaType": "application/zip",
                        "description": "the workload as a ZIP archive or FAB",
                    },
                    **{
                        name: {**_TEXT, "description": field.description or ""}
                        for name, field in SubmitForm.model_fields.items()
                    },
                },
            }
        }
    },
}


async def read_submission(request: Request, archive_bytes: int) -> tuple[bytes, SubmitForm]:
    """The archive and the form. Raises :class:`BundleTooLarge` or :class:`InvalidMessage`."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise InvalidMessage(
            "a submission is multipart/form-data",
            why=f"this one is {request.headers.get('content-type', 'nothing')[:80]!r}",
        )
    parser = MultiPartParser(
        request.headers,
        _bounded(request, archive_bytes + OVERHEAD_BYTES),
        max_files=1,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidMessage("the form cannot be read", why=error.message) from error
    except (KeyError, UnicodeDecodeError, ValueError) as error:
        raise InvalidMessage("the form cannot be read", why=repr(error)[:200]) from error
    try:
        return await _archive(form, archive_bytes), _fields(form)
    finally:
        await form.close()


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise _too_large(limit - OVERHEAD_BYTES)
        yield chunk


async def _archive(form: FormData, archive_bytes: int) -> bytes:
    file = form.get("bundle")
    if not isinstance(file, UploadFile):
        raise InvalidMessage(
            "the submission has no file named 'bundle'",
            remedy="send the ZIP archive as the file field 'bundle'",
        )
    # One byte over the limit is enough for whoever reads the bundle to refuse it.
    return await file.read(archive_bytes + 1)


def _fields(form: FormData) -> SubmitForm:
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name == "bundle":
            continue
        if isinstance(value, UploadFile) or name in fields:
            raise InvalidMessage(f"the field {name!r:.60} came twice, or as a file")
        fields[name] = value
    try:
        return SubmitForm.model_validate(fields)
    except ValidationError as error:
        raise InvalidMessage(
            "the submission's fields are not valid", why=told(error.errors())
        ) from None


def _too_large(archive_bytes: int) -> BundleTooLarge:
    return BundleTooLarge(
        "the bundle is too large",
        why=f"the limit is {archive_bytes} bytes",
        remedy="leave data and models out of the workload, or raise limits.bundle_bytes",
    )
