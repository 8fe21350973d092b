"""Statistics of twenty numbers that differ from site to site."""

import numpy as np
from nvflare.app_common.abstract.statistics_spec import (
    Bin,
    DataType,
    Feature,
    Histogram,
    HistogramType,
    Statistics,
)


class Numbers(Statistics):
    def __init__(self):
        super().__init__()
        self._data = np.zeros(0)

    def initialize(self, fl_ctx):
        number = int(fl_ctx.get_identity_name().rsplit("-", 1)[-1])
        self._data = np.arange(20, dtype=float) * number

    def features(self):
        return {"train": [Feature("x", DataType.FLOAT)]}

    def count(self, dataset_name, feature_name):
        return self._data.size

    def sum(self, dataset_name, feature_name):
        return float(self._data.sum())

    def mean(self, dataset_name, feature_name):
        return float(self._data.mean())

    def stddev(self, dataset_name, feature_name):
        return float(self._data.std(ddof=1))

    def variance_with_mean(self, dataset_name, feature_name, global_mean, global_count):
        return float(((self._data - global_mean) ** 2).sum() / (global_count - 1))

    def histogram(self, dataset_name, feature_name, num_of_bins, low, high):
        counts, edges = np.histogram(self._data, bins=num_of_bins, range=(low, high))
        bins = [
            Bin(float(a), float(b), int(n))
            for a, b, n in zip(edges, edges[1:], counts, strict=False)
        ]
        return Histogram(HistogramType.STANDARD, bins)

    def max_value(self, dataset_name, feature_name):
        return float(self._data.max())

    def min_value(self, dataset_name, feature_name):
        return float(self._data.min())

    def failure_count(self, dataset_name, feature_name):
        return 0
