"""The release gate: the only way anything of a job leaves the enclave."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import os
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedgate.codes import Code
from fedgate.errors import Conflict, Denied, NotFound, Unavailable
from fedgate.notice import Notice
from fedgate_gateway.config import Release
from fedgate_gateway.config.project import Output
from fedgate_gateway.enclave.conductor import Published
from fedgate_gateway.enclave.job_log import JobLog
from fedgate_gateway.link.cargo import upload_output
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.output_names import OUTPUT_NAMES, SITE_FILES, site_files_name
from fedgate_gateway.sealed import BoxContext, BoxFacts, IdentityKey, seal_stream
from fedgate_gateway.sealed.box import sealed_size
from fedgate_proto.v1 import link_pb2 as pb

_STEP = 1 << 20
#: A whole training stands behind a release: a gateway that restarts just then must not cost it, nor
#: an object store that is away for some minutes. A job that the gateway does not know is asked for
#: a few times.
_PATIENCE, _ATTEMPTS = 600.0, 5
_PAUSE, _LONGEST_PAUSE, _LINK_SECONDS = 1.0, 15.0, 60.0
_MOST_FILES = 20_000
#: Bytes of a file that tell whether it is worth compressing.
_SAMPLE = 64 * 1024
_TOO_SMALL: Mapping[str, Code] = {
    "model": Code.COHORT_TOO_SMALL,
    "artifacts": Code.ARTIFACTS_COHORT_TOO_SMALL,
    "logs": Code.LOGS_COHORT_TOO_SMALL,
}
_SAID: Mapping[str, str] = {
    "model": "model is",
    "artifacts": "job's artifacts are",
    "logs": "job's log is",
}


@dataclass
class ReleaseGate:
    """What may go out follows the project file that this enclave holds, not what is asked for."""

    link: LinkClient
    job: str
    bundle: str
    request: str  # digest of what the submitter signed
    rules: Release
    recipient: bytes
    signer: IdentityKey
    #: What boxes say of the outputs in them.
    facts: BoxFacts
    #: Seconds for a gateway that cannot take an output now.
    patience: float = _PATIENCE

    def check(self, published: Published | None, everything: frozenset[str] | None) -> None:
        """Raises :class:`Denied` for the first output that too few sites stand behind.

        Before anything leaves: a job is released as a whole or not at all.
        """
        if published is not None:
            self._check("model", published.cohort)
        self._check("artifacts", everything)
        self._check("logs", everything)

    def check_log(self, everything: frozenset[str] | None) -> None:
        """The same of a log that leaves alone."""
        self._check("logs", everything)

    def _check(self, output: Output, cohort: frozenset[str] | None) -> None:
        """``cohort``: None where nothing of any site can be in it."""
        least = self.rules.minimum(output)
        if cohort is not None and len(cohort) < least and getattr(self.rules, output) != "never":
            raise cohort_too_small(output, len(cohort), least)

    async def model(self, published: Published) -> int:
        if published.model is None:
            return 0
        view = published.model.view
        await self._put("model", view, self.rules.model)
        return len(view)

    async def artifacts(self, root: Path) -> int:
        """Files that the coordinator wrote into its working directory, as one ZIP."""
        if self.rules.artifacts == "never":
            return 0
        archive = await asyncio.to_thread(pack_artifacts, root, self.rules.artifact_bytes)
        if archive is None:
            return 0
        await self._put("artifacts", archive, self.rules.artifacts)
        return len(archive)

    async def metrics(self, lines: bytes) -> int:
        """All numbers of all rounds, for the submitter; in clear only those of the events."""
        if self.rules.metrics == "never" or not lines or not self.recipient:
            return 0
        await self._put("metrics", lines, "sealed")
        return len(lines)

    def check_site_files(self, size: int) -> None:
        """Raises :class:`Denied` unless the project lets one site's files out, of that size."""
        if self.rules.site_files == "never":
            raise Denied(
                "the project releases no files of single sites",
                why='release.site_files is "never"',
                notice=Notice(Code.FILES_NOT_IN_PROJECT),
            )
        if size > self.rules.site_file_bytes:
            raise Denied(
                "a site's files are too large",
                why=f"{size} bytes, release.site_file_bytes is {self.rules.site_file_bytes}",
            )

    async def site_files(self, site: str, archive: memoryview) -> None:
        """One site's own, and its box says so: no cohort stands behind them, always sealed.

        What is in the archive only the submitter reads.
        """
        self.check_site_files(len(archive))
        facts = BoxFacts(cohort=(site,))
        await self._put(SITE_FILES, archive, "sealed", name=site_files_name(site), facts=facts)

    async def log(self, log: JobLog) -> int:
        if self.rules.logs == "never":
            return 0
        text = await asyncio.to_thread(log.read, self.rules.log_bytes)
        if text:
            await self._put("log", text, self.rules.logs)
        return len(text)

    async def _put(
        self,
        kind: str,
        data: bytes | memoryview,
        how: str,
        *,
        name: str = "",
        facts: BoxFacts | None = None,
    ) -> None:
        loop, pause = asyncio.get_running_loop(), _PAUSE
        deadline = loop.time() + self.patience
        for attempt in itertools.count(1):
            try:
                await self._upload(name or OUTPUT_NAMES[kind], kind, data, how, facts or self.facts)
                return
            except Conflict:
                if attempt == 1:
                    raise
                return  # only the receipt of an earlier attempt was lost
            except (Unavailable, NotFound) as error:
                unknown = isinstance(error, NotFound) and attempt >= _ATTEMPTS
                if unknown or loop.time() + pause >= deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            await self._link_up()

    async def _upload(
        self, name: str, kind: str, data: bytes | memoryview, how: str, facts: BoxFacts
    ) -> None:
        sealed, size = how == "sealed", len(data)
        pieces = (memoryview(data)[i : i + _STEP] for i in range(0, size, _STEP))
        if sealed:
            context = BoxContext(self.job, name, self.bundle, self.request)
            stream = seal_stream(
                pieces, size, self.recipient, context, facts=facts, signer=self.signer
            )
            size = sealed_size(size, signed=True, facts=facts)
        else:
            stream = (bytes(p) for p in pieces)
        header = pb.OutputHeader(job=self.job, name=name, kind=kind, size=size, sealed=sealed)
        await upload_output(self.link, header, _aiter(stream))

    async def _link_up(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.link.up.wait(), _LINK_SECONDS)


def cohort_too_small(output: Output, sites: int, least: int) -> Denied:
    """Why an output stays inside, with the setting that decides."""
    code = _TOO_SMALL[output]
    notice = Notice(code, {"contributed": sites, "least": least})
    setting = "minimum_cohort" if output == "model" else f"{output}_minimum_cohort"
    return Denied(
        f"the {_SAID[output]} not released",
        why=f"the smallest round that can be in it was answered by {sites} sites, the project asks "
        f"for {least}",
        remedy=f"see release.{setting} in the project file",
        notice=notice,
    )


async def _aiter(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def pack_artifacts(root: Path, limit: int) -> memoryview | None:
    """A ZIP of the plain files below ``root``; hidden ones, links and devices are left out.

    Raises :class:`Denied` when they exceed ``limit`` bytes or are too many.
    """
    out = io.BytesIO()
    left, count = limit, 0
    # Whatever time a file claims, a ZIP can only tell those from 1980 to 2107.
    with zipfile.ZipFile(
        out, "w", zipfile.ZIP_DEFLATED, compresslevel=1, strict_timestamps=False
    ) as zipped:
        for path in _files(root):
            left -= path.stat().st_size
            count += 1
            if left < 0 or count > _MOST_FILES:
                raise Denied(
                    "the job's artifacts are not released",
                    why=f"its files exceed {limit} bytes or {_MOST_FILES} files",
                    remedy="write less, or raise release.artifact_bytes in the project file",
                    notice=Notice(Code.ARTIFACTS_TOO_LARGE, {"bytes": limit, "files": _MOST_FILES}),
                )
            name = os.fsencode(path.relative_to(root)).decode("utf-8", "replace")
            zipped.write(path, name, compress_type=_method(path))
    return out.getbuffer() if count else None


def _method(path: Path) -> int:
    """Weights do not shrink, and to find that out for all of them takes seconds."""
    with path.open("rb") as file:
        sample = file.read(_SAMPLE)
    shrinks = len(zlib.compress(sample, 1)) < 0.9 * len(sample)
    return zipfile.ZIP_DEFLATED if shrinks else zipfile.ZIP_STORED


def _files(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root, followlinks=False):
        subfolders[:] = sorted(
            d for d in subfolders if not d.startswith(".") and d != "__pycache__"
        )
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                yield path
