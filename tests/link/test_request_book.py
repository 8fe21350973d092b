"""One signed request is one job, whatever a gateway says, and whoever was restarted."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedgate.errors import Conflict, Denied, InvalidConfig
from fedgate_gateway.governance import JobRequest, SignedBy, SignedRequest
from fedgate_gateway.link.request_book import RequestBook

NOW = 1_800_000_000


def signed(digest: str = "sha256:" + "ab" * 32, expires: int = NOW + 60) -> SignedRequest:
    request = JobRequest(
        project="demo", bundle="sha256:" + "cd" * 32, name="", submitter="me", sites=(),
        datasets=(), min_sites=None, config={}, task_seconds=None, recipient="",
        created=NOW - 60, expires=expires, nonce="0" * 32,
    )  # fmt: skip
    return SignedRequest(request, digest, "me", SignedBy.SUBMITTER)


def test_a_request_runs_as_one_job_only_also_after_a_restart(tmp_path: Path) -> None:
    book = RequestBook(tmp_path)
    book.check(signed(), "job-1")
    book.claim(signed(), "job-1")
    book.close()
    again = RequestBook(tmp_path)
    for refuse in (again.check, again.claim):
        with pytest.raises(Denied, match="as job-1; a request is one job"):
            refuse(signed(), "job-2")
    again.claim(signed("sha256:" + "ef" * 32), "job-2")  # another request, by its nonce


def test_the_same_job_may_be_started_again_until_it_has_succeeded(tmp_path: Path) -> None:
    book = RequestBook(tmp_path)
    book.claim(signed(), "job-1")
    book.claim(signed(), "job-1")  # the enclave was restarted, and the job queued again
    book.done(signed())
    with pytest.raises(Denied, match="ended here with success"):
        book.claim(signed(), "job-1")


def test_looking_claims_nothing(tmp_path: Path) -> None:
    book = RequestBook(tmp_path)
    book.check(signed(), "job-1")
    book.claim(signed(), "job-2")


def test_what_has_expired_is_forgotten_a_day_later_and_not_before(tmp_path: Path) -> None:
    time = [float(NOW)]
    book = RequestBook(tmp_path, clock=lambda: time[0])
    book.claim(signed(), "job-1")
    other = signed("sha256:" + "ef" * 32, NOW + 10 * 86400)
    time[0] = NOW + 86400
    book.claim(other, "job-2")
    with pytest.raises(Denied):
        book.check(signed(), "job-3")
    time[0] = NOW + 86400 + 61
    book.claim(other, "job-2")
    book.check(signed(), "job-3")


def test_a_file_that_cannot_be_used_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "requests.sqlite").write_text("not a database, and longer than its header" * 100)
    with pytest.raises(InvalidConfig, match="repair or restore"):
        RequestBook(tmp_path)


def test_a_book_that_fails_later_refuses(tmp_path: Path) -> None:
    book = RequestBook(tmp_path)
    book.close()
    with pytest.raises(Conflict):
        book.claim(signed(), "job-1")


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    RequestBook(tmp_path / "new").claim(signed(), "job-1")
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0


def test_a_job_has_begun_from_its_claim_until_its_success_and_under_its_own_id_only(
    tmp_path: Path,
) -> None:
    book, request = RequestBook(tmp_path), signed()
    assert not book.began(request.digest, "job-1")
    book.claim(request, "job-1")
    assert book.began(request.digest, "job-1")
    assert not book.began(request.digest, "job-2")
    book.done(request)
    assert not book.began(request.digest, "job-1")
