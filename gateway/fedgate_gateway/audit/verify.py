"""Verifying an exported log, offline, with nothing but the log's public key.

Everything is recomputed from the entries. A verifier who kept an older checkpoint also learns
whether the history before it is still the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from fedgate.errors import InvalidMessage, NotFound
from fedgate_gateway.audit import tree
from fedgate_gateway.audit.entry import MAX_BYTES, MAX_DEPTH, Entry, canonical_json, parse_canonical
from fedgate_gateway.audit.export import FORMAT, header
from fedgate_gateway.audit.note import Checkpoint, VerifierKey

_MAX_LINE = 2 * MAX_BYTES
_MAX_PROBLEMS = 50


@dataclass(frozen=True)
class Report:
    """What verification found; ``ok`` only when nothing at all is wrong."""

    origin: str
    size: int
    root: bytes
    #: False when no key was given and the file's own was taken: then anybody may have made it.
    trusted: bool
    problems: tuple[str, ...] = ()
    kinds: Mapping[str, int] = field(default_factory=dict)
    checkpoint: str = ""  # keep it: the next verification can prove that nothing before it changed

    @property
    def ok(self) -> bool:
        return not self.problems


def verify(path: Path, key: VerifierKey | str | None, *, older: Sequence[str] = ()) -> Report:
    """Check the file at ``path`` against the log's ``key`` (or its text ``name+id+key``).

    ``older`` are signed notes that the verifier kept from before. Raises :class:`NotFound` when
    the file cannot be read and :class:`InvalidMessage` when ``key`` is none; what is wrong inside
    the file stands in the report.
    """
    trusted = VerifierKey.parse(key) if isinstance(key, str) else key
    try:
        with path.open("rb") as file:
            return _Verification(trusted, older).run(file)
    except OSError as error:
        raise NotFound(f"cannot read the exported log {path}", why=str(error)) from error


class _Verification:
    """One pass over the file, in constant memory."""

    def __init__(self, key: VerifierKey | None, older: Sequence[str]) -> None:
        self.key = key
        self.trusted = key is not None
        self.older = older
        self.problems: list[str] = []
        self.range = tree.CompactRange()
        self.kinds: Counter[str] = Counter()
        self.awaited: dict[int, bytes] = {}
        self.next = 0
        self.note = ""
        self.header: dict[str, Any] = {}

    def run(self, file: BinaryIO) -> Report:
        self._read_header(file)
        self._kept_checkpoints()
        while not self.note and (line := self._line(file)) is not None:
            if set(line) == {"checkpoint"} and isinstance(line["checkpoint"], str):
                self.note = line["checkpoint"]
            else:
                self._entry(line)
        if self.note and file.read(1):
            self._problem("something follows the final checkpoint")
        self._final()
        origin = self.key.name if self.key else ""
        return Report(
            origin, self.range.size, self.range.root(), self.trusted, tuple(self.problems),
            dict(self.kinds), self.note,
        )  # fmt: skip

    def _read_header(self, file: BinaryIO) -> None:
        self.header = self._line(file) or {}
        if self.header.get("format") != FORMAT:
            self._problem("the file does not begin with the header of an exported audit log")
        try:
            stated = VerifierKey.parse(str(self.header.get("key", "")))
        except InvalidMessage as error:
            self._problem(f"the header names no proper key: {error}")
        else:
            if self.key is None:
                self.key = stated
            elif stated != self.key:
                self._problem(f"the file is of another log: {stated.name} ({stated.id.hex()})")

    def _kept_checkpoints(self) -> None:
        for note in self.older if self.key else ():
            try:
                kept = Checkpoint.open(note, self.key) if self.key else None
            except InvalidMessage as error:
                self._problem(f"the older checkpoint is not of this log: {error}")
                continue
            if kept and self.awaited.setdefault(kept.size, kept.root) != kept.root:
                self._problem(f"two signed checkpoints of size {kept.size} differ: a forked log")
        self._compare_kept()

    def _line(self, file: BinaryIO) -> dict[str, Any] | None:
        raw = file.readline(_MAX_LINE)
        if not raw:
            return None
        if not raw.endswith(b"\n"):
            self._problem(f"the line after entry {self.next - 1} is cut off or too long")
            return None
        try:
            value = parse_canonical(raw[:-1], depth=MAX_DEPTH + 1)
        except InvalidMessage as error:
            self._problem(f"the line after entry {self.next - 1} is damaged: {error}")
            return {}
        return value if isinstance(value, dict) else {}

    def _entry(self, line: dict[str, Any]) -> None:
        position = line.get("position")
        if set(line) != {"entry", "leaf", "position"} or type(position) is not int:
            self._problem(f"what should be entry {self.next} is none")
            self.next += 1
            return
        if position > self.next:
            last = f" to {position - 1}" if position - 1 > self.next else ""
            self._problem(f"entry {self.next}{last} is missing")
        elif position < self.next:
            self._problem(f"entry {position} is repeated or out of order")
        self.next = position + 1
        try:
            raw = canonical_json(line["entry"])
            self.kinds[Entry.decode(raw).kind] += 1
        except InvalidMessage as error:
            self._problem(f"entry {position} is no audit entry: {error}")
            return
        leaf = tree.leaf_hash(raw)
        if line["leaf"] != leaf.hex():
            self._problem(f"entry {position} was changed: it does not have its hash")
        self.range.append(leaf)
        self._compare_kept()

    def _compare_kept(self) -> None:
        kept = self.awaited.pop(self.range.size, None)
        if kept is not None and kept != self.range.root():
            self._problem(f"the first {self.range.size} entries are not those signed before")

    def _final(self) -> None:
        for size in self.awaited:
            self._problem(f"{size} entries were signed before, {self.range.size} are here")
        if not self.note:
            self._problem("the file ends without its checkpoint: it was cut off")
            return
        if self.key is None:
            self._problem("there is no key to check the checkpoint with")
            return
        try:
            signed = Checkpoint.open(self.note, self.key)
        except InvalidMessage as error:
            self._problem(f"the final checkpoint does not verify: {error}")
            return
        if self.header != header(self.key, signed.size):
            self._problem(f"the header is not that of a log with {signed.size} entries")
        if signed.size != self.range.size:
            self._problem(f"{signed.size} entries are signed, {self.range.size} are here")
        elif signed.root != self.range.root():
            self._problem("the entries are not those that were signed")

    def _problem(self, what: str) -> None:
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(what)
