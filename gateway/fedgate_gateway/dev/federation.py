"""A federation on this machine: written on first use, and run from its files ever after."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fedgate.errors import InvalidConfig, NotFound, Unavailable
from fedgate_gateway.cli.client import Client
from fedgate_gateway.cli.profile import Profile, load_profile
from fedgate_gateway.config import GatewayConfig, SiteConfig, load_config
from fedgate_gateway.dev import examples as example_data
from fedgate_gateway.dev import ports
from fedgate_gateway.dev.bootstrap import bootstrap
from fedgate_gateway.dev.datasets import DatasetTemplate
from fedgate_gateway.dev.files import Writer, recipient_key
from fedgate_gateway.dev.layout import ENCLAVE, Layout
from fedgate_gateway.dev.program import Program
from fedgate_gateway.pki.private_files import private_folder
from fedgate_gateway.sandbox.choose import best_available

DEFAULT_SITES = 3
_START_SECONDS = 90.0
_LOOK_EVERY = 0.05


class Federation:
    """Gateway, one enclave host and some sites, each a process.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. ``programs`` are by name:
    ``gateway``, ``enclave-1``, ``site-1``, … Arguments other than ``dir`` count on first use only,
    when the files are written; later the files do.
    """

    def __init__(
        self,
        dir: Path,
        *,
        sites: int | None = None,
        datasets: Sequence[DatasetTemplate] = (),
        adapters: Sequence[str] = ("flower", "flare"),
        examples: bool = True,
        sandbox: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``environment`` is what workloads get; ``sandbox`` None takes the best that works here.

        Raises :class:`InvalidConfig` when ``dir`` holds another number of sites.
        """
        self.dir = dir.resolve()
        self.layout = Layout(self.dir)
        self.sites = _sites(self.layout, sites)
        self._datasets = list(datasets)
        self._examples = examples and example_data.available()
        if self._examples:
            self._datasets += example_data.DATASETS
        self._adapters = tuple(adapters)
        self._sandbox = sandbox
        self._environment = dict(environment or {})
        self.programs = {
            name: Program(name, arguments, self.layout.log(name))
            for name, arguments in self.commands().items()
        }

    def commands(self) -> dict[str, list[str]]:
        """What starts each program by hand: arguments of ``fedgate``."""
        layout = self.layout
        return {
            "gateway": ["gateway", "--config", str(layout.gateway)],
            ENCLAVE: ["enclave", "--config", str(layout.enclave)],
            **{site: ["site", "run", "--config", str(layout.site(site))] for site in self.sites},
        }

    # -- life ----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Prepare if needed, start everything, and return once everybody is connected.

        Raises :class:`Unavailable` when a port is taken or a program ends; nothing is left running
        then.
        """
        try:
            self._require_ports()
            if not self.prepared:
                self._prepare()
            for program in self.programs.values():
                program.start()
            self._wait("the gateway to answer", self.client.ready)
            self._wait("everybody to connect", self._all_online)
        except BaseException:
            self.stop()
            raise

    def prepare(self) -> None:
        """Write and enrol everything, and leave nothing running."""
        try:
            self._require_ports()
            if not self.prepared:
                self._prepare()
        finally:
            self.stop()

    @property
    def prepared(self) -> bool:
        return self.layout.profile.exists()

    def stop(self) -> None:
        """Stop all programs; the gateway is the last, so that it hears how the others end."""
        others = [self.programs[name] for name in self.programs if name != "gateway"]
        for program in others:
            program.ask_to_stop()
        for program in others:
            program.stop()
        self.programs["gateway"].stop()
        if "client" in self.__dict__:
            self.client.close()
            del self.__dict__["client"]

    def restart(self, name: str) -> None:
        """Stop one program and start it again; returns once it is connected."""
        if name not in self.programs:
            raise NotFound(
                f"there is no program {name!r}", why=f"there are: {', '.join(self.programs)}"
            )
        self.programs[name].stop()
        self.programs[name].start()
        self._wait("the gateway to answer", self.client.ready)
        self._wait(f"{name} to connect", self._all_online if name == "gateway" else self._is(name))

    # -- what it offers --------------------------------------------------------------------------

    @property
    def profile_path(self) -> Path:
        return self.layout.profile

    @property
    def profile(self) -> Profile:
        return load_profile(self.layout.profile)

    @cached_property
    def client(self) -> Client:
        """The developer's client; closed by :meth:`stop`."""
        return Client(self.profile)

    def dataset(self, name: str, site: str) -> Path:
        """Where a site's dataset lies."""
        return load_config(SiteConfig, self.layout.site(site)).datasets[name].path

    def datasets(self) -> list[str]:
        """Names of the datasets that the first site's file declares."""
        return list(load_config(SiteConfig, self.layout.site(self.sites[0])).datasets)

    # -- first use -------------------------------------------------------------------------------

    def _prepare(self) -> None:
        layout = self.layout
        private_folder(self.dir)
        making = example_data.DataMaking(layout.data, self.sites) if self._examples else None
        try:
            runtime: dict[str, Any] = {"sandbox": self._sandbox or best_available()}
            if self._environment:
                runtime["environment"] = self._environment
            writer = Writer(
                layout,
                self.sites,
                datasets=self._datasets,
                adapters=self._adapters,
                runtime=runtime,
            )
            writer.gateway()
            gateway = load_config(GatewayConfig, layout.gateway)
            api = f"https://{gateway.api.host}:{gateway.api.port}"
            link = f"{gateway.link.host}:{gateway.link.port}"
            writer.project(recipient_key(layout))
            self.programs["gateway"].start()
            writer.enclave(api=api, link=link)
            for site in self.sites:
                writer.site(site, api=api, link=link)
            self._await_admin(writer, api)
            bootstrap(layout, writer, self.sites, api=api)
            if making is not None:
                making.finish()
        finally:
            if making is not None:
                making.stop()

    def _await_admin(self, writer: Writer, api: str) -> None:
        """The gateway's first start makes its CA and the administrator's token."""
        token = self.layout.state("gateway") / "admin-token"
        self._wait("the gateway to make its keys", token.exists)
        writer.admin_profile(api=api)
        with Client(load_profile(self.layout.admin_profile)) as admin:
            self._wait("the gateway to answer", admin.ready)

    # -- waiting ---------------------------------------------------------------------------------

    def _require_ports(self) -> None:
        if not self.layout.gateway.exists() or self.programs["gateway"].alive:
            return
        config = load_config(GatewayConfig, self.layout.gateway)
        for what, listen in (("the API", config.api), ("the link", config.link)):
            ports.require_free(listen.port, what=what, file=str(self.layout.gateway))

    def _wait(self, what: str, done: Callable[[], bool]) -> None:
        """Look again and again, as only starting needs; a program that ends is told at once."""
        deadline = time.monotonic() + _START_SECONDS
        while not done():
            for program in self.programs.values():
                if program.started and not program.alive:
                    program.require_alive()
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"waited {_START_SECONDS:g} s for {what}", remedy=f"see {self.dir / 'logs'}"
                )
            time.sleep(_LOOK_EVERY)

    def _online(self) -> set[str]:
        peers = [*self.client.sites(), *self.client.enclaves()]
        return {str(peer["name"]) for peer in peers if peer["online"]}

    def _all_online(self) -> bool:
        running = {name for name, program in self.programs.items() if program.alive}
        return running - {"gateway"} <= self._online()

    def _is(self, name: str) -> Callable[[], bool]:
        return lambda: name in self._online()


def _sites(layout: Layout, wanted: int | None) -> list[str]:
    if not layout.profile.exists():
        return [f"site-{number}" for number in range(1, (wanted or DEFAULT_SITES) + 1)]
    found = layout.sites()
    if wanted is not None and wanted != len(found):
        raise InvalidConfig(
            f"the federation in {layout.root} has {len(found)} sites, not {wanted}",
            why="it was written before, and runs from its files",
            remedy="leave --sites out, or use another folder",
        )
    return found
