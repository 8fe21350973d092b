"""A whole federation on one machine, made of the ordinary programs and ordinary files."""

from fedgate_gateway.dev.datasets import DatasetTemplate
from fedgate_gateway.dev.federation import Federation

__all__ = ["DatasetTemplate", "Federation"]
