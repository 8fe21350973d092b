"""Writing the configuration of a development federation: ordinary files, with a word on each.

A file that exists is never touched, so whatever was edited stays.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgate_gateway.cli.new_profile import write_profile
from fedgate_gateway.dev import policies
from fedgate_gateway.dev.datasets import DatasetTemplate
from fedgate_gateway.dev.examples import front_door_datasets, guard
from fedgate_gateway.dev.layout import ENCLAVE, PROJECT, SUBMITTER, Layout
from fedgate_gateway.dev.ports import HOST, choose
from fedgate_gateway.link.terms import fingerprint
from fedgate_gateway.own_keys import REQUEST_KEY
from fedgate_gateway.pki.credentials import load_or_create_identity
from fedgate_gateway.pki.private_files import private_folder
from fedgate_gateway.pki.signing_keys import load_or_create_signing_key
from fedgate_gateway.sealed.keys import RecipientKey

#: What frameworks and their examples usually call their numbers; shown in clear.
_METRIC_NAMES = (
    "accuracy", "auc", "f1", "loss", "mse", "score",
    "eval_accuracy", "eval_loss", "test_accuracy", "test_loss", "train_accuracy", "train_loss",
    "val_accuracy", "val_loss", "train-loss",
)  # fmt: skip
_GATEWAY = """\
# The gateway: API, scheduling, relay of sealed messages, audit log.
#   fedgate gateway --config gateway.toml
"""
_ENCLAVE = """\
# The enclave host, where aggregation runs. Its TEE is simulated: its evidence says so, and a site
# believes it only because its own file names "simulated".
#   fedgate enclave --config enclave.toml
"""
_SITE = """\
# A site: one data owner's agent, datasets, policy and limits. Where [guard.query] is opened, it is
# for the example breast-cancer, which asks each site for sums over its rows: not for real data.
#   fedgate site run --config {name}.toml
"""
_PROJECT = """\
# The project: whose keys are in it, which keys outputs may be sealed to, and what leaves the
# enclave. Enclaves and sites each hold a copy; here they share this one.
#
# [submitters] sign what they ask for, each on its own machine, and sites run nothing else.
# [gateways] is for the `flwr` command of `fedgate flower connect`: its requests come in at the
# gateway and are signed there, so whoever runs the gateway could choose what they do. Leave it out
# where that is too much; `fedgate flower front-door` then signs on the submitter's machine.
#
# [release] lets no model out that fewer than two sites stand behind, in any round. Artifacts, log
# and metrics it does, so that workloads run which ask one site at a time: classic Flower asks one
# for the first parameters, cross-site evaluation takes in each site's own model. One site's answer
# can leave in them. Take the three lines out where that is too much.
#
# site_files lets out what workers leave at their sites, where a request asks for it (--site-files)
# and the site's policy permits it: each archive is ONE site's own, and can hold whatever its worker
# read. It is open here so that examples with results at the sites show them. Default: "never".
"""


class Writer:
    """Writes what is missing; ``sites`` are the names of all of them."""

    def __init__(
        self,
        layout: Layout,
        sites: Sequence[str],
        *,
        datasets: Sequence[DatasetTemplate],
        adapters: Sequence[str],
        runtime: Mapping[str, Any],
    ) -> None:
        self._layout = layout
        self._sites = sites
        self._datasets = datasets
        self._adapters = list(adapters)
        self._runtime = dict(runtime)

    def gateway(self) -> None:
        layout = self._layout
        _write(layout.policy("gateway"), lambda: policies.gateway_policy(self._adapters))
        if layout.gateway.exists():
            return
        api, link = choose(2)
        config = {
            "data": "state/gateway",
            "adapters": self._adapters,
            "api": {"host": HOST, "port": api},
            "link": {"host": HOST, "port": link},
            "projects": {
                PROJECT: {
                    "sites": list(self._sites),
                    "minimum_cohort": 2,
                    "policy": "policies/gateway.cedar",
                    "datasets": front_door_datasets(self._datasets),
                }
            },
        }
        _write_toml(layout.gateway, _GATEWAY, config)

    def project(self, recipient: RecipientKey) -> None:
        """Needs no enrolment: the keys are made before it, and outlive it."""
        layout = self._layout
        if layout.project.exists():
            return
        own = load_or_create_signing_key(layout.state("gateway") / REQUEST_KEY)
        config = {
            "name": PROJECT,
            "recipients": [fingerprint(recipient.public_raw)],
            "release": {
                "model": "sealed",
                "artifacts": "sealed",
                "logs": "sealed",
                "metrics": "clear",
                "metric_names": list(_METRIC_NAMES),
                "minimum_cohort": 2,
                "artifacts_minimum_cohort": 1,
                "logs_minimum_cohort": 1,
                "metrics_minimum_cohort": 1,
                "site_files": "one-site-sealed",
            },
            "members": {name: {"identity": self._identity(name)} for name in self._sites},
            "enclaves": {ENCLAVE: {"identity": self._identity(ENCLAVE)}},
            "submitters": {SUBMITTER: {"identity": public_text(signing_key(layout))}},
            "gateways": {"gateway": {"identity": public_text(own)}},
        }
        _write_toml(layout.project, _PROJECT, config)

    def enclave(self, *, api: str, link: str) -> None:
        config = {
            "name": ENCLAVE,
            "data": f"state/{ENCLAVE}",
            "gateway": link,
            "api": api,
            "attester": "simulated",
            "adapters": self._adapters,
            "projects": [f"projects/{PROJECT}.toml"],
            "runtime": self._runtime,
        }
        _write_toml(self._layout.enclave, _ENCLAVE, config)

    def site(self, name: str, *, api: str, link: str) -> None:
        layout = self._layout
        names = [dataset.name for dataset in self._datasets]
        _write(layout.policy(name), lambda: policies.site_policy(self._adapters, names))
        config = {
            "name": name,
            "data": f"state/{name}",
            "gateway": link,
            "api": api,
            "adapters": self._adapters,
            "evidence": ["simulated"],
            "policy": f"policies/{name}.cedar",
            "projects": [f"projects/{PROJECT}.toml"],
            "runtime": self._runtime,
            "datasets": {dataset.name: dataset.for_site(name) for dataset in self._datasets},
        }
        if opened := guard(self._datasets):
            config["guard"] = opened
        _write_toml(layout.site(name), _SITE.format(name=name), config)

    def profile(self, *, api: str, audit_key: str) -> None:
        """The last file: with it the federation is complete."""
        write_profile(
            self._layout.profile,
            api=api,
            project=PROJECT,
            audit_key=audit_key,
            enclaves={ENCLAVE: self._identity(ENCLAVE)},
            adapters=tuple(self._adapters),
            submitter=SUBMITTER,
        )

    def admin_profile(self, *, api: str) -> None:
        private_folder(self._layout.admin_profile.parent)
        write_profile(
            self._layout.admin_profile,
            api=api,
            project=PROJECT,
            audit_key="",
            enclaves={},
            ca="../state/gateway/pki/ca.pem",
            token="../state/gateway/admin-token",  # noqa: S106 - a file's name
            recipient="../recipient.key",
            signer="../signer.key",
            adapters=tuple(self._adapters),
        )

    def _identity(self, name: str) -> str:
        return public_text(load_or_create_identity(self._layout.state(name)))


def recipient_key(layout: Layout) -> RecipientKey:
    """The developer's key; outputs are sealed to it."""
    path = layout.root / "recipient.key"
    if not path.exists():
        RecipientKey.generate().save(path)
    return RecipientKey.load(path)


def signing_key(layout: Layout) -> Ed25519PrivateKey:
    """The developer's key; it signs requests."""
    return load_or_create_signing_key(layout.root / "signer.key")


def public_text(key: Ed25519PrivateKey) -> str:
    """As a project's file lists it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def _write_toml(path: Path, comment: str, config: Mapping[str, Any]) -> None:
    _write(path, lambda: comment + "\n" + tomli_w.dumps(config))


def _write(path: Path, make: Any) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    draft.write_text(make(), "utf-8")
    draft.replace(path)
