"""The adapter of NVIDIA FLARE; found through the entry point ``flare``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from fedgate.adapter import Adapter, Capabilities, Federation, SiteContext, Worker, Workload
from fedgate.bundle import BundleTree
from fedgate.manifest import Manifest
from fedgate_flare.capabilities import CAPABILITIES
from fedgate_flare.inspection import inspect_job
from fedgate_flare.job_folder import locate
from fedgate_flare.site_names import rename_sites


class FlareAdapter(Adapter):
    """Parsing happens here; nvflare is imported only by the children that run a job."""

    framework: ClassVar[str] = "flare"
    capabilities: ClassVar[Capabilities] = CAPABILITIES
    requires: ClassVar[tuple[str, ...]] = ("nvflare==2.9.*",)

    def recognises(self, tree: BundleTree) -> bool:
        return locate(tree) is not None

    def inspect(self, tree: BundleTree) -> Manifest:
        return inspect_job(tree)

    def rename_sites(
        self, tree: BundleTree, names: Mapping[str, str], *, required: bool = True
    ) -> BundleTree:
        return rename_sites(tree, names, required=required)

    def coordinate(self, workload: Workload, federation: Federation) -> None:
        from fedgate_flare.coordinator import run_coordinator

        run_coordinator(workload, federation)

    def worker(self, workload: Workload, site: SiteContext) -> Worker:
        from fedgate_flare.worker import FlareWorker

        return FlareWorker(workload, site)
