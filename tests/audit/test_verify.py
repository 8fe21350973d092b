"""Exported logs, verified offline; each attack is carried out on a real file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgate.errors import InvalidMessage, NotFound
from fedgate_gateway.audit import AuditLog, LogSigner, VerifierKey, export, tree, verify
from fedgate_gateway.audit.entry import canonical_json

Lines = list[bytes]


@pytest.fixture
def exported(log: AuditLog, tmp_path: Path) -> Path:
    for number in range(9):
        log.append("job.transition" if number % 2 else "round.done", {"n": number}, job="j")
    path = tmp_path / "audit.jsonl"
    export(log, path)
    return path


def test_an_untouched_export_verifies(exported: Path, signer: LogSigner, log: AuditLog):
    report = verify(exported, str(signer.verifier))
    assert report.ok
    assert report.trusted
    assert (report.size, report.root, report.origin) == (9, log.root(), signer.origin)
    assert report.kinds == {"job.transition": 4, "round.done": 5}
    assert report.checkpoint == log.latest_checkpoint()


def test_an_empty_log_verifies(log: AuditLog, signer: LogSigner, tmp_path: Path):
    export(log, tmp_path / "empty")
    assert verify(tmp_path / "empty", signer.verifier).ok


def test_without_a_key_the_report_says_that_nobody_vouches(exported: Path):
    report = verify(exported, None)
    assert report.ok
    assert not report.trusted


def _change(lines: Lines, at: int, edit: Callable[[dict], None], fix: bool) -> Lines:
    line = json.loads(lines[at])
    edit(line["entry"])
    if fix:
        line["leaf"] = tree.leaf_hash(canonical_json(line["entry"])).hex()
    return [*lines[:at], canonical_json(line) + b"\n", *lines[at + 1 :]]


def _renumber(lines: Lines) -> Lines:
    out = [lines[0]]
    for position, line in enumerate(lines[1:-1]):
        out.append(canonical_json({**json.loads(line), "position": position}) + b"\n")
    return [*out, lines[-1]]


def _evil(entry: dict) -> None:
    entry["data"]["n"] = 666


ATTACKS: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "an entry changed": (lambda ls: _change(ls, 4, _evil, False), "entry 3 was changed"),
    "an entry changed with its hash": (lambda ls: _change(ls, 4, _evil, True), "not those that"),
    "an entry removed": (lambda ls: ls[:4] + ls[5:], "entry 3 is missing"),
    "several removed": (lambda ls: ls[:4] + ls[7:], "entry 3 to 5 is missing"),
    "removed and renumbered": (lambda ls: _renumber(ls[:4] + ls[5:]), "9 entries are signed, 8"),
    "reordered": (lambda ls: [*ls[:3], ls[4], ls[3], *ls[5:]], "out of order"),
    "reordered and renumbered": (
        lambda ls: _renumber([*ls[:3], ls[4], ls[3], *ls[5:]]), "not those that",
    ),
    "an entry repeated": (lambda ls: [*ls[:4], ls[3], *ls[4:]], "entry 2 is repeated"),
    "the tail cut off": (lambda ls: ls[:6], "without its checkpoint"),
    "cut within a line": (lambda ls: [*ls[:5], ls[5][:20]], "cut off"),
    "tail entries removed": (lambda ls: [*ls[:8], ls[-1]], "9 entries are signed, 7"),
    "the header removed": (lambda ls: ls[1:], "header"),
    "something appended": (lambda ls: [*ls, b"{}\n"], "follows the final checkpoint"),
    "another spelling": (lambda ls: [*ls[:3], ls[3].replace(b":", b": "), *ls[4:]], "damaged"),
    "an endless line": (lambda ls: [*ls[:3], b" " * 300_000 + b"\n", *ls[3:]], "too long"),
    "no JSON": (lambda ls: [*ls[:3], b"\xff\n", *ls[4:]], "damaged"),
    "no entry": (lambda ls: [*ls[:3], b"[]\n", *ls[4:]], "entry 2 is none"),
    "another size in the header": (
        lambda ls: [ls[0].replace(b'"size":9', b'"size":8'), *ls[1:]], "header is not that of",
    ),
    "the checkpoint damaged": (
        lambda ls: [*ls[:-1], ls[-1].replace(b"\\n9\\n", b"\\n8\\n")], "does not verify",
    ),
    "an empty file": (lambda ls: [], "header"),
}  # fmt: skip


@pytest.mark.parametrize(("attack", "finding"), ATTACKS.values(), ids=ATTACKS)
def test_tampering_with_an_export_is_found_and_named(
    exported: Path, signer: LogSigner, attack: Callable[[Lines], Lines], finding: str
):
    exported.write_bytes(b"".join(attack(exported.read_bytes().splitlines(keepends=True))))
    report = verify(exported, signer.verifier)
    assert not report.ok
    assert any(finding in problem for problem in report.problems), report.problems


def test_flipping_any_sampled_byte_is_found(exported: Path, signer: LogSigner):
    good = exported.read_bytes()
    for at in range(0, len(good), 7):
        exported.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert not verify(exported, signer.verifier).ok, at


def test_a_log_resigned_by_somebody_else_is_of_another_log(
    exported: Path, engine, signer: LogSigner, tmp_path: Path
):
    from sqlalchemy import create_engine

    from fedgate_gateway.audit.tables import create_tables

    forged_engine = create_engine("sqlite://")
    create_tables(forged_engine)
    forger = AuditLog(forged_engine, LogSigner(Ed25519PrivateKey.generate(), signer.origin))
    forger.append("job.transition", {"n": 1})
    export(forger, tmp_path / "forged")
    report = verify(tmp_path / "forged", signer.verifier)
    assert any("another log" in p for p in report.problems)
    assert any("does not verify" in p for p in report.problems)


def test_an_older_checkpoint_proves_that_the_past_is_unchanged(
    log: AuditLog, signer: LogSigner, tmp_path: Path
):
    log.append("a", {})
    kept = log.checkpoint()
    log.append("b", {})
    export(log, tmp_path / "log")
    assert verify(tmp_path / "log", signer.verifier, older=[kept]).ok


def _other_history(signer: LogSigner, path: Path, entries: int) -> None:
    """A log of the same key with another past: what a malicious gateway could make."""
    from sqlalchemy import create_engine

    from fedgate_gateway.audit.tables import create_tables

    engine = create_engine("sqlite://")
    create_tables(engine)
    log = AuditLog(engine, signer)
    for _ in range(entries):
        log.append("rewritten", {})
    export(log, path)


def test_an_older_checkpoint_reveals_a_rewritten_past(
    log: AuditLog, signer: LogSigner, tmp_path: Path
):
    for _ in range(3):
        log.append("a", {})
    kept = log.checkpoint()
    _other_history(signer, tmp_path / "rewritten", 5)
    assert verify(tmp_path / "rewritten", signer.verifier).ok  # properly signed, and yet
    report = verify(tmp_path / "rewritten", signer.verifier, older=[kept])
    assert report.problems == ("the first 3 entries are not those signed before",)
    _other_history(signer, tmp_path / "shortened", 2)
    report = verify(tmp_path / "shortened", signer.verifier, older=[kept])
    assert report.problems == ("3 entries were signed before, 2 are here",)


def test_an_older_checkpoint_of_another_log_is_named(exported: Path, signer: LogSigner):
    foreign = LogSigner(Ed25519PrivateKey.generate(), "x.example").sign(1, bytes(32))
    report = verify(exported, signer.verifier, older=[foreign])
    assert any("not of this log" in p for p in report.problems)


def test_errors_outside_the_file_are_raised(exported: Path, tmp_path: Path):
    with pytest.raises(NotFound):
        verify(tmp_path / "nothing", None)
    with pytest.raises(InvalidMessage):
        verify(exported, "no key")
    assert isinstance(
        VerifierKey.parse(json.loads(exported.read_bytes().split(b"\n")[0])["key"]), VerifierKey
    )
