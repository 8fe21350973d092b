"""The demonstration's policies, with the frameworks and datasets of this federation filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from fedgate.errors import InvalidConfig
from fedgate_gateway.dev.examples import folder

#: How the files of ``examples/policies`` say what they allow, as code and as a sentence.
_FRAMEWORKS = '["flower", "flare"]'
_FRAMEWORKS_SAID = "Flower and FLARE workloads"
_DATASETS = '["breast-cancer", "digits"].containsAll(context.datasets)'
_DATASETS_SAID = "Only the datasets breast-cancer and digits are offered here."


def gateway_policy(frameworks: Sequence[str]) -> str:
    return _filled("gateway.cedar", _frameworks(frameworks))


def site_policy(frameworks: Sequence[str], datasets: Sequence[str]) -> str:
    return _filled("site.cedar", {**_frameworks(frameworks), **_datasets(datasets)})


def _frameworks(names: Sequence[str]) -> dict[str, str]:
    return {_FRAMEWORKS: json.dumps(list(names)), _FRAMEWORKS_SAID: f"{_listed(names)} workloads"}


def _datasets(names: Sequence[str]) -> dict[str, str]:
    if not names:  # Cedar knows no empty set literal
        return {
            _DATASETS: "context.datasets.isEmpty()",
            _DATASETS_SAID: "No dataset is offered here.",
        }
    return {
        _DATASETS: f"{json.dumps(list(names))}.containsAll(context.datasets)",
        _DATASETS_SAID: f"Only the datasets {_listed(names)} are offered here.",
    }


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)


def _filled(name: str, texts: Mapping[str, str]) -> str:
    text = (folder() / "policies" / name).read_text("utf-8")
    for written, wanted in texts.items():
        if text.count(written) != 1:
            raise InvalidConfig(f"the template {name} does not hold {written!r} once")
        text = text.replace(written, wanted)
    return text
