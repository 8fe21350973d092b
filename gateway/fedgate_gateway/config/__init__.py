"""Configuration files of the programs and of projects."""

from fedgate_gateway.config.base import Section, load_config
from fedgate_gateway.config.programs import (
    ChildLimits,
    Dataset,
    EnclaveConfig,
    GatewayConfig,
    GatewayLimits,
    GatewayProject,
    Guard,
    InspectionLimits,
    Listen,
    Runtime,
    SiteConfig,
)
from fedgate_gateway.config.project import METRIC_NAME, Member, ProjectConfig, Release

__all__ = [
    "METRIC_NAME",
    "ChildLimits",
    "Dataset",
    "EnclaveConfig",
    "GatewayConfig",
    "GatewayLimits",
    "GatewayProject",
    "Guard",
    "InspectionLimits",
    "Listen",
    "Member",
    "ProjectConfig",
    "Release",
    "Runtime",
    "Section",
    "SiteConfig",
    "load_config",
]
