"""From what FLARE's tools upload to the bundle that a submission of the same folder makes.

The tools zip the job's folder under its name, and sign it first: a signature and a certificate in
each folder, by the admin's key, different every time. People approve the digest of a bundle, so the
signature is checked here, where its issuer is known, and left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from fedgate.bundle import IGNORED_DIRS, Bundle, BundleLimits, BundleTree, pack_files
from fedgate.errors import BundleTooLarge, InvalidBundle
from fedgate_flare.job_folder import locate
from fedgate_flare.signatures import CERTIFICATE, SIGNATURES, signers_of

LIMITS = BundleLimits()


def read_upload(path: Path) -> BundleTree:
    """The job's files, with paths relative to its folder, checked as those of any bundle.

    Raises :class:`InvalidBundle` for an archive that tries anything, for one that holds no FLARE
    job, and where a signature is wrong.
    """
    with path.open("rb") as file:
        archive = file.read(LIMITS.archive_bytes + 1)
    if len(archive) > LIMITS.archive_bytes:
        raise too_large()
    tree = Bundle.read(archive, LIMITS).tree
    found = locate(tree)
    if found is None:
        raise InvalidBundle(
            "the upload holds no FLARE job", why="there is no meta.json, meta.yml or meta.conf"
        )
    folder, _ = found
    job = tree.sub(folder) if folder else tree
    signers_of(job)
    return job


def pack(job: Mapping[str, bytes]) -> bytes:
    """The archive to submit: as ``fedgate job submit FOLDER`` makes it."""
    return pack_files(dict(_workload(job)))


def too_large() -> BundleTooLarge:
    return BundleTooLarge(
        "the job is too large",
        why=f"its archive may have {LIMITS.archive_bytes} bytes",
        remedy="leave data and models out of the job",
    )


def _workload(job: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    for path, content in job.items():
        parts = PurePosixPath(path).parts
        if parts[-1] in (SIGNATURES, CERTIFICATE) or parts[-1].endswith(".pyc"):
            continue
        if not IGNORED_DIRS & set(parts[:-1]):
            yield path, content
