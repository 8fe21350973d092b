"""Fetching what a job released, and opening what is sealed to us.

The gateway is believed in nothing: names are checked before they become paths, sizes and digests
are compared, and a sealed output must be signed by the enclave that the profile pins.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedgate.bundle import MIB, Bundle, BundleLimits
from fedgate.errors import Conflict, InvalidBundle, InvalidMessage, SealBroken
from fedgate_gateway.cli.client import Client
from fedgate_gateway.cli.submissions import Submissions
from fedgate_gateway.link.output_names import SITE_FILES, site_of

if TYPE_CHECKING:
    from fedgate_gateway.sealed.box import OpenedBox

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LIMITS = BundleLimits(
    archive_bytes=1024 * MIB, unpacked_bytes=4096 * MIB, file_bytes=2048 * MIB, files=100_000
)


@dataclass(frozen=True)
class Fetched:
    """An output on this machine; ``path`` is a file, or the folder of unpacked artifacts."""

    name: str
    kind: str
    path: str
    bytes: int
    sealed: bool
    #: What the enclave signed of it: the round that made it, and whose results stand behind it.
    round: int = 0
    cohort: tuple[str, ...] = ()
    #: Of a site's files: why their archive was not unpacked.
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def fetch_all(
    client: Client, job_id: str, into: Path, *, submissions: Submissions, force: bool = False
) -> list[Fetched]:
    """Everything that a job released, opened, in the folder ``into``.

    Raises :class:`Conflict` when ``into`` holds files already (unless ``force``),
    :class:`SealBroken` for an output that is not what the pinned enclave sealed for this job, and
    :class:`InvalidBundle` for artifacts that would leave their folder.
    """
    if not force and into.exists() and any(into.iterdir()):
        raise Conflict(
            f"{into} is not empty",
            why="outputs of different jobs must not mix",
            remedy="name another folder with --output, or pass --force",
        )
    job = _job(client, job_id, submissions)
    into.mkdir(parents=True, exist_ok=True)
    outputs = client.outputs(job_id)
    fetched = [_fetch(client, job, o, into) for o in outputs if o["kind"] != SITE_FILES]
    return fetched + [
        _fetch_files(client, job, o, into) for o in outputs if o["kind"] == SITE_FILES
    ]


def read_log(client: Client, job_id: str, *, submissions: Submissions) -> str:
    """The log that the job released, opened if it is sealed; empty when it released none."""
    job = _job(client, job_id, submissions)
    logs = [output for output in client.outputs(job_id) if output["kind"] == "log"]
    if not logs:
        return ""
    return b"".join(_opened(client, job, logs[-1]).pieces).decode("utf-8", "replace")


def _job(client: Client, job_id: str, submissions: Submissions) -> dict[str, Any]:
    """The gateway's record of the job that was asked for, as far as we can tell."""
    job: dict[str, Any] = client.job(job_id)["job"]
    if job["id"] != job_id:  # the outputs of an older one would open under its own name
        raise SealBroken(
            "the gateway answered with another job",
            why=f"asked for was {job_id}, it says {job['id']!r:.80}",
            remedy="do not use its outputs; tell the gateway's administrator",
        )
    submissions.check(job_id, job["bundle"])
    # What we signed, where it was from here: no box of another request opens.
    return {**job, "request": submissions.request(job_id) or job["request"]}


def _fetch(client: Client, job: dict[str, Any], output: dict[str, Any], into: Path) -> Fetched:
    name, kind = str(output["name"]), str(output["kind"])
    if not _NAME.fullmatch(name):
        raise InvalidMessage("the gateway names an output that cannot be a file", why=f"{name!r}")
    target = into / name
    box = _opened(client, job, output)
    size = _write(target, box.pieces)
    if kind == "artifacts":
        target = _unpack(target, into / "artifacts")
    sealed, facts = bool(output["sealed"]), box.facts
    return Fetched(name, kind, str(target), size, sealed, facts.round, facts.cohort)


def _fetch_files(
    client: Client, job: dict[str, Any], output: dict[str, Any], into: Path
) -> Fetched:
    """Files of one site, as ``sites/NAME``.

    A site made the archive and no other reads it before: one that is refused costs nobody else's.
    """
    name = str(output["name"])
    site = site_of(name)
    if site not in job.get("sites", ()):
        raise InvalidMessage("the gateway names files of no site of the job", why=f"{name!r:.100}")
    box = _opened(client, job, output)
    if box.facts.cohort != (site,):
        raise SealBroken(f"the files of {site} are not sealed as those of that site alone")
    folder = into / "sites"
    folder.mkdir(exist_ok=True)
    archive = folder / f"{site}.zip"
    size, problem = _write(archive, box.pieces), ""
    try:
        target = _unpack(archive, folder / site)
    except InvalidBundle as error:
        target, problem = archive, str(error)
    return Fetched(name, SITE_FILES, str(target), size, True, cohort=(site,), problem=problem)


def _opened(client: Client, job: dict[str, Any], output: dict[str, Any]) -> OpenedBox:
    """An output in clear says nothing that its enclave signed: no round, nobody's."""
    from fedgate_gateway.sealed.box import BoxContext, BoxFacts, OpenedBox, open_box

    stored = _checked(client.download(job["id"], output["name"]), output)
    if not output["sealed"]:
        _require_clear(client, output)
        return OpenedBox(BoxFacts(), stored)
    return open_box(
        stored,
        client.profile.recipient_key(),
        BoxContext(job["id"], output["name"], job["bundle"], job["request"]),
        signer_public=client.profile.enclave_identity(job["enclave"]),
    )


def _require_clear(client: Client, output: dict[str, Any]) -> None:
    """A gateway that cannot open a box could hand out something else in its place, unsealed."""
    kind = str(output["kind"])
    if kind == SITE_FILES or kind not in client.profile.clear:
        raise SealBroken(
            f"the output {output['name']!r:.100} is not sealed",
            why="nobody signed it, so the gateway could have put it there",
            remedy=f'if your project releases it in clear, set clear = ["{kind}"] in the profile',
        )


def _checked(pieces: Iterable[bytes], output: dict[str, Any]) -> Iterator[bytes]:
    """The pieces, as long as they are what the gateway announced."""
    left, digest = int(output["size"]), hashlib.sha256()
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            break
        digest.update(piece)
        yield piece
    if left or "sha256:" + digest.hexdigest() != output["digest"]:
        raise SealBroken(
            f"the output {output['name']!r} arrived damaged",
            why="its size or digest is not the one that was announced",
            remedy="try again",
        )


def _write(target: Path, pieces: Iterable[bytes]) -> int:
    """Write whole or not at all: what stands under the name was checked to its end."""
    handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    size = 0
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
                size += len(piece)
        Path(draft).replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(draft).unlink()
    return size


def _unpack(archive: Path, folder: Path) -> Path:
    """Artifacts come from the workload: read as strictly as a bundle, then laid out."""
    tree = Bundle.read(archive.read_bytes(), _LIMITS).tree
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".artifacts."))
    try:
        for name, content in tree.items():
            path = draft.joinpath(*name.split("/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        draft.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    archive.unlink()
    return folder
