"""Times chosen functions in every process that has this folder on its PYTHONPATH.

Only for the run that asks where time goes: nothing of ours imports this, and the runs that are
compared are made without it. Each process appends JSON lines to ``$FEDGATE_PROBE/<pid>.jsonl``:
``[name, begin, seconds]``, times as of time.time().
"""

import functools
import importlib.abc
import importlib.machinery
import inspect
import json
import os
import sys
import threading
import time

#: module -> {attribute path: name of the phase}
TARGETS = {
    "fedgate_gateway.sealed.cargo": {
        "CargoSealer.seal_chunk_into": "seal",
        "CargoOpener.open_chunk_into": "open",
    },
    "fedgate_gateway.sealed.witness": {"CargoWitness.add": "witness"},
    "fedgate_gateway.sealed.letter": {"Sealer.seal": "seal", "Opener.open": "open"},
    "fedgate_gateway.link.cargo": {"upload": "upload", "download": "download"},
    "fedgate_gateway.child.host": {"Child.send": "to-child", "Child._handle": "from-child"},
    "fedgate_gateway.child.memory": {"fill": "fill"},
    "fedgate_gateway.child.port": {"Port.send": "to-parent"},
    "fedgate_gateway.child.federation": {"ChildFederation.deliver": "deliver"},
    "fedgate_flower.messages": {
        "to_task": "encode",
        "from_result": "decode",
        "from_task": "decode",
        "to_result": "encode",
    },
    "fedgate_flare.codec": {"encode": "encode", "decode": "decode"},
    "flwr.serverapp.strategy.fedavg": {"FedAvg.aggregate_train": "aggregate"},
    "nvflare.app_common.aggregators.weighted_aggregation_helper": {
        "WeightedAggregationHelper.add": "aggregate",
        "WeightedAggregationHelper.get_result": "aggregate",
    },
}
#: These are told apart by the kind of message they are given.
BY_KIND = {"to-child", "from-child", "to-parent"}


class Log:
    """Sums what happens often, so that measuring costs less than what it measures."""

    def __init__(self, folder):
        self.file = os.open(f"{folder}/{os.getpid()}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.lock = threading.Lock()
        self.lines = []

    def add(self, name, begin, seconds):
        with self.lock:
            self.lines.append(json.dumps([name, begin, seconds]))
            if len(self.lines) >= 32 or name in ("to-parent:result", "deliver"):
                self.flush()

    def flush(self):
        lines, self.lines = self.lines, []
        if lines:
            os.write(self.file, ("\n".join(lines) + "\n").encode())


LOG = None


def wrap(function, name):
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def timed(*args, **kwargs):
            begin = time.time()
            try:
                return await function(*args, **kwargs)
            finally:
                LOG.add(name, begin, time.time() - begin)

        return timed

    @functools.wraps(function)
    def timed(*args, **kwargs):
        begin = time.time()
        try:
            return function(*args, **kwargs)
        finally:
            LOG.add(label(name, args), begin, time.time() - begin)

    return timed


def label(name, args):
    if name not in BY_KIND or len(args) < 2:
        return name
    kind = args[1] if isinstance(args[1], str) else getattr(args[1], "type", "")
    return f"{name}:{kind}"


def install(module):
    for path, name in TARGETS[module.__name__].items():
        *owners, attribute = path.split(".")
        owner = module
        for part in owners:
            owner = getattr(owner, part, None)
        function = getattr(owner, attribute, None)
        if function is None:
            sys.stderr.write(f"probe: {module.__name__} has no {path}\n")
        else:
            setattr(owner, attribute, wrap(function, name))


class Loader(importlib.abc.Loader):
    def __init__(self, inner):
        self.inner = inner

    def create_module(self, spec):
        return self.inner.create_module(spec)

    def exec_module(self, module):
        self.inner.exec_module(module)
        install(module)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path, target=None):
        if fullname not in TARGETS:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = Loader(spec.loader)
                return spec
        return None


if os.environ.get("FEDGATE_PROBE"):
    import atexit

    LOG = Log(os.environ["FEDGATE_PROBE"])
    atexit.register(LOG.flush)
    sys.meta_path.insert(0, Finder())
