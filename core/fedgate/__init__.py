"""The neutral language of Fedgate and its rules: no I/O, no framework, small and stable.

This is what authors of adapters import.
"""

from fedgate.adapter import (
    Adapter,
    Capabilities,
    Capability,
    Federation,
    Grade,
    SiteContext,
    SiteInfo,
    Worker,
    Workload,
)
from fedgate.bundle import Bundle, BundleLimits, BundleTree
from fedgate.errors import FedgateError
from fedgate.job import Job, JobEvent, JobState
from fedgate.manifest import Manifest
from fedgate.model import Model, Tensor
from fedgate.task import Failure, Frame, Result, Round, Scalar, Task, TaskError, TaskKind

#: The release of this distribution.
__version__ = "0.1.0"

__all__ = [
    "Adapter",
    "Bundle",
    "BundleLimits",
    "BundleTree",
    "Capabilities",
    "Capability",
    "Failure",
    "Federation",
    "FedgateError",
    "Frame",
    "Grade",
    "Job",
    "JobEvent",
    "JobState",
    "Manifest",
    "Model",
    "Result",
    "Round",
    "Scalar",
    "SiteContext",
    "SiteInfo",
    "Task",
    "TaskError",
    "TaskKind",
    "Tensor",
    "Worker",
    "Workload",
]
