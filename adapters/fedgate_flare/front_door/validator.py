"""In place of FLARE's check of what was uploaded.

FLARE reads a job's configuration with parsers that follow includes and put in variables of the
environment (pyhocon, OmegaConf), without bounds, and shows the result in the job's meta: whoever
may submit could read the door's keys. So nothing of FLARE's reads it before ours has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nvflare.apis.app_validation import AppValidationKey
from nvflare.apis.job_meta_validator_spec import JobMetaValidatorSpec

from fedgate.errors import FedgateError, InvalidBundle
from fedgate_flare.front_door.archive import read_upload
from fedgate_flare.inspection import inspect_job
from fedgate_flare.job_folder import locate, read_meta


class UploadValidator(JobMetaValidatorSpec):  # type: ignore[misc]
    """The checks that the gateway will make again."""

    def validate(self, job_name: str, job_data: str) -> tuple[bool, str, dict[str, Any]]:
        """Whether the file ``job_data`` holds a job, what is wrong with it, and its meta."""
        try:
            return True, "", _meta(Path(job_data))
        except FedgateError as error:
            return False, str(error), {}


def _meta(path: Path) -> dict[str, Any]:
    files = read_upload(path)
    manifest = inspect_job(files)
    found = locate(files)
    if found is None:
        raise InvalidBundle("the upload holds no FLARE job")
    name = found[1]
    meta = dict(read_meta(files.text(name), name).raw)
    meta.pop(AppValidationKey.BYOC, None)
    if manifest.brings_code:
        meta[AppValidationKey.BYOC] = True
    return {**meta, "name": manifest.name}
