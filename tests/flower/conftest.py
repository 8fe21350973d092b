"""Fixtures: Flower's process-wide identity, projects on disk, and a federation in this process."""

from __future__ import annotations

import json
import os
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from warm import CHILDREN, Template

from fedgate.adapter import SiteInfo
from fedgate.model import Model
from fedgate.task import Failure, Frame, Result, Task, TaskError
from fedgate_gateway.dev import Federation
from fedgate_gateway.dev.leftovers import leftovers

Answer = Callable[[Task], Result]
#: Modules of a job's processes; what they import comes with them.
WARM = (
    "fedgate_gateway.child.guardian",
    "fedgate_gateway.child.work",
    "fedgate_flower.coordinator",
    "fedgate_flower.worker",
    "sklearn.linear_model",
)


class MemoryFederation:
    """The contract of ``Federation``, with an answering function for each site.

    Models cross as bytes, as between processes. Each task has a thread of its own, so answers
    arrive in whatever order the functions finish in.
    """

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = dict(answers)
        self.offline: set[str] = set()
        self.tasks: list[Task] = []
        self.deadlines: list[float | None] = []
        self.published: list[tuple[Model | None, int, dict[str, float]]] = []
        self.cancelled = False

    def sites(self) -> Sequence[SiteInfo]:
        return [SiteInfo(n, i, n not in self.offline) for i, n in enumerate(self.answers)]

    def dispatch(
        self, tasks: Iterable[Task], *, deadline: float | None = None, ordered: bool = True
    ) -> Iterator[Result]:
        tasks = list(tasks)
        self.tasks += tasks
        self.deadlines.append(deadline)
        ends = time.monotonic() + (60 if deadline is None else deadline)
        done: dict[str, Result] = {}
        arrived = threading.Condition()

        def work(task: Task) -> None:
            result = self._answer(task)
            with arrived:
                done[task.id] = result
                arrived.notify_all()

        for task in tasks:
            threading.Thread(target=work, args=(task,), daemon=True).start()
        return self._results(tasks, done, arrived, ends, ordered)

    def _answer(self, task: Task) -> Result:
        if task.site in self.offline:
            return Result(task.id, task.site, error=TaskError(Failure.UNAVAILABLE, "gone"))
        sent = Task(**{**vars(task), "model": _crossed(task.model)})
        result = self.answers[task.site](sent)
        return Result(**{**vars(result), "model": _crossed(result.model)})

    @staticmethod
    def _results(
        tasks: list[Task],
        done: dict[str, Result],
        arrived: threading.Condition,
        ends: float,
        ordered: bool,
    ) -> Iterator[Result]:
        left = list(tasks)
        while left:
            with arrived:

                def next_one() -> Task | None:
                    ready = [t for t in (left[:1] if ordered else left) if t.id in done]
                    return ready[0] if ready else None

                arrived.wait_for(next_one, max(0, ends - time.monotonic()))
                task = next_one()
                late = TaskError(Failure.TIMEOUT, "too late")
                task, result = (
                    (task, done.pop(task.id))
                    if task
                    else (left[0], Result(left[0].id, left[0].site, error=late))
                )
            left.remove(task)
            yield result

    def publish(
        self, model: Model | None, *, round: int, metrics: Mapping[str, float] | None = None
    ) -> None:
        self.published.append((model, round, dict(metrics or {})))

    def post(self, site: str, frame: Frame) -> None:
        raise AssertionError("a Flower app has no frames")

    def on_frame(self, callback: Callable[[str, Frame], None]) -> None: ...

    def on_site_lost(self, callback: Callable[[str, str], None]) -> None: ...


def _crossed(model: Model | None) -> Model | None:
    return None if model is None else Model.parse(bytearray(model.to_bytes()))


@pytest.fixture
def memory_federation() -> Callable[[Mapping[str, Answer]], MemoryFederation]:
    return MemoryFederation


@pytest.fixture
def flower_identity() -> Iterator[None]:
    """Flower refuses to make messages in a process without an identity."""
    from flwr.supercore.task_identity import TaskIdentity

    before = (TaskIdentity._run_id, TaskIdentity._node_id, TaskIdentity._task_id)
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 77, 1, 1
    yield
    TaskIdentity._run_id, TaskIdentity._node_id, TaskIdentity._task_id = before


PYPROJECT = """
[project]
name = "probe"
version = "1.0.0"
dependencies = ["flwr>=1.41,<2"]

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "probe.server:app"
clientapp = "probe.client:app"

[tool.flwr.app.config]
rounds = 2
"""


@pytest.fixture
def write_app(tmp_path: Path) -> Callable[..., Path]:
    """``write_app(server, client, config="")`` writes a Flower project and returns its folder."""

    def write(server: str, client: str, config: str = "") -> Path:
        root = tmp_path / "probe-app"
        (root / "probe").mkdir(parents=True)
        (root / "pyproject.toml").write_text(PYPROJECT + textwrap.dedent(config))
        (root / "probe" / "__init__.py").write_text("")
        (root / "probe" / "server.py").write_text(textwrap.dedent(server))
        (root / "probe" / "client.py").write_text(textwrap.dedent(client))
        return root

    return write


@pytest.fixture(scope="session")
def template() -> Iterator[Template]:
    """Has imported what most apps import, so that not each of their processes has to."""
    made = Template(*WARM)
    yield made
    made.close()


@pytest.fixture
def forked(template: Template) -> Iterator[None]:
    """The processes of local runs are forks of it."""
    with template.in_use(CHILDREN):
        yield


@pytest.fixture(scope="module")
def stock(warm_command: Callable[..., Any]) -> Callable[..., Path]:
    """``stock(app, out, settings, config)``: what an app writes into ``out`` on stock Flower."""
    script = Path(__file__).with_name("reference_driver.py")
    driver = warm_command(script, script.parent, {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})

    def run(
        app: Path,
        out: Path,
        settings: Sequence[Mapping[str, Any]],
        config: Mapping[str, Any] = {},
    ) -> Path:
        out.mkdir()
        given = json.dumps({"settings": list(settings), "config": dict(config)})
        ran = driver(app, given, cwd=out)
        assert ran.code == 0, (ran.out + ran.err)[-3000:]
        return out

    return run


@pytest.fixture(scope="session")
def tight_limits() -> SimpleNamespace:
    """What the enclave of ``federation`` grants a job."""
    return SimpleNamespace(job_seconds=25.0, log_bytes=100_000)


@pytest.fixture(scope="session")
def federation(
    tmp_path_factory: pytest.TempPathFactory,
    tight_limits: SimpleNamespace,
    quick_programs: Callable[[], Any],
) -> Iterator[Federation]:
    """Two sites, shared by all tests that want one; nothing of it is left at the end."""
    folder = tmp_path_factory.mktemp("flower")
    made = Federation(folder / "f", sites=2, examples=False, adapters=("flower",))
    made.prepare()
    enclave = made.layout.enclave
    limits = f"\n[runtime.limits]\nlog_bytes = {tight_limits.log_bytes}\n"
    seconds = f"job_seconds = {tight_limits.job_seconds}\n"
    enclave.write_text(f"{seconds}{enclave.read_text()}{limits}")
    with quick_programs(), made:
        yield made
    deadline = time.monotonic() + 60
    while (left := leftovers(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == {}
