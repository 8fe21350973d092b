"""What this profile submitted: job -> bundle digest, so that a result is checked against it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedgate.bundle import digest_of
from fedgate.errors import InvalidMessage, SealBroken
from fedgate_gateway.cli.profile import profile_path

FOLDER = "submitted"
_JOB = re.compile(r"job-[0-9a-z]{1,32}")


class Submissions:
    """A folder beside the profile with one small file for each job."""

    def __init__(self, profile: Path | None) -> None:
        self._folder = profile_path(profile).parent / FOLDER

    def submitted(self, job: Mapping[str, Any], archive: bytes) -> None:
        """Remember what was sent; raises :class:`SealBroken` if the gateway took something else."""
        bundle = digest_of(archive)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = json.dumps({"job": job["id"], "bundle": bundle}) + "\n"
        self._file(str(job["id"])).write_text(text)
        self.check(str(job["id"]), str(job["bundle"]))

    def bundle(self, job: str) -> str | None:
        """The digest of what was submitted as this job, if it was submitted from here."""
        try:
            return str(json.loads(self._file(job).read_text())["bundle"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _file(self, job: str) -> Path:
        if not _JOB.fullmatch(job):  # it comes from the gateway, and becomes a path
            raise InvalidMessage("the gateway's name of the job is none", why=f"{job!r:.80}")
        return self._folder / f"{job}.json"

    def check(self, job: str, stated: str) -> None:
        """Raises :class:`SealBroken` when the gateway says the job ran another bundle."""
        ours = self.bundle(job)
        if ours is not None and ours != stated:
            raise SealBroken(
                f"{job} is not the job that was submitted",
                why=f"the gateway says its bundle is {stated}, submitted was {ours}",
                remedy="do not use its outputs; tell the gateway's administrator",
            )
