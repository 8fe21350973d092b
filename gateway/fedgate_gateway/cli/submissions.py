"""What this profile submitted: job -> bundle and signed request, to check results against."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedgate.errors import InvalidMessage, SealBroken
from fedgate_gateway.cli.profile import profile_path
from fedgate_gateway.cli.signing import SignedSubmission
from fedgate_gateway.pki.private_files import private_folder, write_private

FOLDER = "submitted"
_JOB = re.compile(r"job-[0-9a-z]{1,32}")


class Submissions:
    """A folder beside the profile with one small file for each job."""

    def __init__(self, profile: Path | None) -> None:
        self._folder = profile_path(profile).parent / FOLDER

    def submitted(self, job: Mapping[str, Any], signed: SignedSubmission) -> None:
        """Remember what was sent; raises :class:`SealBroken` if the gateway took something else."""
        name = str(job["id"])
        self._write(
            self._file(name),
            {
                "job": name,
                "bundle": signed.request.bundle,
                "request": signed.digest,
                "envelope": base64.b64encode(signed.envelope).decode(),
            },
        )
        self.check(name, str(job["bundle"]))

    def bundle(self, job: str) -> str | None:
        """The digest of what was submitted as this job, if it was submitted from here."""
        return self._said(self._file(job), "bundle")

    def request(self, job: str) -> str | None:
        """The digest of the request that was signed for this job, if it was from here."""
        return self._said(self._file(job), "request")

    def pending(self, key: str) -> bytes | None:
        """The envelope that was signed under an idempotency key, whether or not it arrived."""
        text = self._said(self._pending(key), "envelope")
        return None if text is None else base64.b64decode(text)

    def remember(self, key: str, envelope: bytes) -> None:
        """Before it is sent: only the same envelope is the same submission again."""
        self._write(self._pending(key), {"envelope": base64.b64encode(envelope).decode()})

    def _write(self, file: Path, content: Mapping[str, str]) -> None:
        private_folder(self._folder)
        write_private(file, json.dumps(content).encode() + b"\n")

    @staticmethod
    def _said(file: Path, what: str) -> str | None:
        try:
            return str(json.loads(file.read_text())[what])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _pending(self, key: str) -> Path:
        return self._folder / f"key-{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"

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
