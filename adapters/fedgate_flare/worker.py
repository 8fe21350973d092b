"""The client side of a job, inside a worker child: FLARE's client runner on a thread."""

from __future__ import annotations

import gc
import logging
import threading
from typing import Any

from nvflare.apis.shareable import ReturnCode, Shareable

from fedgate.adapter import SiteContext, Workload
from fedgate.errors import FedgateError, WorkloadFailed
from fedgate.task import Failure, Result, Task, TaskError
from fedgate_flare import cells, client, final_model, gathering, lifecycle, messages, status
from fedgate_flare.app_configs import has_trainers, streams_logs
from fedgate_flare.artifacts import RunFolder
from fedgate_flare.codec import decode, encode
from fedgate_flare.job_folder import SERVER
from fedgate_flare.last_error import LastError
from fedgate_flare.mailbox import Mailbox
from fedgate_flare.process import prepare
from fedgate_flare.wake import Bell
from fedgate_flare.workspace import deploy, share_with_trainers

_JOIN = 4.0
_LOG = logging.getLogger("fedgate.flare")


class FlareWorker:
    """Raises :class:`WorkloadFailed` when the job's components cannot be built or started."""

    def __init__(self, workload: Workload, site: SiteContext) -> None:
        self._site = site.name
        deployed = deploy(workload, site.name)
        self._folder, self._scratch = RunFolder(deployed), workload.scratch
        if site.trainers is not None:
            share_with_trainers(deployed, site.trainers)
            cells.allow_files()
        prepare(deployed, log_files=streams_logs(deployed.config("client")))
        self._errors = LastError()
        logging.getLogger().addHandler(self._errors)
        self._bell = Bell()
        clock = client.make_wakeful(self._bell)
        self._mailbox = Mailbox()
        line = cells.site_line(site.name, site.post)
        site.on_frame(lambda frame: line.receive(SERVER, frame))
        try:
            self._runner, args = client.build_runner(
                deployed,
                self._mailbox,
                status.StatusSender(site.post),
                self._bell,
                trainers=has_trainers(deployed.config("client")),
                hold=self._mailbox.hold if lifecycle.matters(workload.manifest) else lambda: None,
            )
        except FedgateError:
            raise
        except Exception as error:
            _LOG.exception("the job's client side cannot be built")
            raise WorkloadFailed(
                "the job's client side cannot be built",
                why=_kind_of(error),
                remedy="the site's own log has the traceback",
            ) from None
        self._saved = final_model.SavedModel(self._runner.engine.get_all_components().values())
        status.watch(self._bell, self._mailbox.poke)
        gathering.guard()
        self._thread = threading.Thread(
            target=self._run, args=(str(deployed.app), args), name="flare-client", daemon=True
        )
        clock.hurry(self._thread)
        self._thread.start()
        if not self._mailbox.wait_until_asked():
            print("the job's client side did not start:", self._errors.take(), flush=True)
            raise WorkloadFailed(
                "the job's client side did not start",
                remedy="the site's own log has the traceback",
            )

    def handle(self, task: Task) -> Result:
        if task.name == final_model.TASK:
            return self._saved.result(task)
        if (done := lifecycle.obey(task, self._mailbox, self._thread.join)) is not None:
            return done
        request = messages.expect_shareable(decode(task.model, task.body))
        task_id, site = task.id, task.site
        del task
        self._errors.take()
        answer = self._mailbox.exchange(request)
        del request
        if answer is None:
            print("the job's client side has ended:", self._errors.take(), flush=True)
            raise WorkloadFailed(
                "the job's client side has ended", remedy="the site's own log says why"
            )
        result = self._result(task_id, site, answer)
        del answer
        gc.collect(1)  # FLContexts sit in cycles and would keep arrays alive
        return result

    def close(self) -> None:
        self._mailbox.close()
        self._bell.ring()
        self._thread.join(_JOIN)
        self._folder.collect(self._scratch)  # what the job wrote at this site is its owner's

    def _run(self, app: str, args: Any) -> None:
        try:
            self._runner.run(app, args)
        except Exception:
            _LOG.exception("FLARE's client runner failed")
        finally:
            self._mailbox.end()

    def _result(self, task_id: str, site: str, answer: Shareable) -> Result:
        code = answer.get_return_code(default=ReturnCode.OK)
        if code not in messages.ANSWERS:
            _, body = encode(messages.failure(str(code), self._errors.take()))
            return Result(task_id, site, body=body, error=TaskError(Failure.WORKLOAD, str(code)))
        model, body = encode(answer)
        metrics, examples = messages.metrics_of(answer)
        return Result(
            task_id, site, model=model if len(model) else None, metrics=metrics,
            examples=examples, body=body,
        )  # fmt: skip


def _kind_of(error: Exception) -> str:
    """The class of an error, where it is not one of the job's own: its text can hold data."""
    found = type(error)
    known = found.__module__ == "builtins" or found.__module__.startswith("nvflare.")
    return found.__name__ if known else "an error of the job's own"
