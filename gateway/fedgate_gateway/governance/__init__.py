"""What parties sign, and what others check by themselves: pure, bytes in and bytes out.

Whoever holds a project file can check everything here without a gateway.
"""

from fedgate_gateway.governance.job_check import check_job
from fedgate_gateway.governance.request import JobRequest
from fedgate_gateway.governance.signed_request import (
    REQUEST_BYTES,
    SignedBy,
    SignedRequest,
    check_times,
    read_unverified,
    sign_request,
    verify_request,
)
from fedgate_gateway.governance.statement import key_id
from fedgate_gateway.governance.title import as_title, title_of

__all__ = [
    "REQUEST_BYTES",
    "JobRequest",
    "SignedBy",
    "SignedRequest",
    "as_title",
    "check_job",
    "check_times",
    "key_id",
    "read_unverified",
    "sign_request",
    "title_of",
    "verify_request",
]
