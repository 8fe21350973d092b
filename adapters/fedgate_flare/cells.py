"""FLARE's cells, its message layer, on top of Fedgate's frames.

Streaming, download by reference, messages between sites and trainers in other processes all live
in a Cell, so that they work as they are. What they send leaves a site only where its guard lists
the channel and topic.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey

from fedgate.errors import FedgateError, WorkloadFailed
from fedgate.task import Frame
from fedgate_flare import _nvflare_private as private
from fedgate_flare import messages, underway
from fedgate_flare.job_folder import SERVER
from fedgate_flare.line import SCHEME, URL, Driver, Line
from fedgate_flare.wake import Bell

#: Seconds for the links to come up; nothing but threads of this process takes part.
_START = 10.0


def server_line(job_id: str, sites: tuple[str, ...], post: Callable[[str, Frame], None]) -> Line:
    return _bind(Line(SERVER, {site: f"{site}.{job_id}" for site in sites}, post))


def site_line(site: str, post: Callable[[Frame], None]) -> Line:
    return _bind(Line(site, {SERVER: SERVER}, lambda _peer, frame: post(frame)))


def _bind(line: Line) -> Line:
    """Make F3 find our driver, and the driver find the line. Once in a process.

    F3 would import every driver it has, up to two seconds of HTTP and gRPC that nobody may use.
    """
    Driver.line = line
    communicator = private.communicator_module
    communicator.driver_loaded = True
    if communicator.driver_mgr.find_driver_class(SCHEME) is None:
        communicator.driver_mgr.register(Driver)
    return line


def allow_files() -> None:
    """Trainers that attach to the job reach its worker by files in a folder of their owner's."""
    from nvflare.fuel.f3.drivers.file_driver import FileDriver

    private.communicator_module.driver_mgr.register(FileDriver)


def _allow_loopback() -> None:
    """The one other driver: trainers of the job reach its worker by it."""
    from nvflare.fuel.f3.drivers.tcp_driver import TcpDriver

    private.communicator_module.driver_mgr.register(TcpDriver)


def open_server_cell(server: Any, job_id: str, line: Line, bell: Bell) -> Cell:
    """The job's cell below a root cell that has the links to the sites."""
    underway.watch()
    root = Cell(fqcn=SERVER, root_url=URL, secure=False, credentials={})
    connected = _count_connections(root, len(line.endpoints))
    root.start()
    root.core_cell.add_incoming_filter("*", "*", server._strip_peer_transit_headers)
    cell = Cell(fqcn=f"{SERVER}.{job_id}", root_url=URL, secure=False, credentials={})
    cell.start()
    agent = server.command_agent = private.ServerCommandAgent(server.engine, cell)
    agent.aux_communicate = checked(agent.aux_communicate, job_id, bell)
    agent.start()
    _wait(connected)
    return cell


def open_site_cell(
    site: str, job_id: str, federated: Any, application: Any, bell: Bell, *, trainers: bool
) -> Cell:
    """A site's cell; with ``trainers``, other processes of the job can reach it over loopback."""
    if trainers:
        _allow_loopback()
    cell = Cell(
        fqcn=f"{site}.{job_id}", root_url=URL, secure=False, credentials={},
        create_internal_listener=trainers,
        internal_listener_host="127.0.0.1",  # a sandbox knows no names
    )  # fmt: skip
    connected = _count_connections(cell, 1)
    cell.start()
    federated.cell = cell
    federated.communicator.set_cell(cell)
    agent = application.command_agent = private.CommandAgent(federated)
    agent.aux_communication = checked(agent.aux_communication, job_id, bell)
    _wait(connected)
    return cell


def _count_connections(cell: Cell, wanted: int) -> threading.Event:
    done, names = threading.Event(), set()

    def note(name: str) -> None:
        names.add(name)
        if len(names) >= wanted:
            done.set()

    cell.core_cell.set_cell_connected_cb(lambda agent, *_a, **_k: note(agent.get_fqcn()))
    return done


def _wait(connected: threading.Event) -> None:
    if not connected.wait(_START):
        raise WorkloadFailed("FLARE's message layer did not start")


# -- what an auxiliary message may say of its sender ---------------------------------------------


def checked(handle: Callable[[Any], Any], job_id: str, bell: Bell) -> Callable[[Any], Any]:
    """An agent's handler of auxiliary messages that believes the link and not the message.

    It rings once a message is handled: loops of workflows wait for what messages bring.
    """

    @functools.wraps(handle)
    def handler(request: Any) -> Any:
        sender = str(request.get_header(MessageHeaderKey.ORIGIN)).split(".", 1)[0]
        payload = request.payload
        if isinstance(payload, Shareable):
            try:
                claimed = messages.peer_properties(payload, messages.SITE_PROPERTIES)
            except FedgateError:
                claimed = {}
            payload.set_peer_props(
                {**claimed, ReservedKey.IDENTITY_NAME: sender, ReservedKey.RUN_NUM: job_id}
            )
        try:
            answer = handle(request)
        finally:
            bell.ring()
        reply = getattr(answer, "payload", None)
        if isinstance(reply, Shareable):
            messages.restrict_peer(reply)
        return answer

    return handler


class Discreet:
    """An FLContext that shows only those public properties that may travel."""

    def __init__(self, context: FLContext) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def get_all_public_props(self) -> dict[str, Any]:
        return messages.restricted(self._context.get_all_public_props())


def make_discreet(aux_runner: Any) -> None:
    """Let auxiliary messages carry no other property of this site than the allowed ones."""
    for name in ("_send_to_cell", "_send_multi_requests"):
        original = getattr(aux_runner, name)

        def send(*args: Any, _original: Any = original, **kwargs: Any) -> Any:
            kwargs["fl_ctx"] = Discreet(kwargs["fl_ctx"])
            return _original(*args, **kwargs)

        setattr(aux_runner, name, send)
