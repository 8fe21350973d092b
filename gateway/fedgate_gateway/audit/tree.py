"""The Merkle tree of RFC 6962: hashes, a compact range, and proofs. Pure, no I/O.

A tree is stored as the hashes of its complete subtrees: the node ``(level, index)`` covers the
leaves ``index * 2**level`` up to ``(index + 1) * 2**level``; leaves are level 0. Complete subtrees
never change once written, so any root and proof is O(log n) look-ups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

HASH_BYTES = 32
#: The root of a tree without leaves (RFC 6962 §2.1).
EMPTY_ROOT = hashlib.sha256(b"").digest()

#: ``(level, index)`` -> hash of that complete subtree.
Nodes = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True)
class Node:
    level: int
    index: int
    hash: bytes


@dataclass
class CompactRange:
    """All that appending needs: the roots of the complete subtrees, largest first."""

    size: int = 0
    roots: list[bytes] = field(default_factory=list)

    def append(self, leaf: bytes) -> list[Node]:
        """Add a leaf hash; returns the subtrees of level 1 and up that it completed."""
        completed = []
        level, index, merged = 0, self.size, leaf
        while index & 1:
            merged = node_hash(self.roots.pop(), merged)
            level, index = level + 1, index >> 1
            completed.append(Node(level, index, merged))
        self.roots.append(merged)
        self.size += 1
        return completed

    def root(self) -> bytes:
        return _fold(self.roots) if self.roots else EMPTY_ROOT

    def to_bytes(self) -> bytes:
        return b"".join(self.roots)

    @classmethod
    def from_bytes(cls, size: int, roots: bytes) -> CompactRange:
        """The inverse of :meth:`to_bytes`; raises ValueError when the two do not fit."""
        if size < 0 or len(roots) != size.bit_count() * HASH_BYTES:
            raise ValueError(f"{len(roots)} bytes are no compact range of {size} leaves")
        cuts = range(0, len(roots), HASH_BYTES)
        return cls(size, [roots[at : at + HASH_BYTES] for at in cuts])


def root_at(nodes: Nodes, size: int) -> bytes:
    """The root when the tree had ``size`` leaves."""
    return _span(nodes, 0, size) if size else EMPTY_ROOT


def inclusion_proof(nodes: Nodes, position: int, size: int) -> list[bytes]:
    """The audit path of a leaf in the tree of ``size`` leaves (RFC 6962 §2.1.1)."""
    if not 0 <= position < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {position}")
    low, high, path = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if position < middle:
            path.append(_span(nodes, middle, high))
            high = middle
        else:
            path.append(_span(nodes, low, middle))
            low = middle
    return path[::-1]


def consistency_proof(nodes: Nodes, old: int, new: int) -> list[bytes]:
    """The proof that the tree of ``new`` leaves extends that of ``old`` (RFC 6962 §2.1.2)."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves does not extend one of {old}")
    low, high, path = 0, new, []
    if old in {0, new}:
        return []
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_span(nodes, middle, high))
            high = middle
        else:
            path.append(_span(nodes, low, middle))
            low = middle
    if low:  # the verifier knows the old root itself, unless the old tree has a left part
        path.append(_span(nodes, low, high))
    return path[::-1]


def verify_inclusion(
    leaf: bytes, position: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Does ``proof`` show that ``leaf`` stands at ``position``? (RFC 9162 §2.1.3.2)."""
    if not 0 <= position < size:
        return False
    at, last, seen = position, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            seen = node_hash(sibling, seen)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            seen = node_hash(seen, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and seen == root


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Does ``proof`` show that the new tree extends the old one? (RFC 9162 §2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    seen_old = seen_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            seen_old, seen_new = node_hash(sibling, seen_old), node_hash(sibling, seen_new)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            seen_new = node_hash(seen_new, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and seen_old == old_root and seen_new == new_root


def _split(count: int) -> int:
    """The largest power of two below ``count``: where RFC 6962 divides a tree."""
    return 1 << (count - 1).bit_length() - 1


def _span(nodes: Nodes, low: int, high: int) -> bytes:
    """The hash over leaves low … high, where ``low`` is where a subtree starts."""
    parts = []
    while low < high:
        level = (high - low).bit_length() - 1
        parts.append(nodes(level, low >> level))
        low += 1 << level
    return _fold(parts)


def _fold(parts: Sequence[bytes]) -> bytes:
    folded = parts[-1]
    for part in reversed(parts[:-1]):
        folded = node_hash(part, folded)
    return folded
