"""Files that a worker left, on their way to the submitter: asked for, permitted, packed, sent.

They go as one archive, sealed to the job's enclave, whose release gate seals it to the submitter.
All of them or none; what cannot go stays with those that are kept for this site's owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fedgate.bundle import portable
from fedgate.codes import Code
from fedgate.errors import FedgateError, NotFound
from fedgate.notice import Notice
from fedgate_gateway.config import Release
from fedgate_gateway.link.channel import Channel
from fedgate_gateway.link.control import write_files, write_kept
from fedgate_gateway.link.delivery import Deliveries, Recipient
from fedgate_gateway.policy import Decision, FileFacts
from fedgate_gateway.sealed import CargoKey, LetterKind
from fedgate_gateway.site.file_archive import Archive
from fedgate_gateway.site.outputs import LeftFile, LeftOutputs, SiteOutputs

#: Files of one job; a policy is shown every name.
MOST_FILES: Final = 1000


@dataclass(frozen=True)
class _Kept:
    """They stay, by what everybody may hear; ``why`` is for this site's owner."""

    notice: Notice
    why: str = ""


class SiteFiles:
    """Of one job. ``asked``: its signed request asks for them; ``permits``: the owner's policy."""

    def __init__(
        self,
        job: str,
        *,
        asked: bool,
        rules: Release,
        outputs: SiteOutputs,
        permits: Callable[[FileFacts], Decision],
        folder: Path,
        report: Callable[[str, Notice], None],
        tell: Callable[[str], None],
    ) -> None:
        """``report`` writes into the audit log, ``tell`` into the owner's own; an archive is made
        in ``folder``.
        """
        self._job = job
        self._asked = asked
        self._rules = rules
        self._outputs = outputs
        self._permits = permits
        self._folder = folder
        self._report = report
        self._tell = tell
        self._told = False

    async def hand_over(self, channel: Channel, deliveries: Deliveries) -> None:
        """Answer the enclave that collects them, and wait until it has them, if it gets them.

        Its word for that the job has succeeded is believed: what it asks for goes by rules of this
        site's own project file and policy.
        """
        packed = await asyncio.to_thread(self._pack)
        if packed is None or isinstance(packed, _Kept):
            channel.post(LetterKind.CONTROL, write_kept(self._keep(packed)))
            return
        archive = packed
        self._tell(f"{archive.count} files that the worker left go to the submitter")
        try:
            key = CargoKey.generate(len(archive.view))
            said = write_files(key, whole=archive.whole)
            channel.post(LetterKind.CONTROL, said, cargo=(key.ref,))
            to = Recipient("", channel, failed=self._undelivered)
            await deliveries.deliver(key, archive.view, [to])
        finally:
            archive.close()

    def _undelivered(self, error: FedgateError) -> None:
        """The enclave was told, in the session, and says in the log that they are lost."""
        self._tell(f"the files that the worker left did not get out: {error}")

    async def stay(self) -> None:
        """The job has failed: nobody gets them but this site's owner."""
        left = await asyncio.to_thread(self._left) if self._asked else None
        files = () if left is None else await asyncio.to_thread(left.files)
        if files:
            self._keep(_Kept(Notice(Code.FILES_JOB_FAILED, {"files": told_count(len(files))})))

    def _pack(self) -> Archive | _Kept | None:
        """None where nothing was left. In a thread of its own: it tells nobody."""
        left = self._left()
        if left is None:
            return None
        files = left.files()
        if not files:
            return _Kept(Notice(Code.FILES_LEFT_OUT)) if left.left_out else None
        no = self._refusal(files)
        if no is not None:
            return no
        names = set(portable(file.name for file in files))
        archive = Archive.of((f for f in files if f.name in names), self._folder)
        if archive.count and len(archive.view) <= self._rules.site_file_bytes:
            archive.whole = not left.left_out and archive.count == len(files)
            return archive
        archive.close()
        return self._too_large() if archive.count else _Kept(Notice(Code.FILES_LEFT_OUT))

    def _refusal(self, files: Sequence[LeftFile]) -> _Kept | None:
        count = {"files": told_count(len(files))}
        if not self._asked:
            return _Kept(Notice(Code.FILES_NOT_ASKED, count))
        if self._rules.site_files == "never":
            return _Kept(Notice(Code.FILES_NOT_IN_PROJECT))
        size = sum(file.size for file in files)
        if len(files) > MOST_FILES or size > self._rules.site_file_bytes:
            return self._too_large()
        facts = FileFacts(len(files), size, tuple(file.name for file in files))
        decision = self._permits(facts)
        if not decision.allowed:
            return _Kept(Notice(Code.FILES_NOT_PERMITTED, count), decision.why)
        return None

    def _too_large(self) -> _Kept:
        most = {"bytes": self._rules.site_file_bytes, "most": MOST_FILES}
        return _Kept(Notice(Code.FILES_TOO_LARGE, most))

    def _left(self) -> LeftOutputs | None:
        try:
            return self._outputs.of(self._job)
        except NotFound:
            return None

    def _keep(self, kept: _Kept | None) -> Notice | None:
        if kept is None:
            return None
        if not self._told:
            self._told = True
            self._tell(f"what the worker left stays here: {kept.why or kept.notice.sentence}")
            self._report("site-files.kept", kept.notice)
        return kept.notice


def told_count(files: int) -> int:
    """What everybody may hear of their number, which a workload chooses: the next power of two."""
    return 1 << max(0, files - 1).bit_length()
