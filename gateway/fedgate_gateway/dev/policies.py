"""The demonstration's policies, with the frameworks and datasets of this federation filled in."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fedgate.errors import InvalidConfig
from fedgate_gateway.dev.examples import folder

#: How the files of ``examples/policies`` name what they allow.
_FRAMEWORKS, _DATASETS = '["flower", "flare"]', '["breast-cancer", "digits"]'


def gateway_policy(frameworks: Sequence[str]) -> str:
    return _filled("gateway.cedar", {_FRAMEWORKS: frameworks})


def site_policy(frameworks: Sequence[str], datasets: Sequence[str]) -> str:
    return _filled("site.cedar", {_FRAMEWORKS: frameworks, _DATASETS: datasets})


def _filled(name: str, lists: dict[str, Sequence[str]]) -> str:
    text = (folder() / "policies" / name).read_text("utf-8")
    for written, wanted in lists.items():
        if text.count(written) != 1:
            raise InvalidConfig(f"the template {name} does not hold {written} once")
        text = text.replace(written, json.dumps(list(wanted)))
    return text
