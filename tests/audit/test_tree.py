"""The Merkle tree against pymerkle, an independent implementation of RFC 6962 and RFC 9162."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from fedgate_gateway.audit import tree

SIZES = range(34)
ENTRIES = [f"entry {i}".encode() for i in range(max(SIZES))]


class Grown:
    """A tree of ENTRIES with every complete subtree kept, as the database keeps them."""

    def __init__(self, entries: list[bytes]) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.range = tree.CompactRange()
        self.roots = [self.range.root()]
        for position, entry in enumerate(entries):
            leaf = tree.leaf_hash(entry)
            self.nodes[0, position] = leaf
            self.nodes.update({(n.level, n.index): n.hash for n in self.range.append(leaf)})
            self.roots.append(self.range.root())

    def __call__(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]


@pytest.fixture(scope="module")
def grown() -> Grown:
    return Grown(ENTRIES)


@pytest.fixture(scope="module")
def oracle() -> InmemoryTree:
    return InmemoryTree.init_from_entries(ENTRIES, algorithm="sha256")


def test_roots_are_those_of_an_independent_implementation(grown: Grown, oracle: InmemoryTree):
    for size in SIZES[1:]:
        assert grown.roots[size] == oracle.get_root(size)
        assert tree.root_at(grown, size) == oracle.get_root(size)


def test_root_of_an_empty_log_and_a_known_leaf_are_those_of_rfc_6962():
    assert tree.root_at({}.__getitem__, 0).hex() == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert tree.leaf_hash(b"").hex() == (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    )


def test_inclusion_proofs_are_those_of_an_independent_implementation(
    grown: Grown, oracle: InmemoryTree
):
    for size in SIZES[1:]:
        for position in range(size):
            proof = tree.inclusion_proof(grown, position, size)
            assert oracle.prove_inclusion(position + 1, size).path[1:] == proof


def test_every_inclusion_proof_verifies_for_its_own_leaf_and_no_other(grown: Grown):
    for size in SIZES[1:]:
        for position in range(size):
            proof = tree.inclusion_proof(grown, position, size)
            for other in range(size):
                verified = tree.verify_inclusion(
                    grown(0, other), position, size, proof, grown.roots[size]
                )
                assert verified is (other == position)


def test_every_consistency_proof_verifies_between_its_own_roots_and_no_others(grown: Grown):
    for new in SIZES:
        for old in range(new + 1):
            proof = tree.consistency_proof(grown, old, new)
            roots = grown.roots
            assert tree.verify_consistency(old, new, roots[old], roots[new], proof)
            forged = bytes(32)
            assert not tree.verify_consistency(old, new, forged, roots[new], proof)
            assert not tree.verify_consistency(old, new, roots[old], forged, proof) or old == 0


def test_a_longer_shorter_or_changed_proof_does_not_verify(grown: Grown):
    for old, new in ((3, 7), (4, 8), (6, 33), (32, 33)):
        proof = tree.consistency_proof(grown, old, new)
        roots = (grown.roots[old], grown.roots[new])
        assert not tree.verify_consistency(old, new, *roots, [*proof, bytes(32)])
        assert not tree.verify_consistency(old, new, *roots, proof[:-1])
        for at in range(len(proof)):
            changed = [*proof[:at], bytes(32), *proof[at + 1 :]]
            assert not tree.verify_consistency(old, new, *roots, changed)
    for position, size in ((0, 1), (5, 7), (32, 33)):
        proof = tree.inclusion_proof(grown, position, size)
        leaf, root = grown(0, position), grown.roots[size]
        assert not tree.verify_inclusion(leaf, position, size, [*proof, bytes(32)], root)
        assert not proof or not tree.verify_inclusion(leaf, position, size, proof[:-1], root)


def test_a_leaf_cannot_be_passed_off_as_an_inner_node():
    left, right = tree.leaf_hash(b"a"), tree.leaf_hash(b"b")
    assert tree.leaf_hash(left + right) != tree.node_hash(left, right)


@given(st.lists(st.binary(max_size=8), max_size=70), st.data())
def test_a_compact_range_survives_storage_at_any_size(entries: list[bytes], data: st.DataObject):
    cut = data.draw(st.integers(0, len(entries)))
    head = Grown(entries[:cut]).range
    restored = tree.CompactRange.from_bytes(head.size, head.to_bytes())
    for entry in entries[cut:]:
        restored.append(tree.leaf_hash(entry))
    assert restored.root() == Grown(entries).range.root()


def test_a_compact_range_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError):
        tree.CompactRange.from_bytes(3, bytes(32))
    with pytest.raises(ValueError):
        tree.CompactRange.from_bytes(-1, bytes(32))


def test_impossible_proofs_are_refused(grown: Grown):
    with pytest.raises(ValueError):
        tree.inclusion_proof(grown, 5, 5)
    with pytest.raises(ValueError):
        tree.consistency_proof(grown, 6, 5)
    assert not tree.verify_inclusion(b"", 5, 5, [], b"")
    assert not tree.verify_consistency(6, 5, b"", b"", [])
