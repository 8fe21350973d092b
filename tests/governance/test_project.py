"""A project file lists keys that are keys, each once."""

import base64

import pytest
from pydantic import ValidationError

from fedgate_gateway.config import ProjectConfig


def key(fill: int, size: int = 32) -> dict[str, str]:
    return {"identity": base64.b64encode(bytes([fill]) * size).decode()}


def project(**fields: object) -> ProjectConfig:
    return ProjectConfig.model_validate({"name": "demo", "members": {}, **fields})


def test_submitters_and_gateways_are_keys_by_name() -> None:
    found = project(submitters={"alice": key(1)}, gateways={"main": key(2)})
    assert found.submitter_keys() == {"alice": bytes([1]) * 32}
    assert found.gateway_keys() == {"main": bytes([2]) * 32}


def test_nobody_may_sign_unless_listed() -> None:
    assert project().submitter_keys() == {}
    assert project().gateway_keys() == {}


@pytest.mark.parametrize("where", ["members", "enclaves", "submitters", "gateways"])
@pytest.mark.parametrize(
    "identity", ["", "x", "!" * 44, key(1, 31)["identity"], key(1, 33)["identity"], "A" * 42 + "B="]
)
def test_what_is_no_key_is_refused(where: str, identity: str) -> None:
    with pytest.raises(ValidationError, match="base64 of 32 bytes"):
        project(**{where: {"somebody": {"identity": identity}}})


@pytest.mark.parametrize(
    "fields",
    [
        {"submitters": {"alice": key(1), "bob": key(1)}},
        {"submitters": {"alice": key(1)}, "gateways": {"main": key(1)}},
    ],
)
def test_no_two_signers_share_a_key(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="each needs its own"):
        project(**fields)
