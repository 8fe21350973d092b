"""A site and the gateway together cannot give another site a different cargo."""

import pytest

from fedgate.errors import SealBroken
from fedgate_gateway.sealed import CargoKey, CargoOpener, CargoSealer, CargoWitness


def cargo(key: CargoKey, plain: bytes) -> list[bytes]:
    sealer = CargoSealer(key, "job-1")
    return [
        sealer.seal_chunk(i, plain[i * key.chunk :][: key.plain_size(i)]) for i in range(key.chunks)
    ]


def witness(session, key, sealed) -> CargoWitness:
    made = CargoWitness(session, key)
    for chunk in sealed:
        made.add(chunk)
    return made


def test_sender_and_receiver_agree_on_the_cargo(scene):
    at_site, at_enclave = scene.session()
    key = CargoKey.generate(200, 64)
    sealed = cargo(key, bytes(200))
    witness(at_site, key, sealed).verify(witness(at_enclave, key, sealed).tag())


def test_a_cargo_forged_by_a_site_that_knows_the_data_key_is_noticed(scene):
    """Site 2 and the gateway: without the witness, site 1 would train on their model."""
    victim_at_site, victim_at_enclave = scene.session("site-1")
    key = CargoKey.generate(200, 64)
    genuine = cargo(key, bytes(200))
    forged = cargo(key, b"\1" * 200)
    opener = CargoOpener(key, "job-1")
    opened = b"".join(opener.open_chunk(i, chunk) for i, chunk in enumerate(forged))
    opener.finish()
    assert opened == b"\1" * 200, "the data key alone does not tell them apart"
    with pytest.raises(SealBroken, match="not the one its sender sealed"):
        witness(victim_at_site, key, forged).verify(witness(victim_at_enclave, key, genuine).tag())


def test_another_sites_witness_does_not_help_the_forger(scene):
    victim, _ = scene.session("site-1")
    colluder, _ = scene.session("site-2")
    key = CargoKey.generate(100, 64)
    forged = cargo(key, b"\1" * 100)
    with pytest.raises(SealBroken):
        witness(victim, key, forged).verify(witness(colluder, key, forged).tag())


def test_a_witness_of_an_incomplete_or_overlong_cargo_proves_nothing(scene):
    session, _ = scene.session()
    key = CargoKey.generate(100, 64)
    sealed = cargo(key, bytes(100))
    with pytest.raises(SealBroken, match="not complete"):
        witness(session, key, sealed[:1]).tag()
    with pytest.raises(SealBroken, match="longer"):
        witness(session, key, [*sealed, b"more"])
    with pytest.raises(SealBroken):
        witness(session, key, sealed).verify(b"")
