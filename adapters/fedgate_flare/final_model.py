"""The model of a workflow that the sites control: it exists at the sites alone.

FLARE leaves it there. So that it can be released like any other, the coordinator asks for it by a
task of our own once the workflows are over: what a site's persistor saved last comes back as a
result, past the site's egress guard and into the release gate.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from nvflare.app_common.abstract.learnable_persistor import LearnablePersistor

from fedgate.adapter import Federation
from fedgate.errors import InvalidModel
from fedgate.model import Model
from fedgate.task import Result, Task, TaskKind
from fedgate_flare.release import model_of, weights_of, wrap

TASK = "fedgate.final_model"
_SECONDS = 120.0


class SavedModel:
    """At a site: the last model that the job's persistors saved."""

    def __init__(self, components: Iterable[Any]) -> None:
        self._weights: Any = None
        for component in components:
            if isinstance(component, LearnablePersistor):
                wrap(component, "save", self._saved)

    def _saved(self, _persistor: Any, learnable: Any = None, *_: Any, **__: Any) -> None:
        self._weights = weights_of(learnable)

    def result(self, task: Task) -> Result:
        model = None
        if self._weights is not None:
            try:
                model = model_of(self._weights)
            except InvalidModel:
                model = None  # nothing in it could be released
        return Result(task.id, task.site, model=model)


def ask_for_it(federation: Federation) -> Model | None:
    """The model of the first site that has one."""
    for site in federation.sites():
        if not site.online:
            continue
        task = Task(id=uuid.uuid4().hex, site=site.name, kind=TaskKind.QUERY, name=TASK)
        (result,) = federation.dispatch([task], deadline=_SECONDS)
        if result.ok and result.model is not None:
            return result.model
    return None
