"""A parent's view of one child process: start it, exchange messages, and be sure it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from fedgate.codes import Code
from fedgate.errors import (
    DeadlineExceeded,
    FedgateError,
    InvalidMessage,
    WorkloadFailed,
    error_from_dict,
)
from fedgate.manifest import Manifest
from fedgate.notice import Notice
from fedgate_gateway.child import adopted, guardian, use, wire
from fedgate_gateway.child.interpreter import readable_roots
from fedgate_gateway.child.log import LogPipe
from fedgate_gateway.child.memory import Buffer, Pool
from fedgate_gateway.child.notes import MAX_NOTE
from fedgate_gateway.child.parts import Part, PartTable
from fedgate_gateway.child.scratch import Scratch
from fedgate_gateway.child.serving import Deferred, Serving
from fedgate_gateway.config import Runtime
from fedgate_gateway.sandbox.contract import Confinement, Sandbox

#: glibc keeps big blocks and reuses them instead of mapping fresh pages for each (measured:
#: 86 -> 12 ms for np.save of 100 MB in pieces). One arena, because threads of a child hand big
#: blocks to each other.
_MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_TOP_PAD_": "16777216",
    "MALLOC_ARENA_MAX": "1",
}
#: A worker, with one model at a time, keeps them all: 0.1 s less for each round with 100 MB. In a
#: coordinator, which holds several, holes of such size would be memory that nobody uses (200 MB
#: more at its peak): there, blocks above 64 MiB are mapped and given back.
_LARGE_BLOCKS = {
    "worker": {"MALLOC_MMAP_MAX_": "0"},
    "coordinator": {"MALLOC_MMAP_THRESHOLD_": "67108864"},
}
_PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "OMP_NUM_THREADS",
)
#: A process can choose its exit code and its signal: neither is said in public.
_DIED = {"worker": Code.WORKER_DIED, "coordinator": Code.COORDINATOR_DIED}
#: What a child may call its failure; anything else is its workload's.
_FAILURES = frozenset(
    {
        Code.WORKLOAD_FAILED, Code.ALL_TASKS_FAILED, Code.ADAPTER_FAILED, Code.PLUGIN_UNAVAILABLE,
        Code.UNSUPPORTED_VERSION, Code.INVALID_CONFIG, Code.INVALID_BUNDLE,
    }
)  # fmt: skip
_QUEUE = 10_000
#: Messages read at a time, and those a dead child may have left in its socket.
_TURN, _LAST_WORDS = 64, 20_000
#: Seconds a child waits before its messages are read again when what they become has no room.
_BREATH = 0.01
#: Seconds that a guardian has to end what the work has started.
_GUARDIAN_SECONDS = 2.0


@dataclass(frozen=True)
class ChildSpec:
    """Everything a child is told at its start."""

    role: str  # "coordinator" or "worker"
    job: str
    manifest: Manifest
    root: Path
    scratch: Path
    sites: Sequence[str]
    adapters: Sequence[str]
    config: Mapping[str, Any] = field(default_factory=dict)
    site: str = ""
    index: int = 0
    state: Path = Path()
    datasets: Mapping[str, Path] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Largest model a child may hand over.
    part_bytes: int = 1 << 40
    #: The folder where trainers outside the sandbox attach to it.
    trainers: Path | None = None
    #: What it may write; 0: as much as there is room. A coordinator's scratch is in memory where
    #: the sandbox can.
    scratch_bytes: int = 0

    def start_message(self, runtime: Runtime, *, confined: bool, shows_scratch: bool) -> bytes:
        packed: bytes = msgpack.packb(
            {
                "role": self.role,
                "job": self.job,
                "manifest": self.manifest.to_dict(),
                "root": str(self.root),
                "scratch": str(self.scratch),
                "sites": list(self.sites),
                "adapters": list(self.adapters),
                "config": dict(self.config),
                "site": self.site,
                "index": self.index,
                "state": str(self.state),
                "datasets": {k: str(v) for k, v in self.datasets.items()},
                "settings": dict(self.settings),
                "trainers": "" if self.trainers is None else str(self.trainers),
                "limits": runtime.limits.model_dump(),
                "confined": confined,
                "shows_scratch": shows_scratch,
            }
        )
        return packed


@dataclass
class Incoming:
    """A message from the child; ``model`` is held for the handler, who must release it."""

    header: dict[str, Any]
    note: bytes
    model: Part | None

    @property
    def type(self) -> str:
        return str(self.header["t"])

    def release(self) -> None:
        if self.model is not None:
            self.model.release()
            self.model = None


class Child:
    """One child process. Handlers run on the event loop; ``on_end`` is called exactly once."""

    def __init__(
        self,
        spec: ChildSpec,
        runtime: Runtime,
        sandbox: Sandbox,
        *,
        on_message: Callable[[Incoming], None],
        on_end: Callable[[FedgateError | None], None],
        log: Path,
        on_log: Callable[[bytes], None] = lambda _lines: None,
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        """While ``crowded()``, nothing is read from the child, which then waits with sending."""
        self.spec = spec
        self.pool = Pool("fedgate-parent")
        self._runtime = runtime
        self._on_message = on_message
        self._on_end = on_end
        self._crowded = crowded
        self._parts = PartTable(
            lambda k: self._write(wire.Message({"t": "free", "k": k})), spec.part_bytes
        )
        self._outgoing: deque[wire.Message] = deque()
        self._next = 1
        self._lent: dict[int, int] = {}
        self._serving = Serving(self.pool, write=self._write, part=self._part)
        worker = spec.role == "worker"
        self.scratch = Scratch(
            spec.scratch, spec.scratch_bytes, others=[spec.state] if worker else [],
            shared=spec.trainers,
            in_memory=not worker and spec.scratch_bytes > 0 and sandbox.memory_folders,
        )  # fmt: skip
        self._ended = self._failed = False
        #: Without a sandbox a guardian stands between us and the work; see ``guardian``.
        self._guarded = not sandbox.confines
        self._stopping = False
        self._killing: asyncio.TimerHandle | None = None
        self.error: FedgateError | None = None
        self.done = False
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        ours, theirs = wire.socket_pair()
        self._sock = ours
        self._log = LogPipe(log, runtime.limits.log_bytes, on_log)
        try:
            self._process = self._spawn(runtime, sandbox, theirs)
        except BaseException as error:
            ours.close()
            self._log.close()
            if isinstance(error, OSError):
                raise WorkloadFailed(
                    "a child process does not start",
                    why=str(error),
                    notice=Notice(Code.DOES_NOT_START),
                ) from error
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        adopted.expect(self.pid)
        seconds = runtime.limits.start_seconds
        self._silent = self._loop.call_later(seconds, self._too_slow, seconds)
        self._pidfd = os.pidfd_open(self._process.pid)
        ours.setblocking(False)
        self._listen()
        self._loop.add_reader(self._pidfd, self._exited)
        self._log.attach(self._loop)
        start = spec.start_message(
            runtime, confined=sandbox.confines, shows_scratch=self.scratch.in_memory
        )
        self._write(wire.Message({"t": "start"}, start))
        self._watching = [
            self._loop.create_task(watch) for watch in (self._watch_scratch(), self._watch_use())
        ]

    def _spawn(
        self, runtime: Runtime, sandbox: Sandbox, theirs: socket.socket
    ) -> subprocess.Popen[bytes]:
        spec = self.spec
        if self._guarded:
            adopted.ask()
        spec.scratch.mkdir(parents=True, exist_ok=True)
        environment = {k: os.environ[k] for k in _PASSED_ON if k in os.environ}
        environment |= {
            **_MALLOC,
            **_LARGE_BLOCKS[spec.role],
            "HOME": str(spec.scratch),
            "TMPDIR": str(spec.scratch / ".tmp"),
            "USER": "fedgate",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **runtime.environment,
            **spec.environment,
        }
        interpreter = runtime.interpreter or sys.executable
        confinement = Confinement(
            cwd=spec.scratch,
            read=[*readable_roots(runtime.interpreter), spec.root, *spec.datasets.values()],
            write=self.scratch.writable,
            environment=environment,
            memory={spec.scratch: spec.scratch_bytes} if self.scratch.in_memory else {},
            temporary_bytes=spec.scratch_bytes,
        )
        argv = [interpreter, "-P", "-m", "fedgate_gateway.child", str(theirs.fileno())]
        return subprocess.Popen(
            sandbox.command(argv, confinement),
            env=environment,
            cwd=spec.scratch,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log.child_end,
            stderr=self._log.child_end,
            start_new_session=True,
        )

    # -- to the child ------------------------------------------------------------------------

    def send(
        self,
        kind: str,
        *,
        note: bytes = b"",
        model: bytes | memoryview | Buffer | Deferred | None = None,
        **fields: Any,
    ) -> None:
        """Queue a message. A :class:`Buffer` must come from this child's ``pool``; a
        :class:`Deferred` model is closed once the child needs it no more.
        """
        header: dict[str, Any] = {"t": kind, **fields}
        if model is not None:
            header["model"] = self._part(model)
        if len(note) > wire.INLINE:
            header["note"] = self._part(note)
            note = b""
        self._write(wire.Message(header, note))

    def _part(self, data: bytes | memoryview | Buffer | Deferred) -> int:
        if isinstance(data, Deferred):
            header = self._part(bytes(data.header))
            number, self._next = self._next, self._next + 1
            self._serving.add(number, data)
            self._write(wire.Message({"t": "deferred", "k": number, "s": data.size, "h": header}))
            return number
        if not isinstance(data, Buffer) and len(data) > wire.INLINE:
            buffer = self.pool.take(len(data))
            buffer.view[:] = data
            data = buffer
        number, self._next = self._next, self._next + 1
        if isinstance(data, Buffer):
            self._lent[number] = data.number
            self._write(wire.Message({"t": "part", "k": number, "s": data.size}, fd=data.fd))
        else:
            self._write(wire.Message({"t": "part", "k": number, "s": len(data)}, bytes(data)))
        return number

    def _write(self, message: wire.Message) -> None:
        if self._ended:
            return
        if len(self._outgoing) >= _QUEUE:
            self._fail(
                WorkloadFailed(
                    "a child process does not read its messages", notice=Notice(Code.DOES_NOT_READ)
                )
            )
            return
        self._outgoing.append(message)
        if len(self._outgoing) == 1:
            self._flush()

    def _flush(self) -> None:
        while self._outgoing:
            try:
                wire.send(self._sock, self._outgoing[0])
            except BlockingIOError:
                self._loop.add_writer(self._sock.fileno(), self._flush)
                return
            except OSError:  # it is gone; its end is reported by the pidfd
                self._outgoing.clear()
                break
            self._outgoing.popleft()
        self._loop.remove_writer(self._sock.fileno())

    # -- from the child ----------------------------------------------------------------------

    def _listen(self) -> None:
        if not self._ended:
            self._loop.add_reader(self._sock.fileno(), self._turn)

    def _turn(self) -> None:
        if self._crowded():
            self._loop.remove_reader(self._sock.fileno())
            self._loop.call_later(_BREATH, self._listen)
        else:
            self._readable()

    def _readable(self, most: int = _TURN) -> None:
        for _ in range(most):
            if self._failed:  # nothing it says counts any more
                return
            try:
                message = wire.receive(self._sock)
            except BlockingIOError:
                return
            except OSError:
                message = None
            except FedgateError as error:
                self._fail(error)
                return
            if message is None:
                self._hung_up()
                return
            self._silent.cancel()
            try:
                if self.scratch.expected or message.type == "scratch":
                    self.scratch.take(message)
                else:
                    self._handle(message)
            except FedgateError as error:
                self._fail(error)
            finally:
                if message.fd is not None:
                    os.close(message.fd)
                    message.fd = None

    def _hung_up(self) -> None:
        """It closed its end: it is ending, or it can never be talked to again."""
        self._loop.remove_reader(self._sock.fileno())
        self._silent.cancel()
        self._silent = self._loop.call_later(self._runtime.limits.stop_seconds, self.kill)

    def _handle(self, message: wire.Message) -> None:
        header = message.header
        match message.type:
            case "part":
                self._parts.add(message)
            case "drop":
                self._parts.drop(header.get("k"))
            case "free":
                self._freed(header.get("k"))
            case "fetch":
                self._serving.fetch(header)
            case "failed":
                error = header.get("error")
                self.error = error_from_dict(error if isinstance(error, dict) else {})
                if self.error.code not in _FAILURES:
                    self.error.notice = Notice(Code.WORKLOAD_FAILED)
            case "done":
                self.done = True
            case _:
                note = message.blob
                if "note" in header:
                    view = self._parts.get(header["note"]).view
                    if len(view) > MAX_NOTE:
                        raise InvalidMessage("a note of a child is too large", why=f"{len(view)}")
                    note = bytes(view)
                model = self._parts.get(header["model"]).hold() if "model" in header else None
                self._on_message(Incoming(header, note, model))

    def _freed(self, part: object) -> None:
        if type(part) is not int:
            return
        number = self._lent.pop(part, None)
        if number is not None:
            self.pool.give_back(number)
        self._serving.free(part)

    # -- the end -----------------------------------------------------------------------------

    def _fail(self, error: FedgateError) -> None:
        self._failed = True
        if self.error is None:
            self.error = error
        self.kill()

    def _too_slow(self, seconds: float) -> None:
        self._fail(
            DeadlineExceeded(
                f"the {self.spec.role} did not start in time",
                why=f"{seconds:g} s, runtime.limits.start_seconds",
                remedy="its log has the last lines it wrote",
                notice=Notice(Code.SLOW_START, {"seconds": seconds}),
            )
        )

    async def _watch_scratch(self) -> None:
        if await self.scratch.outgrown():
            self._fail(
                WorkloadFailed(
                    f"the {self.spec.role} wrote more than it may",
                    why=f"its folders hold more than {self.scratch.limit} bytes, scratch_bytes",
                    remedy="write less, or have scratch_bytes raised where it runs",
                    notice=Notice(Code.SCRATCH_FULL, {"bytes": self.scratch.limit}),
                )
            )

    async def _watch_use(self) -> None:
        limits = self._runtime.limits
        self._fail(
            await use.outgrown(
                self.pid, processes=limits.processes, memory_bytes=limits.tree_memory_bytes
            )
        )

    def kill(self) -> None:
        if self._ended:
            return
        if self._guarded and not self._killing:
            # Its guardian ends whatever the work has started; one that was stopped by the work,
            # or does not get on with it, is ended and its orphans come to us.
            self._killing = self._loop.call_later(_GUARDIAN_SECONDS, self._signal, signal.SIGKILL)
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)
        elif not self._guarded:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def stop(self) -> None:
        """Ask it to end, then make it; returns when it has ended."""
        self._stopping = True
        self.send("stop")
        try:
            await asyncio.wait_for(asyncio.shield(self._over), self._runtime.limits.stop_seconds)
        except TimeoutError:
            self.kill()
            await self._over

    def _exited(self) -> None:
        if self._ended:
            return
        # Whatever it left behind; before the wait, as long as the group's number is surely its own.
        self._signal(signal.SIGKILL)
        code = self._process.wait()
        if self._guarded:
            if code < 0 and not adopted.end_all():
                self.error = self.error or WorkloadFailed(
                    "processes of the workload do not end", notice=Notice(Code.DOES_NOT_END)
                )
            code = guardian.exit_code(code)
        self._readable(_LAST_WORDS)  # what it said before it died
        self._ended = True
        for timer in (self._silent, self._killing):
            if timer is not None:
                timer.cancel()
        for watching in self._watching:
            watching.cancel()
        with contextlib.suppress(ValueError, OSError):
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._sock.close()
        self._log.close()
        self._serving.close()
        self.pool.close()
        if self.error is None and not self.done and not self._stopping:
            self.error = WorkloadFailed(
                f"the {self.spec.role}'s process ended without a word",
                why=f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}",
                remedy="its log has the last lines it wrote",
                notice=Notice(_DIED[self.spec.role]),
            )
        if not self._over.done():
            self._over.set_result(None)
        self._on_end(self.error)

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def backlog(self) -> int:
        """Messages that the child has not taken yet."""
        return len(self._outgoing)


def check_message(incoming: Incoming, allowed: Sequence[str]) -> None:
    if incoming.type not in allowed:
        incoming.release()
        raise InvalidMessage(f"unexpected message {incoming.type!r} from a child process")
