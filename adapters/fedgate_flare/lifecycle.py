"""Begin and end of a run at the sites, where both matter.

A FLARE client asks whether the server is there before it starts, and is told to end while the
server still listens, so that what its components send in their first and last moments arrives.
Here these are tasks of our own, sent only for jobs that are known to stream: all others need not
wait for them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from fedgate.adapter import Federation
from fedgate.errors import WorkloadFailed
from fedgate.manifest import Manifest
from fedgate.task import Result, Task, TaskKind
from fedgate_flare import needs, underway
from fedgate_flare.mailbox import Mailbox

BEGIN, END = "fedgate.begin_run", "fedgate.end_run"
#: Until the server goes on without a site; a site's components have as long.
_SECONDS = 30.0
#: Until a run ends although something that a site sent is still being handled.
_HANDLED = 5.0


def matters(manifest: Manifest) -> bool:
    """May components at the sites have something to say at once, or at the very end?"""
    return not {needs.STREAMS, needs.FED_EVENTS}.isdisjoint(manifest.frames)


def tell(federation: Federation, name: str) -> None:
    """Returns once every site that is there has begun, or ended, its run.

    What a site sent before it ended has been handled by then.
    """
    tasks = [
        Task(id=uuid.uuid4().hex, site=site.name, kind=TaskKind.QUERY, name=name)
        for site in federation.sites()
        if site.online
    ]
    for _result in federation.dispatch(tasks, deadline=_SECONDS):
        pass
    underway.wait_until_handled(_HANDLED)


def obey(task: Task, mailbox: Mailbox, join: Callable[[float], None]) -> Result | None:
    """At a site: do what one of these tasks says; None for any other task.

    ``join(seconds)`` waits for the end of the thread that runs the job.
    """
    if task.name == BEGIN:
        if not mailbox.begin(_SECONDS):
            raise WorkloadFailed(
                "the job's client side did not start", remedy="the site's own log says why"
            )
    elif task.name == END:
        mailbox.close()
        join(_SECONDS)
    else:
        return None
    return Result(task.id, task.site)
